"""What git knows of a project, by the git that DVC brings. A part of the DVC adapter."""

import os
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from dvc_runner.model import Revision

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pygit2
    from dvc.repo import Repo

DIFF_CHARACTERS = 100_000
# The files of settings, where somebody has let git track them.
PRIVATE = ".env"
EXAMPLE = ".env.example"


def read(repo: "Repo") -> Revision:
    """Give the commit, the branch, who would commit, how tracked files differ, and which are not tracked."""
    scm = repo.scm
    try:
        commit, dirty = str(scm.get_rev()), bool(scm.is_dirty())
    except Exception:  # noqa: BLE001 - no git, no commit yet: DVC has an error each
        return Revision()
    try:
        branch = str(scm.active_branch())
    except Exception:  # noqa: BLE001 - no branch is checked out: each of DVC's git backends has its error
        branch = None
    try:
        git = scm.pygit2.repo
        user = git.config["user.name"] if "user.name" in git.config else None  # noqa: SIM401 - it has no get
        diff, is_whole = _diff(git) if dirty else (None, True)
        untracked = _untracked(git, repo.root_dir)
    except Exception:  # noqa: BLE001 - a folder of another owner, a file that goes away: no run fails for its lineage
        return Revision(commit=commit, branch=branch, dirty=dirty, is_diff_whole=not dirty)
    return Revision(
        commit=commit,
        branch=branch,
        dirty=dirty,
        user=user,
        diff=diff,
        is_diff_whole=is_whole,
        untracked=untracked,
    )


def _diff(git: "pygit2.Repository") -> tuple[str, bool]:
    """Give what ``git diff HEAD`` says, and whether that makes the same files again, settings aside."""
    found: list[str] = []
    left, is_whole = DIFF_CHARACTERS, True
    for patch in _patches(git):
        text = patch.data.decode("utf-8", "replace")
        is_whole = is_whole and not patch.delta.is_binary and text.encode() == patch.data
        for line in text.splitlines(keepends=True):
            if len(line) > left:
                # A line cut in two could hide a secret from whoever looks for it.
                return "".join(found), False
            found.append(line)
            left -= len(line)
    return "".join(found), is_whole


def _patches(git: "pygit2.Repository") -> "Iterator[pygit2.Patch]":
    changes = git.diff("HEAD", cached=True)
    changes.merge(git.diff())
    for patch in filter(None, changes):
        names = {PurePosixPath(side.path).name for side in (patch.delta.old_file, patch.delta.new_file)}
        if not any(name.startswith(PRIVATE) and name != EXAMPLE for name in names):
            yield patch


def _untracked(git: "pygit2.Repository", root: str) -> tuple[str, ...]:
    """Give the files, and folders of nothing else, that git neither has nor ignores, as seen from the project."""
    # A run without a stage of ours has no use for it.
    from pygit2.enums import FileStatus  # noqa: PLC0415

    found = git.status(untracked_files="normal", ignored=False)
    new = (path for path, flags in found.items() if flags & FileStatus.WT_NEW)
    return tuple(sorted(os.path.relpath(os.path.join(git.workdir, path), root) for path in new))  # noqa: PTH118
