"""dvc.lock, written whole or not at all; DVC truncates it first. A part of the DVC adapter."""

import errno
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvc.stage.serialize import to_single_stage_lockfile
from dvc.utils.serialize import ParseError, dumps_yaml, parse_yaml
from dvc.utils.serialize._yaml import parse_yaml_for_update

from dvc_runner.workspace.dvc_lock_journal import Journal
from dvc_runner.workspace.pace import Pace
from dvc_runner.workspace.stamps import Stamp, of_one

if TYPE_CHECKING:
    from dvc.stage import PipelineStage

STAGES = "stages:"
EMPTY = f"schema: '2.0'\n{STAGES}\n"
# A long name has a "?" before it, and what it names a ":".
_BLOCK = re.compile(r"^  [^\s:].*\n(?:    .*\n|  [-:] .*\n)*", re.MULTILINE)
_TOP_LEVEL = re.compile(r"^\S", re.MULTILINE)
# An empty line, another line end, a tab, or a document's mark.
_UNLIKE_DVC = re.compile(r"^\s*$(?!\Z)|\r|\t|^(---|\.\.\.)", re.MULTILINE)
# A comment, or a part of a text in quotes.
_LIKE_COMMENT = re.compile(r"(^|\s)#", re.MULTILINE)


class LockFiles:
    """The one writer of a project's dvc.lock files, while stages end in whatever order.

    A file is written at once where that is cheap, else as often as takes a small part of the time, and by
    ``flush``: so what the writes cost does not grow with the square of the stages. What is not written yet
    is in a journal.
    """

    def __init__(self, folder: Path) -> None:
        """Write drafts and the journal in ``folder``."""
        self._folder = folder
        self._journal = Journal(folder)
        self._files: dict[Path, _LockFile] = {}

    def put(self, stage: "PipelineStage", rank: int) -> None:
        """Take a stage's entry; among new ones it comes by its rank, where ``dvc repro`` would have it."""
        lock = stage.dvcfile._lockfile  # noqa: SLF001 - DVC 3.67 has no other name for it
        path = Path(lock.path).resolve()
        block = block_of(stage.name, to_single_stage_lockfile(stage))
        before = self._file(path).now(block)
        if self._file(path).put(block, rank):
            stage.repo.scm_context.track_file(lock.relpath)
            if self.write() is not None:
                outs = [out.fs_path for out in stage.outs if out.protocol == "local"]
                self._journal.add(path, block, rank, before, outs)

    def replay(self) -> None:
        """Write what a run that was killed had not; what was written or touched since stays as it is."""
        for path, note in self._journal.left():
            if self._file(path).now(note.block) == note.before:
                self._file(path).put(note.block, note.rank)
        self.flush()
        self._files.clear()

    def write(self) -> float | None:
        """Write where that is cheap; give the seconds until it is for the others, None if there are none."""
        seconds = min(filter(None, [file.write(if_cheap=True) for file in self._files.values()]), default=None)
        if seconds is None:
            self._journal.clear()
        return seconds

    def stamps(self) -> dict[str, Stamp | None]:
        """Give what the files look like that were written, or read to be, as we left them."""
        return {str(path): file.seen for path, file in self._files.items()}

    def flush(self) -> None:
        """Write what is not yet written."""
        for file in self._files.values():
            file.write(if_cheap=False)
        self._journal.clear()

    def _file(self, path: Path) -> "_LockFile":
        if path not in self._files:
            self._files[path] = _LockFile(path, self._folder)
        return self._files[path]


class _LockFile:
    """One dvc.lock, as blocks of text: one per stage, and what stands before and after them."""

    def __init__(self, path: Path, folder: Path) -> None:
        self._path = path
        self._folder = folder
        self._mine: dict[str, tuple[int, str]] = {}
        self._pace = Pace()
        self._is_due = False
        self._entries: _Blocks | _Commented
        self.seen: Stamp | None = None
        self._read()

    def now(self, block: str) -> str | None:
        """Give the block in whose place one would come."""
        return self._entries.now(_name(block))

    def put(self, block: str, rank: int) -> bool:
        """Take a stage's block; say whether that changes the file."""
        self._mine[_name(block)] = (rank, block)
        changed = self._entries.put(block, rank)
        self._is_due = self._is_due or changed
        return changed

    def write(self, *, if_cheap: bool) -> float | None:
        if not self._is_due:
            return None
        if if_cheap and (left_s := self._pace.left_s()):
            return left_s
        with self._pace.working():
            if of_one(str(self._path)) != self.seen:
                # Another dvc command wrote to it meanwhile.
                self._read()
            replace(self._path, self._entries.text(), self._folder)
            self.seen = of_one(str(self._path))
            self._is_due = False
        return None

    def _read(self) -> None:
        self.seen = of_one(str(self._path))
        self._is_due = False
        text = self._path.read_text("utf-8") if self.seen else ""
        self._entries = _Blocks.of(text) or _Blocks.of(_normal(text, self._path)) or _Commented(text, self._path)
        for rank, block in self._mine.values():
            self._is_due = self._entries.put(block, rank) or self._is_due


