"""What the engine is asked for."""

from pathlib import Path
from typing import Any

import pytest
from tests.support.cases import cases

from dvc_runner.errors import ConfigurationError
from dvc_runner.executors import docker_bodies as bodies
from dvc_runner.model import (
    ALL_GPUS,
    ContainerSpec,
    Environment,
    Limits,
    Network,
    Sandbox,
    Server,
    User,
)


def spec(**changed: Any) -> ContainerSpec:
    scratch = Path("/p/scratch")
    parts = {name: scratch / name for name in ("workspace", "home", "etc", "control", "lineage")}
    found: dict[str, Any] = {
        "stage": "train",
        "argv": ("python", "-m", "train"),
        "wdir": ".",
        "environment": Environment(reference="image", key="key"),
        "sandbox": Sandbox(scratch=scratch, deps=(), **parts),
        "env": (),
        "python_path": (),
        "user": User(uid=1000, gid=1000),
        "network": Network.TRACKING,
        "servers": (),
        "limits": Limits(),
    }
    return ContainerSpec(**{**found, **changed})


def stage_of(**changed: Any) -> dict[str, Any]:
    return bodies.stage(spec(**changed), "guard", str)


def servers(*places: str) -> tuple[Server, ...]:
    found = (place.rsplit(":", 1) for place in places)
    return tuple(Server(host=host, port=int(port)) for host, port in found)


@cases(
    "gpus, requested",
    {
        "none": (0, None),
        "two": (2, [{"Driver": "", "Count": 2, "Capabilities": [["gpu"]]}]),
        "all": (ALL_GPUS, [{"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}]),
    },
)
def test_gpus(gpus: int, requested: object) -> None:
    assert stage_of(limits=Limits(gpus=gpus))["HostConfig"].get("DeviceRequests") == requested


def test_limits() -> None:
    host = stage_of(limits=Limits(cpus=1.5, memory_bytes=2**20, shm_bytes=2**27, pids=7))["HostConfig"]
    names = ("NanoCpus", "Memory", "MemorySwap", "ShmSize", "PidsLimit")
    assert [host[name] for name in names] == [15 * 10**8, 2**20, 2**20, 2**27, 7]


@cases(
    "places, listens, hosts",
    {
        "none": ([], [], None),
        "the host's loopback": (["127.0.0.1:5000"], ["127.0.0.1:5000"], []),
        "another loopback": (["127.0.0.7:5000"], ["127.0.0.7:5000"], []),
        "a name": (["mlflow:5000"], ["127.0.0.1:5000"], ["mlflow:127.0.0.1"]),
        "an address": (["10.0.0.5:5000"], ["127.0.0.1:5000"], []),
        "an address of IPv6": (["fd00::5:5000"], ["127.0.0.1:5000"], []),
        "two names": (
            ["mlflow:5000", "minio:9000"],
            ["127.0.0.1:5000", "127.0.0.1:9000"],
            ["mlflow:127.0.0.1", "minio:127.0.0.1"],
        ),
        "two names at one port": (
            ["a:443", "b:443"],
            ["127.0.0.1:443", "127.0.0.2:443"],
            ["a:127.0.0.1", "b:127.0.0.2"],
        ),
        "a name at two ports": (["a:443", "a:9000"], ["127.0.0.1:443", "127.0.0.1:9000"], ["a:127.0.0.1"]),
        "the loopback and a name at one port": (
            ["a:443", "127.0.0.1:443"],
            ["127.0.0.2:443", "127.0.0.1:443"],
            ["a:127.0.0.2"],
        ),
    },
)
def test_each_server_has_its_stand_in(places: list[str], listens: list[str], hosts: list[str] | None) -> None:
    guard = bodies.guard(spec(servers=servers(*places)), "image", str)
    assert guard["Cmd"][5:] == listens
    found = guard["HostConfig"].get("ExtraHosts")
    assert (sorted(found) if found is not None else None) == (sorted(hosts) if hosts is not None else None)


@cases(
    "place, uri, inside",
    {
        "the host's loopback": ("127.0.0.1:5000", "http://127.0.0.1:5000/x?y", "http://127.0.0.1:5000/x?y"),
        "the host's loopback by TLS": ("127.0.0.1:5000", "https://127.0.0.1:5000", "https://127.0.0.1:5000"),
        "a name": ("mlflow:5000", "https://mlflow:5000/path", "https://mlflow:5000/path"),
        "an address": ("10.0.0.5:5000", "http://10.0.0.5:5000/x", "http://127.0.0.1:5000/x"),
        "an address without a port": ("10.0.0.5:80", "http://10.0.0.5/x", "http://127.0.0.1/x"),
        "another server's": ("10.0.0.5:80", "http://10.0.0.6/x", "http://10.0.0.6/x"),
        "no address": ("10.0.0.5:80", "10.0.0.5", "10.0.0.5"),
    },
)
def test_addresses_in_figures_become_the_loopbacks(place: str, uri: str, inside: str) -> None:
    found = stage_of(servers=servers(place), env=(("MLFLOW_TRACKING_URI", uri),))["Env"]
    assert f"MLFLOW_TRACKING_URI={inside}" in found


def test_a_certificate_for_an_address_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r"MLFLOW_TRACKING_URI is https://10\.0\.0\.5:5000"):
        stage_of(servers=servers("10.0.0.5:5000"), env=(("MLFLOW_TRACKING_URI", "https://10.0.0.5:5000"),))
