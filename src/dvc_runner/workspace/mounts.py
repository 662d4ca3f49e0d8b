"""Where file systems are mounted, as far as this system tells: on Linux."""

from collections.abc import Iterable
from pathlib import Path

from dvc_runner.engine import mountinfo


def points() -> frozenset[Path]:
    """Give the mount points that this process sees; none where the system does not tell."""
    return frozenset(Path(mount.point) for mount in mountinfo.own())


def below(folder: Path, mounted: Iterable[Path]) -> tuple[Path, ...]:
    """Give the mount points inside ``folder``, outermost first."""
    return tuple(sorted(point for point in mounted if point != folder and point.is_relative_to(folder)))


def of(path: Path, mounted: Iterable[Path]) -> tuple[Path | None, int]:
    """Say on which mount ``path`` lies, so that two paths can be compared."""
    holding = [point for point in mounted if path.is_relative_to(point)]
    return max(holding, key=lambda point: len(point.parts), default=None), path.stat().st_dev
