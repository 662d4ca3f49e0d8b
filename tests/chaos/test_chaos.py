"""The orchestrator, killed at random moments of a pipeline: nothing runs on, nothing is half, nothing lies.

CHAOS is how many moments there are (``make chaos N=1000``), CHAOS_SEED repeats those of an earlier run.
"""

import contextlib
import dataclasses
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.chaos.truth import out_of_date
from tests.support.contained import contain
from tests.support.engines import Engine
from tests.support.projects import Project
from tests.support.trees import files
from tests.support.waiting import until
from tests.support.ways import with_mark

from dvc_runner.engine import containers as engine_containers
from dvc_runner.errors import EXIT_INTERRUPTED
from dvc_runner.workspace.dvc_leftovers import LEFT_BY_DVC

pytestmark = pytest.mark.engine
MOMENTS = int(os.environ.get("CHAOS", "24"))
SEED = os.environ.get("CHAOS_SEED") or secrets.token_hex(4)
SIGNALS = (*[signal.SIGKILL] * 5, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
EXECUTORS = ("docker", "process")
FAR_FUTURE = 10**11
STARTER = Path(__file__).with_name("starter.py")

FIRST = """
import os, pathlib
n = open('params.yaml').read().split()[1]
os.makedirs('parts')
for name in 'abc':
    pathlib.Path('parts', name).write_text(f'{name} {n}' * 1000)
print('first', n)
"""
SECOND = """
import pathlib
text = ''.join(path.read_text() for path in sorted(pathlib.Path('parts').iterdir()))
pathlib.Path('joined.txt').write_text(text)
"""
THIRD = """
import pathlib
text = pathlib.Path('joined.txt').read_text()
pathlib.Path('third.txt').write_text(text[::-1])
pathlib.Path('size.json').write_text(str(len(text)))
"""


class Starter:
    """Starts programs that are killed, with what they import imported before."""

    def __init__(self, process: "subprocess.Popen[str]", folder: Path) -> None:
        self._process = process
        self._output = folder / "output"
        self._output.touch()
        self._output.chmod(0o666)

    def start(self, project: Project, program: str, *arguments: str) -> int:
        """Start a program in a project; give the id of its process."""
        order = {
            "program": program,
            "arguments": arguments,
            "folder": str(project.root),
            "env": {name: project.env[name] for name in ("DVC_RUNNER_EXECUTOR", "LOGNAME")},
            "output": str(self._output),
        }
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def ended(self) -> tuple[int, str]:
        """Wait for the end of what was started; give its exit code and what it printed."""
        return self._answer(), self._output.read_text("utf-8", "replace")

    def _answer(self) -> int:
        assert self._process.stdout
        return int(self._process.stdout.readline())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lab:
    """A project about to run, what it is after an undisturbed run, and how long that takes by each executor."""

    project: Project
    pristine: Path
    undisturbed: dict[str, bytes]
    seconds: dict[str, float]
    starter: Starter
    mark: str

    def renewed(self, executor: str) -> Project:
        """Give the project as it was before the run."""
        shutil.rmtree(self.project.root)
        shutil.copytree(self.pristine, self.project.root, symlinks=True)
        self.project.adopt()
        return self.project.with_env(DVC_RUNNER_EXECUTOR=executor)

    def goes_on(self, project: Project) -> None:
        """See that ``dvc status`` tells the truth, and that the next run ends as an undisturbed one."""
        self.starter.start(project, "dvc", "status", "--json")
        code, told = self.starter.ended()
        assert code == 0, told
        assert set(json.loads(told.splitlines()[-1])) == out_of_date(project.root)
        project.age_scratches()
        self.run(project)
        assert project.files() == self.undisturbed
        assert out_of_date(project.root) == set()

    def run(self, project: Project) -> None:
        """Run the pipeline to its end."""
        self.starter.start(project, "dvc-runner", "run")
        code, printed = self.starter.ended()
        assert code == 0, printed


@pytest.fixture(scope="module")
def starter(
    containers: Engine, bare_project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Project, Starter]]:
    """A project, and what starts programs as its owner."""
    folder = tmp_path_factory.mktemp("chaos")
    found = contain(bare_project, folder, containers).with_env(LOGNAME="somebody")
    command = [*found.prefix, sys.executable, str(STARTER)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder, env=found.env
    ) as process:
        yield found, Starter(process, folder)
        assert process.stdin
        process.stdin.close()


