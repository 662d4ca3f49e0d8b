"""A stage's deps as its sandbox shows them: the files behind their links, and no door to anything else."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from dvc_runner.errors import ConfigurationError
from dvc_runner.model import Bind, Stage
from dvc_runner.workspace import mounts

# What a link becomes: the file behind it, another link's text, or None: it does as it is.
Lead: TypeAlias = "Path | str | None"
FOLDER_MODE = 0o755


def below(path: str, folders: Iterable[str]) -> bool:
    """Say whether ``path`` is one of ``folders``, or lies in one."""
    return any(PurePosixPath(path).is_relative_to(folder) for folder in folders)


def binds(project: tuple[Path, Path], stage: Stage, shelf: Path, *, mounting: bool) -> tuple[Bind, ...]:
    """Say what is shown to a stage, and where.

    A folder whose links lead out of it, as into DVC's cache, would show nothing behind them: it is
    laid out anew on the shelf, of hard links where the file system lets us.

    Args:
        project: The project's root, and the folder of its cache.
        stage: Whose deps they are.
        shelf: A folder for such layouts; made if need be.
        mounting: They are mounted, a folder without what is mounted below it: that is given for itself. Else linked.

    Raises:
        ConfigurationError: A dep, or a link in one, leads out of project and cache.
    """
    homes = tuple(folder.resolve() for folder in project)
    paths = _outermost(stage)
    declared = tuple(Bind(source=_real(homes, project[0] / path, stage), target=path) for path in paths)
    mounted = mounts.points() if mounting else frozenset[Path]()
    folders = _Folders(stage=stage, homes=homes, declared=declared, shelf=shelf, mounting=mounting, mounted=mounted)
    return tuple(folders.shown(part) for bind in declared for part in _parts(bind, mounted))


def _outermost(stage: Stage) -> list[str]:
    """Give the paths of the deps that lie in no other dep."""
    paths: list[str] = []
    for path in sorted((dep.path for dep in stage.deps), key=lambda path: len(PurePosixPath(path).parts)):
        if not below(path, paths):
            paths.append(path)
    return paths


def _parts(bind: Bind, mounted: frozenset[Path]) -> Iterator[Bind]:
    """Give a dep, and each mount point inside it: an engine may show the one without the other."""
    yield bind
    for point in mounts.below(bind.source, mounted):
        target = PurePosixPath(bind.target, point.relative_to(bind.source).as_posix())
        yield Bind(source=point, target=str(target))


def _real(homes: Sequence[Path], path: Path, stage: Stage) -> Path:
    source = path.resolve(strict=True)
    if any(source.is_relative_to(home) for home in homes):
        return source
    name = path.relative_to(homes[0]) if path.is_relative_to(homes[0]) else path.name
    raise ConfigurationError(
        f"{name}, a dep of {stage.address}, leads to {source}, outside the project and DVC's cache",
        remedy="copy it into the project, or import it with  dvc import-url",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Folders:
    """Folders among a stage's deps, and what their links lead to."""

    stage: Stage
    homes: Sequence[Path]
    declared: Sequence[Bind]
    shelf: Path
    mounting: bool
    mounted: frozenset[Path]

    def shown(self, bind: Bind) -> Bind:
        """Give ``bind``, or one of a folder that holds what its links lead to."""
        if not bind.source.is_dir():
            return bind
        leads = {link: self._lead(bind, link) for link in self._links(bind.source)}
        if not any(lead and (self.mounting or isinstance(lead, Path)) for lead in leads.values()):
            return bind
        self.shelf.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(dir=self.shelf))
        self._lay_out(bind.source, place, leads)
        return Bind(source=place, target=bind.target)

    def _links(self, folder: Path) -> Iterator[Path]:
        for here, names, files in self._walk(folder):
            yield from (path for name in (*names, *files) if (path := here / name).is_symlink())

    def _walk(self, folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
        """Walk a folder, and nothing that is mounted in it."""
        for name, names, files in os.walk(folder):
            here = Path(name)
            yield here, names, files
            names[:] = [name for name in names if here / name not in self.mounted]

    def _lead(self, bind: Bind, link: Path) -> Lead:
        place = PurePosixPath(bind.target, link.relative_to(bind.source).as_posix())
        text = os.path.normpath(place.parent / link.readlink().as_posix())
        # Where a folder is no mount but a link itself, ways out of it begin where it really lies.
        targets = [dep.target for dep in self.declared] if self.mounting else [bind.target]
        if not link.readlink().is_absolute() and below(text, targets):
            return None
        try:
            real = link.resolve(strict=True)
        except (OSError, RuntimeError):  # it leads nowhere, or in a circle: here as there
            return None
        for dep in self.declared:
            if real.is_relative_to(dep.source) and not self.mounting:
                return str(real)
            if real.is_relative_to(dep.source):
                return os.path.relpath(PurePosixPath(dep.target, real.relative_to(dep.source)), place.parent)
        _real(self.homes, self.homes[0] / str(place), self.stage)
        if real.is_dir():
            raise ConfigurationError(
                f"{place}, in a dep of {self.stage.address}, is a link to the folder {real}, which DVC does not hash",
                remedy="make that folder a dep, or put its files in the place of the link",
            )
        return real if real.is_file() else None

    def _lay_out(self, folder: Path, place: Path, leads: dict[Path, Lead]) -> None:
        for here, names, files in self._walk(folder):
            there = place / here.relative_to(folder)
            there.mkdir(exist_ok=True)
            there.chmod(FOLDER_MODE)
            for name in (*names, *files):
                path = here / name
                lead = leads.get(path, path)
                if isinstance(lead, Path):
                    _put(lead, there / name)
                else:
                    (there / name).symlink_to(lead or path.readlink())


def _put(path: Path, place: Path) -> None:
    if path.is_dir():
        place.mkdir()
        return
    with contextlib.suppress(OSError):
        os.link(path, place)
        return
    # Another file system, or one without hard links.
    shutil.copyfile(path, place)
    shutil.copymode(path, place)
