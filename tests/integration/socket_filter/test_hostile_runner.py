"""A hostile runner behind the socket filter gets nothing made, read or ended that is not its own."""

import copy
import json
import secrets
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.cases import cases
from tests.support.engines import Engine
from tests.support.filters import Filter
from tests.support.hostile import BODIES, CREATE, PATHS, Body, good

from dvc_runner.engine.images import LABEL
from dvc_runner.socket_filter.policy import FILTERED_LABEL

pytestmark = pytest.mark.engine


def commands(containers: Engine) -> list[str]:
    return [one["Command"] for one in containers.api.containers(all=True)]


def test_what_the_runner_asks_for_passes(wall: Filter, containers: Engine, ground: Path, guard: str) -> None:
    status, said = wall.post(CREATE, json.dumps(good(containers, ground, "good", guard)).encode())
    assert status == 201, said
    made = json.loads(said.splitlines()[-1])["Id"]
    inspected = containers.api.inspect_container(made)
    assert inspected["Config"]["Labels"][FILTERED_LABEL] == str(ground)
    status, said = wall.post(f"/containers/{made}?force=True", method="DELETE")
    assert status == 204, said


@pytest.mark.parametrize("change", [row[0] for row in BODIES.values()], ids=list(BODIES))
def test_a_hostile_body_creates_nothing(
    wall: Filter, containers: Engine, ground: Path, guard: str, change: Callable[[Body, Path], Body | bytes]
) -> None:
    mark = f"hostile-{secrets.token_hex(6)}"
    volumes = {one["Name"] for one in containers.api.volumes()["Volumes"] or []}
    body = change(copy.deepcopy(good(containers, ground, mark, guard)), ground)
    status, said = wall.post(CREATE, body if isinstance(body, bytes) else json.dumps(body).encode())
    assert status in ({403, 404} if "foreign:latest" in str(body) else {403}), said
    assert "message" in json.loads(said.splitlines()[-1])
    assert not [command for command in commands(containers) if mark in command]
    assert {one["Name"] for one in containers.api.volumes()["Volumes"] or []} <= volumes
    assert not (ground / "new").exists()


@cases("asked", PATHS)
def test_a_hostile_request_is_refused(
    wall: Filter, containers: Engine, foreign: str, own: str, asked: tuple[str, str]
) -> None:
    method, path = asked
    names = {
        "foreign": foreign,
        "own": own,
        "short": own[:12],
        "capitals": own.upper(),
        "image": containers.base,
        "label": f'&labels={{"{LABEL}":"stage"}}',
    }
    before = {image["Id"] for image in containers.api.images()}
    target = urllib.parse.quote(path.format(**names), safe="/:?&=%;#")
    for prefix in ("", "/v1.41"):
        whole = target if target.startswith("http:") else prefix + target
        status, said = wall.post(whole, method=method)
        assert status == 403, said
        assert "socket filter refused" in said
    assert containers.api.inspect_container(own)["State"]["Status"] == "created"
    assert {image["Id"] for image in containers.api.images()} == before
