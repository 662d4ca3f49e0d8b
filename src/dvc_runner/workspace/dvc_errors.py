"""DVC's errors turned into ours, in one line. A part of the DVC adapter."""

import contextlib
import os
import sqlite3
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dvc.dependency.base import DependencyDoesNotExistError
from dvc.dependency.param import MissingParamsError, MissingParamsFile
from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.lock import LockError
from dvc.output import OutputDoesNotExistError
from dvc.stage.exceptions import MissingDataSource, StageCmdFailedError, StageFileDoesNotExistError, StageNotFound
from dvc.utils.serialize import ParseError
from dvc.utils.serialize._yaml import parse_yaml
from dvc.utils.strictyaml import YAMLSyntaxError, YAMLValidationError, merge_conflict_marker
from ruamel.yaml.reader import ReaderError

from dvc_runner.errors import ConfigurationError, DvcRunnerError, StageError, WorkspaceBusyError
from dvc_runner.workspace import dvc_position

if TYPE_CHECKING:
    from dvc.stage import Stage as DvcStage

_ABOUT_AN_ENTRY = (DependencyDoesNotExistError, OutputDoesNotExistError, MissingParamsError, MissingParamsFile)
# A stage's failures that their own words explain.
_REMEDIES = {
    StageCmdFailedError: "its own words are above",
    MissingDataSource: "bring it back:  dvc checkout, or  dvc pull  where the cache lacks it",
}
_UNRESOLVED = "a merge conflict that nobody resolved"
# What was asked for is not there.
_ASK_FOR = {
    StageNotFound: "name a stage, or a file that one writes:  dvc stage list  shows them",
    StageFileDoesNotExistError: "go to the folder of a dvc.yaml, or name one:  PATH/dvc.yaml",
}


@contextlib.contextmanager
def told(about: str = "the project's files", stage: "DvcStage | None" = None) -> Iterator[None]:
    """Raise our error where DVC raises one of its own; ``about`` is what it is asked about, of a stage maybe."""
    try:
        yield
    except DvcException as error:
        raise _ours(error, _place(error, stage)) from error
    except sqlite3.Error as error:
        raise StageError(
            f"DVC's own database could not be used: {error}",
            remedy="see that the disk has room and .dvc/tmp is yours to write, then run again",
        ) from error
    except (DvcRunnerError, OSError):
        raise
    except Exception as error:
        module, path = _where(error)
        if not module:
            raise
        if isinstance(error, ImportError):
            raise ConfigurationError(
                f"DVC cannot be loaded: {error}",
                remedy="mend its environment; what DVC before 3.67 needs and does not say:  pip install 'pathspec<1'",
            ) from error
        if module == "dvc.parsing.context":
            # How DVC 3.67 refuses a value of params.yaml, such as a date.
            raise ConfigurationError(str(error), remedy="write it as a text, in quotes") from error
        words = ": ".join(filter(None, (type(error).__name__, " ".join(str(error).split()))))
        raise ConfigurationError(
            f"{dvc_position.of_error(error)}DVC cannot make sense of {path or about}: {words}, in {module}",
            remedy="undo the last edit of dvc.yaml, dvc.lock, a .dvc or params file;  dvc status -v  shows more",
        ) from error


def _where(error: Exception) -> tuple[str, str]:
    """Give the module, not one of Python's own, that an error comes from, and the file that was read, if any.

    No module if it is one of ours. DVC, and what it reads files with, meet what they do not expect with any error.
    """
    module, path = "", ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        name = str(frame.f_globals.get("__name__"))
        if name.partition(".")[0] not in sys.stdlib_module_names:
            module = name
        if frame.f_code is parse_yaml.__code__:
            path = str(frame.f_locals["path"])
    return ("", "") if module.startswith("dvc_runner") else (module, path)


def _ours(error: DvcException, where: str) -> DvcRunnerError:
    if isinstance(error, NotDvcRepoError):
        return ConfigurationError(
            "this folder belongs to no DVC project",
            remedy="change to the project's folder, or make one:  dvc init",
        )
    if isinstance(error, LockError):
        return WorkspaceBusyError("another dvc command is at work in this project", remedy="let it end, then try again")
    if type(error) in _REMEDIES:
        return StageError(_words(error), remedy=_REMEDIES[type(error)])
    if isinstance(error, OutputDoesNotExistError):
        return StageError(f"{where}{_words(error)} after the stage ended", remedy="write it, or take it from its outs")
    if isinstance(error, DependencyDoesNotExistError):
        return StageError(
            f"{where}a dep is missing: {_words(error)}",
            remedy="make it, bring it back with  dvc pull  or correct deps in dvc.yaml",
        )
    words = _words(error)
    remedy = _ASK_FOR.get(type(error), "correct the file or the entry that it names")
    if _UNRESOLVED in words:
        remedy = "resolve it; of a dvc.lock keep either side, and run"
    return ConfigurationError(f"{where}{words}", remedy=remedy)


def _place(error: DvcException, stage: "DvcStage | None") -> str:
    """Give file and line of what an error is about, to be put before its words, unless they say that."""
    if isinstance(error, YAMLSyntaxError | YAMLValidationError | ParseError):
        return ""
    if stage is not None and isinstance(error, _ABOUT_AN_ENTRY):
        return dvc_position.of_stage(stage)
    return dvc_position.of_error(error)


def _words(error: BaseException) -> str:
    """Give DVC's message, and what it says caused it."""
    words: list[str] = []
    seen: BaseException | None = error
    while isinstance(seen, DvcException):
        line = _detail(seen)
        if line and line not in words:
            words.append(line)
        seen = seen.__cause__
    return ": ".join(words) or type(error).__name__


def _detail(error: DvcException) -> str:
    if isinstance(error, YAMLSyntaxError):
        # Absolute before DVC 3.63.
        path = os.path.relpath(error.path)
        return f"{path} is not valid YAML{_conflict(error.yaml_text) or _position(error.exc)}"
    if isinstance(error, YAMLValidationError):
        first = error.exc.errors[0]
        place = " -> ".join(str(part) for part in first.path)
        line = dvc_position.line_of(error.text, first.path)
        return f"{error.path} does not fit DVC's schema: line {line}: {first.error_message}, in {place or 'it'}"
    if isinstance(error, ParseError):
        return f"{' '.join(str(error).split())}{_conflict(_text(error.path)) or _position(error)}"
    return " ".join(str(error).split())


def _conflict(text: str) -> str:
    """Give where a text has a merge conflict; nothing where it has none."""
    marker = merge_conflict_marker.search(text)
    return f": line {text.count(chr(10), 0, marker.start()) + 1}: {_UNRESOLVED}" if marker else ""


def _text(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", errors="replace")
    except OSError:
        return ""


def _position(error: BaseException | None) -> str:
    while error is not None:
        if isinstance(error, ReaderError):
            return f": character {error.position + 1}: {error.reason}"
        mark = getattr(error, "problem_mark", None)
        if mark is not None:
            problem = getattr(error, "problem", "") or "unreadable"
            return f": line {mark.line + 1}, column {mark.column + 1}: {problem}"
        error = error.__cause__
    return ""
