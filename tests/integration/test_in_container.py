"""dvc-runner in its own container: by `make run`'s script, and by docker compose."""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from docker.errors import NotFound
from tests.support.cases import cases
from tests.support.engines import Engine
from tests.support.projects import Project
from tests.support.started import started
from tests.support.waiting import until

from dvc_runner.workspace.places import SCRATCH

pytestmark = pytest.mark.engine

REPOSITORY = Path(__file__).parents[2]
OF_THE_IMAGE = ("Dockerfile.dvc-runner", ".dockerignore", "pyproject.toml", "uv.lock", "README.md", "LICENSE", "src")
OF_THE_RUNNER = ("scripts", "docker-compose.yml", "params.yaml", *OF_THE_IMAGE)
SCRIPT = (sys.executable, "scripts/in_container.py")
COMPOSE = ("docker", "compose", "run", "--rm")
ADDRESSES = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1/token-77", "MLFLOW_S3_ENDPOINT_URL": "http://127.0.0.1:2"}
OF_THE_CLIENT = tuple(
    f"DVC_RUNNER_{name}=" for name in ("CONTAINER", "CLIENT", "CLIENT_ROOT", "HANDED_OVER", "GIT_USER")
)
BEGIN_S = 120


@pytest.fixture
def housed(waiting: Project) -> Project:
    """A project whose stage waits for ever, with all that runs dvc-runner in a container."""
    for name in OF_THE_RUNNER:
        source, target = REPOSITORY / name, waiting.root / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    waiting.adopt()
    return waiting


@dataclasses.dataclass(frozen=True)
class Runners:
    """The containers of dvc-runner itself in which a project is mounted."""

    engine: Engine
    root: Path

    def found(self) -> list[dict[str, Any]]:
        """Inspect them, running or not."""
        found = []
        for container in self.engine.api.containers(all=True):
            if any(mount.get("Source") == str(self.root) for mount in container["Mounts"]):
                with contextlib.suppress(NotFound):  # it has just gone
                    found.append(self.engine.api.inspect_container(container["Id"]))
        return found

    def one(self) -> dict[str, Any]:
        """Inspect the only one."""
        (found,) = self.found()
        return found

    def gone(self, seconds: float = 60) -> bool:
        """Wait until there are none."""
        return until(lambda: not self.found(), seconds)


@pytest.fixture
def runners(containers: Engine, housed: Project) -> Iterator[Runners]:
    """Those of the project; in the end there are none."""
    found = Runners(containers, housed.root)
    yield found
    left = [] if found.gone() else found.found()
    for container in left:
        containers.api.remove_container(container["Id"], force=True)
    assert left == []


@contextmanager
def begun(
    project: Project, containers: Engine, command: Sequence[str], **env: str
) -> Iterator["subprocess.Popen[str]"]:
    """Start a command, and wait until the stage has begun."""
    with started([*project.prefix, *command], project.root, {**project.env, **env}) as process:
        if not until(lambda: has_begun(containers) or process.poll() is not None, BEGIN_S) or not has_begun(containers):
            process.kill()
            pytest.fail(f"the stage did not begin: {process.communicate()[0]}")
        yield process


def press_ctrl_c(process: "subprocess.Popen[str]") -> None:
    """Send the signal that all programs of a terminal get."""
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 130


def stop(containers: Engine, runner: dict[str, Any], process: "subprocess.Popen[str]") -> None:
    """End what compose started: a Ctrl-C may end compose before it has handed it on."""
    containers.api.stop(runner["Id"], timeout=60)
    assert process.wait(60) == 130


def has_begun(containers: Engine) -> bool:
    """Say whether a stage of the tests' runs."""
    return any(".stage" in label for found in containers.ours() for label in found["Labels"])


def variables(project: Project) -> dict[str, str]:
    """What the head of docker-compose.yml says to do first."""
    script = 'eval "$("$0" scripts/engine.py)"; env -0'
    done = subprocess.run(
        [*project.prefix, "bash", "-ec", script, sys.executable],
        cwd=project.root,
        env=project.env,
        stdout=subprocess.PIPE,
        check=True,
    )
    return dict(entry.split("=", 1) for entry in done.stdout.decode().split("\0") if entry)


