"""What a stage could and could not do, in words, held against what its executor promises."""

import contextlib
import socket
from dataclasses import dataclass
from enum import StrEnum

from dvc_runner.doctor.finding import NotApplicableError
from dvc_runner.doctor.trial import NAME, Tried
from dvc_runner.errors import EngineError
from dvc_runner.executors import walls

BROKEN = "run nothing here that you do not trust, and please report it"


class Wall(StrEnum):
    """What an executor may keep a stage from."""

    DEPS = "write to it"
    FILES = "read an undeclared file of the project"
    PORTS = "reach another port of this machine"
    NAMES = "look up a name"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Judges trials of one executor: a wall that is missing is a failure where it is ``promised``, else it is said."""

    promised: frozenset[Wall]

    def files(self, tried: Tried) -> str:
        """Say what it could do with files.

        Raises:
            EngineError: It could not read what it declared, or a promised wall is missing.
            NotApplicableError: A wall is missing that is not promised.
        """
        if tried.declared:
            raise EngineError(
                f"a stage cannot read its own dep: {tried.declared}", remedy="see who may read the project"
            )
        return self._told("reads its dep", {Wall.DEPS: tried.declared_write, Wall.FILES: tried.undeclared})

    def network(self, tried: Tried) -> str:
        """Say what it could reach without asking for any network; raises as ``files`` does."""
        return self._told("network: none", {Wall.PORTS: tried.port, Wall.NAMES: tried.names})

    def tracking(self, tried: Tried) -> str:
        """Say what it could reach with ``network: tracking``; raises as ``files`` does."""
        if tried.tracking:
            raise EngineError(
                f"with network: tracking a stage does not reach the MLflow server: {tried.tracking}",
                remedy="see for a firewall or a proxy between: the server answers this machine",
            )
        could = "network: tracking reaches the MLflow server"
        return self._told(could, {Wall.PORTS: tried.port, Wall.NAMES: tried.names})

    def _told(self, could: str, stood: dict[Wall, str]) -> str:
        """Say what it could do, and which walls stood: those that it failed at, in the words given."""
        told = ", ".join([could, *(f"cannot {_named(wall)}" for wall, failed in stood.items() if failed)])
        missing = [wall for wall, failed in stood.items() if not failed]
        if not missing:
            return told
        if self.promised & set(missing):
            raise EngineError(f"{told}; but it can {' and '.join(missing)}", remedy=BROKEN)
        raise NotApplicableError(f"{told}; not walled off here: it can {' and '.join(missing)}")


OF_CONTAINERS = Verdict(promised=frozenset(Wall))


def of_processes(kernel: walls.Walls) -> Verdict:
    """Give the judge of processes: they are walled off as far as the kernel does it."""
    promised = {Wall.DEPS, Wall.FILES} if kernel.files else set()
    return Verdict(promised=frozenset(promised | ({Wall.PORTS} if kernel.tcp else set())))


def of_kernel(kernel: walls.Walls) -> str:
    """Say how far the kernel walls a process off.

    Raises:
        NotApplicableError: Not in every way, and in which.
    """
    if kernel.missing:
        raise NotApplicableError(kernel.sentence)
    return kernel.sentence


def user(tried: Tried) -> str:
    """Say whose a stage's files are.

    Raises:
        EngineError: They are somebody else's than the stage's user.
    """
    if tried.uid != tried.wanted_uid:
        raise EngineError(
            f"a file that a stage writes belongs to uid {tried.uid}, and not to {tried.wanted_uid}",
            remedy="a rootless engine gives users other numbers: use one whose users are this machine's",
        )
    return f"a file that it writes belongs to uid {tried.uid}, as it should"


def _named(wall: Wall) -> str:
    """Name a wall that stood; that a look-up fails proves nothing where this machine looks nothing up either."""
    if wall is not Wall.NAMES:
        return wall
    with contextlib.suppress(OSError):
        socket.getaddrinfo(NAME, 443)
        return wall
    return f"{wall} (nor can this machine)"
