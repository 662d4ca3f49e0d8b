"""Where an alias of a registered model stood and stands, and why: its history is kept on the model, as tags.

One tag an event, ``alias_history.ALIAS.TIME-RANDOM``, whose value is JSON; ``docs/PROMOTION.md`` has its keys. An event
begins where the one before it ended: where it does not, the alias was moved in between, and nobody noted that.
"""

import contextlib
import datetime as dt
import json
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

from dvc_runner.errors import ConfigurationError, DvcRunnerError, NotThereError, StageError, UsageError
from dvc_runner.tracking import models
from dvc_runner.tracking.claim import claimed
from dvc_runner.tracking.models import RegisteredModel
from dvc_runner.tracking.server import TrackingServer

PREFIX = "alias_history"
UNKNOWN = "by something that keeps no history, or that could not note it"
PRODUCTION, ARCHIVED = "production", "archived"
_NAME, _VERSION = re.compile(r"[A-Za-z0-9_-]{1,255}"), re.compile(r"[vV]?[0-9]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """One move of an alias; a version is None where there is none, ``at`` and ``who`` where nobody noted it."""

    schema_version: int = 1
    alias: str
    at: str | None
    who: str | None
    from_version: str | None
    to_version: str | None
    why: str
    run_id: str | None = None


def history(known: RegisteredModel, alias: str) -> list[Move]:
    """Give the moves of an alias, oldest first; tags that are of no such form are left out."""
    found: list[Move] = []
    stood = None
    for one in _noted(known, alias):
        if one.from_version != stood:
            found.append(_unknown(alias, stood, one.from_version))
        found.append(one)
        stood = one.to_version
    now = known.aliases.get(alias)
    return [*found, *([_unknown(alias, stood, now)] if now != stood else [])]


def all_moves(known: RegisteredModel) -> list[Move]:
    """Give the moves of all aliases, also of those that stand nowhere now, oldest first."""
    keys = (key.removeprefix(f"{PREFIX}.") for key in known.tags if key.startswith(f"{PREFIX}."))
    timed: list[tuple[str, Move]] = []
    for alias in sorted({*known.aliases, *(key.partition(".")[0] for key in keys)}):
        at = ""
        for one in history(known, alias):
            at = one.at or at
            timed.append((at, one))
    return [one for _, one in sorted(timed, key=lambda pair: pair[0])]


def move(server: TrackingServer, known: RegisteredModel, wanted: Move, tell: Callable[[str], None]) -> Move:
    """Move an alias, alone among all who claim the model; note when, and tag what production left as archived.

    Raises:
        StageError: Somebody else moved it since ``known`` was read, or moves it for long, or it could not be noted.
        ConfigurationError: The server does not do it.
    """
    alias, name = wanted.alias, known.name
    with claimed(server, name, wanted.who or "", tell) as claim:
        now = models.model(server, name)
        if now.aliases.get(alias) != wanted.from_version:
            raise StageError(
                f"{alias} of {name} was moved to version {now.aliases.get(alias)} meanwhile",
                remedy="look at  dvc-runner models list  and decide again",
            )
        if not claim.holds(now):
            raise StageError(
                f"{alias} of {name} was not moved: {server.uri} is too slow, or somebody else moves it",
                remedy="run again",
            )
        server.call("registered-models/alias", method="POST", name=name, alias=alias, version=wanted.to_version)
        at = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        done = replace(wanted, at=at)
        _note(server, known, done, f"{PREFIX}.{alias}.{at.replace(':', '')}-{secrets.token_hex(2)}")
        if alias == PRODUCTION:
            _archive(server, known, done)
    return done


def check_name(alias: str) -> str:
    """Give the name of an alias.

    Raises:
        UsageError: MLflow, or a person, would take it for something else.
    """
    if not _NAME.fullmatch(alias) or _VERSION.fullmatch(alias) or alias.lower() == "latest":
        raise UsageError(
            f"{alias!r} is no name for an alias",
            remedy="letters, digits, - and _; not a number, not v1 and the like, and not latest",
        )
    return alias


def previous(known: RegisteredModel, alias: str) -> str:
    """Give the version that an alias stood for before; a move back to it is not another one, but undoes one.

    Raises:
        StageError: That is not known.
    """
    moves = history(known, alias)
    now = known.aliases.get(alias)
    if not any(one.who for one in moves):
        raise _unclear(known, alias, "has no history")
    if moves[-1].who is None:
        raise _unclear(known, alias, f"stands at version {now}, and its history ends at {moves[-1].from_version}")
    stood = [moves[0].from_version]
    for one in moves:
        if len(stood) > 1 and one.to_version == stood[-2]:
            stood.pop()
        else:
            stood.append(one.to_version)
    if len(stood) == 1 or stood[-2] is None:
        raise _unclear(known, alias, f"stood nowhere before version {now}")
    return stood[-2]


def _noted(known: RegisteredModel, alias: str) -> Iterator[Move]:
    for key in sorted(key for key in known.tags if key.startswith(f"{PREFIX}.{alias}.")):
        with contextlib.suppress(ValueError, TypeError):
            yield Move(**json.loads(known.tags[key]))


def _unknown(alias: str, before: str | None, now: str | None) -> Move:
    return Move(alias=alias, at=None, who=None, from_version=before, to_version=now, why=UNKNOWN)


def _note(server: TrackingServer, known: RegisteredModel, done: Move, key: str) -> None:
    try:
        server.call(
            "registered-models/set-tag", method="POST", name=known.name, key=key, value=json.dumps(asdict(done))
        )
    except ConfigurationError as error:
        raise StageError(
            f"{done.alias} of {known.name} stands at version {done.to_version} now, but that was not noted: {error}",
            remedy=f"its history will tell of a move that nobody noted; {error.remedy}",
        ) from error


def _unclear(known: RegisteredModel, alias: str, what: str) -> DvcRunnerError:
    which = "" if alias == PRODUCTION else f" --alias {alias}"
    return StageError(
        f"{alias} of {known.name} {what}",
        remedy=f"say where it is to be:  dvc-runner models promote VERSION{which}",
    )


def _archive(server: TrackingServer, known: RegisteredModel, done: Move) -> None:
    keys = {"name": known.name, "key": ARCHIVED}
    if done.from_version:
        # It may be gone.
        with contextlib.suppress(NotThereError):
            server.call("model-versions/set-tag", method="POST", **keys, version=done.from_version, value=done.at)
    if done.to_version and ARCHIVED in models.version(server, known, done.to_version).tags:
        server.call("model-versions/delete-tag", method="DELETE", **keys, version=done.to_version)
