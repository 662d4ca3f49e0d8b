"""What an out says of a model in the registry, and whether the registry has it."""

import json
from dataclasses import dataclass

from dvc_runner.errors import NotThereError
from dvc_runner.tracking.server import TrackingServer


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelPointer:
    """A version of a registered model, and the run that it came from."""

    name: str
    version: str
    run_id: str

    @property
    def words(self) -> str:
        """Name the version."""
        return f"{self.name} version {self.version}"


def read(text: str) -> ModelPointer | None:
    """Read what an out of a stage that registers a model says: JSON with model_name, model_version and run_id."""
    try:
        found = json.loads(text)
        values = [found[key] for key in ("model_name", "model_version", "run_id")]
    except (ValueError, KeyError, TypeError):
        return None
    if not all(isinstance(value, str | int) and str(value) for value in values):
        return None
    name, version, run_id = map(str, values)
    return ModelPointer(name=name, version=version, run_id=run_id)


def lack(server: TrackingServer, pointer: ModelPointer) -> str | None:
    """Say how a server does not have what a pointer names; None if it has it.

    Raises:
        ConfigurationError: The server does not tell.
    """
    try:
        found = server.call("model-versions/get", name=pointer.name, version=pointer.version)["model_version"]
    except NotThereError:
        return f"is not at {server.uri}"
    if found.get("run_id") != pointer.run_id:
        return f"is of another run at {server.uri}"
    try:
        run = server.call("runs/get", run_id=pointer.run_id)["run"]["info"]
    except NotThereError:
        return f"has no run at {server.uri}"
    return f"is of a deleted run at {server.uri}" if run.get("lifecycle_stage") == "deleted" else None
