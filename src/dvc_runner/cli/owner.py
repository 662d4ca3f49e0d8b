"""A runner that is root on somebody else's project becomes them, so that nothing it makes is root's."""

import contextlib
import os
import pwd
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from dvc_runner.cli import settings
from dvc_runner.cli.printing import err
from dvc_runner.errors import ConfigurationError
from dvc_runner.model import User
from dvc_runner.workspace import up_to_date
from dvc_runner.workspace.places import ASIDE, BUILDS, FOLDER, SCRATCH


def become(folder: Path) -> None:
    """Be the owner of the project that ``folder`` lies in, for good, if we are root and they are not.

    Raises:
        ConfigurationError: We may not, or they may not read the project or the Python that runs us.
    """
    root = up_to_date.project_of(folder.resolve())
    if os.geteuid() != 0 or root is None or root.stat().st_uid == 0:
        return
    owner = User(uid=root.stat().st_uid, gid=root.stat().st_gid)
    name, home = _account(owner.uid)
    groups = {*(os.getgrouplist(name, owner.gid) if home else (owner.gid,)), *_of_engine(root)}
    needed = [root, *filter(Path.exists, map(Path, (sys.executable, *sys.path)))]
    try:
        os.setgroups(sorted(groups))
        os.setgid(owner.gid)
        os.setuid(owner.uid)
    except OSError as error:
        raise _refused(root, owner, f"root may not become them here ({error.strerror})") from error
    closed = next((path for path in needed if not os.access(path, os.R_OK)), None)
    if closed:
        raise _refused(root, owner, f"they may not read {closed}, which dvc-runner needs")
    settings.be_at_home(name, home or "/")
    err(f"the project is of user {name}: running as them, not as root")


@contextlib.contextmanager
def has_our_folders(root: Path) -> Iterator[None]:
    """Let the owner of ``root`` go on in the runner's own folders, also where DVC is root, and the runner with it."""
    _give_folders(root)
    try:
        yield
    finally:
        _give_folders(root)


def _give_folders(root: Path) -> None:
    owner = root.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        return
    for place in (SCRATCH, ASIDE, BUILDS):
        (root / place).mkdir(parents=True, exist_ok=True)
    # No deeper: there may be hard links to DVC's cache.
    ours = root / FOLDER
    for path in (ours, *ours.glob("*"), *ours.glob("*/*")):
        with contextlib.suppress(FileNotFoundError):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _account(uid: int) -> tuple[str, str | None]:
    """Give a user's name and home, or their number and None where they have no name."""
    try:
        found = pwd.getpwuid(uid)
    except KeyError:
        return str(uid), None
    return found.pw_name, found.pw_dir


def _of_engine(root: Path) -> tuple[int, ...]:
    """Give the group that may use the engine's socket, if there is one: to root it was open."""
    # Root in a project of their own does not need it, and the SDK takes long to import.
    from dvc_runner.engine.client import DEFAULT_HOST  # noqa: PLC0415

    address = settings.read(root).engine_host or DEFAULT_HOST
    try:
        found = Path(address.removeprefix("unix://")).stat()
    except OSError:
        return ()
    return (found.st_gid,) if found.st_mode & stat.S_IWGRP else ()


def _refused(root: Path, owner: User, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{root} is of user {owner.uid}, dvc-runner was started as root, and {why}",
        remedy=f"start it as them:  sudo -u '#{owner.uid}' dvc-runner …  "
        f"or, in a container,  docker run --user {owner.uid}:{owner.gid} …",
    )
