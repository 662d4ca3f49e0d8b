"""Containers as context managers: made on entry, gone on exit, ended with their runner."""

import contextlib
import select
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import docker
import requests
from docker.errors import APIError

from dvc_runner.engine.client import told
from dvc_runner.engine.frames import payloads
from dvc_runner.engine.images import LABEL
from dvc_runner.engine.lines import Lines
from dvc_runner.errors import EngineError
from dvc_runner.interrupts import INTERRUPTS

STOP_S = 5
STEP_S = 0.1
REMOVE_TRIES = 5
REMOVE_PAUSE_S = 0.1
GOING_S = 30
GOING_STEP_S = 0.02
SWEPT = ("created", "exited", "dead")


@dataclass(frozen=True, kw_only=True, slots=True)
class Attached:
    """A created container, its streams attached, its end awaited."""

    id: str
    stream: Any
    end: requests.Response


@contextlib.contextmanager
def created(
    client: docker.APIClient,
    body: dict[str, Any],
    *,
    stdin: bool = False,
    remover: Callable[[docker.APIClient, str], object] | None = None,
) -> Iterator[Attached]:
    """Create a container from an API body and attach to it; remove it whatever happens.

    Args:
        client: The engine.
        body: What the API's create call takes.
        stdin: Attach to its standard input as well.
        remover: Takes the place of ``remove``.
    """
    body["Labels"] = {**body.get("Labels", {}), LABEL: "run"}
    with told(f"create a container of {body['Image']}"):
        made = client.create_container_from_config(body)
    container = str(made["Id"])
    with contextlib.ExitStack() as stack:
        stack.callback(remover or remove, client, container)
        with told("attach to a container"):
            streams = {"stream": 1, "stdin": 1 if stdin else 0, "stdout": 1, "stderr": 1}
            stream = client.attach_socket(container, params=streams)
            # The SDK hangs the response on the socket it gives; closing the socket alone leaves it half open.
            stack.callback(stream._response.close)  # noqa: SLF001 - docker 7
            # Asked before the start, so that an end cannot be missed. Podman forgets the exit code by "removed".
            url = f"{client.base_url}/v{client.api_version}/containers/{container}/wait"
            end = client.post(url, params={"condition": "next-exit"}, stream=True, timeout=None)
            stack.callback(end.close)
            end.raise_for_status()
        yield Attached(id=container, stream=stream, end=end)


def start(client: docker.APIClient, container: str) -> None:
    """Start a created container.

    Raises:
        EngineError: It did not start; the message is the engine's.
    """
    with told("start a container"):
        client.start(container)


def await_output(container: Attached) -> None:
    """Wait until a container says its first word.

    Raises:
        EngineError: It ended without one.
    """
    if not any(payloads(container.stream)):
        raise EngineError(
            "a stage's guard ended as soon as it began",
            remedy="its image needs a python3: see BASE_IMAGE in .env.example",
        )


def exit_code(container: Attached) -> int | None:
    """Wait for a container's end; None where it vanished or the engine went away."""
    try:
        answer = container.end.json()
    except (requests.RequestException, ValueError, OSError):
        return None
    # Error may tell of a removal that failed, as on a busy disk: the command's own code is right all the same.
    code = int(answer.get("StatusCode", -1))
    return code if code >= 0 else None


def ran_out_of_memory(client: docker.APIClient, container: str, since: float) -> bool:
    """Say whether the kernel killed something in the container for want of memory."""
    with told("list events"):
        events = client.events(
            since=int(since) - 1,
            until=int(time.time()) + 1,
            filters={"container": container, "event": "oom"},
            decode=True,
        )
        return any(True for _ in events)


def lines(container: Attached, on_line: Callable[[str], None], *, wake: int | None = None) -> None:
    """Hand over a container's output, line by line, until it ends; over-long lines are cut up.

    Raises:
        KeyboardInterrupt: ``wake``, a file descriptor, can be read.
    """
    cut = Lines(on_line)
    for chunk in payloads(container.stream, wake):
        if chunk is None:
            INTERRUPTS.give_way()
        else:
            cut.feed(chunk)
    cut.end()


