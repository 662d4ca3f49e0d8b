"""The doctor's checks, one by one, each with what it finds where things are not well."""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from tests.support import projects
from tests.support.cases import cases
from tests.support.people import SOMEBODY
from tests.support.projects import Finished, Project
from tests.support.servers import Told, an_mlflow, answering, serve, web

from dvc_runner.doctor import disk, tracking, verdict
from dvc_runner.doctor.finding import Check, Finding, NotApplicableError, Once, State, examine
from dvc_runner.doctor.trial import Tried
from dvc_runner.doctor.verdict import OF_CONTAINERS, Verdict
from dvc_runner.errors import (
    EXIT_CONFIGURATION,
    EXIT_ENGINE,
    EXIT_HOST_PATH,
    ConfigurationError,
    EngineError,
    HostPathError,
)
from dvc_runner.executors import walls
from dvc_runner.report import diagnosis
from dvc_runner.tracking import server

# pygtrie, which DVC walks its index with.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")
Here: TypeAlias = Callable[..., Finished]
NO_ENGINE = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}
SHORT_S = 0.2


def raising(error: BaseException) -> Callable[[], str]:
    def prove() -> str:
        raise error

    return prove


# A check.


@cases(
    "prove, state, told, exit_code",
    {
        "it proves something": (lambda: "it is so", State.OK, "it is so", 0),
        "it does not apply": (raising(NotApplicableError("no engine")), State.NOT_APPLICABLE, "no engine", 0),
        "an error of ours": (raising(HostPathError("not seen", remedy="-v")), State.FAILED, "not seen", EXIT_HOST_PATH),
        "the system refuses": (raising(PermissionError(13, "Denied", "/x")), State.FAILED, "/x: Denied", EXIT_ENGINE),
        "it crashes": (lambda: str(dict[str, str]()["key"]), State.FAILED, "KeyError", EXIT_ENGINE),
    },
)
def test_a_check(prove: Callable[[], str], state: State, told: str, exit_code: int) -> None:
    found = examine(Check(name="one", prove=prove, exit_code=EXIT_ENGINE))
    assert (found.check, found.state, found.exit_code) == ("one", state, exit_code)
    assert told in found.told
    assert (found.remedy is not None) == (state is State.FAILED)


def test_a_check_that_hangs_is_left_alone() -> None:
    ever = threading.Event()
    found = examine(Check(name="one", prove=lambda: str(ever.wait(60)), limit_s=SHORT_S, exit_code=EXIT_ENGINE))
    ever.set()
    assert (found.state, found.exit_code) == (State.FAILED, EXIT_ENGINE)
    assert "0.2 s" in found.told


def test_what_several_checks_need_is_made_once() -> None:
    asked: list[int] = []

    def make() -> int:
        asked.append(1)
        return 7

    once = Once("seven", make)
    assert (once(), once(), asked) == (7, 7, [1])


def test_what_several_checks_need_fails_once() -> None:
    once = Once("an engine", raising(EngineError("gone", remedy="start it")))
    with pytest.raises(EngineError):
        once()
    with pytest.raises(NotApplicableError, match="without an engine"):
        once()


# What it says.


def a_finding(state: State, exit_code: int = 0) -> Finding:
    return Finding(check="one", state=state, told="x é", remedy="do" if exit_code else None, exit_code=exit_code)


@cases(
    "finding, mark, lines",
    {
        "well": (a_finding(State.OK), "✓ one ", 1),
        "not well": (a_finding(State.FAILED, 4), "✗ one ", 2),
        "neither": (a_finding(State.NOT_APPLICABLE), "– one ", 1),  # noqa: RUF001 - its mark
    },
)
def test_lines(finding: Finding, mark: str, lines: int) -> None:
    found = diagnosis.lines(finding)
    assert len(found) == lines
    assert found[0].startswith(mark)
    assert found[0].endswith("x é")


