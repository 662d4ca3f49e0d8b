"""Move an alias of a registered model, and keep who did it, when, from where, where to and why, as the model's tags.

One tag an event, so that two writers never write the same one: ``alias_history.ALIAS.TIME-RANDOM``, its value JSON.
docs/PROMOTION.md has the keys.
"""

import datetime as dt
import logging
import secrets
from typing import Literal

from contract import Checked
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from pydantic import ValidationError
from tracking import or_none, registered_model

PREFIX = "alias_history"
ARCHIVED = "archived"
PRODUCTION, STAGING = "production", "staging"
LONGEST_WHY = 500
log = logging.getLogger("evaluate")


class Event(Checked):
    """One move of an alias; a version is None where there is none."""

    schema_version: Literal[1] = 1
    alias: str
    at: str
    who: str
    from_version: str | None
    to_version: str | None
    why: str
    run_id: str | None


def now() -> str:
    """Give the time, in UTC, so that texts sort as times do."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def move(client: MlflowClient, name: str, event: Event) -> None:
    """Point the event's alias at its version, and note it; tag what production left ``archived``."""
    if event.to_version is None:
        client.delete_registered_model_alias(name, event.alias)
    else:
        client.set_registered_model_alias(name, event.alias, event.to_version)
    # Afterwards: what is noted has happened. An alias that is not where its last event left it was moved by others.
    try:
        client.set_registered_model_tag(name, _key(event), event.model_dump_json())
    except MlflowException:
        log.warning("%s of %s is version %s now, and that was not noted", event.alias, name, event.to_version)
        raise
    if event.alias == PRODUCTION:
        _archive(client, name, event)


def read(client: MlflowClient, name: str, alias: str) -> list[Event]:
    """Give the moves of an alias, oldest first, as far as the tags can be read."""
    tags = registered_model(client, name).tags
    found = []
    for key in sorted(key for key in tags if key.startswith(f"{PREFIX}.{alias}.")):
        try:
            found.append(Event.model_validate_json(tags[key]))
        except ValidationError:
            continue  # of another schema, or somebody's own
    return found


def _key(event: Event) -> str:
    return f"{PREFIX}.{event.alias}.{event.at.replace(':', '')}-{secrets.token_hex(2)}"


def _archive(client: MlflowClient, name: str, event: Event) -> None:
    left = event.from_version
    if left and or_none(lambda: client.get_model_version(name, left)):
        client.set_model_version_tag(name, left, ARCHIVED, event.at)
    back = event.to_version
    if back and ARCHIVED in client.get_model_version(name, back).tags:
        client.delete_model_version_tag(name, back, ARCHIVED)
