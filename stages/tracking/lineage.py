"""Log where a result comes from: what the runner tells of it, and what only the stage knows.

docs/LINEAGE.md has every key, docs/schemas/lineage.schema.json their types.
"""

import datetime as dt
import hashlib
import json
import logging
import math
import os
import platform
import re
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow import MlflowClient
from mlflow.utils.credentials import read_mlflow_creds
from tracking import log_values

STARTED = dt.datetime.now(dt.UTC)
# Servers take less than what they are said to: 250 characters of a key, 5000 of a value, 100 tags at once.
LONGEST_KEY, LONGEST_VALUE, MOST_DEPS = 200, 500, 50
TAGGED = ("schema_version", "stage", "git_commit", "git_branch", "git_dirty", "git_user", "executor")

Table = tuple[pd.DataFrame, "pd.Series[str]"]
Document = dict[str, Any]
logger = logging.getLogger("tracking")


def log(client: MlflowClient, run_id: str, tables: Mapping[Path, Table], under: str = "") -> Document:
    """Log it with a run: short, as tags ``lineage.…``, and whole as ``lineage.json``; give the whole.

    Args:
        client: Of the server.
        run_id: The run it belongs to.
        tables: What was read, by path: samples and labels.
        under: Put before the names, where a second stage logs to the same run: ``evaluate/``.
    """
    path = os.environ.get("LINEAGE_FILE", "")
    if not Path(path).is_file():
        logger.warning("LINEAGE_FILE (%r) is not there: run %s will not lead back to its commit and data", path, run_id)
        return {}
    whole: Document = json.loads(Path(path).read_text(encoding="utf-8")) | _of_this_stage(tables)
    known = short(whole)
    named = {f"{under}{key}": value for key, value in tags(whole).items()}
    if not under:  # where MLflow's own pages look
        for_mlflow = {"mlflow.source.git.commit": "git_commit", "mlflow.source.git.branch": "git_branch"}
        named |= {tag: known[key] for tag, key in for_mlflow.items() if key in known}
    log_values(client, run_id, tags=named)
    client.log_dict(run_id, whole, f"{under}lineage.json")
    return whole


def tags(whole: Document) -> dict[str, str]:
    """Give the tags that a run and the version it registers carry."""
    return {f"lineage.{key}": value for key, value in short(whole).items()}


def who(whole: Document) -> str:
    """Say who runs this stage: by git, by the system that the runner is on, or by MLflow."""
    return str(whole.get("git_user") or whole.get("system_user") or read_mlflow_creds().username or "unknown")


def short(whole: Document) -> dict[str, str]:
    """Give what is short enough for tags, and asked for in searches; what is not known is left out."""
    found = {key: whole.get(key) for key in TAGGED}
    image = whole.get("image") or {}
    found |= {"image_key": image.get("key"), "image_id": image.get("id")}
    stages = [*reversed(whole.get("upstream") or ()), whole]
    read = {path: md5 for stage in stages for path, md5 in reversed((stage.get("deps") or {}).items())}
    nearest_first = list(reversed(read.items()))[:MOST_DEPS]
    # What MLflow takes in a key.
    found |= {re.sub(r"[^\w./ -]", "_", f"dep.{path}")[:LONGEST_KEY]: md5 for path, md5 in nearest_first}
    texts = {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in found.items() if value is not None
    }
    return {key: text[:LONGEST_VALUE] for key, text in texts.items()}


def _of_this_stage(tables: Mapping[Path, Table]) -> Document:
    return {
        "read": {str(path): profile(path, *table) for path, table in tables.items()},
        "python": platform.python_version(),
        "libraries": {one.name: one.version for one in sorted(distributions(), key=lambda one: one.name.lower())},
        "host": {"name": platform.node(), "system": platform.platform(), "machine": platform.machine()},
        "started_at": _text(STARTED),
        "logged_at": _text(dt.datetime.now(dt.UTC)),
    }


def profile(path: Path, samples: pd.DataFrame, labels: "pd.Series[str]") -> Document:
    """Say what a table holds: rows, columns with their types and ranges, rows of each class."""
    columns = [
        {"name": str(name), "type": str(column.dtype), "missing": int(column.isna().sum()), **_range(column)}
        for name, column in samples.items()
    ]
    return {
        "md5": hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest(),
        "rows": len(samples),
        "columns": columns,
        "target": str(labels.name),
        "classes": {str(label): int(count) for label, count in labels.value_counts().sort_index().items()},
    }


def _range(column: "pd.Series[float]") -> dict[str, float | None]:
    ends = {"min": float(column.min()), "max": float(column.max())}
    return {kind: value if math.isfinite(value) else None for kind, value in ends.items()}  # JSON knows no NaN


def _text(time: dt.datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
