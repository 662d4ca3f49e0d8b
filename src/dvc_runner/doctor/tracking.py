"""Whether what answers at the tracking server's address is an MLflow that this project may use."""

import re
from collections.abc import Mapping

from dvc_runner.tracking.server import OK, TrackingServer


def prove(settings: Mapping[str, str]) -> str:
    """Ask the server of the settings for its version, and for an experiment.

    Raises:
        ConfigurationError: It does not answer as MLflow does; the message says how it does.
    """
    server = TrackingServer(settings)
    # Every MLflow knows it, and answers when its store is ready.
    server.call("experiments/search", max_results=1)
    version = server.ask("/version")
    # DagsHub's answers with a page.
    known = version.status == OK and re.match(r"\s*(\d+\.\d\S*)\s*$", version.text)
    named = known[1] if known else "of a version untold"
    return f"{server.uri} answers as MLflow {named}, and lets experiments be read"
