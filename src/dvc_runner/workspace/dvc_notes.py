"""Notes of what a run uses, for other dvc commands at work in the same project. A part of the DVC adapter."""

import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any

from dvc.lock import LockError, make_lock
from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK, SCHEMA, RWLockFileCorruptedError, RWLockFileFormatError
from dvc.stage.decorators import rwlocked
from voluptuous import Invalid

from dvc_runner.workspace.stamps import Stamp, of_one

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import Stage as DvcStage

# Who reads a path: processes by number and command.
Readers = dict[str, list[dict[str, Any]]]
_RUN = re.compile(r"(^|/)dvc-runner run\b")


class Notes:
    """What stages at work read and write, noted in DVC's ``rwlock`` file as read.

    So others may read it, and ``dvc repro`` does not delete what a command is writing. DVC looks at notes under its
    lock only: ours are written before a run lets go of that.
    """

    def __init__(self, repo: "Repo") -> None:
        """Note nothing yet."""
        self._repo = repo
        self._file = Path(repo.tmp_dir, RWLOCK_FILE)
        # As DVC would note this command: a note of one's own is in nobody's way.
        self._info = {"pid": os.getpid(), "cmd": " ".join(sys.argv)}
        self._elsewhere: tuple[str, dict[str, Any]] | None = None
        self._used: dict[str, set[str]] = {}
        self._left: set[str] = set()
        self._shown: set[str] = set()
        self._looked_at: Stamp | None = None
        self._are_others = False

    def also_at(self, root: str, container: str) -> None:
        """Note everything for commands outside of our container, too, which know the project as ``root``."""
        # Of our processes they know no number; the first one is there everywhere.
        self._elsewhere = (root, {"pid": 1, "cmd": f"dvc-runner run, in the container {container}"})

    def sweep(self) -> None:
        """Remove what runs noted that were killed: the number of one in a container may be anybody's here."""
        if self._is_anybody_else():
            with self._edited() as readers:
                for path in [*readers]:
                    _set(readers, path, [one for one in readers[path] if not _RUN.search(one["cmd"])])

    def take(self, stage: "DvcStage") -> None:
        """Have what a stage reads and writes noted from the next ``show`` on.

        Raises:
            LockError: Another command writes to a dep, or uses an out.
        """
        self.noted(_use)(stage)
        entries = (*stage.deps, *stage.outs)
        self._used[str(stage.addressing)] = {one.fs_path for one in entries if one.protocol == "local"}
        self._left.discard(str(stage.addressing))

    def leave(self, address: str) -> None:
        """Take that a stage is not at work any more; it stays noted until ``drop_left``."""
        self._left.update({address} & self._used.keys())

    def drop_left(self) -> None:
        """Note stages no more that left: dvc.lock tells of their outs now."""
        for address in self._left:
            del self._used[address]
        self._left.clear()

    def show(self) -> None:
        """Bring the file up to date."""
        used = {path for paths in self._used.values() for path in paths}
        if used != self._shown:
            # One that another edits for seconds has to wait for the next time.
            with contextlib.suppress(LockError), self._edited() as readers:
                for path in used | self._shown:
                    for place, mine in self._known_as(path):
                        others = [one for one in readers.get(place, ()) if one != mine]
                        _set(readers, place, [*others, mine] if path in used else others)
                self._shown = used

    def clear(self) -> None:
        """Note nothing any more."""
        self._used.clear()
        self._left.clear()
        self.show()

    def noted(self, method: MethodType | Callable[..., object]) -> Callable[..., object]:
        """Give a method of a stage's as a function that makes no note of its own while no other command has one.

        Such a note costs more than the work.
        """
        function: Callable[..., object] = getattr(method, "__func__", method)
        return function if self._is_anybody_else() else getattr(function, "__wrapped__", function)

    def _known_as(self, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Give the names that a path has for other commands, each with who uses it."""
        yield path, self._info
        inside = os.path.relpath(path, self._repo.root_dir)
        if self._elsewhere and not inside.startswith(".."):
            root, mine = self._elsewhere
            yield os.path.join(root, inside), mine  # noqa: PTH118 - DVC knows files by such texts

    def _is_anybody_else(self) -> bool:
        now = of_one(str(self._file))
        if now != self._looked_at:
            mine = (self._info, self._elsewhere and self._elsewhere[1])
            try:
                found = json.loads(self._file.read_text("utf-8") or "{}")
                others = [one for infos in found.get("read", {}).values() for one in infos if one not in mine]
                self._are_others = bool(others or found.get("write"))
            except FileNotFoundError:
                self._are_others = False
            except (ValueError, AttributeError):  # DVC says what is wrong with it
                self._are_others = True
            self._looked_at = now
        return self._are_others

    @contextlib.contextmanager
    def _edited(self) -> Iterator[Readers]:
        """Change the file as DVC does, but in one write: a kill leaves no half of it, and to cut it off takes long."""
        folder = self._repo.tmp_dir
        by_links = self._repo.config["core"].get("hardlink_lock", False)
        with (
            make_lock(str(self._file.with_name(RWLOCK_LOCK)), tmp_dir=folder, hardlink_lock=by_links),
            os.fdopen(os.open(self._file, os.O_RDWR | os.O_CREAT, 0o666), "rb", buffering=0) as file,
        ):
            old = file.readall()
            try:
                notes = SCHEMA(json.loads(old or "{}"))
            except ValueError as error:
                raise RWLockFileCorruptedError(str(self._file)) from error
            except Invalid as error:
                raise RWLockFileFormatError(str(self._file)) from error
            yield notes["read"]
            os.pwrite(file.fileno(), json.dumps(notes).encode().ljust(len(old)), 0)


@rwlocked(read=["deps"], write=["outs"])  # type: ignore[untyped-decorator]
def _use(_: "DvcStage") -> None:
    """Do nothing, if no other command has noted that this would disturb it."""


def _set(readers: Readers, path: str, infos: list[dict[str, Any]]) -> None:
    if infos:
        readers[path] = infos
    else:
        readers.pop(path, None)
