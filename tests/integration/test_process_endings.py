"""What becomes of a stage that is a process, and of all it started, when its runner ends."""

import contextlib
import marshal
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.cases import cases
from tests.support.projects import Project
from tests.support.started import started
from tests.support.waiting import until
from tests.support.ways import LIMIT_S, Way, all_gone, once, with_mark

from dvc_runner.errors import EXIT_INTERRUPTED
from dvc_runner.executors import processes as processes_module
from dvc_runner.executors import supervisor_main
from dvc_runner.model import Ending, Limits, Sandbox
from dvc_runner.workspace.places import FOLDER

pytestmark = pytest.mark.skipif(not supervisor_main.LINUX, reason="only Linux has subreapers")

# All that a stage may do to live on, at once; it says when everything runs.
LIVES_ON = """
import os, signal, subprocess, sys, time
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
subprocess.Popen(['sleep', '600'], start_new_session=True)
read, write = os.pipe()
for behaviour in ('a daemon', 'a silent one', 'a flood', 'a runaway'):
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.write(write, b'x')
        if behaviour == 'a silent one':
            os.closerange(0, 3)
        while behaviour == 'a flood':
            os.write(1, b'x' * 99 + b'\\n')
            time.sleep(0.001)
        while behaviour == 'a runaway':
            if os.fork():
                os._exit(0)
            os.setsid()
        time.sleep(600)
    os.read(read, 1)
open('out.txt', 'w').write('half')
print('begun', flush=True)
time.sleep(600)
"""


@pytest.fixture
def waiting(project: Project) -> Project:
    """A project whose stage lives on; its runner and supervisor carry a mark, too."""
    project.write(".env", "A_TOKEN=tok-1234\\n")
    project.stages(one=project.stage("one", LIVES_ON, outs=["out.txt"], container={"secrets": ["A_TOKEN"]}))
    project.run("build").ended(0)
    return project.with_env(RUNNERS_MARK=str(project.root))


def until_begun(process: "subprocess.Popen[str]") -> None:
    """Wait until the stage says that all of it runs."""
    assert any("begun" in line for line in process.stdout or ())


@cases(
    "number, to_group",
    {
        "Ctrl-C": (signal.SIGINT, True),
        "SIGTERM": (signal.SIGTERM, False),
        "SIGHUP": (signal.SIGHUP, False),
        "SIGKILL": (signal.SIGKILL, False),
        "SIGQUIT": (signal.SIGQUIT, True),
    },
)
def test_nothing_survives_its_runner(waiting: Project, number: signal.Signals, to_group: bool) -> None:  # noqa: FBT001
    before = waiting.files()
    with waiting.started("dvc-runner", "run") as process:
        until_begun(process)
        (scratch,) = (waiting.root / FOLDER / "scratch").iterdir()
        assert len(with_mark(str(scratch))) >= 5
        assert len(with_mark(f"RUNNERS_MARK={waiting.root}")) == 3  # the runner, its nursery, the stage's supervisor
        (os.killpg if to_group else os.kill)(process.pid, number)
        printed, _ = process.communicate(timeout=60)
        assert all_gone(str(waiting.root))
    assert waiting.files() == before
    if number in (signal.SIGKILL, signal.SIGQUIT):
        assert process.returncode == -number
    else:
        assert process.returncode == EXIT_INTERRUPTED, printed
        assert "Traceback" not in printed
    next_run_sweeps(waiting)


def next_run_sweeps(project: Project) -> None:
    """What a killed runner could not delete, the next run does."""
    project.stages(one=project.stage("one", "open('out.txt', 'w')", outs=["out.txt"]))
    project.age_scratches()
    project.run("run").ended(0)


@cases(
    "number, to_group",
    {
        "SIGHUP, as a terminal that closes": (signal.SIGHUP, True),
        "SIGKILL of DVC alone": (signal.SIGKILL, False),
        "SIGKILL of all": (signal.SIGKILL, True),
    },
)
def test_nothing_survives_dvc_repro(waiting: Project, number: signal.Signals, to_group: bool) -> None:  # noqa: FBT001
    before = waiting.files()
    with waiting.with_env(LOGNAME="somebody").started("dvc", "repro") as process:
        until_begun(process)
        (os.killpg if to_group else os.kill)(process.pid, number)
        # What DVC started has the same output.
        printed, _ = process.communicate(timeout=60)
        assert all_gone(str(waiting.root))
    assert process.returncode != 0
    assert "dvc_runner/" not in printed
    assert waiting.files() == before
    if to_group and number == signal.SIGKILL:
        next_run_sweeps(waiting)


def test_a_second_interrupt_waits_for_nobody(waiting: Project) -> None:
    with waiting.started("dvc-runner", "run") as process:
        until_begun(process)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert time.monotonic() - began < supervisor_main.STOP_S
    assert all_gone(str(waiting.root))


def test_a_stage_that_listens_may_tidy_up(processes: Way) -> None:
    code = f"""
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('tidied up', flush=True)))
print('begun', flush=True)
time.sleep({LIMIT_S})
"""
    lines: list[str] = []

    def interrupt(line: str, scratch: Sandbox) -> None:
        del scratch
        lines.append(line)
        if line == "begun":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        processes.python(code, on_line=interrupt)
    assert lines == ["begun", "tidied up"]


