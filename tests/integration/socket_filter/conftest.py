"""A workspace, a filter for it, containers of the runner's and of others."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import people
from tests.support.engines import Engine
from tests.support.filters import Filter, filtering
from tests.support.hostile import PROOF, WORDS, good, good_guard
from tests.support.trees import lay

from dvc_runner.engine.containers import remove
from dvc_runner.engine.images import LABEL
from dvc_runner.socket_filter.policy import FILTERED_LABEL, SCRATCH


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a scratch folder in it, and a folder of somebody else's beside it."""
    root = tmp_path_factory.mktemp("hostile") / "a projéct: mine"
    lay(root, {"data": {"raw.csv": "x"}, SCRATCH: {"one": {"workspace": {}, "out": {}, "control": {}}}})
    lay(root.parent / "foreign", {"secret.txt": "secret"})
    lay(
        root,
        {
            "out": root.parent / "foreign",
            "around": Path("data"),
            "etc": Path("/etc"),
            "self": Path("/proc/self/root"),
        },
    )
    (root / PROOF).mkdir()
    (root / PROOF / WORDS).write_text(WORDS)
    os.mkfifo(root / "fifo")
    people.give(root)
    return root


@pytest.fixture(scope="session")
def wall(containers: Engine, ground: Path) -> Iterator[Filter]:
    """A filter for that workspace."""
    with filtering(containers.address, ground, images=[containers.base]) as found:
        yield found


@pytest.fixture(scope="module")
def foreign(containers: Engine) -> Iterator[str]:
    """A running container that is none of the runner's; it has to survive."""
    host = {"NetworkMode": "none"}
    command = ["python3", "-c", "import time; time.sleep(3600)"]
    # Another project's runner made it, for all that its labels say.
    labels = {LABEL: "run", f"{LABEL}.guard-of": "train", FILTERED_LABEL: "/another/workspace"}
    body = {"Image": containers.base, "Cmd": command, "Env": ["TOKEN=secret"], "Labels": labels, "HostConfig": host}
    found = str(containers.api.create_container_from_config(body)["Id"])
    try:
        containers.api.start(found)
        yield found
        assert containers.api.inspect_container(found)["State"]["Running"]
    finally:
        containers.api.remove_container(found, force=True)


@pytest.fixture(scope="module")
def guard(wall: Filter, containers: Engine, ground: Path) -> Iterator[str]:
    """A guard that runs, made through that filter."""
    found = wall.create(good_guard(containers, ground))
    containers.lasting.add(found)
    try:
        assert wall.post(f"/containers/{found}/start")[0] == 204
        yield found
    finally:
        remove(containers.api, found)


@pytest.fixture
def own(wall: Filter, containers: Engine, ground: Path, guard: str) -> Iterator[str]:
    """A container of the hostile runner's own."""
    found = wall.create(good(containers, ground, "own", guard))
    yield found
    remove(containers.api, found)
