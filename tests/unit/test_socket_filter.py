"""The socket filter's reading: what passes unchanged in meaning, and what does not pass."""

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.cases import cases

from dvc_runner.engine import images
from dvc_runner.executors import docker_bodies
from dvc_runner.model import Bind, ContainerSpec, Environment, Limits, Network, Sandbox, Server, User
from dvc_runner.socket_filter import asks, policy, shapes, table
from dvc_runner.socket_filter.asks import Ask
from dvc_runner.socket_filter.mounts import look
from dvc_runner.socket_filter.policy import Policy
from dvc_runner.socket_filter.refused import RefusedError
from dvc_runner.socket_filter.routes import Route
from dvc_runner.socket_filter.strict_json import parse, serialise
from dvc_runner.workspace import sandbox
from dvc_runner.workspace.places import SCRATCH

# On a slow machine an example may take its time.
A_FEW = settings(deadline=None, max_examples=60)
USER = "1000:1000"


def test_the_walls_words_are_the_runners() -> None:
    assert (policy.LABEL, policy.STAGE) == (images.LABEL, images.OURS)
    assert f"{docker_bodies.GUARD_UID}:{docker_bodies.GUARD_UID}" == policy.GUARD_USER
    assert sandbox.NOBODY == policy.NOBODY
    assert SCRATCH.as_posix() == policy.SCRATCH


# JSON.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_characters="\0", codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_characters="\0", codec="utf-8")), inner, max_size=4)
    ),
)


@A_FEW
@given(JSON, st.booleans())
def test_json_keeps_its_meaning(value: Any, ascii_only: bool) -> None:  # noqa: FBT001
    written = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert parse(written) == value
    assert json.loads(serialise(parse(written))) == value


@A_FEW
@given(st.text(st.characters(exclude_characters="\0", codec="utf-8")), JSON, JSON)
def test_a_key_that_stands_twice_is_refused_however_it_is_written(key: str, one: Any, two: Any) -> None:
    escaped = "".join(f"\\u{ord(sign):04x}" if ord(sign) < 0x10000 else sign for sign in key)
    text = f'[{{{json.dumps(key)}: {json.dumps(one)}, "{escaped}": {json.dumps(two)}}}]'
    with pytest.raises(RefusedError, match="stands twice"):
        parse(text.encode())


@cases(
    "text",
    {
        "a fraction": [b"[1.5]"],
        "a power": [b"[1e3]"],
        "not a number": [b"[NaN]"],
        "without end": [b"[-Infinity]"],
        "half a character": [b'["\\ud800"]'],
        "half a character as a key": [b'{"\\udc00": 1}'],
        "NUL": [b'["\\u0000"]'],
        "NUL as a key": [b'{"\\u0000": 1}'],
        "a mark before it": [b"\xef\xbb\xbf[]"],
        "no UTF-8": [b'["\xff"]'],
        "an overlong form": [b'["\xc0\xaf"]'],
        "two values": [b"[][]"],
        "nothing": [b""],
        "a comment": [b"[] // []"],
        "too deep": [b"[" * 200_000],
        "a number too long": [b"9" * 10_000],
    },
)
def test_what_can_be_read_in_two_ways_is_refused(text: bytes) -> None:
    with pytest.raises(RefusedError):
        parse(text)


# The containers that pass.

