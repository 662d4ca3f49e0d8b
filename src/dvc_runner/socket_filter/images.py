"""What the runner does with images: inspects, pulls and builds those it may use, removes its own."""

import json
from typing import Any

from dvc_runner.socket_filter.asks import Ask
from dvc_runner.socket_filter.engine import NOT_FOUND, Answer, of_json
from dvc_runner.socket_filter.gate import Gate, is_ours
from dvc_runner.socket_filter.policy import LABEL
from dvc_runner.socket_filter.refused import RefusedError
from dvc_runner.socket_filter.routes import Pass, labelled, passed


async def inspect(gate: Gate, ask: Ask) -> Answer | Pass:
    """Tell of an image that a container may be made of."""
    image = await gate.image(ask.names["image"])
    if image is None:
        return of_json(NOT_FOUND, {"message": f"No such image: {ask.names['image']}"})
    return Pass(ask)


async def pull(gate: Gate, ask: Ask) -> Pass:
    """Pull an image by its digest, or one that is allowed by name."""
    name, tag = ask.query["fromImage"], ask.query["tag"]
    if not tag.startswith("sha256:") and f"{name}:{tag}" not in gate.policy.images:
        raise RefusedError(f"the image {name}:{tag} is neither named by its digest nor allowed")
    return Pass(ask)


async def distributed(gate: Gate, ask: Ask) -> Pass:
    """Ask a registry for an image that may be pulled."""
    name = ask.names["image"]
    if "@sha256:" not in name and name not in gate.policy.images:
        raise RefusedError(f"the image {name} is neither named by its digest nor allowed")
    return Pass(ask)


async def listed(gate: Gate, ask: Ask) -> Pass:
    """List dvc-runner's images only."""
    del gate
    return passed(ask, query={**ask.query, "filters": labelled(ask.query.get("filters"), LABEL)})


async def remove(gate: Gate, ask: Ask) -> Answer | Pass:
    """Remove an image of dvc-runner's."""
    return await _of_ours(gate, ask)


async def history(gate: Gate, ask: Ask) -> Answer | Pass:
    """Tell how large the layers of an image of dvc-runner's are."""
    return await _of_ours(gate, ask)


async def tag(gate: Gate, ask: Ask) -> Answer | Pass:
    """Name an image of dvc-runner's, as the runner does to note that it is in use."""
    return await _of_ours(gate, ask)


async def _of_ours(gate: Gate, ask: Ask) -> Answer | Pass:
    name = ask.names["image"]
    answer = await gate.engine.whole(Ask(method="GET", version="", path=f"/images/{name}/json", query={}))
    if not answer.well:
        return answer
    found: dict[str, Any] = json.loads(answer.body)
    if not is_ours(found):
        raise RefusedError(f"the image {name!r} is not dvc-runner's")
    return Pass(ask)
