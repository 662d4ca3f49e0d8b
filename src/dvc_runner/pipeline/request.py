"""What a person asks of a run."""

from dataclasses import dataclass, field

from dvc_runner.model import Handling, Selection


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """What stages at work may take together; ``jobs`` is how many of them there may be."""

    jobs: int = 1
    cpus: float = 1
    memory_bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What a person asked of a run; ``fail_fast`` ends what runs at the first failure."""

    selection: Selection = field(default_factory=Selection)
    handling: Handling = field(default_factory=Handling)
    room: Room = field(default_factory=Room)
    keep_going: bool = False
    fail_fast: bool = False