TEXT = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=20)
PATHS = TEXT.map(lambda text: f"/{text}")
ID = "a" * 64
MOUNTS = st.fixed_dictionaries(
    {
        "Type": st.just("bind"),
        "Source": PATHS,
        "Target": PATHS,
        "ReadOnly": st.booleans(),
        "BindOptions": st.just({"NonRecursive": True}),
    }
)
LOCKED_DOWN = {
    "AutoRemove": st.just(True),
    "CapDrop": st.just(["ALL"]),
    "SecurityOpt": st.just(["no-new-privileges"]),
    "ReadonlyRootfs": st.just(True),
    "LogConfig": st.just({"Type": "none"}),
}
EITHER = {
    "Image": st.sampled_from(["dvc-runner/one:0a", f"sha256:{ID}", f"127.0.0.1:5000/a/b:c@sha256:{ID}"]),
    "Entrypoint": st.just([]),
    "AttachStdout": st.just(True),
    "AttachStderr": st.just(True),
}
STAGES = st.fixed_dictionaries(
    {
        **EITHER,
        "Cmd": st.lists(TEXT, max_size=3),
        "User": st.just(USER),
        "Env": st.lists(TEXT.map(lambda text: f"A={text}"), max_size=3),
        "WorkingDir": PATHS.map(lambda path: f"/workspace{path}") | st.just("/workspace"),
        "Labels": st.fixed_dictionaries({images.LABEL: st.just("run"), f"{images.LABEL}.stage": TEXT}),
        "HostConfig": st.fixed_dictionaries(
            {
                **LOCKED_DOWN,
                "NetworkMode": st.just(f"container:{ID}"),
                "PidMode": st.just(f"container:{ID}"),
                "Mounts": st.lists(MOUNTS, max_size=3),
                "Tmpfs": st.just({"/tmp": "rw,exec,nosuid,nodev,mode=1777"}),
                "PidsLimit": st.integers(1, 10_000),
                "ShmSize": st.integers(0, 2**40),
            },
            optional={
                "NanoCpus": st.integers(0, 2**40),
                "Memory": st.integers(0, 2**40),
                "MemorySwap": st.integers(0, 2**40),
            },
        ),
    }
)
GUARDS = st.fixed_dictionaries(
    {
        **EITHER,
        "Cmd": st.lists(TEXT, min_size=5, max_size=7),
        "User": st.just(policy.GUARD_USER),
        "OpenStdin": st.just(True),
        "StdinOnce": st.just(True),
        "AttachStdin": st.just(True),
        "StopSignal": st.just("SIGKILL"),
        "Labels": st.fixed_dictionaries({images.LABEL: st.just("run"), f"{images.LABEL}.guard-of": TEXT}),
        "HostConfig": st.fixed_dictionaries(
            {
                **LOCKED_DOWN,
                "NetworkMode": st.sampled_from(["none", "bridge"]),
                "Mounts": MOUNTS.map(lambda found: [{**found, "Target": docker_bodies.CONTROL, "ReadOnly": True}]),
            },
            optional={
                "ExtraHosts": st.just(["mlflow.example.org:127.0.0.1"]),
                "Sysctls": st.just({"net.ipv4.ip_unprivileged_port_start": "0"}),
            },
        ),
    }
)
BODIES = STAGES | GUARDS


def check(body: Any, *, gpus: bool = False) -> None:
    shapes.of(body, USER, gpus=gpus)("the body", body)


@A_FEW
@given(BODIES)
def test_a_body_of_the_runners_form_passes_unchanged(body: dict[str, Any]) -> None:
    found = parse(json.dumps(body).encode())
    check(found)
    assert json.loads(serialise(found)) == body


def objects(value: Any) -> list[dict[str, Any]]:
    """Give every object in a value whose keys are the engine's."""
    if isinstance(value, list):
        return [found for item in value for found in objects(item)]
    if not isinstance(value, dict):
        return []
    return [value, *(found for item in value.values() for found in objects(item))]


@A_FEW
@given(BODIES, st.data())
def test_any_key_more_is_refused(body: dict[str, Any], data: st.DataObject) -> None:
    body = copy.deepcopy(body)
    place = data.draw(st.sampled_from(objects(body)))
    known = st.sampled_from([key.swapcase() for key in place] or ["x"])
    place[data.draw(TEXT.filter(lambda key: key not in place) | known)] = data.draw(JSON)
    with pytest.raises(RefusedError):
        check(parse(json.dumps(body).encode()))


@A_FEW
@given(BODIES, st.data())
def test_any_setting_with_another_value_is_refused(body: dict[str, Any], data: st.DataObject) -> None:
    fixed = ["AutoRemove", "CapDrop", "SecurityOpt", "ReadonlyRootfs", "LogConfig", "NetworkMode"]
    key = data.draw(st.sampled_from(fixed))
    body = {**body, "HostConfig": dict(body["HostConfig"])}
    body["HostConfig"][key] = data.draw(JSON.filter(lambda value: value is not True))
    with pytest.raises(RefusedError, match=key):
        check(parse(json.dumps(body).encode()))


def spec(**changed: Any) -> ContainerSpec:
    """A stage with all that a stage can ask for."""
    scratch = Path("/p/scratch")
    parts = {name: scratch / name for name in ("workspace", "home", "etc", "control", "lineage")}
    found: dict[str, Any] = {
        "stage": "one",
        "argv": ("true",),
        "wdir": "sub",
        "environment": Environment(reference="image", key="key"),
        "sandbox": Sandbox(scratch=scratch, deps=(Bind(source=Path("/p/a"), target="a"),), **parts),
        "env": (("A", "b"),),
        "python_path": (),
        "user": User(uid=1000, gid=1000),
        "network": Network.TRACKING,
        "servers": (Server(host="mlflow", port=5000),),
        "limits": Limits(cpus=2, memory_bytes=2**30, gpus=1),
    }
    return ContainerSpec(**{**found, **changed})


def made(body: dict[str, Any]) -> dict[str, Any]:
    """What the engine is asked for in the end."""
    return {**body, "Labels": {images.LABEL: "run", **body["Labels"]}}


