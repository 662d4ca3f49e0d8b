"""What stands between the lines of the protocol, and what the socket filter knows of containers."""

import itertools
import json
import re
import shutil
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.cases import cases
from tests.support.engines import Engine
from tests.support.filters import Filter, filtering
from tests.support.hostile import CREATE, PROOF, WORDS, good, proof

from dvc_runner.engine.containers import remove
from dvc_runner.engine.images import LABEL

pytestmark = pytest.mark.engine

SMUGGLED = b"DELETE /containers/%s?force=True HTTP/1.1\r\nHost: x\r\n\r\n"
UPGRADE = (
    b"POST /containers/%s/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
)
PING = b"GET /_ping HTTP/1.1\r\nHost: x\r\n%s\r\n"


@cases(
    "sent, expected",
    {
        "a second request on the same connection": [PING % b"" + SMUGGLED, 200],
        "one behind an attach that the engine refuses": [UPGRADE % (b"0" * 64) + SMUGGLED, 403],
        "one behind a wrong length": [PING % b"Content-Length: 1\r\n" + SMUGGLED, 403],
        "one behind an empty chunk": [PING % b"Transfer-Encoding: chunked\r\n" + b"0\r\n\r\n" + SMUGGLED, 200],
        "two lengths": [PING % b"Content-Length: 0\r\nContent-Length: 5\r\n" + SMUGGLED, 400],
        "a length and chunks": [
            PING % b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n" + b"0\r\n\r\n" + SMUGGLED,
            200,
        ],
        "another transfer": [PING % b"Transfer-Encoding: gzip, chunked\r\n" + SMUGGLED, 400],
        "a folded header": [PING % b"A: b\r\n c: d\r\n" + SMUGGLED, 200],
        "a line without a carriage return": [b"GET /_ping HTTP/1.1\nHost: x\n\n" + SMUGGLED, 200],
        "a space in the target": [b"GET /_ping /containers HTTP/1.1\r\nHost: x\r\n\r\n" + SMUGGLED, 400],
        "a waiting client": [PING % b"Expect: 100-continue\r\n" + SMUGGLED, 403],
        "a header without end": [b"GET /_ping HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 2**20, 400],
        "no HTTP at all": [b"\x16\x03\x01\x00\xa5\r\n\r\n", 400],
    },
)
def test_one_request_a_connection(wall: Filter, containers: Engine, foreign: str, sent: bytes, expected: int) -> None:
    status, said = wall.say(sent.replace(b"%s", foreign.encode()))
    assert status == expected, said
    assert len(re.findall(r"HTTP/1\.1 \d\d\d ", said)) == 1
    assert containers.api.inspect_container(foreign)["State"]["Running"]


def test_attach_hands_nothing_to_an_engine_that_did_not_agree(
    wall: Filter, containers: Engine, ground: Path, foreign: str, guard: str
) -> None:
    gone = wall.create(good(containers, ground, "gone", guard))
    containers.api.remove_container(gone)
    # The filter still knows it as its own; the engine says that there is none.
    status, said = wall.say(UPGRADE % gone.encode() + SMUGGLED % foreign.encode())
    assert status == 404, said
    assert containers.api.inspect_container(foreign)["State"]["Running"]


def test_a_container_that_only_proves_a_path_shows_its_file_and_is_never_started(
    wall: Filter, containers: Engine, ground: Path
) -> None:
    made = wall.create(proof(containers.base, ground / PROOF))
    try:
        status, said = wall.post(f"/containers/{made}/archive?path=/proof/{WORDS}", method="GET")
        assert status == 200
        assert wall.post(f"/containers/{made}/archive?path=/proof/{WORDS[::-1]}", method="GET")[0] == 403
        assert WORDS in said
        assert wall.post(f"/containers/{made}/start")[0] == 403
        assert containers.api.inspect_container(made)["State"]["Status"] == "created"
    finally:
        remove(containers.api, made)


def rewritten(file: Path, foreign: Path) -> None:
    del foreign
    file.write_text("a secret")


def linked(file: Path, foreign: Path) -> None:
    file.unlink()
    file.symlink_to(foreign / file.name)


def linked_as_a_folder(file: Path, foreign: Path) -> None:
    shutil.rmtree(file.parent)
    file.parent.symlink_to(foreign)


@pytest.mark.parametrize("replace", [rewritten, linked, linked_as_a_folder])
def test_a_proof_that_became_another_file_is_not_handed_over(
    wall: Filter, containers: Engine, ground: Path, replace: Callable[[Path, Path], None]
) -> None:
    words, folder, foreign = f"{WORDS}0", ground / f"{PROOF}0", ground.parent / "foreign"
    (foreign / words).write_text("a secret")
    folder.mkdir()
    (folder / words).write_text(words)
    made = wall.create(proof(containers.base, folder))
    replace(folder / words, foreign)
    try:
        status, said = wall.post(f"/containers/{made}/archive?path=/proof/{words}", method="GET")
        assert status in (403, 404)
        assert "a secret" not in said
    finally:
        folder.unlink() if folder.is_symlink() else shutil.rmtree(folder)
        (foreign / words).unlink()
        remove(containers.api, made)


def test_only_a_guard_is_joined(
    wall: Filter, containers: Engine, ground: Path, own: str, foreign: str, guard: str
) -> None:
    body = good(containers, ground, "joined", guard)
    for key, (container, status) in itertools.product(
        ("NetworkMode", "PidMode"), ((guard, 201), (own, 403), (foreign, 403), ("0" * 64, 403))
    ):
        changed = {**body, "HostConfig": {**body["HostConfig"], key: f"container:{container}"}}
        found, said = wall.post(CREATE, json.dumps(changed).encode())
        assert found == status, said
        if found == 201:
            containers.api.remove_container(json.loads(said.splitlines()[-1])["Id"])


def test_lists_hold_what_is_ours(wall: Filter, own: str, foreign: str) -> None:
    for query in ("", "?filters=" + urllib.parse.quote(json.dumps({"label": [LABEL]}))):
        status, said = wall.post(f"/containers/json?all=1{query.replace('?', '&')}", method="GET")
        assert status == 200
        assert own in said
        assert foreign not in said


def test_the_runners_own_container_tells_its_mounts_and_no_more(wall: Filter, containers: Engine, ground: Path) -> None:
    mounted = {"Type": "bind", "Source": str(ground), "Target": "/workspace"}
    host = {"Mounts": [mounted], "Tmpfs": {"/tmp": ""}}
    runner = containers.api.create_container_from_config(
        {"Image": containers.base, "Cmd": ["true"], "Env": ["TOKEN=secret"], "HostConfig": host}
    )["Id"]
    asked = f"/containers/{runner}/json"
    try:
        status, said = wall.post(asked, method="GET")
        assert status == 200
        found = json.loads(said.splitlines()[-1])
        assert [one["Source"] for one in found.pop("Mounts")] == [str(ground)]
        assert found == {"Id": runner, "HostConfig": {"Tmpfs": {"/tmp": ""}}}
        assert wall.post(f"/containers/{runner}?force=True", method="DELETE")[0] == 403
        for name, expected in (("another", 403), (runner, 200)):
            with filtering(containers.address, ground, "--runner-container", name) as narrow:
                assert narrow.post(asked, method="GET")[0] == expected
    finally:
        containers.api.remove_container(runner)


def test_what_was_created_before_the_filter_began_is_known_by_its_label(
    containers: Engine, ground: Path, own: str, foreign: str
) -> None:
    with filtering(containers.address, ground) as another:
        assert another.post(f"/containers/{own}/json", method="GET")[0] == 200
        assert another.post(f"/containers/{foreign}/json", method="GET")[0] == 403
        # Its mounts are looked at again, since nobody remembers what they were.
        assert another.post(f"/containers/{own}/start")[0] == 204


# A filter that is told nonsense.


@cases(
    "option, value",
    {
        "a workspace that is not there": ["--workspace", "/none"],
        "a relative one": ["--workspace", "."],
        "the whole host": ["--workspace", "/"],
        "a link": ["--workspace", "/proc/self/cwd"],
        "a cache that is not there": ["--read-only", "/none"],
    },
)
def test_a_folder_that_cannot_be_held_against_is_an_error(
    containers: Engine, ground: Path, option: str, value: str
) -> None:
    with (
        pytest.raises(AssertionError, match="is not the real path of a folder"),
        filtering(containers.address, ground, option, value),
    ):
        pass


def test_the_engine_tells_its_kind_and_no_more(wall: Filter) -> None:
    status, said = wall.post("/info", method="GET")
    assert status == 200
    assert set(json.loads(said.splitlines()[-1])) == {"OperatingSystem", "SecurityOptions", "DockerRootDir"}
    assert wall.post("/v1.41/libpod/info", method="GET")[0] == 404
