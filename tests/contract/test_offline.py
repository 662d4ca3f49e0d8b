"""``make run`` at a terminal while the server is away: a person chooses whether the run stays on this machine."""

import contextlib
import os
import pty
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.mlflows import REGISTERS
from tests.support.projects import LIMIT_S, Project

ROOT = Path(__file__).parents[2]
QUESTION = "Keep this run on this machine"


@pytest.fixture
def clone(project: Project) -> Iterator[Project]:
    """A project that trains, with what ``make run`` starts, before a server that is away."""
    for folder in ("scripts", "tracking-server"):
        shutil.copytree(ROOT / folder, project.root / folder)
    shutil.copy2(ROOT / ".env.example", project.root)
    reaches = {"network": "tracking", "registers": "model.json"}
    project.stages(train=project.stage("train", f"{REGISTERS}register('m')", outs=["model.json"], container=reaches))
    with socket.create_server(("127.0.0.1", 0)) as free:
        away = f"http://127.0.0.1:{free.getsockname()[1]}"
    yield project.with_env(MLFLOW_TRACKING_URI=away, DOCKER_HOST="unix:///nonexistent")
    subprocess.run([sys.executable, project.root / "tracking-server" / "server.py", "stop"], check=True)


def run_at_terminal(project: Project, answer: str) -> tuple[int, str]:
    """Type an answer when the question comes; give the exit code and all that the terminal showed."""
    ours, theirs = pty.openpty()
    command = [sys.executable, str(project.root / "scripts" / "run.py"), "--host"]
    with subprocess.Popen(
        command, cwd=project.root, env=project.env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # so a terminal ends that nobody writes to any more
            while part := os.read(ours, 65536):
                asked = QUESTION.encode() in shown
                shown += part
                if QUESTION.encode() in shown and not asked:
                    os.write(ours, f"{answer}\n".encode())
        os.close(ours)
        return process.wait(LIMIT_S), shown.decode()


def test_who_wants_it_gets_a_run_on_this_machine(clone: Project) -> None:
    code, shown = run_at_terminal(clone, "y")
    assert code == 0, shown
    away = clone.env["MLFLOW_TRACKING_URI"]
    assert f"{away}: it refused the connection" in shown
    assert f"make sync delivers them to {away}" in shown
    assert clone.outcomes() == {"train": "ran"}
    assert "TRACKING_OFFLINE_URI" in clone.read(".env.auto")


def test_who_does_not_gets_the_failure(clone: Project) -> None:
    code, shown = run_at_terminal(clone, "n")
    assert code == 1, shown
    assert f"{clone.env['MLFLOW_TRACKING_URI']}: it refused the connection" in shown
    assert clone.outcomes() == {"train": "failed"}
    assert "OFFLINE" not in clone.read(".env.auto")
    assert not (clone.root / "model.json").exists()
