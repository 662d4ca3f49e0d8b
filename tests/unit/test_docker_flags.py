"""A container's settings as flags of docker run: every one, or an error."""

from pathlib import Path
from typing import Any

import pytest
from tests.support.cases import cases

from dvc_runner.errors import EngineError
from dvc_runner.executors import docker_bodies, docker_flags
from dvc_runner.model import (
    ALL_GPUS,
    Bind,
    ContainerSpec,
    Environment,
    Limits,
    Network,
    Sandbox,
    User,
)

ROOT = Path("/a project")
OLD, NEW = "1.43", "1.44"


def a_spec(**changed: Any) -> ContainerSpec:
    sandbox = Sandbox(
        scratch=ROOT / "s",
        workspace=ROOT / "s/workspace",
        home=ROOT / "s/home",
        etc=ROOT / "s/etc",
        control=ROOT / "s/control",
        lineage=ROOT / "s/lineage.json",
        deps=(Bind(source=ROOT / 'a, "b".csv', target='a, "b".csv'),),
    )
    found: dict[str, Any] = {
        "stage": "one",
        "argv": ("true",),
        "wdir": ".",
        "environment": Environment(reference="image", key="key"),
        "sandbox": sandbox,
        "env": (("DVC_STAGE", "one"),),
        "python_path": (),
        "user": User(uid=7, gid=8),
        "network": Network.NONE,
        "servers": (),
        "limits": Limits(),
    }
    return ContainerSpec(**{**found, **changed})


def body(**changed: Any) -> dict[str, Any]:
    return docker_bodies.stage(a_spec(**changed), "guard", str)


def told(
    found: dict[str, Any], network: Network = Network.NONE, api_version: str = NEW
) -> list[tuple[str, str | None]]:
    return [(flag.flag, flag.value) for flag in docker_flags.flags(found, network=network, api_version=api_version)]


@cases(
    "changed, flag, value",
    {
        "always": ({}, "--read-only", None),
        "its user": ({}, "--user", "7:8"),
        "its working folder": ({"wdir": "sub"}, "--workdir", "/workspace/sub"),
        "no limits": ({}, "--cpus", ...),
        "cpus": ({"limits": Limits(cpus=1.5)}, "--cpus", "1.5"),
        "memory": ({"limits": Limits(memory_bytes=2**30)}, "--memory", str(2**30)),
        "no swap": ({"limits": Limits(memory_bytes=2**30)}, "--memory-swap", str(2**30)),
        "shared memory": ({"limits": Limits(shm_bytes=5)}, "--shm-size", "5"),
        "gpus": ({"limits": Limits(gpus=2)}, "--gpus", "2"),
        "all gpus": ({"limits": Limits(gpus=ALL_GPUS)}, "--gpus", "all"),
        "its variables": ({"env": (("A", "b=c"),)}, "--env", "A=b=c"),
    },
)
def test_what_a_stage_asks_for(changed: dict[str, Any], flag: str, value: object) -> None:
    found = told(body(**changed))
    if value is ...:
        assert flag not in dict(found)
    else:
        assert (flag, value) in found


@cases("network, value", {"none": (Network.NONE, "none"), "internet": (Network.INTERNET, "bridge")})
def test_networks(network: Network, value: str) -> None:
    assert ("--network", value) in told(body(network=network), network)


def test_tracking_is_said_to_be_more_open_than_a_run() -> None:
    found = docker_flags.flags(body(), network=Network.TRACKING, api_version=NEW)
    (flag,) = [flag for flag in found if flag.flag == "--network"]
    assert flag.value == "host"
    assert "MORE OPEN" in flag.reason


@cases("api_version, option", {"old clients": (OLD, "bind-nonrecursive"), "new": (NEW, "bind-recursive=disabled")})
def test_mounts(api_version: str, option: str) -> None:
    mounts = [value for flag, value in told(body(), api_version=api_version) if flag == "--mount"]
    assert f"type=bind,source=/a project/s/workspace,target=/workspace,{option}" in mounts
    dep = f'type=bind,"source=/a project/a, ""b"".csv","target=/workspace/a, ""b"".csv",readonly,{option}'
    assert dep in mounts


def unknown(place: str) -> dict[str, Any]:
    found = body()
    host = found["HostConfig"]
    target = {"container": found, "host": host, "mount": host["Mounts"][0], "bind": host["Mounts"][0]["BindOptions"]}
    target[place]["Unheard"] = True
    return found


@cases(
    "place", {"of the container": ["container"], "of the host": ["host"], "of a mount": ["mount"], "below": ["bind"]}
)
def test_a_setting_without_a_flag_is_an_error(place: str) -> None:
    with pytest.raises(EngineError, match="Unheard"):
        told(unknown(place))


def test_an_entry_point_is_an_error() -> None:
    with pytest.raises(EngineError, match="entry point"):
        told({**body(), "Entrypoint": ["sh"]})
