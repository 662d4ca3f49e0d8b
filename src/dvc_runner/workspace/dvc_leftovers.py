"""What a killed DVC leaves behind. A part of the DVC adapter."""

import re
from collections.abc import Iterable
from pathlib import Path

# How dvc_objects calls the files in which it tries links, and makes copies.
LEFT_BY_DVC = re.compile(r"\.[A-Za-z0-9_-]{22}\.tmp")


def sweep(folders: Iterable[Path]) -> None:
    """Remove it from folders that hold outs; only who has DVC's lock may."""
    for folder in folders:
        for left in folder.glob(".*.tmp"):
            if LEFT_BY_DVC.fullmatch(left.name) and left.is_file():
                left.unlink()
