"""A clone of this repository, in a folder with a space and an accent, driven by make alone."""

import contextlib
import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.started import started

ROOT = Path(__file__).parents[2]
NO_ENGINE = "unix:///nonexistent/docker.sock"
MAKE_LIMIT_S = 1200
RUNNING_LIMIT_S = 120


@dataclass
class Clone:
    """A clone, and the environment that its commands run in."""

    folder: Path
    env: dict[str, str]

    def make(self, *targets: str, code: int = 0) -> str:
        """Run make; give all that it printed."""
        return self.run(["make", *targets], code=code)

    def dvc(self, *arguments: str, code: int = 0) -> str:
        """Run plain dvc, in the project's environment."""
        path = f"{self.folder / '.venv' / 'bin'}{os.pathsep}{self.env['PATH']}"
        return self.run(["dvc", *arguments], code=code, env={**self.env, "PATH": path})

    def run(self, command: list[str], *, code: int = 0, env: dict[str, str] | None = None) -> str:
        """Run a command; give all that it printed."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=env or self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=MAKE_LIMIT_S,
            check=False,
        )
        # make's own exit code is 2 for every failure of a recipe.
        assert done.returncode == code, done.stdout
        return done.stdout

    def started(self, command: list[str]) -> contextlib.AbstractContextManager["subprocess.Popen[str]"]:
        """Start a command as a terminal does; kill what is left of it in the end."""
        return started(command, self.folder, self.env)

    def outcomes(self, text: str) -> dict[str, str]:
        """Read the summary: each stage's outcome."""
        return dict(re.findall(r"^ +[✓↺·✗-] (\S+) +(\w+)", text, re.MULTILINE))

    def running(self) -> str:
        """Wait until MLflow has a run under way; give its id."""
        until = time.monotonic() + RUNNING_LIMIT_S
        while time.monotonic() < until:
            found = self.ask("experiments/get-by-name?experiment_name=iris")
            body = {"experiment_ids": [found["experiment"]["experiment_id"]], "filter": "status = 'RUNNING'"}
            runs = self.ask("runs/search", body).get("runs", [])
            if runs:
                return str(runs[0]["info"]["run_id"])
            time.sleep(0.2)
        pytest.fail(f"no run is under way after {RUNNING_LIMIT_S} s")

    def status_of(self, run_id: str) -> str:
        """Give the status of a run in MLflow."""
        return str(self.ask(f"runs/get?run_id={run_id}")["run"]["info"]["status"])

    def ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask the clone's MLflow server by REST."""
        data = json.dumps(body).encode() if body else None
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.tracking_uri()}/api/2.0/mlflow/{path}", data, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            loaded: dict[str, Any] = json.load(answer)
        return loaded

    def tracking_uri(self) -> str:
        """Give the MLflow server that the clone uses."""
        found = re.search(
            r"^MLFLOW_TRACKING_URI=['\"]?([^'\"\s]+)", (self.folder / ".env.auto").read_text(), re.MULTILINE
        )
        assert found
        return found[1]

    def hashes(self) -> dict[str, str]:
        """Give the MD5 that dvc.lock has for every file below data/."""
        lock = (self.folder / "dvc.lock").read_text()
        return dict(re.findall(r"path: (data/\S+)\n\s+hash: md5\n\s+md5: (\w+)", lock))

    def locked(self, text: str) -> dict[tuple[str, str], str]:
        """Give the MD5 that a dvc.lock has for every dep and out, by stage and path."""
        stages = yaml.safe_load(text)["stages"]
        entries = ((name, entry) for name, stage in stages.items() for entry in stage["deps"] + stage["outs"])
        return {(name, entry["path"]): entry["md5"] for name, entry in entries}

    def metadata(self) -> dict[str, str]:
        """Read the pointer to the registered model."""
        loaded: dict[str, str] = json.loads((self.folder / "models/model_metadata.json").read_text())
        return loaded


@pytest.fixture(scope="session")
def clone_factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], Clone]]:
    """Make clones; stop what they started."""
    clones: list[Clone] = []

    def make(name: str, docker_host: str) -> Clone:
        folder = tmp_path_factory.mktemp("e2e") / f"{name} é clone"
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(folder)], check=True)
        for key, value in (("user.name", "A Student"), ("user.email", "student@example.org")):
            subprocess.run(["git", "-C", str(folder), "config", key, value], check=True)
        drop = ("DVC_", "MLFLOW_", "TRACKING_", "DAGSHUB_", "MAKE", "MFLAGS", "VIRTUAL_ENV", "TEST_")
        env = {key: value for key, value in os.environ.items() if not key.startswith(drop)}
        clone = Clone(folder, {**env, "DOCKER_HOST": docker_host})
        clones.append(clone)
        return clone

    yield make
    for clone in clones:
        clone.make("down")


@pytest.fixture(scope="session")
def engine_host() -> str:
    """Give the address of a container engine that answers; skip, or with REQUIRE_ENGINE fail, without one."""
    host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if subprocess.run(["docker", "--host", host, "info"], capture_output=True, check=False).returncode:
        (pytest.fail if os.environ.get("REQUIRE_ENGINE") else pytest.skip)(f"no container engine answers at {host}")
    return host


def interrupt(process: subprocess.Popen[str]) -> str:
    """Press Ctrl-C: every process of the group gets it."""
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    return out
