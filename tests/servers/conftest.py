"""The project's own pipeline, before servers that tests start."""

import functools
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support import projects
from tests.support.mlflow_servers import PASSWORD, PATH_BELOW, USER, MlflowServer, chosen, mlflow_server, nginx
from tests.support.projects import Project

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a server is reached, and as whom."""

    server: MlflowServer
    uri: str
    user: str | None = None

    @property
    def settings(self) -> dict[str, str]:
        """What a person sets."""
        credentials = {"MLFLOW_TRACKING_USERNAME": self.user, "MLFLOW_TRACKING_PASSWORD": PASSWORD} if self.user else {}
        return {"MLFLOW_TRACKING_URI": self.uri, **credentials}

    @property
    def auth(self) -> tuple[str, str] | None:
        """The same for requests, whose own encoding of text is Latin-1."""
        return (self.user, PASSWORD.encode()) if self.user else None  # type: ignore[return-value]


@dataclass(frozen=True, kw_only=True)
class Fronts:
    """A server, and nginx before it."""

    server: MlflowServer
    front: str

    def place(self, way: str) -> Place:
        """Give one way to reach it."""
        return {
            "as it is": Place(server=self.server, uri=self.server.uri),
            "basic auth": Place(server=self.server, uri=self.front, user=USER),
            "below a path": Place(server=self.server, uri=f"{self.front}{PATH_BELOW}", user=USER),
            "below a path, open": Place(server=self.server, uri=f"{self.front}/open{PATH_BELOW}"),
        }[way]


@pytest.fixture(scope="session")
def serve(surroundings: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Fronts]]:
    """Give a server of a version, with nginx before it; one for all tests."""
    del surroundings
    with ExitStack() as up:

        @functools.cache
        def of(version: str) -> Fronts:
            folder = tmp_path_factory.mktemp("server")
            server = up.enter_context(mlflow_server(version, folder / "mlflow"))
            return Fronts(server=server, front=up.enter_context(nginx(server.uri, folder / "nginx")))

        yield of


@pytest.fixture(params=chosen())
def fronts(request: pytest.FixtureRequest, serve: Callable[[str], Fronts]) -> Fronts:
    """Each version that is to be tried."""
    return serve(request.param)


@pytest.fixture(scope="session")
def pipeline(surroundings: None, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project's pipeline with its tables made: what is left to do needs a server."""
    del surroundings
    root = tmp_path_factory.mktemp("pipeline") / "a projéct"
    root.mkdir()
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (
            name.startswith(("stages/", ".dvc", "dvc.", "params.yaml", ".gitignore", "metrics/"))
            and (ROOT / name).exists()
        ):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, root / name)
    project = Project(root=root, env=projects.environment(DVC_RUNNER_EXECUTOR="process"))
    project.git("init", "--quiet", "-b", "main")
    project.git("add", ".")
    project.git("commit", "--quiet", "-m", "As it is")
    project.run("run", "preprocess").ended(0)
    return project
