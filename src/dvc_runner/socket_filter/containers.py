"""What the runner does with containers: to its own, and to no other."""

import io
import json
import tarfile
from typing import Any

from dvc_runner.socket_filter import shapes
from dvc_runner.socket_filter.asks import Ask
from dvc_runner.socket_filter.engine import NOT_FOUND, OK, Answer, of_json
from dvc_runner.socket_filter.gate import Gate, Kind, Made, kind_of
from dvc_runner.socket_filter.mounts import look
from dvc_runner.socket_filter.policy import FILTERED_LABEL
from dvc_runner.socket_filter.refused import RefusedError
from dvc_runner.socket_filter.routes import Pass, labelled, passed
from dvc_runner.socket_filter.strict_json import Json

TOLD_OF_A_MOUNT = ("Type", "Source", "Destination", "RW")


async def create(gate: Gate, ask: Ask) -> Answer:
    """Create what the tables of shapes allow, from an image that passes, with mounts that were looked at."""
    shapes.of(ask.body, gate.policy.user, gpus=gate.policy.gpus)("the body", ask.body)
    body: Any = ask.body
    host = body["HostConfig"]
    await _joined(gate, host)
    sources = tuple(look(gate.policy, one["Source"], read_only=one["ReadOnly"]) for one in host["Mounts"])
    image = await gate.image(body["Image"])
    if image is None:
        return of_json(NOT_FOUND, {"message": f"No such image: {body['Image']}"})
    labels = {**body["Labels"], FILTERED_LABEL: str(gate.policy.workspace)}
    # By its id: a name could come to mean another image before the engine reads it.
    answer = await gate.engine.whole(passed(ask, body={**body, "Image": image, "Labels": labels}).ask)
    if answer.well:
        gate.remember(json.loads(answer.body)["Id"], Made(kind=kind_of(labels), sources=sources))
    return answer


async def start(gate: Gate, ask: Ask) -> Answer:
    """Start a container whose mounts still lead to what was checked, and see that they did so to the end."""
    container = ask.names["container"]
    made = await gate.ours(container)
    if made.kind is Kind.PROOF:
        raise RefusedError("a container that only proves a path is never started")
    _unchanged(gate, made)
    answer = await gate.engine.whole(ask)
    try:
        _unchanged(gate, made)
    except RefusedError:
        path = f"/containers/{container}"
        await gate.engine.whole(Ask(method="DELETE", version="", path=path, query={"force": "1", "v": "1"}))
        raise
    return answer


async def own(gate: Gate, ask: Ask) -> Pass:
    """Pass what concerns a container of this workspace's runner."""
    await gate.ours(ask.names["container"])
    return Pass(ask)


async def inspect(gate: Gate, ask: Ask) -> Answer | Pass:
    """Tell all of a container of ours, and of the one that the runner lives in what is mounted there."""
    container = ask.names["container"]
    found = await gate.inspected(container)
    if found is None:
        return of_json(NOT_FOUND, {"message": f"No such container: {container}"})
    if not gate.may_be_runner(found):
        return await own(gate, ask)
    mounts: list[Json] = [{key: one[key] for key in TOLD_OF_A_MOUNT if key in one} for one in found["Mounts"]]
    in_memory = found["HostConfig"].get("Tmpfs")
    return of_json(OK, {"Id": container, "Mounts": mounts, "HostConfig": {"Tmpfs": in_memory}})


async def archive(gate: Gate, ask: Ask) -> Answer:
    """Hand over the file by which the runner finds out where its paths lie, if it is that file.

    The engine reads it as root, and would follow a link that was put there meanwhile: so its words
    have to be those of its name, and of its folder's.
    """
    made = await gate.ours(ask.names["container"])
    if made.kind is not Kind.PROOF:
        raise RefusedError("files are handed over of a container that proves a path, and of no other")
    words = made.sources[0].path.rpartition("-")[2]
    if ask.query["path"] != f"{shapes.PROOF_TARGET}/{words}":
        raise RefusedError(f"{ask.query['path']} is not the proof that this container was made for")
    answer = await gate.engine.whole(ask)
    if answer.well and _only_file(answer.body) != words.encode("ascii"):
        raise RefusedError("the file does not hold the words of its name")
    return answer


def _only_file(archive_: bytes) -> bytes | None:
    """Give the content of the one file in an archive; None where it holds anything else."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive_), mode="r:") as found:
            (member,) = found.getmembers()
            file = found.extractfile(member) if member.isreg() else None
            return file.read() if file else None
    except (tarfile.TarError, ValueError):
        return None


async def listed(gate: Gate, ask: Ask) -> Pass:
    """List containers of this workspace's runner only."""
    filters = labelled(ask.query.get("filters"), f"{FILTERED_LABEL}={gate.policy.workspace}")
    return passed(ask, query={**ask.query, "filters": filters})


async def events(gate: Gate, ask: Ask) -> Pass:
    """Tell what happened to a container of ours."""
    filters: Any = json.loads(ask.query["filters"])
    for container in filters["container"]:
        await gate.ours(container)
    return Pass(ask)


async def _joined(gate: Gate, host: dict[str, Any]) -> None:
    """Insist that a namespace that is joined is a guard's of ours."""
    for key in ("NetworkMode", "PidMode"):
        kind, _, container = host.get(key, "").partition(":")
        if kind == "container" and (await gate.ours(container)).kind is not Kind.GUARD:
            raise RefusedError(f"HostConfig.{key} joins {container[:12]}, which is no guard")


def _unchanged(gate: Gate, made: Made) -> None:
    for source in made.sources:
        if look(gate.policy, source.path, read_only=source.read_only) != source:
            raise RefusedError(f"the mount source {source.path!r} is no longer what it was when it was checked")
