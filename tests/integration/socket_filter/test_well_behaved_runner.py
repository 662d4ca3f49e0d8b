"""A runner that means well does not notice the socket filter."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.test_runs import next_run_sweeps, see
from tests.integration.test_walls import TRY, server
from tests.support.cases import cases
from tests.support.engines import Engine
from tests.support.filters import filtering
from tests.support.projects import Project
from tests.support.started import until_begun
from tests.support.ways import Way, tracking

from dvc_runner.errors import EXIT_INTERRUPTED, EXIT_STAGE_FAILED
from dvc_runner.executors import docker
from dvc_runner.model import Ending, EngineSettings, Limits, Network

pytestmark = pytest.mark.engine


@pytest.fixture
def filtered(contained: Project, containers: Engine) -> Iterator[Project]:
    """A project whose runner has the filter's socket in the place of the engine's."""
    with filtering(containers.address, contained.root, images=[containers.base]) as found:
        yield contained.with_env(DOCKER_HOST=found.address)
        assert " refused " not in found.log(), found.log()


def test_a_pipeline_gives_the_same(filtered: Project, containers: Engine) -> None:
    see(filtered)
    filtered.adopt()
    unfiltered = filtered.twin().with_env(DOCKER_HOST=containers.address)
    filtered.json().ended(0)
    unfiltered.json().ended(0)
    assert filtered.outcomes() == {"train": "ran", "use": "ran"}
    assert filtered.files() == unfiltered.files()
    assert filtered.cache() == unfiltered.cache()


def test_what_would_be_removed_is_told(filtered: Project) -> None:
    see(filtered)
    filtered.adopt()
    filtered.run("build").ended(0)
    filtered.stages()
    told = filtered.run("gc", "--older-than", "0.01s").ended(0)
    assert "dvc-runner/train:" in told.out


def test_plain_dvc_gives_the_same(filtered: Project) -> None:
    see(filtered)
    filtered.adopt()
    twin = filtered.twin().with_env(DVC_RUNNER_EXECUTOR="process")
    filtered.dvc("repro", env={"LOGNAME": "somebody"}).ended(0)
    twin.json().ended(0)
    assert filtered.files() == twin.files()


def test_a_stage_that_the_wall_does_not_know_says_so(filtered: Project, containers: Engine) -> None:
    one = filtered.stage("one", "pass", outs=["out.txt"])
    filtered.write("stages/one/Dockerfile", filtered.dockerfile)
    filtered.stages(one=one)
    with filtering(containers.address, filtered.root) as strict:
        done = filtered.with_env(DOCKER_HOST=strict.address).json()
        assert "403 refused" in strict.log()
    assert done.code != 0
    assert "socket filter refused" in done.text
    assert containers.base in done.text


def test_a_build_that_fails_says_why(filtered: Project) -> None:
    one = filtered.stage("one", "pass", outs=["out.txt"])
    filtered.write("stages/one/Dockerfile", f"{filtered.dockerfile}RUN echo the last $((40 + 2)) words; exit 3\n")
    filtered.stages(one=one)
    assert "the last 42 words" in filtered.json().text


@pytest.fixture(scope="module")
def filtered_lab(lab: Way, containers: Engine) -> Iterator[Way]:
    """The executor of containers at work behind a filter."""
    base = os.environ.get("BASE_IMAGE")
    with filtering(containers.address, lab.root, images=[containers.base]) as found:
        connected = docker.connect(
            lab.root, EngineSettings(host=found.address, guard_image=containers.base, base_image=base)
        )
        with connected.opened() as executor:
            yield Way(executor, lab.root, lab.environment)
        assert " refused " not in found.log(), found.log()


def test_memory_that_runs_out_is_told(filtered_lab: Way) -> None:
    ended = filtered_lab.python("x = bytearray(10**9)", limits=Limits(memory_bytes=2**26)).ended
    assert ended.ending is Ending.OUT_OF_MEMORY


def test_time_that_runs_out_is_told(filtered_lab: Way) -> None:
    code = "import time; print('begun', flush=True); time.sleep(600)"
    assert filtered_lab.python(code, limits=Limits(timeout_s=3)).ended.ending is Ending.TIMED_OUT


def test_much_output_passes(filtered_lab: Way) -> None:
    code = "import sys\nfor i in range(200_000): sys.stdout.write(f'{i} ' + 'x' * 90 + '\\n')"
    ran = filtered_lab.python(code)
    assert len(ran.lines) == 200_000
    assert ran.lines[-1].startswith("199999 ")


def test_the_internet_passes(filtered_lab: Way) -> None:
    code = "import os; print(len(os.listdir('/sys/class/net')))"
    assert int(filtered_lab.python(code, network=Network.INTERNET).lines[0]) > 1


def test_tracking_reaches_its_server(filtered_lab: Way) -> None:
    with server() as port:
        code = f"{TRY}\nprint(get(os.environ['MLFLOW_TRACKING_URI'] + '/api?x=1'))"
        assert filtered_lab.python(code, **tracking(port)).said["path"] == "/api?x=1"


@cases(
    "number, code",
    {
        "Ctrl-C": (signal.SIGINT, EXIT_INTERRUPTED),
        "SIGTERM": (signal.SIGTERM, EXIT_INTERRUPTED),
        "SIGKILL": (signal.SIGKILL, -signal.SIGKILL),
    },
)
def test_a_run_that_is_ended_leaves_nothing(
    waiting: Project, containers: Engine, number: signal.Signals, code: int
) -> None:
    before = waiting.files()
    with (
        filtering(containers.address, waiting.root, images=[containers.base]) as wall,
        waiting.with_env(DOCKER_HOST=wall.address).started("dvc-runner", "run") as process,
    ):
        until_begun(process)
        assert len(containers.ours()) == 2
        process.send_signal(number)
        printed, _ = process.communicate(timeout=60)
        assert process.returncode == code, printed
        assert containers.none_left(60)
        assert waiting.files() == before
        if number == signal.SIGKILL:
            next_run_sweeps(waiting.with_env(DOCKER_HOST=wall.address))


def test_a_filter_that_dies_ends_the_stages(waiting: Project, containers: Engine) -> None:
    before = waiting.files()
    with (
        filtering(containers.address, waiting.root, images=[containers.base]) as wall,
        waiting.with_env(DOCKER_HOST=wall.address).started("dvc-runner", "run") as process,
    ):
        until_begun(process)
        wall.process.kill()
        printed, _ = process.communicate(timeout=60)
        assert process.returncode == EXIT_STAGE_FAILED, printed
        assert containers.none_left(60)
    assert "Traceback" not in printed
    assert waiting.files() == before


def test_an_engine_that_does_not_answer_is_told(tmp_path: Path, ground: Path) -> None:
    with socket.socket(socket.AF_UNIX) as away:
        away.bind(str(tmp_path / "away"))
    with filtering(f"unix://{tmp_path / 'away'}", ground) as wall:
        status, said = wall.post("/_ping", method="GET")
    assert status == 502
    assert "does not answer" in said
