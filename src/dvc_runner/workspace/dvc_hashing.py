"""Hashing of large files in whatever thread, for DVC to find. A part of the DVC adapter."""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dvc.fs import localfs
from dvc_data.hashfile import hash as dvc_hash
from dvc_data.hashfile.hash_info import HashInfo

from dvc_runner.workspace.stamps import below

# Others take less time than to hand them over.
LARGE = 2**22
# Path, hash, and what the file looked like before it was read: DVC trusts no hash of one that looks otherwise.
Hashes = list[tuple[str, HashInfo, dict[str, Any]]]


def of_large(paths: Iterable[str]) -> Hashes:
    """Give the hashes of large files among ``paths``, and in folders among them; DVC says what is wrong with others."""
    stamps = (one for path in paths for one in below(path).items())
    large = [path for path, stamp in stamps if stamp and stamp[1] >= LARGE]
    found: Hashes = []
    for path in large:
        with contextlib.suppress(OSError):
            if Path(path).is_file() and not Path(path).is_symlink():
                look = localfs.info(path)
                found.append((path, HashInfo("md5", dvc_hash.file_md5(path, localfs)), look))
    return found
