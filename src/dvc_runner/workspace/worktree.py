"""A commit checked out beside the project, for as long as somebody works in it."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dvc_runner.errors import ConfigurationError
from dvc_runner.executors import processes
from dvc_runner.interrupts import INTERRUPTS
from dvc_runner.workspace.holding import held, taken_over

PREFIX = "reproduce-"


@contextlib.contextmanager
def checked_out(root: Path, parent: Path, commit: str, diff: str | None) -> Iterator[Path]:
    """Make a git worktree of a commit, with what was changed then; it is gone afterwards.

    Args:
        root: The project's root.
        parent: Where the worktree is made; what killed runners left there is removed.
        commit: What to check out.
        diff: How tracked files differed from it, as ``git diff`` tells it; None if they did not.

    Yields:
        The project's root in it.

    Raises:
        ConfigurationError: This clone does not have the commit, or the diff does not fit it.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f"{PREFIX}*"):
        # Held by its runner, or gone meanwhile.
        with contextlib.suppress(BlockingIOError, FileNotFoundError), taken_over(left):
            _remove(left)
    prefix = _git(root, "rev-parse", "--show-prefix")
    place = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    with held(place):
        try:
            tree = place / "tree"
            _git(root, "worktree", "add", "--quiet", "--detach", str(tree), commit)
            if diff:
                (place / "diff").write_text(diff if diff.endswith("\n") else f"{diff}\n", encoding="utf-8")
                _git(tree, "apply", "--whitespace=nowarn", str(place / "diff"))
            yield tree / prefix
        finally:
            with INTERRUPTS.postponed():
                _remove(place)


def _remove(place: Path) -> None:
    """Remove a worktree and what git knows of it; git itself could not be started after an interrupt."""
    with contextlib.suppress(OSError):
        known = Path((place / "tree" / ".git").read_text("utf-8").removeprefix("gitdir:").strip())
        if known.parent.name == "worktrees":
            shutil.rmtree(known, ignore_errors=True)
    shutil.rmtree(place, ignore_errors=True)


def _git(folder: Path, *arguments: str) -> str:
    lines: list[str] = []
    ended = processes.run(["git", *arguments], lines.append, cwd=folder)
    if ended.code:
        raise ConfigurationError(
            f"git {arguments[0]} ended with {ended.code}: {' '.join(lines)}",
            remedy="see that this clone has that commit (git fetch), and that what was changed then fits it",
        )
    return "\n".join(lines)
