"""What a stage that is a process can do on this kernel, and what it cannot."""

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import landlockpy
import pytest
from tests.support.attempts import attempted
from tests.support.cases import cases
from tests.support.trees import lay, tree
from tests.support.waiting import until
from tests.support.ways import LIMIT_S, Way

from dvc_runner.executors import supervisor_main, walls
from dvc_runner.model import Limits
from dvc_runner.workspace.places import FOLDER

pytestmark = pytest.mark.skipif(not walls.here().files, reason="this kernel has no Landlock")
Found: TypeAlias = dict[str, tuple[str, str | None]]
ABI = landlockpy.abi_version()

OUTSIDE = {
    "a file of the project": "open(ROOT + '/undeclared.csv')",
    "its .env": "open(ROOT + '/.env')",
    "git's folder": "open(ROOT + '/.git/config')",
    "the project's folder": "os.listdir(ROOT)",
    "the folder that a dep is in": "os.listdir(ROOT + '/data')",
    "what lies beside a dep": "open(ROOT + '/data/other.csv')",
    "a way out of the scratch": "open('../../../../../../undeclared.csv')",
    "the scratch around it": "os.listdir('..')",
    "a link of its own to a file": "os.symlink(ROOT + '/.env', 'link') or open('link')",
    "the home of its user": "os.listdir(HOME)",
    "another user's home": "os.listdir('/root')",
    "passwords": "open('/etc/shadow')",
    "keys": "os.listdir('/etc/ssl/private')",
    "logs": "os.listdir('/var/log')",
    "others' temporary files": "os.listdir('/tmp')",
    "the runner's environment": "open(f'/proc/{RUNNER}/environ').read()",
    "the runner's open files": "os.readlink(f'/proc/{RUNNER}/fd/0')",
    "the runner's root": "os.listdir(f'/proc/{RUNNER}/root/')",
    "its supervisor's environment": "open(f'/proc/{os.getppid()}/environ').read()",
    "its supervisor's memory": "open(f'/proc/{os.getppid()}/mem')",
    "a program it started, too": "subprocess.run(['cat', ROOT + '/undeclared.csv'], check=True)",
    "a process that it started, too": "subprocess.run([sys.executable, '-c', f'open({ROOT!r})'], check=True)",
    "a program of the project": "subprocess.run([ROOT + '/program'], check=True)",
}
CHANGES = {
    "write to a dep": "write('data/raw.csv')",
    "add to a dep": "write('data/raw.csv', 'a')",
    "write to a dep at its real path": "write(ROOT + '/data/raw.csv')",
    "empty a dep": "os.truncate('data/raw.csv', 0)",
    "delete a dep": "os.remove(ROOT + '/data/raw.csv')",
    "move a dep": "os.rename(ROOT + '/data/raw.csv', 'mine.csv')",
    "replace a dep": "write('mine') or os.rename('mine', ROOT + '/data/raw.csv')",
    "make a hard link to a dep": "os.link(os.path.realpath('data/raw.csv'), 'hard')",
    "write into a folder that is a dep": "write('data/deep/new')",
    "make a link in a folder that is a dep": "os.symlink('/', 'data/deep/link')",
    "write to an object of DVC's cache": "write(os.path.realpath('cached.csv'))",
    "change its code": "write('stages/lab/lab.py')",
    "change its lineage": "write(os.environ['LINEAGE_FILE'])",
    "change its environment": "write(sys.prefix + '/x')",
    "write to the project": "write(ROOT + '/x')",
    "write to DVC's cache": "write(ROOT + '/.dvc/cache/x')",
    "write beside its folders": "write('../x')",
    "write to the home of its user": "write(HOME + '/x')",
    "write to /tmp": "write('/tmp/x')",
    "write where anybody may": "write('/var/tmp/x')",
    "make a device": "os.mknod('device', 0o020666, os.makedev(1, 3))",
    "mount": "called(libc.mount(b'x', b'.', b'tmpfs', 0, 0))",
    "trace its supervisor": "called(libc.ptrace(16, os.getppid(), 0, 0))",
}
SIGNALS = {
    "signal its supervisor": "os.kill(os.getppid(), 0)",
    "signal its runner": "os.kill(RUNNER, 0)",
    "signal its runner's group": "os.killpg(os.getpgid(RUNNER), 0)",
    "reach a socket with an abstract name": "socket.socket(socket.AF_UNIX).connect(ABSTRACT)",
}
ALLOWED = {
    "read a dep": "open('data/raw.csv').read()",
    "read a dep at its real path": "open(ROOT + '/data/raw.csv').read()",
    "read a folder that is a dep": "open('data/deep/x y.csv').read() and os.listdir('data/deep')",
    "read a dep from DVC's cache": "open('cached.csv').read() == 'cached' or 1 / 0",
    "read its lineage": "open(os.environ['LINEAGE_FILE']).read()",
    "write an out": "write('out.csv')",
    "write into a new folder": "os.makedirs('a/b') or write('a/b/c')",
    "move an out from folder to folder": "os.makedirs('m') or write('n') or os.replace('n', 'm/n')",
    "move a temporary file": "write(os.environ['TMPDIR'] + '/t') or os.replace(os.environ['TMPDIR'] + '/t', 't')",
    "link one of its own files": "write('o') or os.link('o', 'p') or os.symlink('o', 'q')",
    "write at home": "write(os.path.expanduser('~/x'))",
    "make a socket in a file": "socket.socket(socket.AF_UNIX).bind('s')",
    "make a pipe": "os.mkfifo('fifo')",
    "run what it wrote": "shutil.copy('/bin/true', 'true') and subprocess.check_call('./true')",
    "write to shared memory": "write('/dev/shm/dvc-runner-test') or os.remove('/dev/shm/dvc-runner-test')",
    "write to /dev/null": "write('/dev/null')",
    "read chance": "open('/dev/urandom', 'rb').read(8)",
    "read itself": "open('/proc/self/environ').read()",
    "read a child": 'open(f\'/proc/{subprocess.Popen(["sleep", "9"]).pid}/environ\').read()',
    "signal a child": "subprocess.Popen(['sleep', '9']).terminate()",
    "say which user it is": "pwd.getpwuid(0)",
    "know certificates": "ssl.create_default_context()",
    "count processors": "os.cpu_count() or 1 / 0",
    "lock": "multiprocessing.Lock()",
    "share memory": "shared_memory.SharedMemory(create=True, size=9).unlink()",
    "run a pool": "multiprocessing.Pool(2).map(abs, [-1])",
    "start a thread": "threading.Thread(target=print).start()",
    "run a shell": "subprocess.check_call('test -n \"$HOME\" && : > shell', shell=True)",
}
# What the run and the doctor say is not held. A kernel that comes to hold one fails the test: that line is to change.
NOT_HELD = {
    "change a mode": "os.chmod(ROOT + '/undeclared.csv', 0o640)",
    "change times": "os.utime(ROOT + '/undeclared.csv', (1, 1))",
    "write attributes": "os.setxattr(ROOT + '/undeclared.csv', 'user.dvc-runner', b'1')",
    "read others' shared memory": "open(SHARED).read()",
    "write others' shared memory": "write(SHARED)",
    "connect by Multipath TCP": "connect(262)",
    "connect by TCP Fast Open": "connect(0, fast=True)",
    "look up by UDP": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', PORT))",
    "connect to a socket that is a file": "socket.socket(socket.AF_UNIX).connect(SOCKET)",
}
# Since which Landlock it is held all the same.
HELD_SINCE = {"look up by UDP": 10, "connect to a socket that is a file": 9}
CONNECT = """
def connect(protocol, fast=False):
    one = socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol)
    if fast:
        one.sendto(b'x', 0x20000000, ('127.0.0.1', PORT))
    else:
        one.connect(('127.0.0.1', PORT))
"""
IMPORTS = "import multiprocessing, pwd, ssl, threading; from multiprocessing import shared_memory"
EVERYTHING = {**OUTSIDE, **CHANGES, **SIGNALS, **ALLOWED}


