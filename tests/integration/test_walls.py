"""What a stage in a container can do, and what it cannot."""

import contextlib
import gc
import http.server
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.support.cases import cases
from tests.support.engines import Engine, relay
from tests.support.trees import lay
from tests.support.ways import LIMIT_S, Way, once, tracking

from dvc_runner.engine import usage
from dvc_runner.errors import EngineError
from dvc_runner.executors import docker
from dvc_runner.model import Ending, EngineSettings, Environment, Limits, Network, Sandbox, Usage
from dvc_runner.workspace import sandbox

pytestmark = pytest.mark.engine

TRY = """
import ctypes, json, os, shutil, socket, subprocess, time, urllib.request
libc = ctypes.CDLL(None)
def attempt(act):
    try:
        act()
    except Exception as error:
        return type(error).__name__
    return 'done'
def write(path):
    open(path, 'w').write('x')
def connect(host, port):
    socket.create_connection((host, port), timeout=3).close()
def get(url):
    return urllib.request.urlopen(url, timeout=10).read().decode()
"""


REFUSED = {
    "write to a dep": "write('data/raw.csv')",
    "delete a dep": "os.remove('data/raw.csv')",
    "replace a dep": "write('x') or os.rename('x', 'data/raw.csv')",
    "change a dep's rights": "os.chmod('data/raw.csv', 0o777)",
    "write into a folder that is a dep": "write('data/deep/new')",
    "change its own code": "write('stages/lab/lab.py')",
    "make a link to a dep": "os.link('data/raw.csv', 'link')",
    "change its lineage": "write(os.environ['LINEAGE_FILE'])",
    "change who it is": "write('/etc/passwd')",
    "write to the image": "write('/usr/bin/x')",
    "write to the root": "write('/x')",
    "write where the image lets anybody": "write('/var/tmp/x')",
    "write to the code in the image": "write('/app/lab.py')",
    "become root": "os.setuid(0)",
    "mount": "libc.mount(b'x', b'/tmp', b'tmpfs', 0, 0) == 0 or 1 / 0",
    "make a device": "os.mknod('device', 0o020666, os.makedev(1, 3))",
    "change the clock": "time.clock_settime(0, 0)",
    "read its guard's files": "os.listdir('/proc/1/root')",
    "read its guard's environment": "open('/proc/1/environ').read()",
    "end its guard": "os.kill(1, 9)",
    "write what it shares with its guard": "write('/run/dvc-runner/x')",
}
ALLOWED = {
    "read a dep": "open('data/raw.csv').read()",
    "write an out": "write('out.csv')",
    "write into a new folder": "os.makedirs('a/b') or write('a/b/c')",
    "write at home": "write(os.path.expanduser('~/x'))",
    "write to /tmp": "write('/tmp/x')",
    "run what it wrote to /tmp": "shutil.copy('/bin/true', '/tmp/t') and subprocess.check_call('/tmp/t')",
    "write to shared memory": "write('/dev/shm/x')",
    "write to /dev/null": "write('/dev/null')",
}


@pytest.fixture(scope="module")
def attempts(lab: Way) -> dict[str, str]:
    """What came of each attempt, all of them made by one stage."""
    before = (lab.root / "data/raw.csv").stat()
    acts = ", ".join(f"{name!r}: attempt(lambda: {act})" for name, act in {**REFUSED, **ALLOWED}.items())
    found: dict[str, str] = lab.python(f"{TRY}\nprint(json.dumps({{{acts}}}))", deps=["data/raw.csv", "data/deep"]).said
    now = (lab.root / "data/raw.csv").stat()
    assert (now.st_mode, now.st_mtime_ns, now.st_ino) == (before.st_mode, before.st_mtime_ns, before.st_ino)
    return found


@pytest.mark.parametrize("act", REFUSED)
def test_refused(attempts: dict[str, str], act: str) -> None:
    assert attempts[act].endswith("Error")


@pytest.mark.parametrize("act", ALLOWED)
def test_allowed(attempts: dict[str, str], act: str) -> None:
    assert attempts[act] == "done"


WHO = """
import json, os
status = dict(line.split(':', 1) for line in open('/proc/self/status').read().splitlines())
print(json.dumps({
    'uid': [os.getuid(), os.geteuid()], 'gid': [os.getgid(), os.getegid()], 'groups': os.getgroups(),
    'capabilities': [int(status[name], 16) for name in ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb')],
    'no new privileges': int(status['NoNewPrivs']),
    'interfaces': sorted(os.listdir('/sys/class/net')),
    'mounts': sorted({line.split()[4] for line in open('/proc/self/mountinfo')}),
    'processes': sorted(int(name) for name in os.listdir('/proc') if name.isdecimal()),
}))
"""


