"""What every test finds around it."""

import os
import secrets
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

# Before any test: DVC's logger writes to the stream that it saw first.
from dvc.cli import main as dvc
from dvc.repo.open_repo import clean_repos
from tests.support import dagshub_site, people, projects, remains
from tests.support.engines import Engine
from tests.support.projects import Finished, Project
from tests.support.ways import STAGE, Way, lay_out

from dvc_runner.cli.guard_image import GUARD_IMAGE
from dvc_runner.cli.main import main
from dvc_runner.engine import client
from dvc_runner.errors import EngineError
from dvc_runner.executors import docker
from dvc_runner.executors import processes as processes_module
from dvc_runner.executors.process import ProcessExecutor
from dvc_runner.interrupts import SIGNALS
from dvc_runner.model import EngineSettings

FOREIGN = ("DVC_", "MLFLOW_", "TRACKING_", "DAGSHUB_", "GIT_")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what only root can do."""
    if os.geteuid() != 0 and item.get_closest_marker("root"):
        pytest.skip("only root can: sudo scripts/test -m root tests")


@pytest.fixture(autouse=True, scope="session")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what a person has set out of the tests, and what tests make out of their cache.

    The installer's own cache stays theirs: without it, every environment would be downloaded anew.
    """
    # A shell starts what it puts in the background with Ctrl-C ignored, nohup with SIGHUP; children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(FOREIGN):
                patch.delenv(name)
        cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        patch.setenv("UV_CACHE_DIR", os.environ.get("UV_CACHE_DIR") or f"{cache}/uv")
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("DVC_NO_ANALYTICS", "1")
        for role in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{role}_NAME", "A Tester")
            patch.setenv(f"GIT_{role}_EMAIL", "tester@example.org")
        yield


@pytest.fixture(scope="session")
def bare_project(surroundings: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with git and DVC in it, to be copied."""
    del surroundings
    return projects.template(tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="session")
def dagshub(surroundings: None) -> Iterator[dagshub_site.DagsHub]:
    """A DagsHub of this machine, of real parts."""
    del surroundings
    with dagshub_site.running() as found:
        yield found


@pytest.fixture(scope="session")
def a_project(surroundings: None) -> Callable[[Path], Project]:
    """Gives a folder as a project whose stages run as processes."""
    del surroundings
    return lambda root: Project(root=root, env=projects.environment(DVC_RUNNER_EXECUTOR="process"))


@pytest.fixture
def project(bare_project: Path, tmp_path: Path, a_project: Callable[[Path], Project]) -> Project:
    """A project whose stages run as processes; its path has a space, an accent and a colon in it."""
    root = tmp_path / "a projéct: mine"
    shutil.copytree(bare_project, root, symlinks=True)
    return a_project(root)


@pytest.fixture(scope="session")
def engine(surroundings: None) -> str:
    """The address of a container engine; where none answers, what needs one is skipped."""
    del surroundings
    address = os.environ.get("DOCKER_HOST") or client.DEFAULT_HOST
    try:
        client.connect(address).close()
    except EngineError as error:
        if os.environ.get("REQUIRE_ENGINE") == "1":
            pytest.fail(f"REQUIRE_ENGINE=1, and {error}", pytrace=False)
        pytest.skip(str(error))
    return address


@pytest.fixture(scope="session")
def engines() -> list[Engine]:
    """Every engine that tests use, for as long as they do."""
    return []


@pytest.fixture(scope="session")
def containers(engine: str, engines: list[Engine], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The engine as tests see it: what they made there, and nothing of others."""
    base = os.environ.get("BASE_IMAGE") or GUARD_IMAGE
    mark = secrets.token_hex(6)
    with Engine(engine, base, mark, tmp_path_factory.getbasetemp()).opened() as found:
        engines.append(found)
        yield found
        engines.remove(found)


@pytest.fixture
def nothing_left(
    request: pytest.FixtureRequest, engines: list[Engine], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """A test leaves no container, network, process, scratch folder or file of root's, on any engine that it uses."""
    if request.node.get_closest_marker("engine"):
        request.getfixturevalue("containers")
    with remains.none_left(tmp_path_factory.getbasetemp(), tmp_path, engines):
        yield


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Finished]]:
    """Runs dvc-runner in this process, which has imported DVC already; any exception is a failure.

    Whatever prints JSON needs a process of its own, since it moves stdout.
    """

    def run(project: Project, *arguments: str, env: Mapping[str, str] | None = None) -> Finished:
        monkeypatch.chdir(project.root)
        for name, value in {**project.env, **(env or {})}.items():
            monkeypatch.setenv(name, value)
        capfd.readouterr()
        try:
            code = main(list(arguments))
        except SystemExit as ended:
            code = int(ended.code or 0)
        return Finished(code, *capfd.readouterr())

    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def dvc_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs dvc in this process, in a project's folder; gives its exit code."""

    def run(project: Project, *arguments: str) -> int:
        monkeypatch.chdir(project.root)
        # A process keeps its clones.
        clean_repos()
        return int(dvc([arguments[0], "--quiet", *arguments[1:]]))

    return run


@pytest.fixture(scope="session")
def lab(containers: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    """The executor of containers at work, in an image that is built once."""
    root = lay_out(tmp_path_factory.mktemp("containers") / "a projéct: lab", containers.dockerfile)
    people.give(root)
    base = os.environ.get("BASE_IMAGE")
    connected = docker.connect(
        root, EngineSettings(host=containers.address, guard_image=containers.base, base_image=base)
    )
    with connected.opened() as executor:
        yield Way(executor, root, executor.prepare(STAGE, print))


@pytest.fixture(scope="session")
def processes(surroundings: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    """The executor of processes at work."""
    del surroundings
    root = lay_out(tmp_path_factory.mktemp("processes") / "a projéct: lab", "FROM scratch\n")
    opened = ProcessExecutor(root, cache=tmp_path_factory.mktemp("environments")).opened()
    with processes_module.nursery(), opened as executor:
        yield Way(executor, root, executor.prepare(STAGE, print))
