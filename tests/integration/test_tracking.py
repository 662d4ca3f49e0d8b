"""A real MLflow server in a container: who reaches it and how, and by whose certificate."""

import json
import shutil
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from tests.support.cases import cases
from tests.support.engines import Engine
from tests.support.mlflow_servers import PATH_BELOW, PORT, in_container, nginx
from tests.support.projects import Project
from tests.support.ways import Way, tracking

from dvc_runner.errors import EXIT_STAGE_FAILED
from dvc_runner.model import Network

pytestmark = pytest.mark.engine
ROOT = Path(__file__).parents[2]
LOG = """
import pathlib, mlflow
mlflow.set_experiment("by TLS")
with mlflow.start_run() as run:
    mlflow.log_metric("m", 1.5)
    mlflow.log_artifact("data/log.py")
pathlib.Path("run.txt").write_text(run.info.run_id)
"""
ASK = """
import json, os, urllib.request
asked = os.environ["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow/experiments/search?max_results=1"
print(json.dumps(list(json.load(urllib.request.urlopen(asked, timeout=20)))))
"""
CONNECT = """
import socket
try:
    socket.create_connection(ADDRESS, timeout=5).close()
    print('"reached"')
except OSError as error:
    print(f'"{type(error).__name__}"')
"""


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """A server by its published port, and by its own address; before it nginx, certified by ``authority``."""

    port: int
    address: str
    front: str
    authority: Path


@pytest.fixture(scope="module")
def server(containers: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracking]:
    """A server in a container, with this machine's nginx before it."""
    folder = tmp_path_factory.mktemp("tracking")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate = authority.issue_cert("localhost")
    with (
        in_container(containers.api, containers.base) as (port, address),
        nginx(f"http://127.0.0.1:{port}", folder / "nginx", certificate) as front,
    ):
        yield Tracking(port=port, address=address, front=front, authority=folder / "ca.pem")


def test_a_server_in_a_container_is_reached(lab: Way, server: Tracking) -> None:
    for spec in (tracking(server.port), tracking(PORT, server.address)):
        assert lab.python(ASK, **spec).said == ["experiments"]


def test_what_lies_beyond_this_machine_is_internets_alone(lab: Way, server: Tracking) -> None:
    """An address that is none of this machine's plays the world."""
    code = CONNECT.replace("ADDRESS", repr((server.address, PORT)))
    specs: dict[str, Any] = {
        "none": {"network": Network.NONE},
        "tracking": tracking(server.port),
        "internet": {"network": Network.INTERNET},
    }
    found = {name: lab.python(code, **spec).said for name, spec in specs.items()}
    assert found.pop("internet") == "reached"
    assert "reached" not in found.values()


@cases(
    "executor, variable",
    {
        "in a container": ("contained", "MLFLOW_TRACKING_SERVER_CERT_PATH"),
        "as a process": ("project", "REQUESTS_CA_BUNDLE"),
    },
)
def test_mlflows_client_checks_the_certificate(
    request: pytest.FixtureRequest, server: Tracking, executor: str, variable: str
) -> None:
    project: Project = request.getfixturevalue(executor)
    for name in ("train", "tracking", "contract", ".dockerignore"):
        copied = shutil.copytree if (ROOT / "stages" / name).is_dir() else shutil.copy2
        (project.root / "stages").mkdir(exist_ok=True)
        copied(ROOT / "stages" / name, project.root / "stages" / name)
    # The project's own image with MLflow's client.
    train = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["train"]["meta"]["container"]
    project.params(base_image=yaml.safe_load((ROOT / "params.yaml").read_text())["base_image"])
    project.write("data/log.py", LOG)
    project.write("ca.pem", server.authority.read_text())
    entry = {
        "cmd": "dvc-runner exec python data/log.py",
        "deps": ["stages/train", "stages/tracking", "stages/contract", "data/log.py"],
        "outs": ["run.txt"],
        "meta": {"container": {"build": train["build"], "network": "tracking"}},
    }
    project.stages(train=entry)
    project.adopt()
    uri = {"MLFLOW_TRACKING_URI": f"{server.front}/open{PATH_BELOW}"}
    refused = project.json(env=uri)
    assert refused.code == EXIT_STAGE_FAILED
    assert "CERTIFICATE_VERIFY_FAILED" in refused.text
    project.json(env={**uri, variable: str(project.root / "ca.pem")}).ended(0)
    asked = f"http://127.0.0.1:{server.port}/api/2.0/mlflow/runs/get?run_id={project.read('run.txt')}"
    with urllib.request.urlopen(asked, timeout=20) as answer:
        run = json.load(answer)["run"]
    assert [metric["value"] for metric in run["data"]["metrics"]] == [1.5]
    assert run["info"]["status"] == "FINISHED"
