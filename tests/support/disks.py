"""Folders of other file systems."""

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# The least that mkfs.xfs takes; a file with holes has no such size on the disk.
XFS_BYTES = 300 << 20
# Of linux/fiemap.h.
FIEMAP, SYNC, SHARED = 0xC020660B, 1, 0x2000
ASKS, EXTENT = struct.Struct("=QQLLLL"), struct.Struct("=QQQQQLLLL")


@contextlib.contextmanager
def another_disk(folder: Path) -> Iterator[None]:
    """Make ``folder`` lie on a file system of its own: mounted there if we are root, else led there by a link."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        folder.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=777", "none", str(folder)], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
    else:
        place = tempfile.mkdtemp(dir="/dev/shm")
        folder.symlink_to(place)
        try:
            yield
        finally:
            folder.unlink()
            shutil.rmtree(place)


@contextlib.contextmanager
def disk_with_reflinks(folder: Path) -> Iterator[None]:
    """Make ``folder`` lie on a disk on which files can share their content; root's to do."""
    if os.geteuid() != 0 or not shutil.which("mkfs.xfs"):
        pytest.skip("a disk with reflinks is made by root and mkfs.xfs (xfsprogs)")
    folder.mkdir(parents=True)
    image = folder.with_suffix(".image")
    image.touch()
    os.truncate(image, XFS_BYTES)
    subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        image.unlink()


def shares_content(path: Path) -> bool:
    """Say whether the beginning of a file is that of another on the disk, too."""
    found = bytearray(ASKS.pack(0, 1, SYNC, 0, 1, 0) + bytes(EXTENT.size))
    with path.open("rb") as file:
        fcntl.ioctl(file, FIEMAP, found)
    flags = EXTENT.unpack_from(found, ASKS.size)[5]
    return bool(flags & SHARED)


@contextlib.contextmanager
def bound(source: Path, target: Path) -> Iterator[None]:
    """Mount the folder or file ``source`` at ``target``; root's to do."""
    subprocess.run(["mount", "--bind", str(source), str(target)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(target)], check=True)
