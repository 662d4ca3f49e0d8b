"""What a version of a model comes from, as the run that made it told."""

import json
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

from dvc_runner.errors import ConfigurationError
from dvc_runner.tracking.models import Candidate, TrackedRun
from dvc_runner.tracking.server import LONGEST, OK, TrackingServer, json_object

FILE = "lineage.json"
MODEL = "MLmodel"
PREFIX = "lineage."


def of(server: TrackingServer, run: TrackedRun) -> dict[str, Any]:
    """Give a run's ``lineage.json``; where the server does not hand it out, what the run's tags tell of it."""
    text = _artifact(server, run, FILE)
    found = json_object(text) if text else None
    return _of_tags(run.tags) if found is None else found


def of_version(server: TrackingServer, one: Candidate) -> dict[str, Any]:
    """Give what a version's run tells, or what the version's own tags do: they stay when its run is gone."""
    return (of(server, one.run) if one.run else {}) or _of_tags(one.version.tags)


def files(server: TrackingServer, run: TrackedRun) -> dict[str, str]:
    """Give the texts of what stages logged to a run in folders, by path; a model's folder is left out.

    Nothing where the server does not say what there is.
    """
    try:
        folders = [one["path"] for one in _listed(server, run) if one.get("is_dir")]
        inside = {folder: _listed(server, run, folder) for folder in folders}
    except ConfigurationError:
        return {}
    return {
        one["path"]: text
        for folder, found in inside.items()
        if f"{folder}/{MODEL}" not in {one["path"] for one in found}
        for one in found
        if not one.get("is_dir") and int(one.get("file_size") or 0) < LONGEST
        if (text := _artifact(server, run, one["path"])) is not None
    }


def commits(files: Mapping[str, str]) -> dict[str, str]:
    """Give the commits that stages tell of which logged to the run of another, by path."""
    found = {path: json_object(text) for path, text in files.items() if path.endswith(f"/{FILE}")}
    return {path: str(one.get("git_commit")) for path, one in found.items() if one}


def _listed(server: TrackingServer, run: TrackedRun, folder: str = "") -> list[dict[str, Any]]:
    where = {"path": folder} if folder else {}
    return list(server.call("artifacts/list", run_id=run.run_id, **where).get("files", []))


def _artifact(server: TrackingServer, run: TrackedRun, path: str) -> str | None:
    """Give a file of a run's; None where the server does not hand it out."""
    answer = server.ask(f"/get-artifact?{urllib.parse.urlencode({'path': path, 'run_uuid': run.run_id})}")
    return answer.text if answer.status == OK else None


def params_of_stages(found: Mapping[str, Any]) -> dict[str, str]:
    """Give the params that a lineage tells of, of its stage and of those before it, by ``STAGE: FILE:KEY``."""
    upstream = found.get("upstream")
    stages = [found, *(upstream if isinstance(upstream, list) else [])]
    return {
        f"{stage['stage']}: {file}:{key}": value
        for stage in stages
        if isinstance(stage, Mapping) and "stage" in stage and isinstance(stage.get("params"), Mapping)
        for file, values in stage["params"].items()
        for key, value in _flat(values)
    }


def _of_tags(tags: Mapping[str, str]) -> dict[str, Any]:
    return {key.removeprefix(PREFIX): _value(text) for key, text in tags.items() if key.startswith(PREFIX)}


def _flat(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _value(text: str) -> object:
    """Give what a tag holds: a text, or JSON of what is none."""
    try:
        return json.loads(text) if text[:1] in ("{", "[") or text in ("true", "false", "null") else text
    except ValueError:
        return text
