"""The look for what tests leave behind sees each kind of it."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from tests.support.cases import cases
from tests.support.engines import Engine
from tests.support.people import SOMEBODY
from tests.support.remains import Remains
from tests.support.started import started
from tests.support.ways import Way

from dvc_runner.workspace.places import ASIDE, SCRATCH

Leave: TypeAlias = Callable[[Path, Path], contextlib.AbstractContextManager[str]]


@contextlib.contextmanager
def of_the_environment(base: Path, _: Path) -> Iterator[str]:
    with started(["sleep", "60"], Path("/"), {**os.environ, "SEEN": f"{base}/x"}) as process:
        yield f"process {process.pid}"


@contextlib.contextmanager
def of_a_container(_: Path, folder: Path) -> Iterator[str]:
    """What a container's process is to its host: mounts of its own, and nothing else of ours."""
    inside = f"mount --bind {folder} /mnt && echo mounted && exec sleep 60"
    with started(["unshare", "--mount", "sh", "-c", inside], Path("/"), {"PATH": os.environ["PATH"]}) as process:
        assert process.stdout
        assert process.stdout.readline() == "mounted\n"
        yield f"process {process.pid}"


@contextlib.contextmanager
def a_folder(place: Path) -> Iterator[str]:
    place.mkdir(parents=True)
    try:
        yield f"scratch {place}"
    finally:
        place.rmdir()


@contextlib.contextmanager
def of_root(_: Path, folder: Path) -> Iterator[str]:
    place = folder / "somebody's" / "deep"
    place.mkdir(parents=True)
    for path in (place.parent, place):
        os.chown(path, SOMEBODY, SOMEBODY)
    (place / "left").touch()
    try:
        yield f"file of root's {place / 'left'}"
    finally:
        (place / "left").unlink()


@cases(
    "leave",
    {
        "a process": [of_the_environment],
        "a scratch folder": [lambda _, folder: a_folder(folder / "deep/mine" / SCRATCH / "one-x")],
        "former outs": [lambda _, folder: a_folder(folder / "mine" / ASIDE / "aside-x")],
        "a scratch folder in a project of several tests": [
            lambda base, _: a_folder(base / "processes0/a projéct: lab" / SCRATCH / "one-x")
        ],
    },
)
def test_what_is_left_is_seen(
    processes: Way, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, leave: Leave
) -> None:
    assert processes.root.parent.name == "processes0"
    is_seen(leave, tmp_path_factory.getbasetemp(), tmp_path)


@pytest.mark.root
@cases("leave", {"a process of a container": [of_a_container], "a file of root's": [of_root]})
def test_what_root_leaves_is_seen(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, leave: Leave) -> None:
    is_seen(leave, tmp_path_factory.getbasetemp(), tmp_path)


def is_seen(leave: Leave, base: Path, folder: Path) -> None:
    remains = Remains(base, folder, [])
    with leave(base, folder) as expected:
        found = remains.found()
        assert [words[: len(expected)] for words in found] == [expected]
    assert remains.found() == []


@pytest.mark.engine
def test_what_is_left_on_an_engine_is_seen(
    containers: Engine, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    remains = Remains(tmp_path_factory.getbasetemp(), tmp_path, [containers])
    mount = {"Type": "bind", "Source": str(tmp_path), "Target": "/x", "ReadOnly": True}
    bodies = ({"Labels": dict([containers.label.split("=")])}, {"HostConfig": {"Mounts": [mount]}})
    made = [
        containers.api.create_container_from_config({"Image": containers.base, "Cmd": ["true"], **body})["Id"]
        for body in bodies
    ]
    network = containers.api.create_network("dvc-runner-test-left", internal=True)["Id"]
    try:
        found = remains.found()
    finally:
        for one in made:
            containers.api.remove_container(one)
        containers.api.remove_network(network)
    assert [words.split()[:2] for words in found] == [
        *sorted(["container", one[:12]] for one in made),
        ["network", "dvc-runner-test-left"],
    ]
    assert remains.found() == []