@cases(
    "states, code",
    {
        "all is well": ([State.OK, State.NOT_APPLICABLE], 0),
        "one is not": ([State.OK, State.FAILED], 4),
        "the first counts": ([State.FAILED, State.FAILED], 3),
    },
)
def test_exit_code(states: list[State], code: int) -> None:
    codes = [3 + place if state is State.FAILED else 0 for place, state in enumerate(states)]
    found = [a_finding(state, number) for state, number in zip(states, codes, strict=True)]
    assert diagnosis.exit_code(found) == code
    assert json.loads(diagnosis.as_json(found))["exit_code"] == code


# Room.


def test_room(tmp_path: Path) -> None:
    assert str(tmp_path) in disk.room(tmp_path, enough_bytes=1)
    with pytest.raises(ConfigurationError, match="only"):
        disk.room(tmp_path, enough_bytes=2**62)


# Walls.

FAILED = "PermissionError: no"


def a_trial(**changed: Any) -> Tried:
    found = {"declared": "", "declared_write": FAILED, "undeclared": FAILED, "port": FAILED, "names": FAILED}
    return Tried(**{**found, "tracking": "", "uid": 7, "wanted_uid": 7, **changed})


@cases(
    "prove, changed, named",
    {
        "a dep that cannot be read": (Verdict.files, {"declared": FAILED}, "cannot read its own dep"),
        "a dep that can be written": (Verdict.files, {"declared_write": ""}, "can write to it"),
        "a file that it did not declare": (Verdict.files, {"undeclared": ""}, "can read an undeclared file"),
        "a port": (Verdict.network, {"port": ""}, "can reach another port"),
        "a name": (Verdict.network, {"names": ""}, "can look up a name"),
        "a port beside the server": (Verdict.tracking, {"port": ""}, "can reach another port"),
        "no server": (Verdict.tracking, {"tracking": FAILED}, "does not reach the MLflow server"),
    },
)
def test_walls(prove: Callable[[Verdict, Tried], str], changed: dict[str, Any], named: str) -> None:
    assert "cannot" in prove(OF_CONTAINERS, a_trial())
    with pytest.raises(EngineError, match=named):
        prove(OF_CONTAINERS, a_trial(**changed))


@cases(
    "abi, prove, changed, error",
    {
        "no Landlock": (0, Verdict.files, {"undeclared": ""}, NotApplicableError),
        "files are held": (1, Verdict.files, {"undeclared": ""}, EngineError),
        "ports are not": (1, Verdict.network, {"port": ""}, NotApplicableError),
        "ports are held": (4, Verdict.network, {"port": ""}, EngineError),
        "names never are for sure": (4, Verdict.network, {"names": ""}, NotApplicableError),
    },
)
def test_processes_are_held_as_far_as_the_kernel_does(
    abi: int, prove: Callable[[Verdict, Tried], str], changed: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match="it can"):
        prove(verdict.of_processes(walls.of(abi)), a_trial(**changed))


def test_what_the_kernel_does_not_hold_is_said() -> None:
    assert "walled off" in verdict.of_kernel(walls.of(1000))
    with pytest.raises(NotApplicableError, match="TCP"):
        verdict.of_kernel(walls.of(1))


def test_whose_files_are() -> None:
    assert "uid 7" in verdict.user(a_trial())
    with pytest.raises(EngineError, match="uid 100007, and not to 7"):
        verdict.user(a_trial(uid=100007))


# The tracking server.


def asked(uri: str, **settings: str) -> str:
    return tracking.prove({"MLFLOW_TRACKING_URI": uri, **settings})


def test_mlflow_answers() -> None:
    with web(an_mlflow) as port:
        assert f"http://127.0.0.1:{port} answers as MLflow 9.8.7" in asked(f"http://127.0.0.1:{port}")


def knows_me(method: str, path: str, headers: Mapping[str, str]) -> Told:
    wanted = {"Basic bWU6c2VjcmV0LTc=", "Bearer tok-7"}
    return an_mlflow(method, path, headers) if headers.get("Authorization") in wanted else Told(status=401)


@cases(
    "uri, settings",
    {
        "by user and password": (
            "http://{}",
            {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "secret-7"},
        ),
        "in its address": ("http://me:secret-7@{}", {}),
        "by a token": ("http://{}/", {"MLFLOW_TRACKING_TOKEN": "tok-7"}),
    },
)
def test_mlflow_knows_me(uri: str, settings: dict[str, str]) -> None:
    with web(knows_me) as port:
        told = asked(uri.format(f"127.0.0.1:{port}"), **settings)
        with pytest.raises(ConfigurationError, match="401, asked without a user"):
            asked(f"http://127.0.0.1:{port}")
    assert "secret-7" not in told


