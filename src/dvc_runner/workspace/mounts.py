"""Where file systems are mounted, as far as this system tells: on Linux."""

from collections.abc import Iterable
from pathlib import Path

TABLE = Path("/proc/self/mountinfo")
POINT = 4


def points(table: Path = TABLE) -> frozenset[Path]:
    """Give the mount points that this process sees; none where the system has no such table."""
    try:
        lines = table.read_bytes().splitlines()
    except OSError:
        return frozenset()
    return frozenset(Path(_unescaped(line.split(b" ")[POINT])) for line in lines)


def below(folder: Path, mounted: Iterable[Path]) -> tuple[Path, ...]:
    """Give the mount points inside ``folder``, outermost first."""
    return tuple(sorted(point for point in mounted if point != folder and point.is_relative_to(folder)))


def of(path: Path, mounted: Iterable[Path]) -> tuple[Path | None, int]:
    """Say on which mount ``path`` lies, so that two paths can be compared."""
    holding = [point for point in mounted if path.is_relative_to(point)]
    return max(holding, key=lambda point: len(point.parts), default=None), path.stat().st_dev


def _unescaped(point: bytes) -> str:
    """Undo the kernel's octal escapes of space, tab, newline and backslash."""
    return point.decode("unicode_escape").encode("latin-1").decode("utf-8", "surrogateescape")
