"""What a request may become, and the pieces that the table of requests is written in."""

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum, auto
from typing import Any, TypeAlias

from dvc_runner.socket_filter.asks import Ask
from dvc_runner.socket_filter.checks import Check
from dvc_runner.socket_filter.engine import Answer
from dvc_runner.socket_filter.gate import Gate
from dvc_runner.socket_filter.refused import RefusedError
from dvc_runner.socket_filter.strict_json import parse, serialise


class Body(Enum):
    """What a request brings along."""

    NOTHING = auto()
    JSON = auto()
    STREAM = auto()


class Way(Enum):
    """How the engine's answer comes back: whole, as it arrives, or as a connection of raw bytes."""

    WHOLE = auto()
    STREAM = auto()
    HIJACK = auto()


@dataclasses.dataclass(frozen=True, slots=True)
class Pass:
    """A request that goes to the engine."""

    ask: Ask


Act: TypeAlias = Callable[[Gate, Ask], Awaitable[Answer | Pass]]


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """One line of the table; ``query`` holds the parameters that pass, ``needs`` those that must be there.

    With ``login`` the header passes by which the engine authenticates at a registry.
    """

    method: str
    path: str
    act: Act
    query: Mapping[str, Check]
    needs: tuple[str, ...] = dataclasses.field(default=(), kw_only=True)
    body: Body = dataclasses.field(default=Body.NOTHING, kw_only=True)
    way: Way = dataclasses.field(default=Way.WHOLE, kw_only=True)
    login: bool = dataclasses.field(default=False, kw_only=True)


async def plain(gate: Gate, ask: Ask) -> Pass:
    """Pass what needs no look at anything but itself."""
    del gate
    return Pass(ask)


def passed(ask: Ask, **changed: Any) -> Pass:  # noqa: ANN401 - fields of Ask
    """Pass a request with something of it replaced."""
    return Pass(dataclasses.replace(ask, **changed))


def labelled(filters: str | None, label: str) -> str:
    """Give the filters of a list, narrowed to what has ``label``."""
    found: Any = parse(filters.encode()) if filters else {}
    return serialise({**found, "label": [*found.get("label", []), label]}).decode()


def check_query(route: Route, ask: Ask) -> None:
    """Hold a request's parameters against its line of the table.

    Raises:
        RefusedError: One is unknown, missing, or has another value.
    """
    for name, value in ask.query.items():
        if name not in route.query:
            raise RefusedError(f"the parameter {name!r} is none that the runner uses there")
        route.query[name](f"the parameter {name}", value)
    for name in route.needs:
        if name not in ask.query:
            raise RefusedError(f"the parameter {name!r} is missing")


def in_json(check: Check) -> Check:
    """Check a parameter that holds JSON."""

    def checked(where: str, value: Any) -> None:  # noqa: ANN401 - a parameter is a text
        check(where, parse(value.encode()))

    return checked
