"""What a stage in a container reaches of the network, and with whose certificate."""

import contextlib
import http.server
import itertools
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.support.cases import cases
from tests.support.engines import Engine
from tests.support.trees import lay
from tests.support.waiting import until
from tests.support.ways import Way

from dvc_runner.errors import ConfigurationError
from dvc_runner.executors import docker_bodies
from dvc_runner.model import Network, Server

pytestmark = pytest.mark.engine

NAME = "tracking.example"
ARTIFACTS = "artifacts.example"
ASK = """
import json, os, ssl, sys, urllib.request
trust = ssl.create_default_context(cafile='data/ca.pem')
def ask(variable, path):
    try:
        return urllib.request.urlopen(os.environ[variable] + path, timeout=20, context=trust).read().decode()
    except OSError as error:
        return type(getattr(error, 'reason', error)).__name__
"""


WORLD = """
import http.server, socket, threading
MINE = socket.gethostbyname(socket.gethostname())
asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asked.bind(('', 53))
def resolve():
    while True:
        question, asker = asked.recvfrom(512)
        end = question.index(b'\\0', 12) + 5
        mine = question[12:end - 4] == b'\\5world\\7example\\0'
        known = mine and question[end - 3] == 1
        head = question[:2] + (b'\\x81\\x80' if mine else b'\\x81\\x83') + bytes([0, 1, 0, known, 0, 0, 0, 0])
        found = b'\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\0\\0\\4' + socket.inet_aton(MINE)
        asked.sendto(head + question[12:end] + found * known, asker)
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.headers['Host'].encode())
threading.Thread(target=resolve, daemon=True).start()
with http.server.HTTPServer(('', 80), Answer) as server:
    print(MINE, flush=True)
    server.serve_forever()
"""
BY_NAME = """
import json, socket, urllib.request
found = []
for name in ('world.example', 'nobody.example'):
    try:
        found.append(urllib.request.urlopen(f'http://{name}', timeout=20).read().decode())
    except OSError as error:
        found.append(type(error.reason).__name__)
print(json.dumps(found))
"""


class Answer(http.server.BaseHTTPRequestHandler):
    """Says which host and path it was asked for."""

    def do_GET(self) -> None:
        body = f"{self.headers['Host']}{self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        del arguments


