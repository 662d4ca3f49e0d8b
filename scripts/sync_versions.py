"""Copy the registered versions of runs that were copied; aliases stay as the target has them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from mlflow_rest import Json, RefusedError, Server
from sync_runs import FROM, Delivered

from dvc_runner.tracking.aliases import ARCHIVED
from dvc_runner.tracking.pointer import ModelPointer

PAGE = 200
# What is true at one server alone: where the version stood there, and what evaluate was allowed there.
OWN = {FROM, ARCHIVED, "trusted_pickle"}


def versions(server: Server, name: str | None = None) -> Iterator[Json]:
    """Give the registered versions of a model, or of all, in order of creation."""
    where: Json = {"filter": f"name = '{name}'"} if name is not None else {}
    found = list(server.pages("model-versions/search", "model_versions", max_results=PAGE, **where))
    yield from sorted(found, key=lambda version: (int(version["creation_timestamp"]), int(version["version"])))


class VersionDeliverer:
    """Registers at a target what a source has registered."""

    def __init__(self, target: Server, origin: str) -> None:
        """Take the target, and the name of the source's data."""
        self._target = target
        self._origin = origin
        self._models: dict[str, dict[str, str]] = {}
        self.copies: dict[ModelPointer, ModelPointer] = {}
        """What names each version of the source, and what names its copy at the target."""

    def deliver(self, version: Json, runs: Mapping[str, Json], copies: Mapping[str, Delivered]) -> str:
        """Register a version at the target unless it is there; say what became of it, nothing if it was there.

        Args:
            version: Of the source.
            runs: The source's runs by id.
            copies: What became of them.

        Raises:
            RefusedError: The target does not take it.
            ServerError: The target is away.
        """
        run_id = version.get("run_id", "")
        if run_id not in copies or copies[run_id].deleted:
            return ""
        name = version["name"]
        label = f"{self._origin}/{name}/{version['version']}"
        if label in self._model(name):
            self._note(version, copies[run_id], self._model(name)[label])
            return ""
        root = runs[run_id]["info"]["artifact_uri"].rstrip("/")
        if not version["source"].startswith(f"{root}/"):
            return f"not delivered: it lies at {version['source']}, not among the artifacts of its run"
        tags = [tag for tag in version.get("tags", []) if tag["key"] not in OWN]
        copy = copies[run_id]
        body = {
            "name": name,
            "source": copy.artifact_uri.rstrip("/") + version["source"].removeprefix(root),
            "run_id": copy.run_id,
            "description": version.get("description", ""),
            "tags": [*tags, {"key": FROM, "value": label}],
        }
        # Sent once: after a failure the next sync looks for it first.
        made = self._target.post("model-versions/create", body, repeatable=False)["model_version"]
        self._models[name][label] = made["version"]
        self._note(version, copy, made["version"])
        return f"delivered as version {made['version']}"

    def _note(self, version: Json, copy: Delivered, number: str) -> None:
        one = ModelPointer(name=version["name"], version=version["version"], run_id=version["run_id"])
        self.copies[one] = replace(one, version=number, run_id=copy.run_id)

    def _model(self, name: str) -> dict[str, str]:
        """Give the versions at the target that are copies of ours, by what they are copies of."""
        if not re.fullmatch(r"[^'/:]+", name):
            raise RefusedError("NAME", f"{name} has a character in it that not every server can search for")
        if name not in self._models:
            try:
                self._target.post("registered-models/create", {"name": name}, repeatable=False)
            except RefusedError as error:
                if error.code != "RESOURCE_ALREADY_EXISTS":
                    raise
            copies = ((tag, found) for found in versions(self._target, name) for tag in found.get("tags", []))
            self._models[name] = {tag["value"]: found["version"] for tag, found in copies if tag["key"] == FROM}
        return self._models[name]
