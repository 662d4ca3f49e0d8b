"""Where a tracking server has its clients put files, and which of these places a stage does not reach."""

from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from dvc_runner.tracking.server import TrackingServer

MOST = 1000
SHOWN = 3
BY_HTTP = ("http", "https", "mlflow-artifacts")


def out_of_reach(settings: Mapping[str, str], reached: Collection[str], *, s3: bool) -> str | None:
    """Name experiments whose files are to be kept where nothing leads; None if there are none.

    Args:
        settings: Variables, with MLflow's names.
        reached: The hosts that are reached.
        s3: Whether one of them stands for S3.

    Raises:
        ConfigurationError: The server does not tell.
    """
    server = TrackingServer(settings)
    listed = server.call("experiments/search", max_results=MOST).get("experiments", [])
    places = {one["name"]: one.get("artifact_location", "") for one in listed}
    found = [f"{name} in {place}" for name, place in places.items() if not _is_reached(place, reached, s3=s3)]
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
