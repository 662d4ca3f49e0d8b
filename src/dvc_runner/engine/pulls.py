"""Images that others made: pulled where missing, also the ones that ours are built from."""

import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from string import Template
from typing import Any

import docker
from docker import auth
from docker.errors import APIError, DockerException, ImageNotFound
from docker.utils import parse_repository_tag

from dvc_runner.engine.cancellation import Cancellation
from dvc_runner.engine.client import answers, explanation, told
from dvc_runner.errors import EngineError

PROGRESS_EVERY_S = 1.0
MEGABYTE = 10**6
_ARG = re.compile(r"\s*ARG\s+(\w+)(?:=(\S+))?", re.IGNORECASE)
_FROM = re.compile(r"\s*FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?", re.IGNORECASE)
_SYNTAX = re.compile(r"#\s*syntax\s*=\s*(\S+)\s*", re.IGNORECASE)


def inspect(client: docker.APIClient, reference: str) -> dict[str, Any] | None:
    """Give what the engine knows of an image; None where it has none of that name."""
    with told(f"look for the image {reference}"):
        try:
            return dict(client.inspect_image(reference))
        except ImageNotFound:
            return None


def made(client: docker.APIClient, reference: str) -> dict[str, Any]:
    """Give what the engine knows of an image that was just built or pulled.

    Raises:
        EngineError: It is not there.
    """
    found = inspect(client, reference)
    if found is None:
        raise EngineError(
            f"the engine has no image {reference}, which it was just told to make",
            remedy="see whether the engine was restarted or cleaned up meanwhile, then run again",
        )
    return found


def ensure(client: docker.APIClient, reference: str, on_line: Callable[[str], None], cancellation: Cancellation) -> str:
    """Give what the engine calls the image ``reference``, pulled now if it is missing.

    Raises:
        EngineError: It cannot be pulled.
        CancelledError: Somebody asked to end.
    """
    found = inspect(client, reference)
    if found is None:
        on_line(f"pulling {reference}")
        _pull(client, reference, on_line, cancellation)
        found = made(client, reference)
    return str(found["Id"])


def bases(dockerfile: Path, args: dict[str, str], *, frontend: bool) -> tuple[str, ...]:
    """Give the images that a Dockerfile begins from, as far as its FROM lines name them plainly.

    Args:
        dockerfile: The Dockerfile.
        args: The build's arguments.
        frontend: Whether the image of a ``# syntax=`` line counts, which only BuildKit reads.
    """
    lines = dockerfile.read_text(encoding="utf-8", errors="replace").splitlines()
    syntax = _SYNTAX.fullmatch(lines[0]) if lines and frontend else None
    found = [syntax[1]] if syntax else []
    stages = {"scratch"}
    values: dict[str, str] = {}
    for line in lines:
        if argument := _ARG.match(line):
            name, default = argument.groups()
            values[name] = args.get(name, (default or "").strip("\"'"))
        elif begins := _FROM.match(line):
            image, stage = begins.groups()
            base = Template(image).safe_substitute(values)
            if base.lower() not in stages and base and "$" not in base:
                found.append(base)
            stages.add((stage or "").lower())
    return tuple(dict.fromkeys(found))


def _pull(client: docker.APIClient, reference: str, on_line: Callable[[str], None], cancellation: Cancellation) -> None:
    name, tag = parse_repository_tag(reference)
    registry, _ = auth.resolve_repository_name(name)
    login = auth.get_config_header(client, registry)
    params = {"fromImage": name, "tag": tag or "latest"}
    headers = {"X-Registry-Auth": login} if login else {}
    try:
        failed = _follow(answers(client, "images/create", cancellation, params=params, headers=headers), on_line)
    except APIError as error:
        failed = explanation(error)
    except (DockerException, OSError) as error:
        failed = str(error)
    if failed is not None:
        raise EngineError(
            f"the image {reference} cannot be pulled: {failed}",
            remedy="see that its name and digest are right and its registry can be reached; "
            "a private one wants  docker login  first",
        )


def _follow(events: Iterable[dict[str, Any]], on_line: Callable[[str], None]) -> str | None:
    """Tell once a second how far a pull is; give why it failed, None if it did not."""
    layers: dict[str, tuple[int, int]] = {}
    told_at = time.monotonic()
    failed = None
    for event in events:
        failed = event.get("error", failed)
        progress = event.get("progressDetail") or {}
        if event.get("status") == "Downloading" and progress.get("total"):
            layers[str(event.get("id"))] = (int(progress["current"]), int(progress["total"]))
        if layers and time.monotonic() - told_at >= PROGRESS_EVERY_S:
            told_at = time.monotonic()
            done, whole = (sum(sizes) / MEGABYTE for sizes in zip(*layers.values(), strict=True))
            on_line(f"pulled {done:.0f} of {whole:.0f} MB")
    return failed if failed is None else str(failed)
