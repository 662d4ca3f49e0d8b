"""What a container takes while it runs: from the kernel where it is this machine's, else from the engine."""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import docker
import requests
from docker.errors import DockerException

from dvc_runner.engine import cgroups
from dvc_runner.model import Usage

FIRST_S = 0.1
EVERY_S = 0.25
HOW = "the engine's figures, about one a second"
NS_PER_S = 10**9
ENOUGH = 2
FIGURES = ("peak_memory_bytes", "cpu_s", "read_bytes", "written_bytes")


class Samples:
    """The highest of each figure seen of one container."""

    def __init__(self) -> None:
        """Begin with none."""
        self.read: Callable[[], Usage] | None = None
        self._highest: Usage | None = None
        self._number = 0

    def add(self, sample: Usage | None) -> None:
        """Take one more; one without figures is none."""
        if sample is None or sample.cpu_s is None:
            return
        self._number += 1
        seen = [sample, self._highest or sample]
        highest = {}
        for name in FIGURES:
            figures = [figure for usage in seen if (figure := getattr(usage, name)) is not None]
            highest[name] = max(figures, default=None)
        self._highest = Usage(how=seen[-1].how, **highest)

    def now(self) -> Usage | None:
        """Give what was seen up to now, None if that is no more than how the container began."""
        self.add(self.read() if self.read else None)
        return self._highest if self._number >= ENOUGH else None


@contextlib.contextmanager
def sampled(client: docker.APIClient, container: str) -> Iterator[Samples]:
    """Watch a container that was started. Nothing of this ever fails a stage, or makes it wait."""
    samples = Samples()
    over = threading.Event()
    threading.Thread(target=_watch, args=(client, container, samples, over), daemon=True).start()
    try:
        yield samples
    finally:
        over.set()


def _watch(client: docker.APIClient, container: str, samples: Samples, over: threading.Event) -> None:
    # What is over in a moment is not worth a look.
    if over.wait(FIRST_S):
        return
    with contextlib.suppress(DockerException, requests.RequestException, OSError, ValueError, KeyError):
        samples.read = cgroups.reader(int(client.inspect_container(container)["State"]["Pid"]), container)
        if not samples.read and not _counts(client):
            return
        while not over.is_set():
            if samples.read:
                samples.add(samples.read())
            else:
                # The engine counts once a second, and answers when it has.
                samples.add(of_stats(client.stats(container, stream=False, one_shot=True)))
            over.wait(EVERY_S)


@functools.lru_cache(maxsize=1)
def _counts(client: docker.APIClient) -> bool:
    """Say whether the engine counts each container; a rootless Docker may not, and gives the machine's figures."""
    return bool(client.info().get("CgroupDriver") != "none")


def of_stats(stats: dict[str, Any]) -> Usage | None:
    """Read the answer of the API's stats call; None for that of a container which does not run, or is not counted.

    A rootless Podman without control groups of its own tells of no CPU time, and of the whole machine's memory.
    """
    memory, cpu_ns = stats.get("memory_stats") or {}, stats["cpu_stats"]["cpu_usage"]["total_usage"]
    if not memory.get("usage") or not cpu_ns:
        return None
    details = memory.get("stats") or {}
    cached = details.get("inactive_file", 0) if "max_usage" not in memory else 0
    operations = (stats.get("blkio_stats") or {}).get("io_service_bytes_recursive") or []
    return Usage(
        how=HOW,
        peak_memory_bytes=memory.get("max_usage", memory["usage"] - cached),
        cpu_s=cpu_ns / NS_PER_S,
        read_bytes=_bytes(operations, "read"),
        written_bytes=_bytes(operations, "write"),
    )


def _bytes(operations: list[dict[str, Any]], kind: str) -> int | None:
    found = [operation["value"] for operation in operations if str(operation["op"]).lower() == kind]
    return sum(found) if found else None