@pytest.fixture(scope="module")
def lab(starter: tuple[Project, Starter], tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A pipeline that ran once, of which a param was changed since."""
    project, start = starter
    mark = secrets.token_hex(4)
    names = [f"{name}-{mark}" for name in ("first", "second", "third")]
    third = project.stage(names[2], "", deps=["joined.txt"], outs=["third.txt"])
    third["metrics"] = [{"size.json": {"cache": False}}]
    stages = (
        project.stage(names[0], "", outs=["parts"], params=["n"]),
        project.stage(names[1], "", deps=["parts"], outs=["joined.txt"]),
        third,
    )
    for name, stage, code in zip(names, stages, (FIRST, SECOND, THIRD), strict=True):
        project.write(f"stages/{name}/main.py", code)
        stage["cmd"] = "dvc-runner exec python3 -m main"
    project.stages(**dict(zip(names, stages, strict=True)))
    lab = Lab(
        project=project,
        pristine=tmp_path_factory.mktemp("pristine") / "project",
        undisturbed={},
        seconds={},
        starter=start,
        mark=mark,
    )
    for executor in EXECUTORS:
        project.params(n=1)
        lab.run(project.with_env(DVC_RUNNER_EXECUTOR=executor))
    project.params(n=2)
    shutil.copytree(project.root, lab.pristine, symlinks=True)
    for executor in EXECUTORS:
        again = lab.renewed(executor)
        began = time.monotonic()
        lab.run(again)
        lab.seconds[executor] = time.monotonic() - began
        assert not lab.undisturbed or again.files() == lab.undisturbed
        lab.undisturbed.update(again.files())
    return lab


def moments() -> list[tuple[int, str, signal.Signals, float]]:
    """Draw the moments: executor, signal, share of the time that an undisturbed run takes."""
    chance = random.Random(SEED)
    return [
        (number, EXECUTORS[number % 2], chance.choice(SIGNALS), chance.uniform(0, 1.05)) for number in range(MOMENTS)
    ]


def test_the_seed_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\nchaos: {MOMENTS} moments of CHAOS_SEED={SEED}")


@pytest.mark.parametrize(("number", "executor", "kill", "share"), moments())
def test_after_a_kill(
    lab: Lab, containers: Engine, number: int, executor: str, kill: signal.Signals, share: float
) -> None:
    del number
    project = lab.renewed(executor)
    before = files(project.root, leave_out=(".git", ".dvc"))
    pid = lab.starter.start(project, "dvc-runner", "run")
    time.sleep(share * lab.seconds[executor])
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, kill)
    code, printed = lab.starter.ended()
    assert code in ({0, -kill} if kill == signal.SIGKILL else {0, EXIT_INTERRUPTED}), printed
    assert "Traceback" not in printed
    assert until(lambda: not with_mark(lab.mark)), [
        Path(f"/proc/{pid}/cmdline").read_text() for pid in with_mark(lab.mark)
    ]
    if kill == signal.SIGKILL:
        assert until(lambda: {one["State"] for one in containers.ours()} <= {"created"}), containers.ours()
        engine_containers.sweep(containers.api, older_than=FAR_FUTURE)
    assert containers.none_left(10 if kill == signal.SIGKILL else 0), containers.ours()
    nothing_is_half(lab, project, before)
    lab.goes_on(project)


def nothing_is_half(lab: Lab, project: Project, before: dict[str, bytes]) -> None:
    """Every file is as it was before the run, or as after it, or is not there; dvc.lock can be read.

    Where DVC was trying a link, there is its file, until the next run.
    """
    found = files(project.root, leave_out=(".git", ".dvc"))
    assert set(yaml.safe_load(found.pop("dvc.lock"))["stages"]) == set(yaml.safe_load(before["dvc.lock"])["stages"])
    for name, content in found.items():
        if not LEFT_BY_DVC.fullmatch(Path(name).name):
            assert content in (before.get(name), lab.undisturbed.get(name)), name
