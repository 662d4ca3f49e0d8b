"""What a stage could and could not do, in words; for a container, every wall has to stand."""

import contextlib
import socket
from dataclasses import dataclass

from dvc_runner.doctor.finding import NotApplicableError
from dvc_runner.doctor.reach import NAME, Reach
from dvc_runner.errors import EngineError

LOOK_UP = "look up a name"
BROKEN = "do not use this engine for stages that you do not trust, and please report it"


@dataclass(frozen=True, kw_only=True, slots=True)
class Walls:
    """The walls of one executor; where they are not ``promised``, one that is missing is said, and is no failure."""

    promised: bool

    def files(self, reach: Reach) -> str:
        """Say what it could do with files.

        Raises:
            EngineError: It could not read what it declared, or a promised wall is missing.
            NotApplicableError: A wall is missing that is not promised.
        """
        if reach.declared:
            raise EngineError(
                f"a stage cannot read its own dep: {reach.declared}", remedy="see who may read the project"
            )
        return self._told(
            "reads its dep",
            {"write to it": reach.declared_write, "read an undeclared file of the project": reach.undeclared},
        )

    def network(self, reach: Reach) -> str:
        """Say what it could reach without asking for any network; raises as ``files`` does."""
        return self._told("network: none", _network(reach))

    def tracking(self, reach: Reach) -> str:
        """Say what it could reach with ``network: tracking``; raises as ``files`` does."""
        if reach.tracking:
            raise EngineError(
                f"with network: tracking a stage does not reach the MLflow server: {reach.tracking}",
                remedy="see the line on mlflow; if that is well, see for a firewall or a proxy between",
            )
        return self._told("network: tracking reaches the MLflow server", _network(reach))

    def _told(self, could: str, walls: dict[str, str]) -> str:
        """Say what it could do, and that of ``walls`` (what it may not, and how it failed) it could do nothing."""
        missing = [what for what, failed in walls.items() if not failed]
        standing = [what for what, failed in walls.items() if failed]
        told = ", ".join([could, *(f"cannot {what}" for what in standing)])
        if not missing:
            return told
        if self.promised:
            raise EngineError(f"{told}; but it can {' and '.join(missing)}", remedy=BROKEN)
        raise NotApplicableError(f"{told}; not walled off here: it can {' and '.join(missing)}")


def user(reach: Reach) -> str:
    """Say whose a stage's files are.

    Raises:
        EngineError: They are somebody else's than the stage's user.
    """
    if reach.uid != reach.wanted_uid:
        raise EngineError(
            f"a file that a stage writes belongs to uid {reach.uid}, and not to {reach.wanted_uid}",
            remedy="a rootless engine gives users other numbers: use one whose users are this machine's",
        )
    return f"a file that it writes belongs to uid {reach.uid}, as it should"


def _network(reach: Reach) -> dict[str, str]:
    walls = {"reach another port of this machine": reach.port, LOOK_UP: reach.names}
    if reach.names and not _looks_names_up():
        del walls[LOOK_UP]
        walls[f"{LOOK_UP} (nor can this machine)"] = reach.names
    return walls


def _looks_names_up() -> bool:
    with contextlib.suppress(OSError):
        socket.getaddrinfo(NAME, 443)
        return True
    return False
