"""Host paths as a runner in a container finds them, proved on the engine."""

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from tests.support.cases import cases
from tests.support.engines import Engine

import dvc_runner
from dvc_runner.engine import host_paths
from dvc_runner.errors import HostPathError

pytestmark = pytest.mark.engine

FIND = """
import os, sys
from pathlib import Path
from dvc_runner.engine import client, host_paths
from dvc_runner.errors import HostPathError
for link, target in [pair.split('->') for pair in os.environ['LINKS'].split()]:
    os.symlink(target, link)
connection = client.connect('unix:///engine.sock')
try:
    paths = host_paths.find(connection, Path(sys.argv[1]), sys.argv[2], os.environ.get('TOLD'))
    for path in sys.argv[3:]:
        print(paths.translate(Path(path)))
except HostPathError as error:
    print(f'error: {error}')
    print(f'remedy: {error.remedy}')
"""


class Inside:
    """Runs the search in a container."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find(
        self,
        workspace: str,
        *paths: str,
        mounts: list[dict[str, Any]],
        links: str = "",
        told: str | None = None,
        **host: Any,
    ) -> list[str]:
        """Say where ``paths`` lie on the host, by a runner whose workspace is ``workspace``.

        ``links`` are made in the container first, as ``LINK->TARGET LINK->TARGET``.
        """
        config = {key: host.pop(key) for key in ("Hostname",) if key in host}
        env = ["PYTHONPATH=/source:/packages", "PYTHONDONTWRITEBYTECODE=1", "PYTHONWARNINGS=ignore", f"LINKS={links}"]
        body = {
            "Image": self._engine.base,
            "Cmd": ["python3", "-c", FIND, workspace, self._engine.base, *paths],
            "Env": [*env, *([f"TOLD={told}"] if told else [])],
            "HostConfig": {
                "Mounts": [
                    bind(Path(self._engine.address.removeprefix("unix://")), "/engine.sock"),
                    bind(Path(dvc_runner.__file__).parent.parent, "/source"),
                    bind(Path(docker.__file__).parent.parent, "/packages"),
                    *mounts,
                ],
                **host,
            },
            **config,
        }
        api = self._engine.api
        with container(self._engine, body) as made:
            api.wait(made)
            return [str(line) for line in api.logs(made).decode().splitlines()]


@contextlib.contextmanager
def container(engine: Engine, body: dict[str, Any]) -> Iterator[str]:
    """A started container; gives its id."""
    made = str(engine.api.create_container_from_config(body)["Id"])
    try:
        engine.api.start(made)
        yield made
    finally:
        engine.api.remove_container(made, force=True)


def bind(source: Path, target: str) -> dict[str, Any]:
    return {"Type": "bind", "Source": str(source), "Target": target}


@pytest.fixture
def inside(containers: Engine) -> Inside:
    if not containers.address.startswith("unix://"):
        pytest.skip("the engine has no socket on this machine to mount")
    return Inside(containers)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "my projéct, here"
    (folder / "data" / "raw").mkdir(parents=True)
    return folder


@pytest.fixture(autouse=True)
def no_proof_left(containers: Engine, workspace: Path) -> Iterator[None]:
    """Neither the file that is the proof stays, nor the container that is asked for it."""
    yield
    assert list(workspace.rglob("host-path-*")) == []
    assert containers.ours() == []


@cases(
    "host",
    {
        "as it comes": [{}],
        "with another hostname": [{"Hostname": "another"}],
        "in the host's network": [{"NetworkMode": "host"}],
        "without a network": [{"NetworkMode": "none"}],
        "among the host's processes": [{"PidMode": "host"}],
        "with cgroups of its own": [{"CgroupnsMode": "private"}],
        "with the host's cgroups": [{"CgroupnsMode": "host"}],
        "with an init": [{"Init": True}],
    },
)
def test_found_in_a_container(inside: Inside, workspace: Path, host: dict[str, Any]) -> None:
    found = inside.find("/workspace", "/workspace", "/workspace/a b", mounts=[bind(workspace, "/workspace")], **host)
    assert found == [str(workspace), f"{workspace}/a b"]


@cases(
    "same_place",
    {"that mounts nothing": [None], "that mounts something else there": ["/workspace"]},
)
def test_in_the_network_of_another_container(
    inside: Inside, containers: Engine, workspace: Path, tmp_path: Path, same_place: str | None
) -> None:
    mounts = [bind(tmp_path, same_place)] if same_place else []
    body = {"Image": containers.base, "Cmd": ["sleep", "600"], "HostConfig": {"Init": True, "Mounts": mounts}}
    with container(containers, body) as other:
        mine = [bind(workspace, "/workspace")]
        found = inside.find("/workspace", "/workspace/x", mounts=mine, NetworkMode=f"container:{other}")
    assert found == [f"{workspace}/x"]


# Mounts by their target, links, a path; and where it lies, below the workspace where that is absolute.
@cases(
    "case, expected",
    {
        "the deepest mount wins": (({"/workspace/data": "disk"}, "", "/workspace/data/x"), "disk/x"),
        "the deepest of three": (
            ({"/workspace/data": "disk", "/workspace/data/raw": "raw"}, "", "/workspace/data/raw/x"),
            "raw/x",
        ),
        "a name that begins like a mount's": (({"/workspace/data": "disk"}, "", "/workspace/database"), "/database"),
        "spaces and accents": (({"/workspace/dàta ü": "disk"}, "", "/workspace/dàta ü/x y"), "disk/x y"),
        "a link to a mount": (
            ({"/elsewhere": "disk"}, "/workspace/link->/elsewhere", "/workspace/link/x"),
            "disk/x",
        ),
        "a mount below a link": (({"/var/run/disk": "disk"}, "", "/run/disk/x"), "disk/x"),
        "a mount below a link, by the link": (({"/var/run/disk": "disk"}, "", "/var/run/disk/x"), "disk/x"),
        "a link within the workspace": (({}, "/workspace/link->raw", "/workspace/link/x"), "/raw/x"),
    },
)
def test_nested_mounts_and_links(
    inside: Inside, workspace: Path, tmp_path: Path, case: tuple[dict[str, str], str, str], expected: str
) -> None:
    places, links, path = case
    mounts = [bind(workspace, "/workspace")]
    for target, name in places.items():
        (tmp_path / name).mkdir(parents=True)
        mounts.append(bind(tmp_path / name, target))
    found = inside.find("/workspace", path, mounts=mounts, links=links)
    assert found == [f"{workspace}{expected}" if expected.startswith("/") else f"{tmp_path}/{expected}"]


@cases(
    "target, links, path",
    {
        "below a link": ("/var/run/project", "", "/run/project"),
        "by a link": ("/workspace", "/project->/workspace", "/project"),
        "by a link to a link": ("/workspace", "/a->/workspace /project->/a", "/project"),
        "with spaces and accents": ("/work späce", "", "/work späce"),
    },
)
def test_the_workspace_is_reached(inside: Inside, workspace: Path, target: str, links: str, path: str) -> None:
    found = inside.find(path, f"{path}/x", mounts=[bind(workspace, target)], links=links)
    assert found == [f"{workspace}/x"]


@cases(
    "path, host, said",
    {
        "in the container alone": ("/project", {}, "only inside this container"),
        "in memory": ("/project", {"Tmpfs": {"/project": ""}}, "a tmpfs at /project"),
        "below what is in memory": ("/memory/project", {"Tmpfs": {"/memory": ""}}, "a tmpfs at /memory"),
    },
)
def test_what_the_host_does_not_have_is_an_error_with_the_way_out(
    inside: Inside, path: str, host: dict[str, Any], said: str
) -> None:
    error, remedy = inside.find(path, f"{path}/x", mounts=[], **host)
    assert error == f"error: {path} is {said}" if "only" in said else said in error
    assert f"docker run --mount type=bind,source=HOST_DIR,target={path} " in remedy
    assert "DVC_RUNNER_HOST_ROOT" in remedy


def test_a_part_of_the_workspace_in_memory_is_an_error_too(inside: Inside, workspace: Path) -> None:
    mounts = [bind(workspace, "/workspace")]
    found = inside.find("/workspace", "/workspace/x", "/workspace/data/x", mounts=mounts, Tmpfs={"/workspace/data": ""})
    assert found[0] == f"{workspace}/x"
    assert "a tmpfs at /workspace/data" in found[1]
    assert "docker run --mount type=bind,source=HOST_DIR,target=/workspace/data " in found[2]


def test_where_the_workspace_lies_can_be_told(inside: Inside, workspace: Path) -> None:
    mounts = [bind(workspace, "/workspace")]
    assert inside.find("/workspace", "/workspace/x", mounts=mounts, told=str(workspace)) == [f"{workspace}/x"]


@cases(
    "told",
    {
        "a folder without the project": ["{}"],
        "one that does not exist": ["{}/nowhere"],
        "a relative one": ["work"],
    },
)
def test_what_is_told_is_proved(inside: Inside, workspace: Path, tmp_path: Path, told: str) -> None:
    place = told.format(tmp_path)
    mounts = [bind(workspace, "/workspace")]
    error, remedy = inside.find("/workspace", "/workspace/x", mounts=mounts, told=place)
    assert error.startswith(f"error: DVC_RUNNER_HOST_ROOT is {place}, and there the engine does not see")
    assert "leave the variable unset" in remedy


@contextlib.contextmanager
def volume(engine: Engine) -> Iterator[tuple[str, str]]:
    """A named volume: its name, and where it lies."""
    name = f"dvc-runner-test-{secrets.token_hex(4)}"
    made = engine.api.create_volume(name)
    try:
        yield name, made["Mountpoint"]
    finally:
        engine.api.remove_volume(name, force=True)


def test_a_named_volume(inside: Inside, containers: Engine) -> None:
    with volume(containers) as (name, place):
        mounts = [{"Type": "volume", "Source": name, "Target": "/workspace"}]
        assert inside.find("/workspace", "/workspace/x", mounts=mounts) == [f"{place}/x"]


def test_found_on_the_host_itself(containers: Engine, workspace: Path) -> None:
    folder = workspace / ".dvc" / "tmp"
    for name, age_s in (("killed", 3600), ("proving", 0)):
        left = folder / f"host-path-{name}"
        left.mkdir(parents=True)
        (left / name).touch()
        os.utime(left, (time.time() - age_s,) * 2)
    paths = host_paths.find(containers.api, workspace, containers.base)
    assert [left.name for left in folder.iterdir()] == ["host-path-proving"]
    shutil.rmtree(folder)
    assert paths.translate(workspace / "x") == str(workspace / "x")
    with pytest.raises(HostPathError, match="DVC_RUNNER_HOST_ROOT is /elsewhere"):
        host_paths.find(containers.api, workspace, containers.base, "/elsewhere")
