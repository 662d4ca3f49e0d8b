"""A stage's scratch folder: what it sees of the project, and the way its outs come back."""

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from dvc_runner.errors import ConfigurationError, StageError
from dvc_runner.interrupts import INTERRUPTS
from dvc_runner.model import Bind, Out, Sandbox, Stage, User, file_name
from dvc_runner.workspace.aside import aside, remove

FOLDER = Path(".dvc/tmp/dvc-runner")
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
    parent = root / FOLDER / "scratch"
    parent.mkdir(parents=True, exist_ok=True)
    _sweep(parent)
    deps = tuple(_bind(root, cache, path, stage.address) for path in _outermost(stage))
    scratch = Path(tempfile.mkdtemp(prefix=f"{file_name(stage.address)}-", dir=parent))
    sandbox = Sandbox(
        scratch=scratch,
        workspace=scratch / "workspace",
        home=scratch / "home",
        etc=scratch / "etc",
        control=scratch / "control",
        lineage=scratch / "lineage.json",
        deps=deps,
    )
    # Held as long as we live: what nobody holds, a lost runner left behind.
    alive = os.open(scratch, os.O_RDONLY)
    fcntl.flock(alive, fcntl.LOCK_EX)
    try:
        _fill(root, stage, sandbox, links=links)
        _write_identity(sandbox, user)
        for path, content in secrets.items():
            _write(sandbox.home / path, content, mode=PRIVATE)
        _give_to(user, scratch)
        yield sandbox
    finally:
        with INTERRUPTS.postponed():
            _delete(scratch)
            os.close(alive)


def write_lineage(sandbox: Sandbox, text: str) -> None:
    """Put down what the stage finds as LINEAGE_FILE."""
    _write(sandbox.lineage, text, mode=READ_ONLY)


def collect(root: Path, stage: Stage, sandbox: Sandbox) -> tuple[str, ...]:
    """Move a stage's outs into the project, all or none; give the undeclared files it left.

    Raises:
        StageError: An out is missing, or is something that DVC cannot keep.
    """
    for out in stage.outs:
        _check_out(sandbox.workspace / out.path, out, stage.address)
    stray = _stray(stage, sandbox)
    owner = root.stat()
    for out in stage.outs:
        _give_to(User(uid=owner.st_uid, gid=owner.st_gid), sandbox.workspace / out.path)
    targets = [root / out.path for out in stage.outs]
    with aside(targets, root / FOLDER / "aside"):
        for out, target in zip(stage.outs, targets, strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(sandbox.workspace / out.path, target)
    return stray


def _outermost(stage: Stage) -> list[str]:
    """Give the paths of the deps that lie in no other dep."""
    paths: list[str] = []
    for path in sorted((dep.path for dep in stage.deps), key=lambda path: len(PurePosixPath(path).parts)):
        if not _below(path, paths):
            paths.append(path)
    return paths


def _below(path: str, folders: Iterable[str]) -> bool:
    return any(PurePosixPath(path).is_relative_to(folder) for folder in folders)


def _bind(root: Path, cache: Path, path: str, address: str) -> Bind:
    source = (root / path).resolve(strict=True)
    if not any(source.is_relative_to(folder.resolve()) for folder in (root, cache)):
        raise ConfigurationError(
            f"{path}, a dep of {address}, leads to {source}, outside the project and DVC's cache",
            remedy="copy it into the project, or import it with  dvc import-url",
        )
    return Bind(source=source, target=path)


def _fill(root: Path, stage: Stage, sandbox: Sandbox, *, links: bool) -> None:
    for folder in (sandbox.workspace, sandbox.home, sandbox.etc, sandbox.control):
        folder.mkdir()
    (sandbox.workspace / stage.wdir).mkdir(parents=True, exist_ok=True)
    for dep in sandbox.deps:
        target = sandbox.workspace / dep.target
        target.parent.mkdir(parents=True, exist_ok=True)
        if links:
            target.symlink_to(dep.source)
        elif dep.source.is_dir():
            target.mkdir(exist_ok=True)
        else:
            target.touch()
    for file in stage.params:
        # A file that is, or lies in, a dep is declared as a whole.
        if not _below(file.path, [dep.target for dep in sandbox.deps]):
            _write(sandbox.workspace / file.path, file.text, mode=READ_ONLY)
    for out in stage.outs:
        target = sandbox.workspace / out.path
        target.parent.mkdir(parents=True, exist_ok=True)
        source = root / out.path
        if out.persist and source.exists():
            # The cache may have it linked and protected; the stage gets a copy that it can write.
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copy2(source, target)
            _unlock(target)


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


def _check_out(path: Path, out: Out, address: str) -> None:
    if not path.exists():
        raise StageError(
            f"{address} ended well, but did not write its out {out.path}",
            remedy="write it there, relative to the working folder, or take it from outs",
        )
    _unlock(path)
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
    declared = {out.path for out in stage.outs} | {dep.target for dep in sandbox.deps}
    declared |= {file.path for file in stage.params}
    stray = []
    for folder, names, files in os.walk(sandbox.workspace):
        where = Path(folder).relative_to(sandbox.workspace)
        names[:] = [name for name in names if (where / name).as_posix() not in declared]
        stray += [path for name in files if (path := (where / name).as_posix()) not in declared]
    return tuple(sorted(stray))


def _give_to(user: User, path: Path) -> None:
    """Make ``path`` the user's, where the runner is root; else it is the runner's already."""
    if os.geteuid() != 0:
        return
    for entry in [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]:
        os.chown(entry, user.uid, user.gid, follow_symlinks=False)


def _sweep(parent: Path) -> None:
    """Delete the scratch folders of runners that are gone; secrets may lie there."""
    for scratch in parent.iterdir():
        # Held by its runner, gone meanwhile, or another user's: not ours to delete.
        with contextlib.suppress(OSError):
            _delete_if_dead(scratch)


def _delete_if_dead(scratch: Path) -> None:
    folder = os.open(scratch, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if time.time() - scratch.stat().st_mtime > NEW_S:
            _delete(scratch)
    finally:
        os.close(folder)


def _delete(scratch: Path) -> None:
    _unlock(scratch)
    remove(scratch)


def _unlock(path: Path) -> None:
    """Take back the rights that a stage took from its own files and folders."""
    _let_owner_in(path)
    for folder, names, files in os.walk(path):
        for name in (*names, *files):
            _let_owner_in(Path(folder, name))


def _let_owner_in(path: Path) -> None:
    mode = path.lstat().st_mode
    wanted = mode | (stat.S_IRWXU if stat.S_ISDIR(mode) else stat.S_IRUSR | stat.S_IWUSR)
    if wanted != mode and not stat.S_ISLNK(mode):
        path.chmod(stat.S_IMODE(wanted))
