"""Output without end: it goes through, and stays nowhere but in the stage's log.

FLOOD_MB is how much of it there is (``make chaos`` takes a gigabyte): half in lines, half zeros in one line.
"""

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest
from tests.support.engines import Engine
from tests.support.projects import BIN, Project

from dvc_runner.engine.lines import LONGEST_LINE

pytestmark = pytest.mark.engine
MB = 2**20
FLOOD = int(os.environ.get("FLOOD_MB", "100")) * MB
SPEAK = """
import pathlib, sys
lines, no_line = (b'x' * 1022 + b'\\xff\\n') * 1024, b'\\0' * 2**20
for block in (lines, no_line):
    for _ in range(int(pathlib.Path('data/blocks').read_text())):
        sys.stdout.buffer.write(block)
pathlib.Path('out.txt').touch()
"""
CLOSE = "import os; os.close(1); os.close(2); import time; time.sleep(1); open('out.txt', 'w').close()"


def peak_of(project: Project) -> int:
    """Run the pipeline to its end; give the runner's peak memory in bytes."""
    with subprocess.Popen(
        [*project.prefix, str(BIN / "dvc-runner"), "run"],
        cwd=project.root,
        env=project.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss * 1024


class Watched:
    """The largest that something gets while we look."""

    def __init__(self, size: Callable[[], int]) -> None:
        self.largest = size()
        self._size = size
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.2):
            self.largest = max(self.largest, self._size())


def size_of(folder: Path) -> int:
    size = 0
    for here, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                size += Path(here, name).lstat().st_size
    return size


@pytest.mark.parametrize("executor", ["docker", "process"])
def test_a_flood_grows_neither_the_runner_nor_the_engine(contained: Project, containers: Engine, executor: str) -> None:
    contained = contained.with_env(DVC_RUNNER_EXECUTOR=executor)
    logs = Path(containers.api.info()["DockerRootDir"]) / "containers"
    contained.stages(one=contained.stage("one", SPEAK, deps=["data/blocks"], outs=["out.txt"]))
    contained.write("data/blocks", "1")
    calm = peak_of(contained)
    blocks = FLOOD // MB // 2
    contained.write("data/blocks", str(blocks))
    before = size_of(logs)
    with Watched(lambda: size_of(logs)) as disk:
        flooded = peak_of(contained)
    # A byte that is no UTF-8 is written as a character of three, a line without end as lines.
    added = 2 * 1024 + MB // LONGEST_LINE
    sizes = [path.stat().st_size for path in contained.root.glob(".dvc/tmp/dvc-runner/runs/*/one.log")]
    assert max(sizes) == blocks * (2 * MB + added)
    assert flooded - calm < 30 * MB
    # Whoever is not root may not look there.
    assert not os.access(logs, os.R_OK) or disk.largest - before < 10 * MB


def test_a_stage_that_closes_its_output_is_waited_for(contained: Project) -> None:
    contained.stages(one=contained.stage("one", CLOSE, outs=["out.txt"]))
    assert contained.json().ended(0).outcomes == {"one": "ran"}
