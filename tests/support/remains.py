"""What a test leaves behind: containers, networks, processes, scratch folders, files of root's."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.engines import Engine
from tests.support.waiting import until

from dvc_runner.workspace.places import ASIDE, SCRATCH

OF_A_TEST = "test_"


class Remains:
    """What is there now and was not when this was made."""

    def __init__(self, base: Path, folder: Path, engines: Sequence[Engine]) -> None:
        """Look at ``engines``, at ``folder``, which is one test's own, and at projects of several below ``base``."""
        self._base = base
        self._folder = folder
        self._engines = tuple(engines)
        self._before = set(self._seen())

    def found(self) -> list[str]:
        """Name each."""
        return sorted(words for key, words in self._seen().items() if key not in self._before)

    def _seen(self) -> dict[str, str]:
        """Give what there is of each kind, in words, by what it is known by."""
        found = {key: words for engine in self._engines for key, words in engine.all_of_ours().items()}
        found |= {f"process {pid}": f"process {pid}: {words}" for pid, words in processes_of(self._base)}
        for project in self._projects():
            kept = (path for place in (SCRATCH, ASIDE) for path in _entries(project / place))
            found |= {str(path): f"scratch {path}" for path in kept}
        # What has no settings of DVC's, the tests themselves work in, as whoever they are.
        places = [self._folder, *(project for project in self._projects() if (project / ".dvc/config").exists())]
        return found | {path: f"file of root's {path}" for place in places for path in _of_root(place)}

    def _projects(self) -> Iterator[Path]:
        """Give the projects of several tests, and this test's own: a test's folder is named after it."""
        for folder in self._base.iterdir():
            if folder == self._folder:
                yield from (path.parent for path in folder.rglob(".dvc") if path.is_dir())
            # Pytest's own links lead to the newest of each name.
            elif folder.is_dir() and not folder.is_symlink() and not folder.name.startswith(OF_A_TEST):
                yield from (place for place in (folder, *folder.iterdir()) if (place / ".dvc").is_dir())


@contextlib.contextmanager
def none_left(base: Path, folder: Path, engines: Sequence[Engine]) -> Iterator[None]:
    """See that what is done inside leaves nothing that is there some seconds later."""
    remains = Remains(base, folder, engines)
    yield
    assert until(lambda: not remains.found()), remains.found()


def processes_of(base: Path) -> Iterator[tuple[int, str]]:
    """Give the processes that know of the tests' folder: by their environment, or in a container by its mounts."""
    known = str(base).encode() + b"/"
    tail = f"/{base.parent.name}/{base.name}/".replace(" ", "\\040").encode()
    ours = set(_read(Path("/proc/self/mountinfo")).splitlines())
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        if known in _read(folder / "environ") or any(
            tail in line and line not in ours for line in _read(folder / "mountinfo").splitlines()
        ):
            yield int(folder.name), _read(folder / "cmdline").replace(b"\0", b" ").decode("utf-8", "replace")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _of_root(place: Path) -> Iterator[str]:
    """Give what is root's in folders that are not."""
    folders = [str(place)]
    while folders:
        folder = folders.pop()
        with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
            is_roots = Path(folder).stat().st_uid == 0
            for entry in entries:
                if not is_roots and entry.stat(follow_symlinks=False).st_uid == 0:
                    yield entry.path
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
