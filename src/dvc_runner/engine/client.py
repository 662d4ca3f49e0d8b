"""The connection to the container engine. The only modules that know the Docker SDK are here."""

import contextlib
import grp
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, create_api_error_from_http_exception
from docker.types import CancellableStream

from dvc_runner.engine.cancellation import Cancellation
from dvc_runner.errors import EngineError, EnginePermissionError

DEFAULT_HOST = "unix:///var/run/docker.sock"
ANSWER_S = 10


def connect(host: str | None) -> docker.APIClient:
    """Connect to the engine at ``host`` (as DOCKER_HOST has it), or at the default socket.

    Raises:
        EngineError: None answers there, or its socket is not ours to open.
    """
    address = host or DEFAULT_HOST
    path = Path(address.removeprefix("unix://"))
    if address.startswith("unix://"):
        check_socket(path)
    client = None
    try:
        client = docker.APIClient(base_url=address, version="auto", timeout=ANSWER_S)
        client.ping()
    except (DockerException, requests.RequestException, OSError) as error:
        if client is not None:
            client.close()
        raise EngineError(
            f"no container engine answers at {address}",
            remedy="start it, or correct DOCKER_HOST; or run without one: DVC_RUNNER_EXECUTOR=process",
        ) from error
    client.timeout = None  # type: ignore[assignment]  # a build or a stage takes its time
    return client


def is_rootless(client: docker.APIClient) -> bool:
    """Say whether the engine runs as a user: that one is root in its containers, other numbers are nobody's."""
    with told("say what it is"):
        if any("name=rootless" in option for option in client.info().get("SecurityOptions") or ()):
            return True
        # Podman before 5 tells it in a place of its own, which Docker does not have.
        answer = client.get(f"{client.base_url}/v{client.api_version}/libpod/info")
        return bool(answer.ok and answer.json()["host"]["security"]["rootless"])


@contextlib.contextmanager
def told(action: str) -> Iterator[None]:
    """Raise our error where the engine refuses, or goes away during, ``action``."""
    try:
        yield
    except APIError as error:
        raise EngineError(
            f"the engine refused to {action}: {explanation(error)}",
            remedy="the engine's own log says more",
        ) from error
    except (DockerException, requests.RequestException, OSError) as error:
        raise EngineError(
            f"the container engine went away while asked to {action}: {error}",
            remedy="see whether it still runs (docker info), then run again",
        ) from error


def answers(
    client: docker.APIClient,
    path: str,
    cancellation: Cancellation,
    *,
    params: Mapping[str, str | int | bool],
    headers: Mapping[str, str | bytes],
    data: bytes = b"",
) -> Iterator[dict[str, Any]]:
    """Post a request that the engine answers line by line, each a JSON object; give them as they come.

    The SDK's own calls for it cannot be ended from another thread.

    Raises:
        APIError: The engine refuses; ``told`` makes it ours.
        CancelledError: Somebody asked to end.
    """
    url = f"{client.base_url}/v{client.api_version}/{path}"
    cancellation.check()
    asked = client.post(url, params=params, headers=headers, data=data, stream=True, timeout=None)
    with contextlib.closing(asked) as response:
        try:
            response.raise_for_status()
        except requests.HTTPError as error:
            create_api_error_from_http_exception(error)
        lines = CancellableStream(response.iter_lines(chunk_size=None), response)
        with cancellation.ends(lines.close):
            yield from (json.loads(line) for line in lines if line)


def explanation(error: APIError) -> str:
    """Give the engine's own words for what it refused."""
    text = error.explanation or error.response.reason if error.response is not None else str(error)
    if "no space left" in str(text).lower():
        return f"{text} (the engine's disk is full: docker system df shows what takes it)"
    return str(text)


def check_socket(path: Path) -> None:
    """See that there is an engine's socket at ``path``, and that it is ours to open.

    Raises:
        EngineError: There is none, or it is not.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise EngineError(
            f"no container engine: {path} does not exist",
            remedy="start one, or set DOCKER_HOST; or run without one: DVC_RUNNER_EXECUTOR=process",
        ) from error
    if not stat.S_ISSOCK(found.st_mode) or not os.access(path, os.R_OK | os.W_OK):
        group = group_name(found.st_gid)
        raise EnginePermissionError(
            f"permission denied on the engine's socket {path}, which is of group {group}",
            remedy=f"join that group: sudo usermod -aG {group} $USER, then log in again; "
            "or run without an engine: DVC_RUNNER_EXECUTOR=process",
        )


def group_name(gid: int) -> str:
    """Give a group its name, or its number where it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
