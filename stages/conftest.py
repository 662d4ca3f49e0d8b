"""What the stages' tests share: a workspace as a stage sees it, and the MLflow server that ``make test`` starts."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

STAGES = Path(__file__).parent
sys.path[:0] = [str(folder) for folder in STAGES.iterdir() if folder.is_dir()]

WriteParams = Callable[..., None]


def pytest_configure(config: pytest.Config) -> None:
    # MLflow 3.17 warns of its own code. What it warns of in ours has our module's name.
    config.addinivalue_line("filterwarnings", "ignore:::mlflow")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a stage's working directory, with room for every stage's outs."""
    monkeypatch.chdir(tmp_path)
    for folder in ("data/raw", "data/processed", "models", "metrics"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def write_params(workspace: Path) -> WriteParams:
    """Write one section of the project's params.yaml, with some values changed."""
    import yaml  # not every stage's environment has it

    def write(section: str, **changes: object) -> None:
        params = yaml.safe_load((STAGES.parent / "params.yaml").read_text(encoding="utf-8"))
        (workspace / "params.yaml").write_text(yaml.safe_dump({section: params[section] | changes}), encoding="utf-8")

    return write


@pytest.fixture
def mlflow_uri(monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the URI of a real server, and configure it."""
    uri = os.environ.get("TEST_MLFLOW_URI")
    if not uri:
        pytest.fail("TEST_MLFLOW_URI is not set: `make test` starts a server for it", pytrace=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return uri


@pytest.fixture
def unique() -> str:
    """Give a name that the server does not know."""
    return f"test-{uuid4().hex}"
