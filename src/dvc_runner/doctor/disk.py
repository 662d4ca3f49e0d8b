"""Whether there is room."""

import shutil
from pathlib import Path

from dvc_runner.errors import ConfigurationError

ENOUGH_BYTES = 2**30
GIGABYTE = 10**9


def room(folder: Path, *, enough_bytes: int = ENOUGH_BYTES) -> str:
    """Prove that there is room where ``folder`` lies.

    Raises:
        ConfigurationError: There is next to none.
    """
    found = shutil.disk_usage(folder)
    told = f"{found.free / GIGABYTE:.1f} GB free of {found.total / GIGABYTE:.1f} at {folder}"
    if found.free < enough_bytes:
        raise ConfigurationError(
            f"only {told}",
            remedy="make room: dvc gc and docker system df show what may go",
        )
    return told
