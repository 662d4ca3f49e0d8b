"""A stage's outs: what of them can be kept, and the way into the project."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

from dvc_runner.errors import StageError
from dvc_runner.model import Out, Sandbox, Stage, User
from dvc_runner.workspace import moving
from dvc_runner.workspace.aside import aside
from dvc_runner.workspace.places import ASIDE, NOTE

NAMED = 5


def collect(root: Path, stage: Stage, sandbox: Sandbox, say: Callable[[str], None]) -> tuple[str, ...]:
    """Move a stage's outs into the project, all or none; give the undeclared files it left.

    Args:
        root: The project.
        stage: What ran, and ended well.
        sandbox: Where it ran.
        say: Takes lines about what was mended, and how far a long copy came.

    Raises:
        StageError: An out is missing, or is something that DVC cannot keep.
    """
    stray = _stray(stage, sandbox)
    for out in stage.outs:
        _check(sandbox.workspace, out, stage.address, stray, say)
    owner = User(uid=root.stat().st_uid, gid=root.stat().st_gid)
    moves = [(sandbox.workspace / out.path, root / out.path) for out in stage.outs]
    targets = [target for _, target in moves]
    for target in targets:
        _make_folder(target.parent, owner)
    with (
        moving.brought_near(moves, sandbox.scratch / NOTE, say) as near,
        aside(targets, root / ASIDE, incoming=near),
    ):
        for path, target in zip(near, targets, strict=True):
            give_to(owner, path)
            path.rename(target)
    return stray


def _make_folder(folder: Path, owner: User) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent, owner)
        folder.mkdir()
        give_to(owner, folder)


def give_to(user: User, path: Path) -> None:
    """Make ``path`` the user's, where the runner is root; else it is the runner's already."""
    if os.geteuid() != 0:
        return
    for entry in [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]:
        os.chown(entry, user.uid, user.gid, follow_symlinks=False)


def unlock(path: Path) -> tuple[Path, ...]:
    """Take back the rights that a stage took from its own files and folders; give those it took them from."""
    mended = [path] if _let_owner_in(path) else []
    for folder, names, files in os.walk(path):
        mended += [entry for name in (*names, *files) if _let_owner_in(entry := Path(folder, name))]
    return tuple(mended)


def named(paths: tuple[str, ...]) -> str:
    """Name the first few of ``paths``, and how many more there are."""
    more = len(paths) - NAMED
    return ", ".join(paths[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _check(workspace: Path, out: Out, address: str, stray: tuple[str, ...], say: Callable[[str], None]) -> None:
    path = workspace / out.path
    if not path.exists():
        instead = f"; it wrote {named(stray)} instead" if stray else ""
        raise StageError(
            f"{address} ended well, but did not write its out {out.path}{instead}",
            remedy="write it there, relative to the working folder, or take it from outs",
        )
    mended = tuple(entry.relative_to(workspace).as_posix() for entry in unlock(path))
    if mended:
        say(f"warning: {address} took its owner's rights from {named(mended)}: given back")
    for entry in [path, *path.rglob("*")]:
        kind = entry.lstat().st_mode
        if stat.S_ISLNK(kind) and (entry == path or _leads_out(entry, path)):
            raise StageError(
                f"{address} left {out.path} with a link that leads out of it: {entry.name}",
                remedy="write a file instead of a link",
            )
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind) or stat.S_ISLNK(kind)):
            raise StageError(
                f"{address} left {entry.name} in {out.path}, which is no file, folder or link",
                remedy="write plain files: DVC can keep nothing else",
            )


def _leads_out(link: Path, folder: Path) -> bool:
    # An absolute link leads into the scratch folder, which is about to go.
    return link.readlink().is_absolute() or not link.resolve().is_relative_to(folder.resolve())


def _stray(stage: Stage, sandbox: Sandbox) -> tuple[str, ...]:
    for out in stage.outs:
        for parent in reversed(Path(out.path).parents):
            _let_owner_in(sandbox.workspace / parent)
    declared = {out.path for out in stage.outs} | {dep.target for dep in sandbox.deps}
    declared |= {file.path for file in stage.params}
    stray = []
    for folder, names, files in os.walk(sandbox.workspace):
        where = Path(folder).relative_to(sandbox.workspace)
        names[:] = [name for name in names if (where / name).as_posix() not in declared]
        links = [name for name in names if (sandbox.workspace / where / name).is_symlink()]
        stray += [found for name in (*files, *links) if (found := (where / name).as_posix()) not in declared]
    return tuple(sorted(stray))


def _let_owner_in(path: Path) -> bool:
    """Give a file or folder's owner the rights to it; say whether it could not even be read."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    to_read, to_write = (stat.S_IRWXU, 0) if stat.S_ISDIR(mode) else (stat.S_IRUSR, stat.S_IWUSR)
    wanted = mode | to_read | to_write
    if wanted != mode and not stat.S_ISLNK(mode):
        path.chmod(stat.S_IMODE(wanted))
    return mode & to_read != to_read
