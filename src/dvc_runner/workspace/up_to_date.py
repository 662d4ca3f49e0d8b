"""What the files of a project looked like when nothing was to do: where they look the same, nothing is.

Nothing of DVC's is asked, or imported. Whatever this cannot be sure of, DVC is asked about.
"""

import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from pathlib import Path

from dvc_runner.workspace.places import FOLDER
from dvc_runner.workspace.stamps import Stamp, of_one

LOOKS = FOLDER / "up-to-date"
KEPT = 20
# A file that is changed twice within a tick of the kernel's clock may look the same after it.
TICK_S = 0.02
SECOND_NS = 10**9
DVC_FILE = ("dvc.yaml", ".dvcignore", ".gitignore")


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What was looked at: the stages of a run, in order; files' stamps; what matters of folders' names.

    A file that was not there has no stamp. Only one that is ``whole`` proves that nothing is to do; another still
    tells which files changed since. ``pointers`` are the files that name versions in the model registry.
    """

    stages: tuple[str, ...]
    files: Mapping[str, Stamp | None]
    folders: Mapping[str, tuple[Stamp, tuple[str, ...]]]
    pointers: tuple[str, ...] = ()
    whole: bool = True


def project_of(folder: Path) -> Path | None:
    """Find the root of the DVC project that a folder belongs to."""
    return next((one for one in (folder, *folder.parents) if (one / ".dvc").is_dir()), None)


def telling(folder: str) -> tuple[str, ...]:
    """Give the names in a folder that say what DVC finds there: its own files, and folders."""
    with os.scandir(folder) as entries:
        return tuple(sorted(e.name for e in entries if _is_dvcs(e.name) or e.is_dir(follow_symlinks=False)))


def read(root: Path, request: str) -> Look:
    """Read what was kept for a request; one of nothing, which proves nothing, if none was."""
    return _read(_place(root, request))


def seen(root: Path) -> dict[str, Stamp | None]:
    """Give what each file looked like when a run last looked at it, whatever was asked of that run."""
    return {path: one for place in _kept(root) for path, one in _read(place).files.items()}


def _read(place: Path) -> Look:
    try:
        found = json.loads(place.read_text("utf-8"))
        return Look(
            stages=tuple(found["stages"]),
            files={path: one and tuple(one) for path, one in found["files"].items()},
            folders={path: (tuple(one), tuple(names)) for path, (one, names) in found["folders"].items()},
            pointers=tuple(found["pointers"]),
            whole=bool(found["whole"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return Look(stages=(), files={}, folders={}, whole=False)


def is_proof(look: Look) -> bool:
    """Say whether nothing is to do, since everything still looks as it did then."""
    return (
        look.whole
        and all(of_one(path) == one for path, one in look.files.items())
        and all(_has(path, one, names) for path, (one, names) in look.folders.items())
    )


def keep(root: Path, request: str, look: Look) -> None:
    """Keep a look for the next run."""
    times = [one[-1] for one in look.files.values() if one]
    if look.whole:
        time.sleep(max(0.0, min(TICK_S, max(times, default=0) / SECOND_NS + TICK_S - time.time())))
        # Where a disk's clock knows only whole seconds, two changes may look like one.
        is_coarse = all(one % SECOND_NS == 0 for one in times)
        look = replace(look, whole=is_proof(look) and not is_coarse)
    place = _place(root, request)
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = place.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps({f.name: getattr(look, f.name) for f in fields(look)}, separators=(",", ":")), "utf-8")
    draft.replace(place)
    for old in _kept(root)[:-KEPT]:
        old.unlink(missing_ok=True)


def key(words: Iterable[object]) -> str:
    """Give a short name for what a person asked, and of what."""
    return sha256(json.dumps(list(words), default=str).encode()).hexdigest()[:24]


def _place(root: Path, request: str) -> Path:
    return root / LOOKS / f"{request}.json"


def _kept(root: Path) -> list[Path]:
    """Give where looks are, the oldest first; a plan asks while a run may remove some."""
    stamps = ((of_one(str(path)), path) for path in (root / LOOKS).glob("*.json"))
    return [path for _, path in sorted((one[-1], path) for one, path in stamps if one)]


def _has(folder: str, one: Stamp, names: tuple[str, ...]) -> bool:
    try:
        return of_one(folder) == one or telling(folder) == names
    except OSError:
        return False


def _is_dvcs(name: str) -> bool:
    return name in DVC_FILE or name.endswith(".dvc")
