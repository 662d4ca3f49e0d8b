"""A commit checked out beside the project, where DVC knows the same remotes. A part of the DVC adapter."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dvc_runner.errors import ConfigurationError
from dvc_runner.executors import processes

LOCAL_CONFIG = Path(".dvc", "config.local")


@contextlib.contextmanager
def checked_out(root: Path, parent: Path, commit: str, diff: str | None) -> Iterator[Path]:
    """Make a git worktree of a commit, with what was changed then; it is gone afterwards.

    Args:
        root: The project's root; its remotes and their credentials are known in the worktree too.
        parent: Where the worktree is made.
        commit: What to check out.
        diff: How tracked files differed from it, as ``git diff`` tells it; None if they did not.

    Yields:
        The project's root in it.

    Raises:
        ConfigurationError: This clone does not have the commit, or the diff does not fit it.
    """
    prefix = _git(root, "rev-parse", "--show-prefix")
    parent.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="reproduce-", dir=parent))
    tree = place / "tree"
    try:
        _git(root, "worktree", "add", "--quiet", "--detach", str(tree), commit)
        if diff:
            (place / "diff").write_text(diff if diff.endswith("\n") else f"{diff}\n", encoding="utf-8")
            _git(tree, "apply", "--whitespace=nowarn", str(place / "diff"))
        project = tree / prefix
        if (root / LOCAL_CONFIG).is_file():
            shutil.copy(root / LOCAL_CONFIG, project / LOCAL_CONFIG)
        yield project
    finally:
        with contextlib.suppress(ConfigurationError):
            _git(root, "worktree", "remove", "--force", str(tree))
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
