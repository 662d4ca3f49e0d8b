"""Where an alias of a registered model stood and stands, and why: its history is kept on the model, as tags.

One tag an event, ``alias_history.ALIAS.TIME-RANDOM``, whose value is JSON; ``docs/PROMOTION.md`` has its keys.
"""

import contextlib
import datetime as dt
import json
import re
import secrets
from dataclasses import asdict, dataclass

from dvc_runner.errors import DvcRunnerError, NotThereError, StageError, UsageError
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


def all_moves(known: RegisteredModel) -> list[Move]:
    """Give the moves of all aliases, also of those that stand nowhere now, oldest first."""
    keys = (key.removeprefix(f"{PREFIX}.") for key in known.tags if key.startswith(f"{PREFIX}."))
    found = {key.rpartition(".")[0] for key in keys}
    return sorted((one for alias in found for one in history(known, alias)), key=lambda one: one.at)


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


def _archive(server: TrackingServer, known: RegisteredModel, done: Move) -> None:
    keys = {"name": known.name, "key": ARCHIVED}
    if done.from_version:
        # It may be gone.
        with contextlib.suppress(NotThereError):
            server.call("model-versions/set-tag", method="POST", **keys, version=done.from_version, value=done.at)
    if done.to_version and ARCHIVED in models.version(server, known, done.to_version).tags:
        server.call("model-versions/delete-tag", method="DELETE", **keys, version=done.to_version)