def settings(container: dict[str, Any]) -> dict[str, Any]:
    """What was asked for, without what compose and the script are free to choose."""
    config, host = container["Config"], container["HostConfig"]
    mounts = [(mount["Type"], mount["Source"], mount["Destination"], mount["RW"]) for mount in container["Mounts"]]
    # Compose hands over a variable that is not set as its name alone.
    env = {entry for entry in config["Env"] if "=" in entry and not entry.startswith(OF_THE_CLIENT)}
    capabilities = {key: {name.removeprefix("CAP_") for name in host[key]} for key in ("CapAdd", "CapDrop")}
    leave_out = {"Binds", "Mounts", "ContainerIDFile", "LogConfig", "RestartPolicy"}
    return {
        **{key: config[key] for key in ("User", "Image", "Cmd", "Entrypoint", "WorkingDir", "Tty")},
        **{key: value or None for key, value in host.items() if key not in leave_out},
        **capabilities,
        "env": env,
        "mounts": sorted(mounts),
    }


def test_compose_and_make_run_start_the_same(housed: Project, containers: Engine, runners: Runners) -> None:
    with begun(housed, containers, [*SCRIPT, "run"], **ADDRESSES) as process:
        by_script = settings(runners.one())
        press_ctrl_c(process)
    assert runners.gone()
    by_hand = {**variables(housed), **ADDRESSES}
    with begun(housed, containers, [*COMPOSE, "-T", "dvc-runner", "run"], **by_hand) as process:
        by_compose = settings(runners.one())
        stop(containers, runners.one(), process)
    assert by_script == by_compose
    owner = housed.root.stat()
    assert by_script["User"] == f"{owner.st_uid}:{owner.st_gid}"
    assert by_script["ReadonlyRootfs"]
    assert by_script["CapDrop"] == {"ALL"}
    assert by_script["NetworkMode"] == "host"


def test_a_secret_of_the_environment_reaches_the_stage_and_nobodys_inspection(
    housed: Project, containers: Engine, runners: Runners
) -> None:
    housed.write(".env", "")
    secret = "handed-over-5678"
    with begun(housed, containers, [*SCRIPT, "run"], A_TOKEN=secret) as process:
        inspected = [runners.one(), *(containers.api.inspect_container(found["Id"]) for found in containers.ours())]
        (scratch,) = (housed.root / SCRATCH).iterdir()
        assert (scratch / "home/.secrets/A_TOKEN").read_text() == secret
        assert not list((housed.root / ".local/clients").glob("*.json"))
        press_ctrl_c(process)
    assert len(inspected) == 3
    assert secret not in json.dumps(inspected)


def test_compose_says_which_variables_it_needs(housed: Project, runners: Runners) -> None:
    del runners
    done = subprocess.run(
        [*COMPOSE, "dvc-runner", "run"], cwd=housed.root, env=housed.env, capture_output=True, text=True, check=False
    )
    assert done.returncode
    assert "The head of docker-compose.yml says how" in done.stderr


def of_terminal(command: Sequence[str]) -> list[str]:
    """Start a command at a terminal of its own, as script(1) does."""
    code = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
    return [sys.executable, "-c", code, *command]


@pytest.mark.parametrize("terminal", [False, True], ids=["no terminal", "a terminal"])
def test_a_client_that_is_killed_takes_its_runner_along(
    housed: Project, containers: Engine, runners: Runners, *, terminal: bool
) -> None:
    before = housed.files()
    command = [*SCRIPT, "run"]
    with begun(housed, containers, of_terminal(command) if terminal else command):
        assert runners.one()["Config"]["Tty"] == terminal
        os.kill(client(runners.one()), signal.SIGKILL)
        assert runners.gone()
    assert containers.none_left()
    assert {name: text for name, text in housed.files().items() if not name.startswith(".local/")} == before
    housed.write("data/wait", "no")
    housed.json().ended(0)


