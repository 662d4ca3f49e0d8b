"""A claim on a registered model, so that of several evaluates one at a time decides and moves an alias.

MLflow cannot write a tag only if it still has its old value. What it can do is Fischer's mutual exclusion: whoever
finds no claim writes its own at once, waits for longer than anybody may take from finding none to having written,
and reads it again: the last one to write has it. Whoever took too long withdraws. docs/PROMOTION.md says what that
guarantees, and what it does not.
"""

import json
import logging
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

import requests
from contract import StageError
from mlflow import MlflowClient
from mlflow.entities.model_registry import RegisteredModel
from mlflow.exceptions import MlflowException
from tracking import registered_model

TAG = "promotion.claim"
log = logging.getLogger("evaluate")


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long what may take; the same for everybody who claims the same model.

    ``valid_s`` is how long a claim may be used to begin a move, ``expires_s`` when others may take it: the difference
    is more than one request takes with all its repeats.
    """

    settle_s: float = 2
    valid_s: float = 20
    expires_s: float = 120
    gives_up_s: float = 600


PATIENCE = Patience()


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What was written, and until when, by this process's clock, it may be used."""

    value: str
    until: float

    def holds(self, model: RegisteredModel) -> bool:
        """Say whether a move may begin now, by what was just read of the model."""
        return model.tags.get(TAG) == self.value and time.monotonic() < self.until


@contextmanager
def claimed(client: MlflowClient, name: str, who: str, patience: Patience = PATIENCE) -> Iterator[Claim]:
    """Wait for the claim on a model, and let go of it in the end.

    Raises:
        StageError: Others have it for long.
    """
    value = json.dumps({"schema_version": 1, "token": uuid4().hex, "who": who})
    claim = _wait(client, name, value, patience)
    try:
        yield claim
    finally:
        try:
            _withdraw(client, name, value)
        except (MlflowException, requests.RequestException, StageError):
            log.warning("the claim on %s could not be removed: others take it in %d s", name, patience.expires_s)


def _wait(client: MlflowClient, name: str, value: str, patience: Patience) -> Claim:
    began = time.monotonic()
    seen, since = None, began
    while time.monotonic() - began < patience.gives_up_s:
        asked = time.monotonic()
        current = _read(client, name)
        if current != seen:
            seen, since = current, asked
            if current:
                log.info("waiting: another evaluate, or a person, moves an alias of %s: %s", name, current)
        # Nobody's clock is compared with anybody else's: a claim has expired when we have seen it for so long.
        if current is None or asked - since > patience.expires_s:
            _write(client, name, value)
            written = time.monotonic()
            if written - asked < patience.settle_s:
                time.sleep(patience.settle_s)
                if _read(client, name) == value:
                    return Claim(value=value, until=written + patience.valid_s)
            _withdraw(client, name, value)
        time.sleep(patience.settle_s * random.uniform(0.1, 0.5))  # noqa: S311 - so that two do not keep step
    raise StageError(
        f"{name}: for {patience.gives_up_s:.0f} s others, or a slow server, kept this evaluate from deciding "
        f"(the model's tag {TAG} is {seen}): run again, and delete that tag if nobody is at work"
    )


def _read(client: MlflowClient, name: str) -> str | None:
    value: str | None = registered_model(client, name).tags.get(TAG)
    return value


def _write(client: MlflowClient, name: str, value: str) -> None:
    try:
        client.set_registered_model_tag(name, TAG, value)
    except MlflowException:
        # Of two who write a new tag at once, MLflow's database may refuse one: UNIQUE constraint failed.
        if _read(client, name) is None:
            raise


def _withdraw(client: MlflowClient, name: str, value: str) -> None:
    if _read(client, name) == value:
        client.delete_registered_model_tag(name, TAG)
