"""What the runner may know of the engine itself."""

import json

from dvc_runner.socket_filter.asks import Ask
from dvc_runner.socket_filter.engine import NOT_FOUND, OK, Answer, of_json
from dvc_runner.socket_filter.gate import Gate

TOLD = ("OperatingSystem", "SecurityOptions", "DockerRootDir")


async def info(gate: Gate, ask: Ask) -> Answer:
    """Tell what kind of engine it is, and nothing of its registries, proxies, containers."""
    answer = await gate.engine.whole(ask)
    if not answer.well:
        return answer
    found = json.loads(answer.body)
    return of_json(OK, {key: found.get(key) for key in TOLD})


async def absent(gate: Gate, ask: Ask) -> Answer:
    """Say that there is no such thing, as an engine of Docker's does."""
    del gate
    return of_json(NOT_FOUND, {"message": f"page not found: {ask.path}"})
