"""DVC's errors turned into ours, in one line. A part of the DVC adapter."""

import contextlib
import sqlite3
import traceback
from collections.abc import Iterator

from dvc.dependency.base import DependencyDoesNotExistError
from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.lock import LockError
from dvc.output import OutputDoesNotExistError
from dvc.stage.exceptions import StageCmdFailedError
from dvc.utils.serialize import ParseError
from dvc.utils.strictyaml import YAMLSyntaxError, YAMLValidationError

from dvc_runner.errors import ConfigurationError, DvcRunnerError, StageError, WorkspaceBusyError


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Raise our error where DVC raises one of its own."""
    try:
        yield
    except DvcException as error:
        raise _ours(error) from error
    except TypeError as error:
        if not _is_dvcs(error):
            raise
        raise ConfigurationError(str(error), remedy="write it as a text, in quotes") from error
    except sqlite3.Error as error:
        raise StageError(
            f"DVC's own database could not be used: {error}",
            remedy="see that the disk has room and .dvc/tmp is yours to write, then run again",
        ) from error


def _is_dvcs(error: TypeError) -> bool:
    """Say whether it is how DVC 3.67 refuses a value of params.yaml, such as a date."""
    innermost = list(traceback.walk_tb(error.__traceback__))[-1][0]
    return bool(innermost.f_globals["__name__"] == "dvc.parsing.context")


def _ours(error: DvcException) -> DvcRunnerError:
    if isinstance(error, NotDvcRepoError):
        return ConfigurationError(
            "this folder belongs to no DVC project",
            remedy="change to the project's folder, or make one:  dvc init",
        )
    if isinstance(error, LockError):
        return WorkspaceBusyError("another dvc command is at work in this project", remedy="let it end, then try again")
    if isinstance(error, StageCmdFailedError):
        return StageError(_words(error), remedy="its own words are above")
    if isinstance(error, OutputDoesNotExistError):
        return StageError(f"{_words(error)} after the stage ended", remedy="write it, or take it from its outs")
    if isinstance(error, DependencyDoesNotExistError):
        return StageError(
            f"a dep is missing: {_words(error)}",
            remedy="make it, bring it back with  dvc pull  or correct deps in dvc.yaml",
        )
    return ConfigurationError(_words(error), remedy="correct the file or the entry that it names")


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
        return f"{error.relpath} is not valid YAML{error.hint}{_position(error.exc)}"
    if isinstance(error, YAMLValidationError):
        first = error.exc.errors[0]
        place = " -> ".join(str(part) for part in first.path)
        return f"{error.path} does not fit DVC's schema: {first.error_message}, in {place or 'it'}"
    if isinstance(error, ParseError):
        return f"{' '.join(str(error).split())}{_position(error)}"
    return " ".join(str(error).split())


def _position(error: BaseException | None) -> str:
    while error is not None:
        mark = getattr(error, "problem_mark", None)
        if mark is not None:
            problem = getattr(error, "problem", "") or "unreadable"
            return f": line {mark.line + 1}, column {mark.column + 1}: {problem}"
        error = error.__cause__
    return ""
