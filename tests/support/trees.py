"""Folders as values."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

# A text is a file, a mapping a folder, a path a link, None nothing.
Node: TypeAlias = "str | Path | Mapping[str, Node] | None"


def lay(folder: Path, nodes: Mapping[str, Node]) -> None:
    """Put ``nodes`` into ``folder``, in place of what has their names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, node in nodes.items():
        path = folder / name
        if path.is_file() or path.is_symlink():
            path.unlink()
        if isinstance(node, Path):
            path.symlink_to(node)
        elif isinstance(node, str):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(node, encoding="utf-8")
        elif node is not None:
            lay(path, node)


def tree(folder: Path) -> dict[str, Node]:
    """Give what is in ``folder``."""
    found: dict[str, Node] = {}
    for path in sorted(folder.iterdir()):
        if path.is_symlink():
            found[path.name] = path.readlink()
        elif path.is_dir():
            found[path.name] = tree(path)
        elif path.is_file():
            found[path.name] = path.read_bytes().decode("utf-8", "surrogateescape")
        else:
            found[path.name] = f"of kind {path.lstat().st_mode:o}"
    return found


def files(folder: Path, *, leave_out: tuple[str, ...] = ()) -> dict[str, bytes]:
    """Give the files below ``folder`` by relative path, links as what they lead to."""
    found: dict[str, bytes] = {}
    for here, names, leaves in os.walk(folder):
        where = Path(here).relative_to(folder)
        names[:] = [name for name in names if (where / name).as_posix() not in leave_out]
        for name in leaves:
            if (where / name).as_posix() not in leave_out:
                path = Path(here, name)
                found[(where / name).as_posix()] = path.read_bytes() if path.exists() else b"(a link to nothing)"
    return found
