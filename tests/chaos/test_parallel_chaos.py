"""A run of many stages at once, killed at random moments: dvc.lock can always be read, and is always true."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.chaos.test_chaos import MOMENTS, SEED, STARTER, Lab, Starter
from tests.support.projects import Project, environment
from tests.support.waiting import until
from tests.support.ways import with_mark

PIECES = 8


def stages() -> dict[str, Any]:
    """Pieces that take different times, sums of two each, and one of all."""
    pieces = {
        f"piece{n}": {
            "cmd": f"sleep 0.0{9 - n}; echo {n} $(cat params.yaml) > piece{n}.txt",
            "params": ["n"],
            "outs": [f"piece{n}.txt"],
        }
        for n in range(PIECES)
    }
    sums = {
        f"sum{n}": {
            "cmd": f"mkdir -p sum{n}; cat piece{n}.txt piece{n + 1}.txt > sum{n}/all",
            "deps": [f"piece{n}.txt", f"piece{n + 1}.txt"],
            "outs": [f"sum{n}"],
        }
        for n in range(0, PIECES, 2)
    }
    last = {"cmd": "cat sum*/all > last.txt", "deps": list(sums), "outs": ["last.txt"]}
    return {**pieces, **sums, "last": last}


@pytest.fixture(scope="module")
def lab(bare_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A pipeline that ran once, and of which a param was changed since."""
    folder = tmp_path_factory.mktemp("parallel")
    root = folder / "project"
    shutil.copytree(bare_project, root, symlinks=True)
    env = environment(DVC_RUNNER_EXECUTOR="process", LOGNAME="somebody")
    project = Project(root=root, env=env)
    project.stages(**stages())
    with subprocess.Popen(
        [sys.executable, str(STARTER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder, env=env
    ) as process:
        found = Lab(
            project=project,
            pristine=folder / "pristine",
            undisturbed={},
            seconds={},
            starter=Starter(process, folder),
            mark=str(root),
        )
        for n in (1, 2):
            project.params(n=n)
            if n != 1:
                shutil.copytree(root, found.pristine, symlinks=True)
            began = time.monotonic()
            found.run(project)
            found.seconds["process"] = time.monotonic() - began
        found.undisturbed.update(project.files())
        yield found
        assert process.stdin
        process.stdin.close()


def entries(text: bytes) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text)["stages"]
    return found


@pytest.mark.parametrize("number", range(MOMENTS // 2))
def test_after_a_kill_dvc_lock_is_true(lab: Lab, number: int) -> None:
    project = lab.renewed("process")
    before, after = entries(project.files()["dvc.lock"]), entries(lab.undisturbed["dvc.lock"])
    pid = lab.starter.start(project, "dvc-runner", "run", "--jobs", "4")
    time.sleep(random.Random(f"{SEED}-{number}").uniform(0, 1.05) * lab.seconds["process"])
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    code, printed = lab.starter.ended()
    assert code in {0, -signal.SIGKILL}, printed
    assert until(lambda: not with_mark(lab.mark))
    found = entries(project.files()["dvc.lock"])
    assert list(found) == list(after)
    for name, entry in found.items():
        assert entry in (before[name], after[name]), name
    lab.goes_on(project)