@contextlib.contextmanager
def web(address: str = "127.0.0.1", certificate: trustme.LeafCert | None = None) -> Iterator[int]:
    """A web server of this machine, with TLS if it has a certificate; gives its port."""
    with http.server.ThreadingHTTPServer((address, 0), Answer) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def known(lab: Way, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """An authority that stages can trust; this machine knows the names of its servers."""
    authority = trustme.CA()
    lay(lab.root, {"data": {"ca.pem": authority.cert_pem.bytes().decode()}})
    real = socket.getaddrinfo

    def look_up(host: Any, *arguments: Any, **named: Any) -> Any:
        return real("127.0.0.1" if host in (NAME, ARTIFACTS) else host, *arguments, **named)

    # The resolver of the operating system, which a test may not change.
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return authority


def reaching(**addresses: tuple[str, int]) -> dict[str, Any]:
    """What a spec holds for servers, given as host and port by the beginning of their URL."""
    env = tuple((name, f"https://{host}:{port}") for name, (host, port) in addresses.items())
    servers = tuple(Server(host=host, port=port) for host, port in addresses.values())
    return {"network": Network.TRACKING, "servers": servers, "env": env, "deps": ["data/ca.pem"]}


@cases(
    "certified, host, answer",
    {
        "its own name": (NAME, NAME, f"{NAME}:PORT/path/api"),
        "localhost": ("localhost", "localhost", "localhost:PORT/path/api"),
        "another's name": ("other.example", NAME, "SSLCertVerificationError"),
    },
)
def test_certificates_are_checked_by_name(lab: Way, known: trustme.CA, certified: str, host: str, answer: str) -> None:
    with web(certificate=known.issue_cert(certified)) as port:
        ran = lab.python(f"{ASK}\nprint(json.dumps(ask('URL', '/path/api')))", **reaching(URL=(host, port)))
    assert ran.said == answer.replace("PORT", str(port))


def test_a_certificate_for_the_loopback_holds(lab: Way, known: trustme.CA) -> None:
    with web(certificate=known.issue_cert("127.0.0.1")) as port:
        ran = lab.python(f"{ASK}\nprint(json.dumps(ask('URL', '/x')))", **reaching(URL=("127.0.0.1", port)))
    assert ran.said == f"127.0.0.1:{port}/x"


def test_a_foreign_authority_is_refused(lab: Way, known: trustme.CA) -> None:
    del known
    with web(certificate=trustme.CA().issue_cert(NAME)) as port:
        ran = lab.python(f"{ASK}\nprint(json.dumps(ask('URL', '/x')))", **reaching(URL=(NAME, port)))
    assert ran.said == "SSLCertVerificationError"


def test_a_certificate_that_could_not_be_checked_is_refused_at_once(lab: Way, known: trustme.CA) -> None:
    del known
    with pytest.raises(ConfigurationError, match=r"URL is https://10\.1\.2\.3"):
        lab.python("pass", **reaching(URL=("10.1.2.3", 443)))


def test_mlflow_and_its_artifacts_are_reached_side_by_side(lab: Way, known: trustme.CA) -> None:
    certificate = known.issue_cert(NAME, ARTIFACTS)
    with web(certificate=certificate) as first, web(certificate=certificate) as second:
        code = f"{ASK}\nprint(json.dumps([ask('ONE', '/a'), ask('TWO', '/b')]))"
        ran = lab.python(code, **reaching(ONE=(NAME, first), TWO=(ARTIFACTS, second)))
    assert ran.said == [f"{NAME}:{first}/a", f"{ARTIFACTS}:{second}/b"]


NOTHING_ELSE = """
import json, os, socket
def attempt(kind, act):
    try:
        with socket.socket(*kind) as one:
            one.settimeout(3)
            act(one)
        return 'done'
    except OSError as error:
        return type(error).__name__
TCP, UDP = (socket.AF_INET, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_DGRAM)
found = {}
for host, port in PLACES:
    found[f'tcp {host}:{port}'] = attempt(TCP, lambda one: one.connect((host, port)))
    found[f'udp {host}:{port}'] = attempt(UDP, lambda one: one.sendto(b'x', (host, port)) and one.recv(1))
for name in ('pypi.org', 'host.docker.internal', 'metadata.google.internal'):
    try:
        socket.getaddrinfo(name, 443)
        found[name] = 'done'
    except OSError as error:
        found[name] = type(error).__name__
found['raw'] = attempt((socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP), lambda one: None)
found['abstract'] = attempt((socket.AF_UNIX,), lambda one: one.connect('\\0dvc-runner-test'))
lines = open('/proc/net/route').read().splitlines()[1:]
print(json.dumps([found, sorted(os.listdir('/sys/class/net')), lines]))
"""


def gateways() -> list[str]:
    """The addresses of this machine, the engine's bridges among them."""
    lines = Path("/proc/net/fib_trie").read_text().splitlines()
    pairs = itertools.pairwise(lines)
    return sorted(
        {before.split("-- ")[1].strip() for before, line in pairs if "host LOCAL" in line and "-- " in before}
    )


@pytest.mark.parametrize("network", [Network.NONE, Network.TRACKING])
def test_nothing_else_is_reached(lab: Way, network: Network) -> None:
    heard: list[bytes] = []
    with (
        web("0.0.0.0") as port,
        web("0.0.0.0") as other,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener,
    ):
        abstract.bind("\0dvc-runner-test")
        abstract.listen()
        listener.bind(("0.0.0.0", other))
        addresses = [*gateways(), "169.254.169.254", "1.1.1.1"]
        assert any(not address.startswith("127.") for address in addresses[:-2])
        places = [(address, number) for address in addresses for number in (other, 53)]
        tracking = reaching(URL=("127.0.0.1", port)) if network is Network.TRACKING else {"network": network}
        lay(lab.root, {"data": {"ca.pem": ""}})
        ran = lab.python(NOTHING_ELSE.replace("PLACES", repr(places)), **tracking)
        listener.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            heard.append(listener.recv(100))
    found, interfaces, routes = ran.said
    assert {name: how for name, how in found.items() if how == "done"} == {}
    assert interfaces == ["lo"]
    assert routes == []
    assert heard == []
    assert json.dumps(found)


@pytest.fixture
def world(containers: Engine) -> Iterator[str]:
    """A container that looks up names, and is what they lead to; gives its address."""
    body = {"Image": containers.base, "Entrypoint": [], "Cmd": ["python3", "-c", WORLD], "User": "0"}
    made = str(containers.api.create_container_from_config(body)["Id"])
    try:
        containers.api.start(made)
        assert until(lambda: containers.api.logs(made).endswith(b"\n")), containers.api.logs(made)
        yield containers.api.logs(made).decode().strip()
    finally:
        containers.api.remove_container(made, force=True)


def test_internet_is_reached_by_name(lab: Way, world: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = docker_bodies.guard

    def asking(*arguments: Any) -> dict[str, Any]:
        body = real(*arguments)
        body["HostConfig"]["Dns"] = [world]
        return body

    # The resolver that the engine's host has, which a test may not change.
    monkeypatch.setattr(docker_bodies, "guard", asking)
    assert lab.python(BY_NAME, network=Network.INTERNET).said == ["world.example", "gaierror"]
