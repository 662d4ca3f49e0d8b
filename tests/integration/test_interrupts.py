"""Signals at the worst moments: in the grace time, in the middle of create."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from tests.support.cases import cases
from tests.support.engines import Engine, relay
from tests.support.projects import Project
from tests.support.started import until_begun
from tests.support.waiting import until
from tests.support.ways import Way

from dvc_runner.engine import containers as engine_containers
from dvc_runner.engine.images import LABEL
from dvc_runner.errors import EXIT_INTERRUPTED

pytestmark = pytest.mark.engine
# A run at some later time: what is there by then is older than what is about to start.
LATER = """
import sys
from dvc_runner.executors import docker
docker.CORPSE_AGE_S = -60
from dvc_runner.cli.main import main
sys.exit(main())
"""
DEAF = """
import pathlib, signal, time
pathlib.Path('out.txt').write_text('half')
if pathlib.Path('data/wait').read_text() == 'yes':
    signal.signal(signal.SIGTERM, lambda *_: print('no', flush=True))
    print('begun', flush=True)
    while True:
        time.sleep(1)
"""


@pytest.fixture
def deaf(waiting: Project) -> Project:
    """A project whose stage does not listen to SIGTERM."""
    waiting.stages(one=waiting.stage("one", DEAF, deps=["data/wait"], outs=["out.txt"]))
    return waiting


@cases(
    "first, second",
    {
        "Ctrl-C twice": (signal.SIGINT, signal.SIGINT),
        "SIGHUP after SIGTERM": (signal.SIGTERM, signal.SIGHUP),
    },
)
def test_a_second_signal_in_the_grace_time_ends_all(
    deaf: Project, containers: Engine, first: signal.Signals, second: signal.Signals
) -> None:
    before = deaf.files()
    with deaf.started("dvc-runner", "run") as process:
        until_begun(process)
        process.send_signal(first)
        until_begun(process, "no")
        process.send_signal(second)
        printed, _ = process.communicate(timeout=60)
    assert process.returncode == EXIT_INTERRUPTED, printed
    assert "Traceback" not in printed
    assert deaf.outcomes() == {"one": "cancelled"}
    assert containers.none_left(0)
    assert deaf.files() == before


class Gate:
    """A way to the engine on which the answer to one create, counted from 1, is held back until it is opened."""

    def __init__(self, containers: Engine) -> None:
        self.number = 1
        self.reached = threading.Event()
        self.open = threading.Event()
        self._seen = 0
        self.relay = relay(containers.address, on_request=self._watch, on_answer=self._hold)

    def _watch(self, data: bytes) -> None:
        self._seen += data.count(b"/containers/create")

    def _hold(self, data: bytes) -> None:
        if self._seen >= self.number and b" 201 " in data:
            self.reached.set()
            self.open.wait(60)


@pytest.fixture
def gate(containers: Engine) -> Iterator[Gate]:
    found = Gate(containers)
    yield found
    found.open.set()


@cases(
    "number, create",
    {
        "Ctrl-C, the proof of host paths": (signal.SIGINT, 1),
        "SIGTERM, the guard": (signal.SIGTERM, 2),
        "SIGHUP, the stage": (signal.SIGHUP, 3),
    },
)
def test_a_signal_in_the_middle_of_create_leaves_nothing(
    waiting: Project, containers: Engine, gate: Gate, number: signal.Signals, create: int
) -> None:
    before = waiting.files()
    gate.number = create
    with gate.relay as (address, _), waiting.with_env(DOCKER_HOST=address).started("dvc-runner", "run") as process:
        assert gate.reached.wait(60)
        process.send_signal(number)
        gate.open.set()
        printed, _ = process.communicate(timeout=60)
    assert process.returncode == EXIT_INTERRUPTED, printed
    assert "Traceback" not in printed
    assert "begun" not in printed
    assert containers.none_left(0)
    assert waiting.files() == before


@cases("create", {"the guard": [2], "the stage": [3]})
def test_what_a_kill_in_the_middle_of_create_leaves_is_swept_by_the_next_run(
    waiting: Project, containers: Engine, gate: Gate, create: int
) -> None:
    before = waiting.files()
    gate.number = create
    with gate.relay as (address, _), waiting.with_env(DOCKER_HOST=address).started("dvc-runner", "run") as process:
        assert gate.reached.wait(60)
        process.kill()
        gate.open.set()
        process.communicate(timeout=60)
    assert until(lambda: {one["State"] for one in containers.ours()} == {"created"}), containers.ours()
    assert waiting.files() == before
    waiting.age_scratches()
    waiting.write("data/wait", "no")
    later = [*waiting.prefix, sys.executable, "-c", LATER, "run", "--force"]
    subprocess.run(later, cwd=waiting.root, env=waiting.env, stdin=subprocess.DEVNULL, check=True)
    assert containers.none_left(0), containers.ours()


def test_containers_that_were_never_started_are_swept(lab: Way, containers: Engine) -> None:
    mount = {"Type": "bind", "Source": str(lab.root), "Target": "/x", "ReadOnly": True}
    body = {"Image": containers.base, "Cmd": ["true"], "Labels": {LABEL: "run"}, "HostConfig": {"Mounts": [mount]}}
    made = containers.api.create_container_from_config(body)["Id"]
    created = next(one["Created"] for one in containers.ours() if one["Id"] == made)
    engine_containers.sweep(containers.api, older_than=created)
    assert [one["Id"] for one in containers.ours()] == [made]
    engine_containers.sweep(containers.api, older_than=created + 1)
    assert containers.none_left()
