"""What the filter knows: which containers and images are the runner's, and how to find out."""

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from dvc_runner.socket_filter.asks import Ask
from dvc_runner.socket_filter.engine import Answer, Engine
from dvc_runner.socket_filter.mounts import Source, look
from dvc_runner.socket_filter.policy import FILTERED_LABEL, GUARD_LABEL, LABEL, REPOSITORY, Policy
from dvc_runner.socket_filter.refused import EngineGoneError, RefusedError

MOST_REMEMBERED = 10_000


class Kind(StrEnum):
    """What a container is for."""

    GUARD = "guard"
    STAGE = "stage"
    PROOF = "proof"


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """A container of this workspace's runner, with the sources of its mounts as they were checked."""

    kind: Kind
    sources: tuple[Source, ...]


def kind_of(labels: dict[str, Any]) -> Kind:
    """Say what a container with these labels is for."""
    if labels.get(LABEL) == Kind.PROOF:
        return Kind.PROOF
    return Kind.GUARD if GUARD_LABEL in labels else Kind.STAGE


class Gate:
    """The filter's knowledge; it outlives every connection, and is lost with the filter."""

    def __init__(self, policy: Policy, engine: Engine) -> None:
        """Know nothing yet."""
        self.policy = policy
        self.engine = engine
        self._made: dict[str, Made] = {}
        self._images: set[str] = set()

    def remember(self, container: str, made: Made) -> None:
        """Remember what was created here, also when it is gone."""
        self._made[container] = made
        while len(self._made) > MOST_REMEMBERED:
            del self._made[next(iter(self._made))]

    async def ours(self, container: str) -> Made:
        """Give what is known of a container; the engine is asked where it was made before this filter began.

        Raises:
            RefusedError: It is not this workspace's runner's.
        """
        if container in self._made:
            return self._made[container]
        found = await self.inspected(container)
        if not found or not self._is_ours(found):
            raise RefusedError(f"the container {container[:12]} was not created through this filter")
        mounts = found["HostConfig"].get("Mounts") or []
        sources = [look(self.policy, one["Source"], read_only=bool(one.get("ReadOnly"))) for one in mounts]
        made = Made(kind=kind_of(found["Config"]["Labels"]), sources=tuple(sources))
        self.remember(container, made)
        return made

    def may_be_runner(self, container: dict[str, Any]) -> bool:
        """Say whether the runner may live in an inspected container that is not one of its own making.

        It sees the workspace; and it is the one that the filter was told of, if it was told.
        """
        if self._is_ours(container):
            return False
        sources = [Path(one.get("Source") or "/") for one in container["Mounts"]]
        told = self.policy.runner in (None, container["Name"].removeprefix("/"), container["Id"])
        return told and self.policy.workspace in sources

    async def image(self, name: str) -> str | None:
        """Give the id of an image that passes; None where the engine has none by that name.

        Raises:
            RefusedError: It is there, and is none of the runner's.
        """
        answer = await self._ask(f"/images/{name}/json")
        if not answer.well:
            return None
        found = json.loads(answer.body)
        image = str(found["Id"])
        if name in self.policy.images or "@sha256:" in name or is_ours(found):
            # From here on it passes by its id as well: that is how the runner names it when it is used.
            self._images.add(image)
        if image not in self._images:
            raise RefusedError(f"the image {name!r} is neither dvc-runner's, nor named by its digest, nor allowed")
        return image

    async def inspected(self, container: str) -> dict[str, Any] | None:
        """Ask the engine what it knows of a container; None where there is none."""
        answer = await self._ask(f"/containers/{container}/json")
        found: dict[str, Any] | None = json.loads(answer.body) if answer.well else None
        return found

    def _is_ours(self, container: dict[str, Any]) -> bool:
        labels = container["Config"].get("Labels") or {}
        return bool(labels.get(FILTERED_LABEL) == str(self.policy.workspace))

    async def _ask(self, path: str) -> Answer:
        answer = await self.engine.whole(Ask(method="GET", version="", path=path, query={}))
        if answer.status >= 500:  # noqa: PLR2004 - the engine's own failure
            raise EngineGoneError(f"the container engine failed at {path}: {answer.body.decode(errors='replace')}")
        return answer


def is_ours(image: dict[str, Any]) -> bool:
    """Say whether an inspected or listed image is dvc-runner's: by its label, and by every name it has."""
    labels = image.get("Labels") or (image.get("Config") or {}).get("Labels") or {}
    names = image.get("RepoTags") or []
    return LABEL in labels and all(name.startswith((REPOSITORY, "<none>")) for name in names)
