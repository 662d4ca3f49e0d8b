"""Folders of other file systems."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path


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
def bound(source: Path, target: Path) -> Iterator[None]:
    """Mount the folder or file ``source`` at ``target``; root's to do."""
    subprocess.run(["mount", "--bind", str(source), str(target)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(target)], check=True)