def supervisors(runner: int) -> list[int]:
    """The supervisors that a process has started."""
    found = Path(f"/proc/{runner}/task").glob("*/children")
    return [int(pid) for path in found for pid in path.read_text().split() if is_supervisor(pid)]


def is_supervisor(pid: str) -> bool:
    return "supervisor_main" in Path(f"/proc/{pid}/cmdline").read_text()


def test_a_stage_ends_with_its_supervisor_and_is_no_success(processes: Way) -> None:
    mark = f"supervisor-{os.getpid()}"

    def kill(*_: object) -> None:
        (nursery,) = supervisors(os.getpid())
        (supervisor,) = supervisors(nursery)
        os.kill(supervisor, signal.SIGKILL)

    code = f"print('begun', flush=True); import time; time.sleep({LIMIT_S})"
    ended = processes.python(code, on_line=once("begun", kill), env=(("MARK", mark),)).ended
    assert (ended.ending, ended.code, ended.usage) == (Ending.KILLED, 137, None)
    assert all_gone(mark)


def test_a_stage_ends_with_its_nursery_and_the_next_does_without(processes: Way) -> None:
    mark = f"nursery-{os.getpid()}"

    def kill(*_: object) -> None:
        (nursery,) = set(supervisors(os.getpid())) - before
        os.kill(nursery, signal.SIGKILL)

    code = f"print('begun', flush=True); import time; time.sleep({LIMIT_S})"
    before = set(supervisors(os.getpid()))
    with processes_module.nursery():
        ended = processes.python(code, on_line=once("begun", kill), env=(("MARK", mark),)).ended
        assert (ended.ending, ended.code) == (Ending.KILLED, 137)
        assert all_gone(mark)
        assert processes.python("print('a')").lines == ["a"]


RUNNER = """
import subprocess, sys
subprocess.Popen(sys.argv[2:], stdin=int(sys.argv[1]), start_new_session=True).wait()
"""


@cases("link", {"its input, closed": ["input"], "its parent, dead": ["parent"]})
def test_each_link_to_the_runner_is_enough(link: str) -> None:
    mark = f"link-{link}-{os.getpid()}"
    read, write = os.pipe()
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, read)
        command = [sys.executable, "-c", RUNNER, str(read), *processes_module.SUPERVISOR]
        runner = stack.enter_context(subprocess.Popen(command, pass_fds=[read]))
        stack.callback(runner.kill)
        deaf = ["sh", "-c", "trap '' TERM; sleep 60"]
        order = {"argv": deaf, "cwd": None, "env": {**os.environ, "MARK": mark}, "timeout_s": None}
        words = marshal.dumps({**order, "fence": None, "report": 2, "runner": runner.pid})
        with os.fdopen(write, "wb", 0) as input_:
            input_.write(len(words).to_bytes(supervisor_main.LENGTH_BYTES) + words)
            assert until(lambda: with_mark(mark) != [])
            if link == "parent":
                runner.kill()
                assert all_gone(mark)
        assert all_gone(mark)


def test_a_runner_that_dies_before_its_order_leaves_nothing() -> None:
    with started(list(processes_module.SUPERVISOR), Path.cwd(), {**os.environ}) as supervisor:
        printed, _ = supervisor.communicate(timeout=60)
    assert (supervisor.returncode, printed) == (0, "")


SHARED = "from multiprocessing import shared_memory; shared_memory.SharedMemory(create=True, size=9)"


@cases(
    "code, limit_s",
    {
        "of one that ends": (SHARED, LIMIT_S),
        "of one that is killed": (f"{SHARED}; import os; os.kill(os.getpid(), 9)", LIMIT_S),
        "of one that takes too long": (f"{SHARED}; import time; time.sleep(60)", 2),
    },
)
def test_shared_memory_does_not_stay(processes: Way, code: str, limit_s: float) -> None:
    before = set(Path("/dev/shm").iterdir())
    processes.python(code, limits=Limits(timeout_s=limit_s))
    # Others may have some for a moment.
    assert until(lambda: set(Path("/dev/shm").iterdir()) <= before)


# What it took.

WORK = """
import os, time
def work(seconds, size, path):
    held = bytearray(os.urandom(1)) * size
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    with open(path, 'wb') as file:
        file.write(held[:2**20])
        os.fsync(file.fileno())
for n, detach in enumerate((False, True)):
    if os.fork() == 0:
        if detach:
            os.setsid()
            if os.fork():
                os._exit(0)
        work(0.5, 50 * 2**20, f'{n}.bin')
        open(f'{n}.done', 'w')
        os._exit(0)
while not (os.path.exists('0.done') and os.path.exists('1.done')):
    time.sleep(0.05)
work(0.5, 100 * 2**20, '2.bin')
"""


def test_usage_counts_all_that_a_stage_started(processes: Way) -> None:
    usage = processes.python(WORK).ended.usage
    assert usage
    assert usage.cpu_s is not None
    assert usage.cpu_s >= 1.5
    assert usage.peak_memory_bytes is not None
    assert 100 * 2**20 <= usage.peak_memory_bytes < 300 * 2**20
    assert usage.read_bytes is not None
    assert usage.written_bytes is not None
    assert usage.how.startswith("exact")


def test_usage_is_told_of_a_stage_that_timed_out(processes: Way) -> None:
    code = "while True: pass"
    ended = processes.python(code, limits=Limits(timeout_s=1)).ended
    assert ended.usage
    assert ended.usage.cpu_s