@pytest.fixture(autouse=True)
def no_shared_memory_left() -> Iterator[None]:
    """No test leaves shared memory."""
    before = set(Path("/dev/shm").iterdir())
    yield
    # Others may have some for a moment.
    assert until(lambda: set(Path("/dev/shm").iterdir()) <= before)


@pytest.fixture(scope="module")
def project(processes: Way) -> Way:
    """A project with more in it than a stage declares."""
    root = processes.root
    lay(root, {".git": {"config": "x"}, "data": {"other.csv": "no"}, ".dvc": {"cache": {"objects": {"1": "cached"}}}})
    lay(root, {"cached.csv": root / ".dvc/cache/objects/1"})
    shutil.copy("/bin/true", root / "program")
    return processes


@pytest.fixture(scope="module")
def abstract() -> Iterator[str]:
    """A socket with an abstract name, listening."""
    name = f"\0dvc-runner-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()
        yield name


@pytest.fixture(scope="module")
def attempts(project: Way, abstract: str) -> Found:
    """What came of each act, all of them tried by one stage."""
    (project.root / FOLDER / "scratch").mkdir(parents=True, exist_ok=True)
    before = tree(project.root)
    values = (str(project.root), os.getpid(), abstract, str(Path.home()))
    names = f"{IMPORTS}\nROOT, RUNNER, ABSTRACT, HOME = {values!r}"
    deps = ["data/raw.csv", "data/deep", "cached.csv"]

    found = attempted(project, EVERYTHING, setup=names, deps=deps)
    assert tree(project.root) == before
    return found


