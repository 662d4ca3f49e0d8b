"""Registered models, their versions and the runs behind them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dvc_runner.errors import NotThereError
from dvc_runner.tracking.server import TrackingServer

PAGE = 100
DELETED = "DELETED"
_NUMBER = re.compile(r"[0-9]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class RegisteredModel:
    """A model's name in the registry; ``aliases`` gives a version to each."""

    name: str
    aliases: Mapping[str, str]
    tags: Mapping[str, str]

    def aliases_of(self, version: str) -> tuple[str, ...]:
        """Give the aliases that stand for a version."""
        return tuple(sorted(alias for alias, found in self.aliases.items() if found == version))


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelVersion:
    """A version of a registered model; ``created_ms`` is since 1970, in UTC."""

    name: str
    version: str
    run_id: str
    created_ms: int
    tags: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackedRun:
    """A run, as the tracking server has it."""

    run_id: str
    status: str
    started_ms: int
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A version with its run; None where the run is gone."""

    version: ModelVersion
    run: TrackedRun | None


def names(server: TrackingServer) -> list[str]:
    """Give the names of all registered models."""
    return sorted(one["name"] for one in _pages(server, "registered-models/search", "registered_models"))


def model(server: TrackingServer, name: str) -> RegisteredModel:
    """Read a registered model.

    Raises:
        NotThereError: There is none of that name.
    """
    # Searches give no aliases (mlflow/mlflow#16734).
    found = server.call("registered-models/get", name=name)["registered_model"]
    aliases = {one["alias"]: str(one["version"]) for one in found.get("aliases", [])}
    return RegisteredModel(name=name, aliases=aliases, tags=_tags(found))


def versions(server: TrackingServer, name: str) -> list[ModelVersion]:
    """Give the versions of a model, the newest first."""
    quote = '"' if "'" in name else "'"
    found = _pages(server, "model-versions/search", "model_versions", filter=f"name={quote}{name}{quote}")
    return sorted(map(_version, found), key=lambda one: int(one.version), reverse=True)


def version(server: TrackingServer, known: RegisteredModel, wanted: str) -> ModelVersion:
    """Give the version of a model that a number or an alias stands for.

    Raises:
        NotThereError: There is none.
    """
    number = wanted if _NUMBER.fullmatch(wanted) else known.aliases.get(wanted)
    if number is None:
        told = ", ".join(f"{alias} (version {found})" for alias, found in sorted(known.aliases.items())) or "none"
        raise NotThereError(
            f"{wanted!r} is no version and no alias of {known.name}; its aliases: {told}",
            remedy="name a version by its number, as  dvc-runner models list  gives it, or by an alias",
        )
    return _version(server.call("model-versions/get", name=known.name, version=number)["model_version"])


def run(server: TrackingServer, run_id: str) -> TrackedRun | None:
    """Read a run; None if it is gone."""
    try:
        found = server.call("runs/get", run_id=run_id)["run"]
    except NotThereError:
        return None
    info, data = found["info"], found.get("data", {})
    return TrackedRun(
        run_id=run_id,
        status=DELETED if info.get("lifecycle_stage") == "deleted" else str(info.get("status")),
        started_ms=int(info.get("start_time") or 0),
        params={one["key"]: str(one["value"]) for one in data.get("params", [])},
        metrics={one["key"]: float(one["value"]) for one in data.get("metrics", [])},
        tags=_tags(data),
    )


def candidate(server: TrackingServer, one: ModelVersion) -> Candidate:
    """Give a version with its run."""
    return Candidate(version=one, run=run(server, one.run_id) if one.run_id else None)


def _version(found: Mapping[str, Any]) -> ModelVersion:
    return ModelVersion(
        name=found["name"],
        version=str(found["version"]),
        run_id=found.get("run_id", ""),
        created_ms=int(found.get("creation_timestamp") or 0),
        tags=_tags(found),
    )


def _tags(found: Mapping[str, Any]) -> dict[str, str]:
    return {one["key"]: str(one.get("value", "")) for one in found.get("tags", [])}


def _pages(server: TrackingServer, route: str, key: str, **asked: str) -> Iterator[dict[str, Any]]:
    token: dict[str, str] = {}
    while True:
        found = server.call(route, max_results=PAGE, **asked, **token)
        yield from found.get(key, [])
        if not found.get("next_page_token"):
            return
        token = {"page_token": found["next_page_token"]}
