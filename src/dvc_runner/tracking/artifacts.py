"""Where a tracking server has its clients put files, and which of these places a stage does not reach."""

import os.path
from collections.abc import Callable, Collection, Mapping
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from dvc_runner.errors import ConfigurationError
from dvc_runner.tracking.server import TrackingServer

MOST = 1000
SHOWN = 3
BY_HTTP = ("http", "https", "mlflow-artifacts")
BY_PATH = ("", "file")


def out_of_reach(settings: Mapping[str, str], reached: Collection[str], *, s3: bool) -> str | None:
    """Name experiments whose files are to be kept where nothing leads; None if there are none, or the server fails.

    Args:
        settings: Variables, with MLflow's names.
        reached: The hosts that are reached.
        s3: Whether one of them stands for S3.
    """
    return _told(settings, lambda place: not _is_reached(place, reached, s3=s3))


def within(settings: Mapping[str, str], folders: Collection[str]) -> str | None:
    """Name experiments whose files clients are to write below one of some folders; None as above."""
    return _told(settings, lambda place: _is_within(place, folders))


def _told(settings: Mapping[str, str], is_meant: Callable[[str], bool]) -> str | None:
    try:
        server = TrackingServer(settings)
        listed = server.call("experiments/search", max_results=MOST).get("experiments", [])
    except ConfigurationError:
        return None  # what is wrong with it, the stage has said
    places = {one["name"]: one.get("artifact_location", "") for one in listed}
    found = [f"{name} in {place}" for name, place in places.items() if is_meant(place)]
    if not found:
        return None
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f"{server.uri} has its clients keep the files of {', '.join(found[:SHOWN])}{more}"


def _is_reached(place: str, reached: Collection[str], *, s3: bool) -> bool:
    parts = urlsplit(place)
    if parts.scheme == "s3":
        return s3
    if parts.scheme == "mlflow-artifacts" and not parts.hostname:
        return True
    return parts.scheme in BY_HTTP and parts.hostname in reached


def _is_within(place: str, folders: Collection[str]) -> bool:
    parts = urlsplit(place)
    path = PurePosixPath(os.path.normpath(parts.path))
    return parts.scheme in BY_PATH and any(path.is_relative_to(folder) for folder in folders)