@dataclass(kw_only=True)
class _Blocks:
    """The text of a dvc.lock that is written as DVC writes it; a block is known by its first line."""

    head: str
    old: dict[str, str]
    new: dict[str, tuple[int, str]] = field(default_factory=dict)
    tail: str = ""

    @classmethod
    def of(cls, text: str) -> "_Blocks | None":
        """Cut up a text; None if it is not as DVC writes one."""
        if not text:
            return cls(head=EMPTY, old={})
        head, line, rest = text.partition(f"\n{STAGES}\n")
        if not line or _UNLIKE_DVC.search(text) or not text.endswith("\n"):
            return None
        inside = _TOP_LEVEL.search(rest)
        end = inside.start() if inside else len(rest)
        blocks = _BLOCK.findall(rest[:end])
        found = cls(head=head + line, old={_name(block): block for block in blocks}, tail=rest[end:])
        has_comments = _LIKE_COMMENT.search(found.head + found.tail) or any(map(_has_comment, blocks))
        return None if has_comments or found.text() != text else found

    def now(self, name: str) -> str | None:
        return self.old.get(name) or self.new.get(name, (0, None))[1]

    def put(self, block: str, rank: int) -> bool:
        """Take a stage's block; say whether that changes anything."""
        name = _name(block)
        changed = self.now(name) != block
        if name in self.old:
            self.old[name] = block
        else:
            self.new[name] = (rank, block)
        return changed

    def text(self) -> str:
        new = (block for _, block in sorted(self.new.values()))
        return "".join([self.head, *self.old.values(), *new, self.tail])


class _Commented:
    """The text of a dvc.lock that holds comments or the like, which only DVC's own slow way keeps."""

    def __init__(self, text: str, path: Path) -> None:
        self._text = text
        self._path = path
        blocks = (block_of(name, entry) for name, entry in self._parsed()["stages"].items())
        self._now = {_name(block): block for block in blocks}
        self._put: dict[str, tuple[int, str]] = {}

    def now(self, name: str) -> str | None:
        return self._now.get(name)

    def put(self, block: str, rank: int) -> bool:
        """Take a stage's block; say whether that changes anything."""
        name = _name(block)
        changed = self.now(name) != block
        self._now[name] = block
        self._put[name] = (rank, block)
        return changed

    def text(self) -> str:
        whole = self._parsed()
        blocks = "".join(block for _, block in sorted(self._put.values()))
        whole["stages"].update(parse_yaml_for_update(blocks, self._path))
        return str(dumps_yaml(whole))

    def _parsed(self) -> dict[str, Any]:
        whole: dict[str, Any] = parse_yaml_for_update(self._text, self._path)
        whole["stages"] = whole.get("stages", {})
        return whole


def block_of(name: str, entry: Mapping[str, Any]) -> str:
    """Give the text of a stage's entry."""
    return str(dumps_yaml({"stages": {name: entry}}).partition("\n")[2])


def _name(block: str) -> str:
    return block.partition("\n")[0]


def _has_comment(block: str) -> bool:
    """Say whether there is a comment in a block; one in quotes is none, and DVC would write it as it stands."""
    if not _LIKE_COMMENT.search(block):
        return False
    text = f"{STAGES}\n{block}"
    try:
        return bool(dumps_yaml(parse_yaml(text, "")) != text)
    except ParseError:
        return True


def _normal(text: str, path: Path) -> str:
    """Give a text as DVC leaves it when it writes anything to it."""
    return str(dumps_yaml(parse_yaml_for_update(text, path)))


def replace(path: Path, text: str, folder: Path) -> None:
    """Put a file in the place of ``path`` at once, its text being on the disk.

    The draft is made in ``folder``, or beside ``path`` where that is another disk.
    """
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}-", dir=folder)
    written = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        _like(path, written)
        try:
            written.replace(path)
        except OSError as error:
            if error.errno != errno.EXDEV or folder == path.parent:
                raise
            replace(path, text, path.parent)
    finally:
        written.unlink(missing_ok=True)


def _like(path: Path, other: Path) -> None:
    """Give ``other`` the rights and, where we may, the owner that a file at ``path`` has or would have."""
    model = path.stat() if path.exists() else path.parent.stat()
    other.chmod(model.st_mode & 0o666)
    if os.geteuid() == 0:
        os.chown(other, model.st_uid, model.st_gid)
