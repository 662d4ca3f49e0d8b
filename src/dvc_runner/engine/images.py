"""Images: named by the hash of what they are built from, built or pulled where missing."""

import dataclasses
import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import docker
from docker.errors import ImageNotFound

from dvc_runner.engine import context as build_context
from dvc_runner.engine.client import told
from dvc_runner.errors import BuildError
from dvc_runner.model import Build, Environment

LABEL = "io.github.dvc-runner"
BASE_IMAGE = "BASE_IMAGE"
TAIL = 15


def ensure_built(
    client: docker.APIClient, root: Path, name: str, build: Build, on_line: Callable[[str], None]
) -> Environment:
    """Give the image of ``build``, built now if it is missing.

    Raises:
        BuildError: The build failed; the message holds its last lines.
    """
    named, context = _named(client, root, name, build)
    found = named.id
    if found is None:
        on_line(f"building {named.reference}")
        _build(client, named.reference, context, on_line)
        found = _id(client, named.reference)
    return dataclasses.replace(named, id=found)


def name_of(client: docker.APIClient, root: Path, name: str, build: Build) -> Environment:
    """Give the image of ``build`` without building it; its ``id`` is None if it is missing."""
    return _named(client, root, name, build)[0]


def ensure_pulled(client: docker.APIClient, reference: str, on_line: Callable[[str], None]) -> Environment:
    """Give the image called ``reference``, pulled now if it is missing.

    Raises:
        EngineError: It cannot be pulled.
    """
    found = _id(client, reference)
    if found is None:
        on_line(f"pulling {reference}")
        with told(f"pull {reference}"):
            client.pull(reference)
        found = _id(client, reference)
    return Environment(reference=reference, key=reference.rpartition("@")[2], id=found)


def with_base(build: Build, base_image: str | None) -> Build:
    """Give ``build`` with another base image, where it takes one and another is given."""
    args = dict(build.args)
    if base_image and BASE_IMAGE in args:
        args[BASE_IMAGE] = base_image
    return dataclasses.replace(build, args=tuple(sorted(args.items())))


def find(client: docker.APIClient, reference: str) -> Environment:
    """Give the image called ``reference`` without pulling it; its ``id`` is None if it is missing."""
    return Environment(reference=reference, key=reference.rpartition("@")[2], id=_id(client, reference))


def _named(client: docker.APIClient, root: Path, name: str, build: Build) -> tuple[Environment, build_context.Context]:
    context = build_context.read(root, build)
    with told("say what it is"):
        version = client.version()
    key = context.key(f"{version['Os']}/{version['Arch']}")
    reference = f"dvc-runner/{name}:{key}"
    return Environment(reference=reference, key=key, id=_id(client, reference)), context


def _id(client: docker.APIClient, reference: str) -> str | None:
    with told(f"look for the image {reference}"):
        try:
            return str(client.inspect_image(reference)["Id"])
        except ImageNotFound:
            return None


def _build(
    client: docker.APIClient,
    reference: str,
    context: build_context.Context,
    on_line: Callable[[str], None],
) -> None:
    with told(f"build {reference}"):
        # Without rm the classic builder leaves its intermediate containers behind.
        events = client.build(
            fileobj=io.BytesIO(context.archive()),
            custom_context=True,
            dockerfile=context.dockerfile,
            tag=reference,
            buildargs=dict(context.args),
            labels={LABEL: "stage"},
            rm=True,
            forcerm=True,
            decode=True,
        )
        _follow(reference, events, on_line)


def _follow(reference: str, events: Iterable[dict[str, Any]], on_line: Callable[[str], None]) -> None:
    tail: list[str] = []
    failed = None
    for event in events:
        for line in str(event.get("stream") or "").splitlines():
            if line.strip():
                tail = [*tail, line.rstrip()][-TAIL:]
                on_line(line.rstrip())
        failed = event.get("error", failed)
    if failed is not None:
        lines = "\n  ".join([*tail, str(failed).strip()])
        raise BuildError(
            f"the image {reference} could not be built; its last lines:\n  {lines}",
            remedy="correct the Dockerfile or the lock file that these lines name",
        )
