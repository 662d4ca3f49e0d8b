"""Where an alias of a registered model stood and stands, and why: its history is kept on the model, as tags.

One tag an event, ``alias_history.ALIAS.TIME-RANDOM``, whose value is JSON; ``docs/PROMOTION.md`` has its keys.
"""

import datetime as dt
import json
import re
import secrets
from dataclasses import asdict, dataclass

from dvc_runner.errors import DvcRunnerError, StageError, UsageError
from dvc_runner.tracking import models
from dvc_runner.tracking.models import RegisteredModel
from dvc_runner.tracking.server import TrackingServer

PREFIX = "alias_history"
PRODUCTION, ARCHIVED = "production", "archived"
_NAME, _VERSION = re.compile(r"[A-Za-z0-9_-]{1,255}"), re.compile(r"[vV]?[0-9]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """One move of an alias; a version is None where there is none."""

    schema_version: int = 1
    alias: str
    at: str
    who: str
    from_version: str | None
    to_version: str | None
    why: str
    run_id: str | None = None


def history(known: RegisteredModel, alias: str) -> list[Move]:
    """Give the moves of an alias, oldest first; tags that are of no such form are left out."""
    found = []
    for key in sorted(key for key in known.tags if key.startswith(f"{PREFIX}.{alias}.")):
        try:
            found.append(Move(**json.loads(known.tags[key])))
        except (ValueError, TypeError):
            continue
    return found


def move(server: TrackingServer, known: RegisteredModel, alias: str, to: str | None, *, who: str, why: str) -> Move:
    """Point an alias at a version, or at none; note it, and tag what production left as archived.

    Raises:
        StageError: Somebody else moved it since ``known`` was read.
        ConfigurationError: The server does not do it.
    """
    before = known.aliases.get(alias)
    now = models.model(server, known.name).aliases.get(alias)
    if now != before:
        raise StageError(
            f"{alias} of {known.name} was moved to version {now} meanwhile",
            remedy="look at  dvc-runner models list  and decide again",
        )
    if to is None:
        server.call("registered-models/alias", method="DELETE", name=known.name, alias=alias)
    else:
        server.call("registered-models/alias", method="POST", name=known.name, alias=alias, version=to)
    at = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    done = Move(alias=alias, at=at, who=who, from_version=before, to_version=to, why=why)
    key = f"{PREFIX}.{alias}.{at.replace(':', '')}-{secrets.token_hex(2)}"
    server.call("registered-models/set-tag", method="POST", name=known.name, key=key, value=json.dumps(asdict(done)))
    if alias == PRODUCTION:
        _archive(server, known.name, done)
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
    if not moves:
        raise _unclear(known, alias, "has no history")
    if moves[-1].to_version != now:
        raise _unclear(known, alias, f"stands at version {now}, and its history ends at {moves[-1].to_version}")
    stood = [moves[0].from_version]
    for one in moves:
        if len(stood) > 1 and one.to_version == stood[-2]:
            stood.pop()
        else:
            stood.append(one.to_version)
    if len(stood) == 1 or stood[-2] is None:
        raise _unclear(known, alias, f"stood nowhere before version {now}")
    return stood[-2]


def _unclear(known: RegisteredModel, alias: str, what: str) -> DvcRunnerError:
    which = "" if alias == PRODUCTION else f" --alias {alias}"
    return StageError(
        f"{alias} of {known.name} {what}",
        remedy=f"say where it is to be:  dvc-runner models promote VERSION{which}",
    )


def _archive(server: TrackingServer, name: str, done: Move) -> None:
    keys = {"name": name, "key": ARCHIVED}
    there = {one.version: one for one in models.versions(server, name)}
    if done.from_version in there:
        server.call("model-versions/set-tag", method="POST", **keys, version=done.from_version, value=done.at)
    if done.to_version in there and ARCHIVED in there[done.to_version].tags:
        server.call("model-versions/delete-tag", method="DELETE", **keys, version=done.to_version)
