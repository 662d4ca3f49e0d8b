"""The table: every request that the runner makes, as it makes it. What is not in it does not pass.

A test has the runner make all its requests, and fails where something here is used by none of them.
"""

import dataclasses
import functools
import re

from dvc_runner.socket_filter import about, containers, images
from dvc_runner.socket_filter.asks import Ask
from dvc_runner.socket_filter.checks import Check, each, exactly, fields, mapping, text
from dvc_runner.socket_filter.policy import LABEL, REPOSITORY, STAGE
from dvc_runner.socket_filter.refused import RefusedError
from dvc_runner.socket_filter.routes import Body, Route, Way, check_query, in_json, plain
from dvc_runner.socket_filter.shapes import ID, IMAGE, PROOF_TARGET

# As the Docker SDK writes them: some as numbers, some as Python's words.
FLAG = exactly("0", "1")
OFF, ON = exactly("0"), exactly("1")
NO, YES = exactly("False"), exactly("True")
EITHER = exactly("False", "True")
SECONDS = text(r"\d{1,12}", meaning="seconds since the epoch")
IMAGE_NAME = text(IMAGE, meaning="an image's name")
WITHIN = text(r"(?!/)(?!.*(^|/)\.{0,2}(/|$))[^\x00-\x1f]+", meaning="a path below the context")
NAME = f"{REPOSITORY}[a-z0-9][a-z0-9._-]*"
HASH = "[0-9a-f]+"
REPOSITORY_NAME = text(NAME, meaning="dvc-runner/NAME")
KEY = text(HASH, meaning="a hash")
NOTHING: dict[str, Check] = {}
TABLE = (
    Route("GET", "/_ping", plain, NOTHING),
    Route("GET", "/version", plain, NOTHING),
    Route("GET", "/info", about.info, NOTHING),
    # Podman's own; asked for to learn whether the engine is rootless.
    Route("GET", "/libpod/info", about.absent, NOTHING),
    Route(
        "GET",
        "/containers/json",
        containers.listed,
        {
            "all": FLAG,
            "limit": exactly("-1"),
            "size": OFF,
            "trunc_cmd": OFF,
            "filters": in_json(fields({"label": exactly([LABEL])})),
        },
    ),
    Route("POST", "/containers/create", containers.create, NOTHING, body=Body.JSON),
    Route("GET", "/containers/{container}/json", containers.inspect, NOTHING),
    Route(
        "GET",
        "/containers/{container}/archive",
        containers.archive,
        {"path": text(rf"{PROOF_TARGET}/[0-9a-f]{{16,64}}", meaning="the proof")},
        needs=("path",),
    ),
    Route(
        "POST",
        "/containers/{container}/attach",
        containers.own,
        {"stream": ON, "stdin": FLAG, "stdout": ON, "stderr": ON},
        way=Way.HIJACK,
    ),
    Route(
        "POST",
        "/containers/{container}/wait",
        containers.own,
        {"condition": exactly("next-exit")},
        way=Way.STREAM,
    ),
    Route("POST", "/containers/{container}/start", containers.start, NOTHING),
    Route(
        "POST",
        "/containers/{container}/kill",
        containers.own,
        {"signal": exactly("SIGTERM", "SIGKILL")},
    ),
    Route("DELETE", "/containers/{container}", containers.own, {"v": EITHER, "force": EITHER, "link": NO}),
    Route(
        "GET",
        "/containers/{container}/stats",
        containers.own,
        {"stream": NO, "one-shot": YES},
        needs=("stream",),
    ),
    Route(
        "GET",
        "/events",
        containers.events,
        {
            "since": SECONDS,
            "until": SECONDS,
            "filters": in_json(fields({"container": each(text(ID), least=1, most=1), "event": exactly(["oom"])})),
        },
        needs=("until", "filters"),
        way=Way.STREAM,
    ),
    Route(
        "GET",
        "/images/json",
        images.listed,
        {"all": OFF, "only_ids": OFF, "filters": in_json(fields({"label": exactly([f"{LABEL}={STAGE}"])}))},
    ),
    Route("GET", "/images/{image}/json", images.inspect, NOTHING),
    Route("GET", "/images/{image}/history", images.history, NOTHING),
    Route("GET", "/distribution/{image}/json", images.distributed, NOTHING, login=True),
    Route(
        "POST",
        "/images/{image}/tag",
        images.tag,
        {"repo": REPOSITORY_NAME, "tag": KEY, "force": OFF},
        needs=("repo", "tag"),
    ),
    Route("DELETE", "/images/{image}", images.remove, {"force": NO, "noprune": NO}),
    Route(
        "POST",
        "/images/create",
        images.pull,
        {
            "fromImage": IMAGE_NAME,
            "tag": text(rf"sha256:{ID}|[A-Za-z0-9_][A-Za-z0-9._-]*", meaning="a digest or a tag"),
        },
        needs=("fromImage", "tag"),
        way=Way.STREAM,
        login=True,
    ),
    Route(
        "POST",
        "/build",
        plain,
        {
            "t": text(f"{NAME}:{HASH}", meaning="dvc-runner/NAME:KEY"),
            "labels": in_json(fields({LABEL: exactly(STAGE)})),
            "dockerfile": WITHIN,
            "buildargs": in_json(mapping("[A-Za-z_][A-Za-z0-9_]*", text())),
            "version": exactly("1", "2"),
            "rm": YES,
            "forcerm": YES,
        },
        needs=("t", "labels"),
        body=Body.STREAM,
        way=Way.STREAM,
    ),
)
_OPEN = {"{container}": f"(?P<container>{ID})", "{image}": f"(?P<image>{IMAGE})"}


def find(ask: Ask) -> tuple[Route, Ask]:
    """Give a request's line of the table, and the request with the parts of its path named.

    Raises:
        RefusedError: It has none, or its parameters are not those of its line.
    """
    for route, pattern in _patterns():
        found = pattern.fullmatch(ask.path) if route.method == ask.method else None
        if found:
            check_query(route, ask)
            return route, dataclasses.replace(ask, names=found.groupdict())
    raise RefusedError("the runner never asks for that")


@functools.cache
def _patterns() -> tuple[tuple[Route, re.Pattern[str]], ...]:
    found = []
    for route in TABLE:
        pattern = re.escape(route.path).replace(r"\{", "{").replace(r"\}", "}")
        for name, part in _OPEN.items():
            pattern = pattern.replace(name, part)
        found.append((route, re.compile(pattern)))
    return tuple(found)
