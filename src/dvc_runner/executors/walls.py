"""How far this system's kernel can wall a process off, by the version of its Landlock."""

from dataclasses import dataclass

import landlockpy

_HELD_SINCE = (
    (1, "files"),
    (3, "emptying files"),
    (4, "TCP"),
    (6, "signals"),
    (9, "sockets that are files (a container engine's too)"),
    (10, "UDP (look-ups of names too)"),
)
# By no version so far; tests/integration/test_process_walls.py tries each.
_NEVER = ("Multipath TCP, TCP Fast Open", "modes, times and attributes of files", "shared memory")
# Left open, since its server's name may have to be looked up.
_UDP_OF_TRACKING = "UDP under network: tracking"
_FILES = 1
_TCP = 4
_UDP = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Walls:
    """What the kernel holds of a stage that is a process; newer ones hold what is ``missing``, none holds ``never``."""

    files: bool
    tcp: bool
    missing: tuple[str, ...]
    never: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """What is not walled off, as a run says it at its start."""
        if not self.files:
            return "absolute paths and the network are not walled off"
        return f"walled off by the kernel, except for {' · '.join((*self.missing, *self.never))}"


def of(abi: int) -> Walls:
    """Give what a version of Landlock holds; 0 is none at all."""
    return Walls(
        files=abi >= _FILES,
        tcp=abi >= _TCP,
        missing=tuple(what for since, what in _HELD_SINCE if abi < since),
        never=(*_NEVER, _UDP_OF_TRACKING) if abi >= _UDP else _NEVER,
    )


def here() -> Walls:
    """Give what this system's kernel holds."""
    try:
        return of(landlockpy.abi_version())
    except OSError:
        # Whoever runs us does not let us ask.
        return of(0)
