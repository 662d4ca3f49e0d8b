"""What the kernel tells this process of its own mounts: which container it is in, and what a path lies on."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

# The engine writes these for a container, in a folder named by its id, and mounts them in it.
_WRITTEN_BY_ENGINE = ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf")
_ID = re.compile(r"containers/([0-9a-f]{64})/")
_ESCAPED = re.compile(r"\\([0-7]{3})")
_ROOT, _POINT = 3, 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Mount:
    """A line of mountinfo: ``source`` is relative to its file system's root, ``kind`` is that one's name."""

    source: str
    point: PurePosixPath
    kind: str


def own() -> tuple[Mount, ...]:
    """Give the mounts of this process; none where the system does not tell."""
    try:
        text = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    except OSError:
        # Only Linux has it, and nowhere else are there containers to be in.
        return ()
    return parsed(text)


def parsed(text: str) -> tuple[Mount, ...]:
    """Read the kernel's words."""
    lines = (line.split(" ") for line in text.splitlines())
    return tuple(
        Mount(source=_plain(words[_ROOT]), point=PurePosixPath(_plain(words[_POINT])), kind=words[words.index("-") + 1])
        for words in lines
    )


def container_ids(mounts: tuple[Mount, ...]) -> tuple[str, ...]:
    """Give the ids of containers that we may be in; those of another, where we share its network."""
    sources = [mount.source for mount in mounts if str(mount.point) in _WRITTEN_BY_ENGINE]
    return tuple(dict.fromkeys(name for source in sources for name in _ID.findall(source)))


def at(mounts: tuple[Mount, ...], path: PurePosixPath) -> Mount | None:
    """Give the mount that a real path lies on: the deepest, and of several there the last, which hides the others."""
    fitting = [mount for mount in mounts if path.is_relative_to(mount.point)]
    return max(reversed(fitting), key=lambda mount: len(mount.point.parts), default=None)


def _plain(word: str) -> str:
    # Spaces and a few more stand there as \040.
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), word)
