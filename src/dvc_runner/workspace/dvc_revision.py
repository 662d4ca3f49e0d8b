"""What git knows of a project, by the git that DVC brings. A part of the DVC adapter."""

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
    """Give the commit, the branch, who would commit, and how tracked files differ."""
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
    except Exception:  # noqa: BLE001 - a folder of another owner, a file that goes away: no run fails for its lineage
        return Revision(commit=commit, branch=branch, dirty=dirty, is_diff_whole=not dirty)
    return Revision(commit=commit, branch=branch, dirty=dirty, user=user, diff=diff, is_diff_whole=is_whole)


def _diff(git: "pygit2.Repository") -> tuple[str, bool]:
    """Give what ``git diff HEAD`` says, and whether that is all of it."""
    lines = _lines(git)
    found: list[str] = []
    left = DIFF_CHARACTERS
    for line in lines:
        if len(line) > left:
            # A line cut in two could hide a secret from whoever looks for it.
            return "".join(found), False
        found.append(line)
        left -= len(line)
    return "".join(found), True


def _lines(git: "pygit2.Repository") -> "Iterator[str]":
    changes = git.diff("HEAD", cached=True)
    changes.merge(git.diff())
    for patch in filter(None, changes):
        names = {PurePosixPath(side.path).name for side in (patch.delta.old_file, patch.delta.new_file)}
        if not any(name.startswith(PRIVATE) and name != EXAMPLE for name in names):
            yield from patch.data.decode("utf-8", "replace").splitlines(keepends=True)