@cases(
    "act, number",
    {
        "docker kill": ("kill", "SIGKILL"),
        "docker kill -s HUP": ("kill", "SIGHUP"),
        "docker rm -f": ("remove", ""),
    },
)
def test_a_runner_that_is_ended_takes_its_stages_along(
    housed: Project, containers: Engine, runners: Runners, act: str, number: str
) -> None:
    before = housed.files()
    with begun(housed, containers, [*SCRIPT, "run"]) as process:
        assert until(lambda: {one["State"] for one in containers.ours()} == {"running"}, BEGIN_S)
        runner = runners.one()["Id"]
        if act == "kill":
            containers.api.kill(runner, signal=number)
        else:
            containers.api.remove_container(runner, force=True)
        process.wait(60)
        assert runners.gone()
    assert containers.none_left(), containers.ours()
    assert {name: text for name, text in housed.files().items() if not name.startswith(".local/")} == before
    housed.age_scratches()
    housed.write("data/wait", "no")
    assert housed.json("--force").ended(0).outcomes == {"one": "ran"}


@pytest.mark.root
def test_a_runner_that_is_root_leaves_nothing_of_roots(housed: Project, containers: Engine, runners: Runners) -> None:
    del runners
    built = subprocess.run([*housed.prefix, *SCRIPT, "--version"], cwd=housed.root, env=housed.env, check=False)
    assert built.returncode == 0
    housed.write("data/wait", "no")
    shutil.rmtree(housed.root / ".dvc/tmp")
    found = variables(housed)
    mounted = {str(housed.root): "/workspace", found["ENGINE_SOCKET"]: "/var/run/docker.sock"}
    volumes = [f"--mount=type=bind,source={source},target={target}" for source, target in mounted.items()]
    settings = ["--user=0:0", "--network=host", f"--env=BASE_IMAGE={found['DVC_RUNNER_BASE_IMAGE']}"]
    command = ["docker", "run", "--rm", *settings, *volumes, found["DVC_RUNNER_IMAGE"], "run", "--force"]
    done = subprocess.run(command, env=housed.env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert containers.none_left()
    owner = housed.root.stat().st_uid
    assert [path for path in housed.root.rglob("*") if path.lstat().st_uid != owner] == []


def client(container: dict[str, Any]) -> int:
    """Find the docker run that shows a container."""
    name = container["Name"].removeprefix("/")
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if words[0] == "docker" and name in words:
            return int(folder.name)
    raise AssertionError(f"nobody shows {name}")


def test_the_filtered_runner_has_the_filters_socket_and_no_other(
    housed: Project, containers: Engine, runners: Runners
) -> None:
    env = {**housed.env, **variables(housed)}
    down = ["docker", "compose", "--profile", "filtered", "down", "--volumes", "--timeout", "1"]
    try:
        with begun(housed, containers, [*COMPOSE, "-T", "dvc-runner-filtered", "run"], **env) as process:
            (wall,) = [one for one in runners.found() if "dvc_runner.socket_filter" in one["Config"]["Entrypoint"]]
            (runner,) = [one for one in runners.found() if one["Id"] != wall["Id"]]
            stop(containers, runner, process)
        # Its volume is in use until then.
        assert until(lambda: [one["Id"] for one in runners.found()] == [wall["Id"]], 60)
        log = containers.api.logs(wall["Id"]).decode()
    finally:
        subprocess.run(down, cwd=housed.root, env=env, check=True, stdin=subprocess.DEVNULL)
    assert {mount["Destination"] for mount in runner["Mounts"]} == {"/workspace", "/run/socket-filter"}
    assert not runner["HostConfig"]["GroupAdd"]
    assert wall["HostConfig"]["NetworkMode"] == "none"
    assert wall["HostConfig"]["ReadonlyRootfs"]
    assert "refused" not in log
    assert containers.none_left()
    assert not containers.api.volumes(filters={"name": "socket-filter"})["Volumes"]
