"""A claim on a registered model, so that of all who move its aliases, people and stages, one at a time does.

MLflow cannot write a tag only if it still has its old value: the claim is Fischer's mutual exclusion, as
docs/PROMOTION.md tells it. Whoever takes one on the same model keeps to the same times.
"""

import json
import random
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dvc_runner.errors import ConfigurationError, StageError
from dvc_runner.tracking import models
from dvc_runner.tracking.models import RegisteredModel
from dvc_runner.tracking.server import TrackingServer

TAG = "promotion.claim"


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long what may take: a claim allows moves for ``valid_s``, and is anybody's after ``expires_s``."""

    settle_s: float = 2
    valid_s: float = 20
    expires_s: float = 120
    gives_up_s: float = 180


PATIENCE = Patience()


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What was written, and until when, by this process's clock, it may be used."""

    value: str
    until: float

    def holds(self, known: RegisteredModel) -> bool:
        """Say whether a move may begin now, by what was just read of the model."""
        return known.tags.get(TAG) == self.value and time.monotonic() < self.until


@contextmanager
def claimed(server: TrackingServer, name: str, who: str, tell: Callable[[str], None]) -> Iterator[Claim]:
    """Wait for the claim on a model, and let go of it in the end.

    Raises:
        StageError: Others have it for long.
        ConfigurationError: The server does not take it.
    """
    value = json.dumps({"schema_version": 1, "token": secrets.token_hex(16), "who": who})
    claim = _wait(server, name, value, tell, PATIENCE)
    try:
        yield claim
    finally:
        try:
            _withdraw(server, name, value)
        except ConfigurationError:
            tell(f"the claim on {name} could not be removed: others take it in {PATIENCE.expires_s:.0f} s")


def _wait(server: TrackingServer, name: str, value: str, tell: Callable[[str], None], patience: Patience) -> Claim:
    began = time.monotonic()
    seen, since = None, began
    while time.monotonic() - began < patience.gives_up_s:
        asked = time.monotonic()
        current = _read(server, name)
        if current != seen:
            seen, since = current, asked
            if current:
                tell(f"waiting: somebody else moves an alias of {name}: {current}")
        # Nobody's clock is compared with anybody else's: a claim has expired when we have seen it for so long.
        if current is None or asked - since > patience.expires_s:
            _write(server, name, value)
            written = time.monotonic()
            if written - asked < patience.settle_s:
                time.sleep(patience.settle_s)
                if _read(server, name) == value:
                    return Claim(value=value, until=written + patience.valid_s)
            _withdraw(server, name, value)
        time.sleep(patience.settle_s * random.uniform(0.1, 0.5))  # noqa: S311 - so that two do not keep step
    raise StageError(
        f"{name}: for {patience.gives_up_s:.0f} s others, or a slow server, kept this from moving an alias "
        f"(the model's tag {TAG} is {seen})",
        remedy="run again; delete that tag if nothing is at work",
    )


def _read(server: TrackingServer, name: str) -> str | None:
    return models.model(server, name).tags.get(TAG)


def _write(server: TrackingServer, name: str, value: str) -> None:
    try:
        server.call("registered-models/set-tag", method="POST", name=name, key=TAG, value=value)
    except ConfigurationError:
        # Of two who write a new tag at once, MLflow's database may refuse one: UNIQUE constraint failed.
        if _read(server, name) is None:
            raise


def _withdraw(server: TrackingServer, name: str, value: str) -> None:
    if _read(server, name) == value:
        server.call("registered-models/delete-tag", method="DELETE", name=name, key=TAG)
