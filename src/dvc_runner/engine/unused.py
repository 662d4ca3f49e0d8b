"""Which images of ours nobody has used for long, what removing them frees, and their removal."""

import datetime as dt
import re
from collections.abc import Iterable

import docker
from docker.errors import APIError, ImageNotFound

from dvc_runner.engine import pulls
from dvc_runner.engine.client import explanation, told
from dvc_runner.engine.images import LABEL, OURS, REPOSITORIES, last_used
from dvc_runner.errors import EngineError
from dvc_runner.model import Unused

_NAME = re.compile(rf"{re.escape(REPOSITORIES)}[a-z0-9-]+:[0-9a-f]+")
Layer = tuple[tuple[int, str, int], ...]


def find(client: docker.APIClient, needed: Iterable[str], before: dt.datetime) -> tuple[Unused, ...]:
    """Give the images of ours that are not ``needed``, in no container, and not used since ``before``.

    An image is ours by its label and by all of its names: others may build upon ours, and so inherit the label, or
    give one of ours a name of their own.
    """
    with told("list images"):
        listed = client.images(filters={"label": f"{LABEL}={OURS}"})
        in_containers = {container["ImageID"] for container in client.containers(all=True)}
    found = []
    for image in listed:
        names = image.get("RepoTags") or []
        if not names or not all(map(_NAME.fullmatch, names)) or {*names} & {*needed} or image["Id"] in in_containers:
            continue
        known = pulls.inspect(client, image["Id"])
        if known and last_used(known) < before:
            size = int(image["Size"])
            found += [Unused(kind="image", name=name, last_used=last_used(known), size_bytes=size) for name in names]
    return tuple(sorted(found, key=lambda one: one.name))


def frees_bytes(client: docker.APIClient, names: Iterable[str]) -> int:
    """Give how much is in the layers that only the images ``names`` have.

    What the engine's build cache also holds is freed only when that is pruned.
    """
    with told("list images"):
        gone = {str(client.inspect_image(name)["Id"]) for name in names}
        every = {str(image["Id"]) for image in client.images()}
        theirs = {layer for image in every - gone for layer in _layers(client, image)}
        ours = {layer for image in gone for layer in _layers(client, image)}
    return sum(layer[-1][-1] for layer in ours - theirs)


def remove(client: docker.APIClient, name: str) -> None:
    """Remove an image; one that is gone is fine.

    Raises:
        EngineError: A container has come to use it, or the engine refuses otherwise.
    """
    try:
        client.remove_image(name)
    except ImageNotFound:
        return
    except APIError as error:
        raise EngineError(
            f"the image {name} stays: {explanation(error)}", remedy="remove what uses it first: docker ps --all"
        ) from error


def _layers(client: docker.APIClient, image: str) -> Iterable[Layer]:
    """Give an image's layers, each known by the history up to it; the last number is its size."""
    try:
        history = client.history(image)
    except ImageNotFound:  # removed meanwhile
        return
    steps = tuple((int(one["Created"]), str(one["CreatedBy"]), int(one["Size"])) for one in reversed(history))
    yield from (steps[:end] for end in range(1, len(steps) + 1))
