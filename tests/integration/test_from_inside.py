"""Host paths as a runner in a container finds them, proved on the engine."""

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from tests.support.cases import cases
from tests.support.engines import Engine

import dvc_runner
from dvc_runner.engine import host_paths
from dvc_runner.engine.images import LABEL

pytestmark = pytest.mark.engine

FIND = """
import sys
from pathlib import Path
from dvc_runner.engine import client, host_paths
from dvc_runner.errors import HostPathError
connection = client.connect('unix:///engine.sock')
try:
    paths = host_paths.find(connection, Path(sys.argv[1]), sys.argv[2])
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

    def find(self, workspace: str, *paths: str, mounts: list[dict[str, Any]], **host: Any) -> list[str]:
        """Say where ``paths`` lie on the host, by a runner whose workspace is ``workspace``."""
        source = Path(dvc_runner.__file__).parent.parent
        packages = Path(docker.__file__).parent.parent
        config = {key: host.pop(key) for key in ("Hostname",) if key in host}
        body = {
            "Image": self._engine.base,
            "Cmd": ["python3", "-c", FIND, workspace, self._engine.base, *paths],
            "Env": ["PYTHONPATH=/source:/packages", "PYTHONDONTWRITEBYTECODE=1", "PYTHONWARNINGS=ignore"],
            "HostConfig": {
                "Mounts": [
                    bind(Path(self._engine.address.removeprefix("unix://")), "/engine.sock"),
                    bind(source, "/source"),
                    bind(packages, "/packages"),
                    *mounts,
                ],
                **host,
            },
            **config,
        }
        api = self._engine.api
        made = api.create_container_from_config(body)["Id"]
        try:
            api.start(made)
            api.wait(made)
            return [str(line) for line in api.logs(made).decode().splitlines()]
        finally:
            api.remove_container(made, force=True)


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


@cases(
    "host",
    {
        "as it comes": [{}],
        "with another hostname": [{"Hostname": "another"}],
        "in the host's network": [{"NetworkMode": "host"}],
        "without a network": [{"NetworkMode": "none"}],
        "among the host's processes": [{"PidMode": "host"}],
        "with an init": [{"Init": True}],
    },
)
def test_found_in_a_container(inside: Inside, workspace: Path, host: dict[str, Any]) -> None:
    found = inside.find("/workspace", "/workspace", "/workspace/a b", mounts=[bind(workspace, "/workspace")], **host)
    assert found == [str(workspace), f"{workspace}/a b"]


def test_the_deepest_mount_wins(inside: Inside, workspace: Path, tmp_path: Path) -> None:
    other = tmp_path / "other disk"
    other.mkdir()
    mounts = [bind(workspace, "/work space"), bind(other, "/work space/data")]
    found = inside.find("/work space", "/work space/x", "/work space/data/x", "/work space/database", mounts=mounts)
    assert found == [f"{workspace}/x", f"{other}/x", f"{workspace}/database"]


def test_a_workspace_in_the_container_alone_is_an_error_with_the_way_out(inside: Inside, workspace: Path) -> None:
    del workspace
    error, remedy = inside.find("/tmp", "/tmp/x", mounts=[])[:2]
    assert error.startswith("error: ")
    assert "/tmp" in error
    assert "--mount type=bind" in remedy
    assert "/tmp" in remedy


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
    paths = host_paths.find(containers.api, workspace, containers.base)
    assert paths.translate(workspace / "x") == str(workspace / "x")
    assert list((workspace / ".dvc/tmp").iterdir()) == []
    assert containers.api.containers(all=True, filters={"label": f"{LABEL}=proof"}) == []
