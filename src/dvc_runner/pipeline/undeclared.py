"""What a failed stage's own words tell of a read that dvc.yaml does not declare.

Never more than those words: they hold a path or a module, and the project has it.
"""

import contextlib
import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dvc_runner.errors import StageError
from dvc_runner.model import Stage

NAMED = 3
# What Python, R, Java, Go, Node, Rust, a shell and their libraries say of a file that is not there, or not to be read.
_OF_A_FILE = re.compile(
    r"no such file|permission denied|NoSuchFile|FileNotFound|ENOENT|EACCES|Errno (?:2|13)\b", re.IGNORECASE
)
# These are said of other things too: a word counts only if it looks like a path.
_OF_ANYTHING = re.compile(
    r"not found|not exist|does ?n[o']t exist|no files found|access is denied"
    r"|(?:can ?not|can't|could not|couldn't|failed to|unable to) (?:find|open|access|read|load)",
    re.IGNORECASE,
)
_MODULE = re.compile(r"No module named '?([A-Za-z_]\w*)")
_QUOTED = re.compile(r"'([^']+)'|\"([^\"]+)\"|`([^`']+)[`']|‘([^’]+)’|“([^”]+)”")  # noqa: RUF001 - as programs write them
_AROUND = "'\"`‘’“”()[]{}<>,;:!?"  # noqa: RUF001
_OURS = (".git", ".dvc")


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a stage ran: the project, and each folder that was its root, or the project's, to the stage."""

    root: Path
    seen_as: tuple[str, ...]


def explained(error: StageError, stage: Stage, words: Sequence[str], place: Place) -> StageError:
    """Give ``error`` with what ``words``, the stage's last lines, say of what it could not read."""
    paths = list(dict.fromkeys(_paths(stage, words, place)))[:NAMED]
    if paths:
        return _of_paths(error, stage, paths)
    module = next(_modules(stage, words, place), None)
    return _of_module(error, stage, *module) if module else error


def _of_paths(error: StageError, stage: Stage, paths: Sequence[str]) -> StageError:
    exist = "which exists in the project and is not among its deps"
    if len(paths) > 1:
        exist = "which exist in the project and are not among its deps"
    files = {file.path for file in stage.params} | {"params.yaml"}
    if len(paths) == 1 and paths[0] in files:
        return StageError(
            f"{error}: it says that it could not read {paths[0]}, of which it gets no more than its params",
            remedy=f"add the parameters that it reads to params of {_entry(stage)}",
        )
    added = ", ".join(_as_written(stage, path) for path in paths)
    return StageError(
        f"{error}: it says that it could not read {', '.join(paths)}, {exist}",
        remedy=f"add {added} to deps of {_entry(stage)}",
    )


def _of_module(error: StageError, stage: Stage, name: str, path: str) -> StageError:
    build = stage.container.build if stage.container else None
    into = "" if build is None else ", and take it into its image: build.include of meta.container"
    return StageError(
        f"{error}: it says that it has no module {name}; {path} exists in the project and is not among its deps",
        remedy=f"if that is the one, add {_as_written(stage, path)} to deps of {_entry(stage)}{into}",
    )


def _paths(stage: Stage, words: Sequence[str], place: Place) -> Iterator[str]:
    for line in reversed(words):
        is_of_a_file = _OF_A_FILE.search(line)
        if is_of_a_file or _OF_ANYTHING.search(line):
            for candidate in _candidates(line):
                path = _in_project(candidate, stage, place) if is_of_a_file or set("/.") & set(candidate) else None
                if path and _hidden(path, stage, place):
                    yield path


def _modules(stage: Stage, words: Sequence[str], place: Place) -> Iterator[tuple[str, str]]:
    for line in reversed(words):
        for name in _MODULE.findall(line):
            for folder in _neighbours(stage):
                for leaf in (name, f"{name}.py"):
                    path = posixpath.normpath(posixpath.join(folder, leaf))
                    if _hidden(path, stage, place):
                        yield name, path


def _neighbours(stage: Stage) -> Iterator[str]:
    build = stage.container.build if stage.container else None
    yield from (posixpath.dirname(folder) for folder in (build.folders if build else ()))
    yield from (stage.wdir, ".")


def _candidates(line: str) -> Iterator[str]:
    """Give what may be a path in a line: what is quoted, what stands between colons, and each word."""
    for match in _QUOTED.finditer(line):
        yield next(filter(None, match.groups()))
    for part in line.split(": "):
        yield part.partition(" (")[0].strip()
    yield from (word.strip(_AROUND) for word in line.split())


def _in_project(text: str, stage: Stage, place: Place) -> str | None:
    """Give ``text`` as a path relative to the project's root; None where it is none, or leads out."""
    text = text.removeprefix("file://").rstrip("/")
    if not text or "\0" in text:
        return None
    if not posixpath.isabs(text):
        path = posixpath.normpath(posixpath.join(stage.wdir, text))
    else:
        fitting = (folder for folder in place.seen_as if PurePosixPath(text).is_relative_to(folder))
        folder = next(fitting, None)
        if folder is None:
            return None
        path = posixpath.normpath(posixpath.relpath(text, folder))
    parts = PurePosixPath(path).parts
    is_nobodys = not parts or parts[0] in ("..", *_OURS) or parts[-1].startswith(".env")
    return None if is_nobodys else path


def _hidden(path: str, stage: Stage, place: Place) -> bool:
    """Say whether the project has ``path``, and the stage declares neither it, nor what it lies in or holds."""
    with contextlib.suppress(OSError):  # what is too long for a name is none
        entries = [*(dep.path for dep in stage.deps), *(out.path for out in stage.outs)]
        here = PurePosixPath(path)
        known = any(here.is_relative_to(entry) or PurePosixPath(entry).is_relative_to(here) for entry in entries)
        return not known and (place.root / path).exists()
    return False


def _as_written(stage: Stage, path: str) -> str:
    return posixpath.relpath(path, stage.wdir)


def _entry(stage: Stage) -> str:
    """Name a stage's entry in its file, as its author wrote it."""
    file, _, name = stage.address.rpartition(":")
    return f"{name.partition('@')[0]} in {file or 'dvc.yaml'}"