@cases(
    "told, named, remedy",
    {
        "a page": (Told(), "text/html", "DagsHub"),
        "a list": (Told(kind="application/json", text="[]"), "application/json", "DagsHub"),
        "401": (Told(status=401), "401", "MLFLOW_TRACKING_PASSWORD"),
        "403": (Told(status=403), "403, asked without", "user or token"),
        "a name it does not answer to": (Told(status=403, text="Invalid Host header"), "name", "--allowed-hosts"),
        "404": (Told(status=404), "404", "correct"),
        "500": (Told(status=500), "500", "log"),
    },
)
def test_what_is_no_mlflow(told: Told, named: str, remedy: str) -> None:
    with web(lambda *_: told) as port, pytest.raises(ConfigurationError) as raised:
        asked(f"http://127.0.0.1:{port}")
    assert f"http://127.0.0.1:{port}: " in str(raised.value)
    assert named in str(raised.value)
    assert remedy in raised.value.remedy


@cases(
    "begins, word",
    {
        "silence": (b"", b""),
        "a head that trickles": (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        "a body that trickles": (b"HTTP/1.1 500 No\r\nContent-Length: 999\r\n\r\n", b"x"),
    },
)
def test_an_answer_that_does_not_end(begins: bytes, word: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SILENCE_S", 0.5)
    monkeypatch.setattr(server, "ANSWER_S", 1)

    def talk(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(begins)
            for _ in range(40):
                connection.sendall(word)
                time.sleep(0.1)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        serve(listening, talk)
        uri = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(ConfigurationError, match=f"{uri}: no answer in time"):
            asked(uri)
        listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def no_http() -> Iterator[int]:
    """A server that speaks something else."""

    def talk(connection: socket.socket) -> None:
        with connection:
            connection.recv(65536)
            connection.sendall(b"220 hello\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        serve(server, talk)
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def test_what_speaks_no_http(no_http: int) -> None:
    for scheme, named in {"http": "no HTTP", "https": "TLS"}.items():
        with pytest.raises(ConfigurationError, match=named):
            asked(f"{scheme}://127.0.0.1:{no_http}")


@cases(
    "uri, named",
    {
        "nobody there": ("http://127.0.0.1:1", "refused the connection"),
        "no such host": ("http://nowhere.invalid", "no host of that name"),
        "no address": ("file:///x", "file:///x"),
    },
)
def test_nobody_answers(uri: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        asked(uri)


# The command.


def doctor(run: Callable[..., Finished], *arguments: str, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Start it; give its findings by check (of images, the last)."""
    done = run("doctor", "--json", *arguments, env={**NO_ENGINE, **(env or {})})
    (found,) = done.events
    assert done.code == found["exit_code"], done.text
    assert set(found) == {"checks", "exit_code"}
    for check in found["checks"]:
        assert set(check) == {"check", "state", "told", "remedy", "exit_code", "seconds"}
        assert check["state"] in set(State)
        assert (check["remedy"] is None) == (check["state"] != "failed")
    return {"exit_code": done.code, **{check["check"]: check for check in found["checks"]}}


def states(found: dict[str, Any]) -> dict[str, str]:
    return {name: check["state"] for name, check in found.items() if name != "exit_code"}


def left(project: Project) -> list[Path]:
    return [path for folder in ("scratch", "doctor-*") for path in project.root.glob(f".dvc/tmp/dvc-runner/{folder}/*")]


def test_without_an_engine(project: Project) -> None:
    project.stages(one={"cmd": "true"})
    found = doctor(project.run)
    assert found["exit_code"] == 0
    assert {name for name, state in states(found).items() if state == "ok"} >= {"project", "project disk"}
    assert {name for name, state in states(found).items() if state == "failed"} == set()
    assert found["engine"]["state"] == "not_applicable"
    assert "reads its dep" in found["process files"]["told"]
    assert left(project) == []


def test_lines_are_for_people(project: Project, here: Here) -> None:
    project.stages(one={"cmd": "true"})
    done = here(project, "doctor", env=NO_ENGINE).ended(0)
    assert done.out.startswith("✓ project ")


@cases(
    "changed, check, code, named",
    {
        "docker is wanted": ({"DVC_RUNNER_EXECUTOR": "docker"}, "engine", EXIT_ENGINE, "/nonexistent/docker.sock"),
        "a server that is gone": (
            {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"},
            "mlflow",
            EXIT_CONFIGURATION,
            "refused",
        ),
    },
)
def test_what_is_not_well(project: Project, changed: dict[str, str], check: str, code: int, named: str) -> None:
    project.stages(one={"cmd": "true"})
    found = doctor(project.run, env=changed)
    assert found[check]["state"] == "failed"
    assert found[check]["exit_code"] == code
    assert named in found[check]["told"]
    assert found["exit_code"] == code


def test_a_server_that_stages_need(project: Project) -> None:
    project.stages(one=project.stage("one", "pass", outs=["x"], container={"network": "tracking"}))
    found = doctor(project.run)
    assert (found["mlflow"]["state"], found["exit_code"]) == ("failed", EXIT_CONFIGURATION)
    assert "one cannot run" in found["mlflow"]["told"]


def test_a_project_that_cannot_run(project: Project) -> None:
    project.write("dvc.yaml", "stages: [\n")
    found = doctor(project.run)
    assert (found["project"]["state"], found["exit_code"]) == ("failed", EXIT_CONFIGURATION)
    assert "dvc.yaml" in found["project"]["told"]


def test_a_server_that_a_process_reaches(project: Project) -> None:
    project.stages(one={"cmd": "true"})
    with web(an_mlflow) as port:
        found = doctor(project.run, env={"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"})
    assert (found["mlflow"]["state"], found["exit_code"]) == ("ok", 0)
    assert "network: tracking reaches the MLflow server" in found["process tracking"]["told"]


@pytest.fixture
def engine_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A socket that is none of somebody's."""
    folder = tmp_path_factory.mktemp("s")
    folder.chmod(0o755)
    with answering(folder / "s", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"):
        (folder / "s").chmod(0o600)
        yield folder / "s"


def of_somebody(project: Project) -> Project:
    """The project, owned and used by somebody who may do nothing else; as ourselves, where we are not root."""
    if os.geteuid() != 0:
        return project
    for parent in [*project.root.parents][:3]:
        parent.chmod(0o755)
    found = Project(root=project.root, env=project.env, prefix=projects.as_other_user(), owner=SOMEBODY)
    home = project.root / ".git" / "home"
    home.mkdir()
    found.adopt()
    return found.with_env(
        XDG_CACHE_HOME=str(home), UV_CACHE_DIR=str(home / "uv"), HOME=str(home), DVC_RUNNER_EXECUTOR=""
    )


def test_a_socket_that_is_not_ours(project: Project, engine_socket: Path) -> None:
    project.stages(one={"cmd": "true"})
    if os.geteuid() != 0:
        engine_socket.chmod(0)
    found = doctor(of_somebody(project).run, env={"DOCKER_HOST": f"unix://{engine_socket}"})
    assert found["exit_code"] == EXIT_ENGINE
    for check in ("engine", "engine socket"):
        assert found[check]["state"] == "failed"
        assert str(engine_socket) in found[check]["told"]
    assert found["container files"]["state"] == "not_applicable"


def test_a_remote_that_is_not_ours_to_write(project: Project, tmp_path: Path) -> None:
    project.stages(one={"cmd": "true"})
    remote = tmp_path / "store"
    remote.mkdir()
    remote.chmod(0o555)
    project.write(".dvc/config.local", f"[core]\n    remote = store\n['remote \"store\"']\n    url = {remote}\n")
    found = doctor(of_somebody(project).run)
    assert (found["dvc remote"]["state"], found["exit_code"]) == ("failed", EXIT_CONFIGURATION)
    assert str(remote) in found["dvc remote"]["told"]
    assert list(remote.iterdir()) == []
