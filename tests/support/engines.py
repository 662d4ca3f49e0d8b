"""A container engine as tests see it: what they made there, and nothing of others."""

import contextlib
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from docker.errors import APIError, ImageNotFound
from tests.support.projects import DOCKERFILE
from tests.support.waiting import until

from dvc_runner.engine import client
from dvc_runner.engine.images import LABEL

MARK = "dvc-runner.test"


class Engine:
    """An engine that others use too."""

    def __init__(self, address: str, base: str, mark: str, folder: Path) -> None:
        """Look after the images with ``mark`` and the containers with mounts below ``folder``."""
        self.api = client.connect(address)
        self.address = address
        self.base = base
        # Containers that outlast a test by intent.
        self.lasting: set[str] = set()
        self._mark = mark
        self._folder = folder

    @contextlib.contextmanager
    def opened(self) -> Iterator["Engine"]:
        """See that the base image is there; in the end remove what tests built."""
        try:
            self.api.inspect_image(self.base)
        except ImageNotFound:
            self.api.pull(self.base)
        try:
            yield self
        finally:
            # One that another is built upon goes after it.
            while any(self._removed(image["Id"]) for image in self._images()):
                continue
            self.api.close()

    @property
    def dockerfile(self) -> str:
        """A Dockerfile whose images are known as the tests'."""
        return f"{DOCKERFILE}LABEL {self.label}\n"

    @property
    def label(self) -> str:
        """The label of what tests build."""
        return f"{MARK}={self._mark}"

    def ours(self) -> list[dict[str, Any]]:
        """Give the containers of dvc-runner's, in whatever state, that see a folder of the tests'."""
        found = self.api.containers(all=True, filters={"label": LABEL})
        return [container for container in found if self._is_ours(container)]

    def all_of_ours(self) -> dict[str, str]:
        """Give the containers that see a folder of the tests' or are of an image of theirs, and all networks, by id."""
        found = {
            str(one["Id"]): f"container {one['Id'][:12]} {one['State']}: {one['Labels'] or one['Command']}"
            for one in self.api.containers(all=True)
            if self._is_ours(one) or (one["Labels"] or {}).get(MARK) == self._mark
        }
        return found | {str(one["Id"]): f"network {one['Name']}" for one in self.api.networks()}

    def none_left(self, seconds: float = 10) -> bool:
        """Wait until there are none of those."""
        return until(lambda: not self.ours(), seconds)

    def _images(self) -> list[dict[str, Any]]:
        return list(self.api.images(all=False, filters={"label": self.label}))

    def _removed(self, image: str) -> bool:
        try:
            self.api.remove_image(image, force=True)
        except APIError:
            return False
        return True

    def _is_ours(self, container: dict[str, Any]) -> bool:
        mounts = [str(mount.get("Source", "")) for mount in container["Mounts"]]
        return container["Id"] not in self.lasting and any(one.startswith(str(self._folder)) for one in mounts)


def _shown(see: Callable[[bytes], None], rewrite: Callable[[bytes], bytes], data: bytes) -> bytes:
    see(data)
    return rewrite(data)


@contextlib.contextmanager
def relay(
    address: str,
    *,
    on_request: Callable[[bytes], None] = lambda _: None,
    on_answer: Callable[[bytes], None] = lambda _: None,
    rewrite: Callable[[bytes], bytes] = bytes,
) -> Iterator[tuple[str, Callable[[], None]]]:
    """A way to the engine that can be watched, held up and cut; gives its address and what cuts it.

    ``rewrite`` changes requests on their way.
    """
    ends: list[socket.socket] = []
    place = Path(tempfile.mkdtemp(prefix="relay")) / "s"

    def pump(source: socket.socket, sink: socket.socket, before: Callable[[bytes], bytes]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(before(data))
            sink.shutdown(socket.SHUT_WR)

    def serve(server: socket.socket) -> None:
        while True:
            try:
                near, _ = server.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(address.removeprefix("unix://"))
            ends.extend((near, far))
            for way in (
                (near, far, partial(_shown, on_request, rewrite)),
                (far, near, partial(_shown, on_answer, bytes)),
            ):
                threading.Thread(target=pump, args=way, daemon=True).start()

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place))
        place.parent.chmod(0o755)
        place.chmod(0o666)
        server.listen()
        threading.Thread(target=serve, args=(server,), daemon=True).start()

        def cut() -> None:
            for end in (server, *ends):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

        yield f"unix://{place}", cut
        cut()
    for end in ends:
        end.close()
    shutil.rmtree(place.parent)
