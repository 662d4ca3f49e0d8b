"""What a mount's source really is, found without following a link."""

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dvc_runner.socket_filter.policy import Policy
from dvc_runner.socket_filter.refused import RefusedError


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A mount's source as it was seen: the path, and the file or folder that it led to."""

    path: str
    read_only: bool
    device: int
    inode: int


def look(policy: Policy, path: str, *, read_only: bool) -> Source:
    """Walk to ``path`` from an allowed folder, component by component.

    Raises:
        RefusedError: It lies outside, passes through a link, is missing, is no file or folder, or
            would be writable outside the scratch folder.
    """
    if str(PurePosixPath(path)) != path or ".." in path.split("/"):
        raise RefusedError(f"the mount source {path!r} is not written in its shortest form")
    allowed = (policy.workspace, *(policy.also_readable if read_only else ()))
    base = next((folder for folder in allowed if Path(path).is_relative_to(folder)), None)
    if base is None:
        raise RefusedError(f"the mount source {path!r} lies outside {policy.workspace}")
    if not read_only and policy.scratch not in Path(path).parents:
        raise RefusedError(f"the mount source {path!r} would be writable, and lies outside {policy.scratch}")
    with _walked(base, path) as descriptor:
        found = os.fstat(descriptor)
    if not stat.S_ISDIR(found.st_mode) and not stat.S_ISREG(found.st_mode):
        raise RefusedError(f"the mount source {path!r} is neither a file nor a folder")
    return Source(path=path, read_only=read_only, device=found.st_dev, inode=found.st_ino)


@contextlib.contextmanager
def _walked(base: Path, path: str) -> Iterator[int]:
    """Give a descriptor of ``path`` that was reached below ``base`` through folders only."""
    descriptor = -1
    try:
        descriptor = os.open(base, os.O_PATH | os.O_DIRECTORY)
        for part in Path(path).relative_to(base).parts:
            above = descriptor
            descriptor = os.open(part, os.O_PATH | os.O_NOFOLLOW, dir_fd=above)
            os.close(above)
            if stat.S_ISLNK(os.fstat(descriptor).st_mode):
                raise RefusedError(f"the mount source {path!r} passes through the link {part!r}")
        yield descriptor
    except OSError as error:
        raise RefusedError(f"the mount source {path!r} cannot be looked at: {error.strerror}") from error
    finally:
        if descriptor >= 0:
            os.close(descriptor)