@pytest.mark.parametrize("act", [*OUTSIDE, *CHANGES])
def test_refused(attempts: Found, act: str) -> None:
    assert attempts[act][0].endswith("Error")


@pytest.mark.skipif(ABI < 6, reason="this kernel's Landlock knows no signals")
@pytest.mark.parametrize("act", SIGNALS)
def test_others_are_out_of_reach(attempts: Found, act: str) -> None:
    assert attempts[act][0] == "PermissionError"


@pytest.mark.parametrize("act", ALLOWED)
def test_allowed(attempts: Found, act: str) -> None:
    assert attempts[act][0] == "done"


@pytest.fixture(scope="module")
def not_held(processes: Way, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What came of each act that is said not to be held, by a stage without a network."""
    shared = Path(f"/dev/shm/dvc-runner-others-{os.getpid()}")
    shared.write_text("others'")
    near = tmp_path_factory.mktemp("s") / "s"
    try:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as file:
            file.bind(str(near))
            file.listen()
            values = (str(processes.root), server.getsockname()[1], str(near), str(shared))
            setup = f"ROOT, PORT, SOCKET, SHARED = {values!r}\n{CONNECT}"
            return attempted(processes, {**NOT_HELD, "connect by TCP": "connect(0)"}, setup=setup)
    finally:
        shared.unlink()


@pytest.mark.parametrize("act", NOT_HELD)
def test_what_is_said_not_to_be_held_is_not(not_held: Found, act: str) -> None:
    if act.endswith("Multipath TCP") and not Path("/proc/sys/net/mptcp/enabled").exists():
        pytest.skip("this kernel has no Multipath TCP")
    assert (not_held[act][0] == "done") == (HELD_SINCE.get(act, 99) > ABI)
    assert not walls.here().tcp or not_held["connect by TCP"][0] == "PermissionError"


def test_limits_that_a_process_is_not_held_to_are_named(processes: Way) -> None:
    ran = processes.python("print('a')", limits=Limits(cpus=2, memory_bytes=2**30, timeout_s=LIMIT_S))
    assert ran.lines == ["dvc-runner: a process is not held to meta.container.cpus, memory of lab", "a"]


WHO = """
import json
status = dict(line.split(':', 1) for line in open('/proc/self/status').read().splitlines())
print(json.dumps({name: int(status[name], 16) for name in ('CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs')}))
"""


def test_who_it_is_and_what_it_may(processes: Way) -> None:
    may = processes.python(WHO).said
    readers = sum(1 << capability for capability in supervisor_main.KEPT_BY_ROOT)
    assert may["NoNewPrivs"] == 1
    assert may["CapAmb"] | readers == readers
    assert may["CapEff"] | readers == readers
    if os.geteuid() == 0:
        assert may["CapBnd"] == readers


@cases(
    "abi",
    {"no Landlock": [0], "the first": [1], "before emptying files": [2], "before TCP": [3], "before signals": [5]},
)
def test_older_kernels_run_stages_too(processes: Way, monkeypatch: pytest.MonkeyPatch, abi: int) -> None:
    """The rules that the library makes for them, on this kernel."""
    monkeypatch.setattr(landlockpy._syscall, "abi_version", lambda: abi)
    acts = {"read": "open('data/raw.csv').read()", "write": "write('out.csv')", "look aside": "open(ROOT + '/.env')"}
    found = attempted(processes, acts, setup=f"ROOT = {str(processes.root)!r}", deps=["data/raw.csv"])
    assert (found["read"][0], found["write"][0]) == ("done", "done")
    assert found["look aside"][0] == ("PermissionError" if walls.of(abi).files else "done")