def await_end(container: Attached, wake: int) -> None:
    """Wait for a container's end: it may have closed its output long before.

    Raises:
        KeyboardInterrupt: ``wake``, a file descriptor, can be read.
    """
    # Nothing of the answer can be buffered already: it was asked for before the start.
    ready, _, _ = select.select([container.end.raw, wake], [], [])
    if wake in ready:
        INTERRUPTS.give_way()


def end(client: docker.APIClient, container: str, over: threading.Event) -> None:
    """Ask a container to end; kill it after ``STOP_S``, or at a second interrupt, unless it is ``over``."""
    _signal(client, container, "SIGTERM")
    until = time.monotonic() + STOP_S
    while time.monotonic() < until and not over.wait(STEP_S) and not INTERRUPTS.hurry.is_set():
        pass
    if not over.is_set():
        _signal(client, container, "SIGKILL")


def _signal(client: docker.APIClient, container: str, signal: str) -> None:
    """Signal a container; one that is gone already is fine."""
    with contextlib.suppress(APIError, requests.RequestException, OSError):
        client.kill(container, signal=signal)


@contextlib.contextmanager
def deadline(seconds: float | None, act: Callable[[], None]) -> Iterator[threading.Event]:
    """Call ``act`` after ``seconds``; the event tells whether that happened."""
    passed = threading.Event()

    def expire() -> None:
        passed.set()
        act()

    timer = threading.Timer(seconds, expire) if seconds else None
    if timer:
        timer.daemon = True
        timer.start()
    try:
        yield passed
    finally:
        if timer:
            timer.cancel()


def remove(client: docker.APIClient, container: str) -> None:
    """Remove a container, running or not, and wait until it is gone; one that is gone already is fine.

    Raises:
        EngineError: It is still there after ``REMOVE_TRIES`` or ``GOING_S``; a busy disk can need more than one try.
    """
    if begin_removal(client, container):
        await_removal(client, container)


def begin_removal(client: docker.APIClient, container: str) -> bool:
    """Have a container removed; say whether the engine was at it already, and may still be.

    Raises:
        EngineError: It is still there after ``REMOVE_TRIES``.
    """
    for attempt in range(REMOVE_TRIES):
        try:
            client.remove_container(container, force=True, v=True)
        except (requests.RequestException, OSError) as error:
            if not isinstance(error, APIError):
                # The engine went away; its guard ends the stage, and the next run sweeps what is left.
                return False
            if error.status_code in (requests.codes.not_found, requests.codes.conflict):
                return bool(error.status_code == requests.codes.conflict)
            if attempt + 1 == REMOVE_TRIES:
                raise _unremoved(container, str(error.explanation)) from error
            time.sleep(REMOVE_PAUSE_S * 2**attempt)
        else:
            break
    return False


def await_removal(client: docker.APIClient, container: str) -> None:
    """Wait until a container that the engine removes is gone.

    Raises:
        EngineError: It is still there after ``GOING_S``.
    """
    until = time.monotonic() + GOING_S
    # A container that is there, or an error of the engine's, or no engine: only the first is waited for.
    with contextlib.suppress(requests.RequestException, OSError):
        while client.inspect_container(container):
            if time.monotonic() > until:
                raise _unremoved(container, f"the engine has been at it for {GOING_S} s")
            time.sleep(GOING_STEP_S)


def _unremoved(container: str, why: str) -> EngineError:
    return EngineError(
        f"the container {container[:12]} could not be removed: {why}",
        remedy=f"docker rm -f {container[:12]}",
    )


def sweep(client: docker.APIClient, *, older_than: float) -> int:
    """Remove containers of ours that a lost runner left unstarted or ended before ``older_than``.

    Args:
        client: The engine.
        older_than: Seconds since the epoch; younger ones may be another run's, about to start.

    Returns:
        How many were removed.
    """
    with told("list containers"):
        found = client.containers(all=True, filters={"label": LABEL})
    # Not asked for by a filter: Podman knows no "dead", and refuses.
    old = [container["Id"] for container in found if container["State"] in SWEPT and container["Created"] < older_than]
    for container in old:
        remove(client, container)
    return len(old)