def test_who_it_is_and_what_it_has(lab: Way) -> None:
    user = sandbox.stage_user(lab.root)
    found = lab.python(WHO, deps=["data/raw.csv"]).said
    assert found["uid"] == [user.uid] * 2
    assert found["gid"] == [user.gid] * 2
    assert set(found["groups"]) <= {user.gid}
    assert 0 not in (user.uid, user.gid)
    assert found["capabilities"] == [0] * 5
    assert found["no new privileges"] == 1
    assert found["interfaces"] == ["lo"]
    # Its guard, and itself.
    assert len(found["processes"]) == 2
    ours = {path for path in found["mounts"] if not path.startswith(("/proc", "/sys", "/dev"))}
    assert ours == {
        *("/", "/tmp", "/home/stage", "/workspace", "/workspace/data/raw.csv", "/workspace/stages/lab"),
        *("/etc/passwd", "/etc/group", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"),
        "/run/dvc-runner/lineage.json",
    }


def test_the_host_is_not_to_be_seen(lab: Way) -> None:
    places = [str(lab.root), "/var/run/docker.sock", "/run/docker.sock"]
    code = f"import json, os; print(json.dumps([path for path in {places!r} if os.path.exists(path)]))"
    assert lab.python(code).said == []


def test_odd_names_are_mounted(lab: Way) -> None:
    name = "a:b, c=é 'x'.csv"
    lay(lab.root, {"data": {name: "odd"}})
    ran = lab.run(["cat", f"data/{name}"], deps=[f"data/{name}"])
    assert ran.lines == ["odd"]


def test_orphans_are_reaped(lab: Way) -> None:
    code = """
import os, time
for _ in range(5):
    if os.fork() == 0:
        if os.fork() == 0:
            time.sleep(0.1)
        os._exit(0)
    os.wait()
def others():
    return [n for n in os.listdir('/proc') if n.isdecimal() and int(n) not in (1, os.getpid())]
end = time.monotonic() + 10
while others() and time.monotonic() < end:
    time.sleep(0.05)
print(others())
"""
    assert lab.python(code).lines == ["[]"]


# Network.


class Answer(http.server.BaseHTTPRequestHandler):
    """Says which host it was asked as."""

    def do_GET(self) -> None:
        body = json.dumps({"host": self.headers["Host"], "path": self.path}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        del arguments


@contextlib.contextmanager
def server(address: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A web server of this machine; gives its port."""
    with http.server.ThreadingHTTPServer((address, port), Answer) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found.server_port
        found.shutdown()


ASK = f"{TRY}\nprint(get(os.environ['MLFLOW_TRACKING_URI'] + '/api?x=1'))"


def test_no_network_by_default(lab: Way) -> None:
    with server() as port:
        code = f"""{TRY}
print(json.dumps([attempt(lambda: connect('127.0.0.1', {port})), attempt(lambda: connect('1.1.1.1', 53)),
    attempt(lambda: socket.getaddrinfo('pypi.org', 443))]))
"""
        assert all(name.endswith("rror") for name in lab.python(code).said)


def test_tracking_reaches_the_one_server(lab: Way) -> None:
    with server() as port, server() as other:
        code = f"""{TRY}
found = json.loads(get(os.environ['MLFLOW_TRACKING_URI'] + '/api?x=1'))
print(json.dumps([found, attempt(lambda: connect('127.0.0.1', {other})), attempt(lambda: connect('1.1.1.1', 53)),
    sorted(os.listdir('/sys/class/net'))]))
"""
        found, another, world, interfaces = lab.python(code, **tracking(port)).said
    assert found == {"host": f"127.0.0.1:{port}", "path": "/api?x=1"}
    assert another.endswith("Error")
    assert world.endswith("Error")
    assert interfaces == ["lo"]


def own_name() -> str:
    """A name of this machine's that it knows itself."""
    for name in (socket.gethostname(), socket.getfqdn()):
        with contextlib.suppress(OSError):
            socket.getaddrinfo(name, 1)
            if name != "localhost":
                return name
    pytest.skip("this machine does not know its own name")


def own_address() -> str:
    """An address of this machine's that is not its loopback's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but its loopback's")
        found: str = probe.getsockname()[0]
        return found


def test_tracking_by_name(lab: Way) -> None:
    name = own_name()
    with server("0.0.0.0") as port:
        assert lab.python(ASK, **tracking(port, name)).said["host"] == f"{name}:{port}"


def test_tracking_by_localhost(lab: Way) -> None:
    with server() as port:
        assert lab.python(ASK, **tracking(port, "localhost")).said["host"] == f"localhost:{port}"


def test_tracking_by_an_address_in_figures(lab: Way) -> None:
    with server("0.0.0.0") as port:
        assert lab.python(ASK, **tracking(port, own_address())).said["path"] == "/api?x=1"


@pytest.mark.root
def test_tracking_at_a_low_port(lab: Way) -> None:
    for port in range(611, 700):
        with contextlib.suppress(OSError), server(port=port):
            assert lab.python(ASK, **tracking(port)).said["host"] == f"127.0.0.1:{port}"
            return
    pytest.skip("no low port is free")


def test_tracking_that_is_away_is_refused_at_once(lab: Way) -> None:
    with server() as port:
        pass
    ran = lab.python(f"{TRY}\nprint(attempt(lambda: get(os.environ['MLFLOW_TRACKING_URI'])))", **tracking(port))
    assert ran.lines[0].endswith(("Error", "Disconnected"))
    assert ran.ended.seconds < 10


def test_internet_has_an_interface(lab: Way) -> None:
    assert len(lab.python(WHO, network=Network.INTERNET).said["interfaces"]) > 1


# Limits, and how it ended.


def stage_of(containers: Engine) -> dict[str, Any]:
    """The container of the stage that runs now."""
    (found,) = [one for one in containers.ours() if "io.github.dvc-runner.stage" in one["Labels"]]
    return found


def guard_of(containers: Engine) -> dict[str, Any]:
    """The container of its guard."""
    (found,) = [one for one in containers.ours() if "io.github.dvc-runner.guard-of" in one["Labels"]]
    return found


SLEEP = f"print('begun', flush=True); import time; time.sleep({LIMIT_S})"


def test_limits_are_the_engines(lab: Way, containers: Engine) -> None:
    seen: dict[str, Any] = {}

    def look(scratch: Sandbox) -> None:
        del scratch
        seen.update(containers.api.inspect_container(stage_of(containers)["Id"])["HostConfig"])

    lab.python("print('begun', flush=True)", on_line=once("begun", look), limits=Limits(cpus=0.5, memory_bytes=2**27))
    assert (seen["NanoCpus"], seen["Memory"], seen["MemorySwap"]) == (5 * 10**8, 2**27, 2**27)
    assert seen["PidsLimit"]
    assert not seen["Privileged"]


def test_too_much_memory_is_told_apart(lab: Way) -> None:
    ended = lab.python("x = bytearray(10**9)", limits=Limits(memory_bytes=2**26)).ended
    assert ended.ending is Ending.OUT_OF_MEMORY


WORK = """
import os, time
block = bytearray(100 * 2**20)
until = time.process_time() + 1
while time.process_time() < until:
    pass
print('worked', flush=True)
time.sleep(1.5)
"""


def test_what_it_took_is_told(lab: Way, containers: Engine) -> None:
    asked: list[Usage | None] = []

    def ask(scratch: Sandbox) -> None:
        del scratch
        stats = containers.api.stats(stage_of(containers)["Id"], stream=False, one_shot=True)
        asked.append(usage.of_stats(stats))

    took = [lab.python(WORK, on_line=once("worked", ask)).ended.usage, *asked]
    assert len(took) == 2
    for found in took:
        assert found
        assert found.how
        assert found.peak_memory_bytes
        assert found.cpu_s
        assert 100 * 2**20 < found.peak_memory_bytes < 200 * 2**20
        assert 1 <= found.cpu_s < 3


def test_a_child_that_takes_too_much_memory_is_the_stages_affair(lab: Way) -> None:
    code = "import subprocess, sys; print(subprocess.run([sys.executable, '-c', 'x = bytearray(10**9)']).returncode)"
    ran = lab.python(code, limits=Limits(memory_bytes=2**26))
    assert ran.lines == ["-9"]
    assert (ran.ended.ending, ran.ended.code) == (Ending.EXITED, 0)


@cases(
    "which, how",
    {
        "docker kill": (stage_of, "kill"),
        # To engine 20.10 it is a kill, told as one.
        "docker rm -f": (stage_of, "remove"),
        "docker kill of its guard": (guard_of, "kill"),
    },
)
def test_ends_from_outside_are_told_apart(
    lab: Way, containers: Engine, which: Callable[[Engine], dict[str, Any]], how: str
) -> None:
    def act(scratch: Sandbox) -> None:
        del scratch
        found = which(containers)["Id"]
        if how == "kill":
            containers.api.kill(found)
        else:
            containers.api.remove_container(found, force=True)

    ended = lab.python(SLEEP, on_line=once("begun", act)).ended
    assert ended.ending in ({Ending.KILLED} if how == "kill" else {Ending.KILLED, Ending.VANISHED})
    assert ended.code != 0


# docker 7.2 leaves a socket open that it could not connect.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_engine_that_goes_away_leaves_a_vanished_stage(lab: Way, containers: Engine) -> None:
    base = os.environ.get("BASE_IMAGE")
    with relay(containers.address) as (address, cut):
        connected = docker.connect(lab.root, EngineSettings(host=address, guard_image=containers.base, base_image=base))
        with connected.opened() as executor:
            way = Way(executor, lab.root, lab.environment)
            ended = way.python(SLEEP, on_line=once("begun", lambda _: cut())).ended
    gc.collect()
    assert ended.ending is Ending.VANISHED
    assert ended.code != 0


def test_an_image_that_is_gone_is_named(lab: Way) -> None:
    gone = Environment(reference="dvc-runner/gone:0", key="0")
    with pytest.raises(EngineError, match="dvc-runner/gone:0"):
        lab.python("pass", environment=gone)
