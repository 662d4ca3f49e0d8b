"""A stage's scratch folder: what it sees of the project, and the way its outs come back."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from dvc_runner.interrupts import INTERRUPTS
from dvc_runner.model import Sandbox, Stage, User, file_name
from dvc_runner.workspace import deps, mounts, moving
from dvc_runner.workspace.aside import remove
from dvc_runner.workspace.holding import held, taken_over
from dvc_runner.workspace.outs import give_to, unlock
from dvc_runner.workspace.places import NOTE, SCRATCH

SHELVES = "dvc-runner"
NOBODY = 65532
READ_ONLY = 0o444
NEW_S = 60
PRIVATE = 0o600


def stage_user(root: Path) -> User:
    """Say whom stages run as: the project's owner, or nobody in particular if that is root."""
    owner = root.stat()
    return User(uid=owner.st_uid or NOBODY, gid=owner.st_gid or NOBODY)


def current_user() -> User:
    """Say who the runner runs as."""
    return User(uid=os.geteuid(), gid=os.getegid())


@contextlib.contextmanager
def opened(
    project: tuple[Path, Path],
    stage: Stage,
    *,
    user: User,
    secrets: Mapping[str, str],
    links: bool,
) -> Iterator[Sandbox]:
    """Lay out the scratch folder of ``stage`` in the project, and remove it in the end.

    Args:
        project: The project's root, and the folder of its cache.
        stage: What will run.
        user: Whom it runs as; the folder is theirs.
        secrets: Contents by path relative to the stage's home.
        links: Show deps as links to where they lie; else leave empty mount points.
    """
    root, cache = project
    parent, shelves = root / SCRATCH, cache / SHELVES
    parent.mkdir(parents=True, exist_ok=True)
    _sweep(parent, shelves)
    scratch = Path(tempfile.mkdtemp(prefix=f"{file_name(stage.address)}-", dir=parent))
    shelf = _shelf(scratch, shelves)
    with held(scratch):
        try:
            sandbox = Sandbox(
                scratch=scratch,
                workspace=scratch / "workspace",
                home=scratch / "home",
                etc=scratch / "etc",
                control=scratch / "control",
                lineage=scratch / "lineage.json",
                deps=deps.binds(project, stage, shelf, mounting=not links),
            )
            _fill(root, stage, sandbox, links=links)
            _write_identity(sandbox, user)
            for path, content in secrets.items():
                _write(sandbox.home / path, content, mode=PRIVATE)
            _give_to(user, sandbox)
            yield sandbox
        finally:
            with INTERRUPTS.postponed():
                remove(shelf)
                _delete(scratch)


def write_lineage(sandbox: Sandbox, text: str) -> None:
    """Put down what the stage finds as LINEAGE_FILE."""
    _write(sandbox.lineage, text, mode=READ_ONLY)


def _fill(root: Path, stage: Stage, sandbox: Sandbox, *, links: bool) -> None:
    for folder in (sandbox.workspace, sandbox.home, sandbox.etc, sandbox.control):
        folder.mkdir()
    (sandbox.workspace / stage.wdir).mkdir(parents=True, exist_ok=True)
    shown = _show_deps(sandbox, links=links)
    for file in stage.params:
        # A file that is, or lies in, a dep is declared as a whole.
        if not deps.below(file.path, shown):
            _write(sandbox.workspace / file.path, file.text, mode=READ_ONLY)
    for out in stage.outs:
        target = sandbox.workspace / out.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if out.persist:
            _copy(root / out.path, target)


def _show_deps(sandbox: Sandbox, *, links: bool) -> list[str]:
    """Make links to the deps, or their mount points; give the paths that they cover."""
    shown: list[str] = []
    for dep in sandbox.deps:
        if deps.below(dep.target, shown):  # mounted inside a dep, where its mount point is
            continue
        shown.append(dep.target)
        target = sandbox.workspace / dep.target
        target.parent.mkdir(parents=True, exist_ok=True)
        if links:
            target.symlink_to(dep.source)
        elif dep.source.is_dir():
            target.mkdir(exist_ok=True)
        else:
            target.touch()
    return shown


def _copy(source: Path, target: Path) -> None:
    """Give a stage a copy that it can write: the cache may have the file linked and protected."""
    if source.is_dir():
        shutil.copytree(source, target)
    elif source.exists():
        shutil.copy2(source, target)
    unlock(target)


def _write_identity(sandbox: Sandbox, user: User) -> None:
    """Give an unknown uid a name: without one, getpass and others fail."""
    home = "/home/stage"
    _write(
        sandbox.etc / "passwd",
        f"root:x:0:0:root:/root:/usr/sbin/nologin\nstage:x:{user.uid}:{user.gid}:stage:{home}:/bin/sh\n",
        mode=READ_ONLY,
    )
    _write(sandbox.etc / "group", f"root:x:0:\nstage:x:{user.gid}:\n", mode=READ_ONLY)


def _write(path: Path, content: str, *, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "w", encoding="utf-8") as file:
        file.write(content)
    path.chmod(mode)


def _give_to(user: User, sandbox: Sandbox) -> None:
    """Make the folder the user's, but for what is shown from elsewhere: a hard link is the file itself."""
    if os.geteuid() == 0:
        os.chown(sandbox.scratch, user.uid, user.gid)
    for part in (sandbox.workspace, sandbox.home, sandbox.etc, sandbox.control):
        give_to(user, part)


def _sweep(parent: Path, shelves: Path) -> None:
    """Delete the scratch folders of runners that are gone; secrets may lie there."""
    for scratch in parent.iterdir():
        # Held by its runner, gone meanwhile, or another user's: not ours to delete.
        with contextlib.suppress(OSError), taken_over(scratch):
            if time.time() - scratch.stat().st_mtime > NEW_S:
                remove(shelves / scratch.name)
                moving.remove_noted(scratch / NOTE)
                _delete(scratch)


def _shelf(scratch: Path, shelves: Path) -> Path:
    """Give a folder on the cache's own file system, where there is one apart from the project's."""
    mounted = mounts.points()
    cache = shelves.parent
    if not cache.is_dir() or mounts.of(cache.resolve(), mounted) == mounts.of(scratch.resolve(), mounted):
        return scratch / "deps"
    return shelves / scratch.name if os.access(cache, os.W_OK) else scratch / "deps"


def _delete(scratch: Path) -> None:
    # What a stage could not write it could not lock either; a hard link's rights are the cache's.
    for part in (scratch / "workspace", scratch / "home"):
        if part.is_dir():
            unlock(part)
    remove(scratch)
