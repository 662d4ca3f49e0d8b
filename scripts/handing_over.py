"""Hand the environment's credentials to dvc-runner's container by a file: what --env is told, docker inspect shows.

So are addresses, which may hold some.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from dvc_runner.pipeline.needs import ARTIFACTS_URI
from dvc_runner.workspace import secrets

ADDRESSES = (secrets.TRACKING_URI, ARTIFACTS_URI)


def names(root: Path) -> tuple[str, ...]:
    """Return the variables whose values a stage of dvc.yaml, or the runner itself, may need."""
    try:
        stages = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        stages = None  # dvc-runner says what is wrong with it
    found = {"mlflow": None} | dict.fromkeys(_secrets(stages))
    return (*ADDRESSES, *(variable for name in found for variable in secrets.READ.get(name, (name,))))


def write(path: Path, root: Path, environment: Mapping[str, str]) -> Path | None:
    """Write what is set of them to a file that dvc-runner reads and deletes; none is written for nothing.

    Args:
        path: The file, in a folder of its own kind that the project's owner may change.
        root: The project, whose owner the container's user is.
        environment: Where values come from.
    """
    values = {name: environment[name] for name in names(root) if environment.get(name)}
    if not values:
        return None
    owner = root.stat()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(values, file)
    if os.geteuid() == 0:
        for made in (path.parent, path):
            os.chown(made, owner.st_uid, owner.st_gid)
    return path


def _secrets(value: object) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _secrets(item)
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "secrets" and isinstance(item, list):
                yield from (name for name in item if isinstance(name, str))
            else:
                yield from _secrets(item)