def test_the_runners_own_bodies_pass_and_use_every_setting() -> None:
    whole = spec()
    stage = made(docker_bodies.stage(whole, ID, str))
    guards = [
        made(docker_bodies.guard(one, "image", str)) for one in (whole, spec(network=Network.INTERNET, servers=()))
    ]
    for body in (stage, *guards):
        check(body, gpus=True)
    assert set(stage) == {*shapes.STAGE, "User", "HostConfig"}
    assert set(stage["HostConfig"]) == {*shapes.STAGE_HOST, *shapes.STAGE_HOST_OPTIONAL, "DeviceRequests"}
    assert set(guards[0]["HostConfig"]) == {*shapes.GUARD_HOST, *shapes.GUARD_HOST_OPTIONAL}
    assert {body["HostConfig"]["NetworkMode"] for body in guards} == {"none", "bridge"}
    with pytest.raises(RefusedError, match="DeviceRequests"):
        check(stage)


# Requests.


@cases(
    "target, written",
    {
        "plain": ["/_ping", "/_ping"],
        "a version": ["/v1.41/version", "/v1.41/version"],
        "an image": ["/images/a/b:c@sha256:" + ID + "/json", "/images/a/b:c@sha256:" + ID + "/json"],
        "an image, escaped": ["/images/a/b%3Ac%40sha256:" + ID + "/json", "/images/a/b:c@sha256:" + ID + "/json"],
        "a query": ["/containers/json?all=1&limit=-1", "/containers/json?all=1&limit=-1"],
        "a query without need": ["/_ping?", "/_ping"],
        "a query in other words": [f"/containers/{ID}/kill?signal=SIG%54ERM", f"/containers/{ID}/kill?signal=SIGTERM"],
    },
)
def test_a_target_is_written_anew(target: str, written: str) -> None:
    _, ask = table.find(asks.read("POST" if "kill" in target else "GET", target))
    assert ask.target == written


@A_FEW
@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=40))
def test_any_other_target_is_refused_or_means_one_thing(text: str) -> None:
    try:
        ask = asks.read("GET", f"/{text}")
    except RefusedError:
        return
    assert not {"", ".", ".."} & set(ask.path.split("/")[1:])
    again = asks.read("GET", ask.target)
    assert (again.version, again.path, again.query) == (ask.version, ask.path, ask.query)


@cases("route", {f"{route.method} {route.path}": [route] for route in table.TABLE})
def test_every_line_of_the_table_can_be_reached(route: Route) -> None:
    path = route.path.format(container=ID, image="dvc-runner/one:0")
    ask = Ask(method=route.method, version="", path=path, query={})
    if route.needs:
        with pytest.raises(RefusedError, match="is missing"):
            table.find(ask)
    else:
        assert table.find(ask)[0] is route


# Mounts.


@pytest.fixture
def ground(tmp_path: Path) -> Policy:
    """A workspace beside a foreign folder."""
    root = tmp_path / "ws"
    (root / policy.SCRATCH / "one").mkdir(parents=True)
    (root / "data").mkdir()
    (root / "data" / "a").touch()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "cache").mkdir()
    (root / "out").symlink_to(tmp_path / "foreign")
    (root / "within").symlink_to("data")
    os.mkfifo(root / "fifo")
    return Policy(
        workspace=root,
        also_readable=(tmp_path / "cache",),
        images=frozenset(),
        user=USER,
        runner=None,
        gpus=False,
    )


@cases(
    "path, read_only, passes",
    {
        "a dep": ["ws/data", True, True],
        "a file": ["ws/data/a", True, True],
        "the workspace": ["ws", True, True],
        "a scratch folder": [f"ws/{policy.SCRATCH}/one", False, True],
        "a shared cache": ["cache", True, True],
        "a shared cache, writable": ["cache", False, False],
        "a dep, writable": ["ws/data", False, False],
        "all scratch folders, writable": [f"ws/{policy.SCRATCH}", False, False],
        "a foreign folder": ["foreign", True, False],
        "a link out": ["ws/out", True, False],
        "a link inside": ["ws/within/a", True, False],
        "a FIFO": ["ws/fifo", True, False],
        "nothing": ["ws/none", True, False],
        "what lies behind a file": ["ws/data/a/b", True, False],
        "dots": ["ws/data/../../foreign", True, False],
        "one dot": ["ws/./data", True, False],
        "a slash at the end": ["ws/data/", True, False],
    },
)
def test_sources(ground: Policy, path: str, read_only: bool, passes: bool) -> None:  # noqa: FBT001
    source = f"{ground.workspace.parent}/{path}"
    if passes:
        found = look(ground, source, read_only=read_only)
        assert found.inode == Path(source).stat().st_ino
    else:
        with pytest.raises(RefusedError):
            look(ground, source, read_only=read_only)


def test_looking_leaves_no_file_open(ground: Policy) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for name in ("data/a", "out/x", "none", "fifo"):
        for _ in range(3):
            try:
                look(ground, str(ground.workspace / name), read_only=True)
            except RefusedError:
                continue
    assert len(list(Path("/proc/self/fd").iterdir())) == before
