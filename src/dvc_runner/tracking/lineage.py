"""What a version of a model comes from, as the run that made it told."""

import json
import urllib.parse
from typing import Any

from dvc_runner.tracking.models import TrackedRun
from dvc_runner.tracking.server import OK, TrackingServer

FILE = "lineage.json"
PREFIX = "lineage."


def of(server: TrackingServer, run: TrackedRun) -> dict[str, Any]:
    """Give a run's ``lineage.json``; where the server does not hand it out, what the run's tags tell of it."""
    asked = urllib.parse.urlencode({"path": FILE, "run_uuid": run.run_id})
    answer = server.ask(f"/get-artifact?{asked}")
    try:
        found = json.loads(answer.text) if answer.status == OK else None
    except ValueError:
        found = None
    if isinstance(found, dict):
        return found
    return {key.removeprefix(PREFIX): _value(text) for key, text in run.tags.items() if key.startswith(PREFIX)}


def _value(text: str) -> object:
    """Give what a tag holds: a text, or JSON of what is none."""
    try:
        return json.loads(text) if text[:1] in ("{", "[") or text in ("true", "false", "null") else text
    except ValueError:
        return text
