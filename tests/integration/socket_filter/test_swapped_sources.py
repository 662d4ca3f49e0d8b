"""A mount's source that turns into a link after it was looked at."""

import contextlib
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.engines import Engine
from tests.support.filters import Filter, filtering
from tests.support.hostile import good
from tests.support.servers import serve
from tests.support.trees import lay

from dvc_runner.engine.containers import remove
from dvc_runner.socket_filter.policy import SCRATCH

pytestmark = pytest.mark.engine


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's name, open to all."""
    folder = Path(tempfile.mkdtemp(prefix="swap-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextlib.contextmanager
def swapped_at(address: str, place: Path, moment: bytes, act: Callable[[], None]) -> Iterator[str]:
    """A way to the engine that calls ``act`` just before a request with ``moment`` in it reaches it."""

    def talk(near: socket.socket) -> None:
        with near, socket.socket(socket.AF_UNIX) as far, contextlib.suppress(OSError):
            far.connect(address.removeprefix("unix://"))
            data = near.recv(65536)
            if moment in data:
                act()
            far.sendall(data)
            threading.Thread(target=pump, args=(near, far), daemon=True).start()
            pump(far, near)

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place))
        place.chmod(0o666)
        listening.listen()
        serve(listening, talk)
        yield f"unix://{place}"
        listening.shutdown(socket.SHUT_RDWR)


def test_a_source_swapped_before_the_start_is_refused(
    wall: Filter, containers: Engine, ground: Path, guard: str
) -> None:
    made = wall.create(good(containers, ground, "swapped", guard))
    with swapped(ground):
        status, said = wall.post(f"/containers/{made}/start")
        assert status == 403, said
    assert containers.api.inspect_container(made)["State"]["Status"] == "created"
    remove(containers.api, made)


def test_a_source_swapped_by_the_start_ends_the_container(
    containers: Engine, ground: Path, short: Path, guard: str
) -> None:
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(
            swapped_at(containers.address, short / "s", b"/start", lambda: stack.enter_context(swapped(ground)))
        )
        late = stack.enter_context(filtering(address, ground, images=[containers.base]))
        body = good(containers, ground, "late", guard)
        made = late.create({**body, "Cmd": ["python3", "-c", "import time; time.sleep(600)"]})
        status, said = late.post(f"/containers/{made}/start")
        assert status == 403, said
        assert made not in [one["Id"] for one in containers.api.containers(all=True)]


@contextlib.contextmanager
def swapped(ground: Path) -> Iterator[None]:
    """Put a link to a foreign folder where a source was."""
    one = ground / SCRATCH / "one"
    one.rename(one.with_name("kept"))
    lay(ground.parent / "foreign", {"workspace": {}})
    one.symlink_to(ground.parent / "foreign")
    try:
        yield
    finally:
        one.unlink()
        one.with_name("kept").rename(one)
