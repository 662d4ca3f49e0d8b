"""Real MLflow servers of the project's own kind, and what a test asks of them."""

import contextlib
import json
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[2] / "tracking-server" / "server.py"

# Code of a stage that registers a version of NAME by REST alone, and leaves the pointer to it.
REGISTERS = """
import json, os, random, urllib.error, urllib.request

def ask(route, **values):
    url = os.environ["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow/" + route
    request = urllib.request.Request(url, json.dumps(values).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)

def register(name):
    try:
        ask("registered-models/create", name=name)
    except urllib.error.HTTPError:
        pass
    made = ask("model-versions/create", name=name, source=run["artifact_uri"] + "/m", run_id=run["run_id"])
    version = made["model_version"]["version"]
    json.dump({"model_name": name, "model_version": version, "run_id": run["run_id"]}, open("model.json", "w"))

run = ask("runs/create", experiment_id="0")["run"]["info"]
"""


@dataclass(frozen=True, kw_only=True)
class MlflowServer:
    """A server that answers at ``uri``."""

    uri: str
    folder: Path

    def ask(self, route: str, *, method: str = "GET", **values: Any) -> dict[str, Any]:
        """Use one of its REST routes."""
        url, data = f"{self.uri}/api/2.0/mlflow/{route}", None
        if method == "GET":
            url += "?" + urllib.parse.urlencode(values)
        else:
            data = json.dumps(values).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def upload(self, run_id: str, name: str, text: str) -> None:
        """Put a file among a run's artifacts."""
        place = self.ask("runs/get", run_id=run_id)["run"]["info"]["artifact_uri"].removeprefix("mlflow-artifacts:")
        url = f"{self.uri}/api/2.0/mlflow-artifacts/artifacts{place}/{name}"
        with urllib.request.urlopen(urllib.request.Request(url, text.encode(), method="PUT"), timeout=60):
            pass

    def stop(self) -> None:
        """End it; its data stays."""
        _act("stop", self.folder)

    def start(self) -> None:
        """Start it again, where it was."""
        assert _act("start", self.folder) == self.uri


@contextlib.contextmanager
def mlflow_server(folder: Path) -> Iterator[MlflowServer]:
    """Start a server on a port of its own; end it in the end."""
    server = MlflowServer(uri=_act("start", folder, "--port", "0"), folder=folder)
    try:
        yield server
    finally:
        server.stop()


def _act(action: str, folder: Path, *more: str) -> str:
    command = [sys.executable, str(SCRIPT), action, "--dir", str(folder), *more]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
