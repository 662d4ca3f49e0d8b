"""dvc-runner doctor on a real engine: what it proves where all is well, and what it says where something is not."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.support.cases import cases
from tests.support.projects import Project
from tests.support.registry import Registry
from tests.support.servers import an_mlflow, web

from dvc_runner.errors import EXIT_ENGINE, EXIT_HOST_PATH
from dvc_runner.workspace.places import FOLDER

pytestmark = pytest.mark.engine
PROVED = {
    *("project", "project disk", "mlflow", "engine", "engine socket", "image", "host path"),
    *("container files", "container network", "container tracking", "container user", "dvc remote"),
}


def doctor(project: Project, **env: str) -> tuple[int, dict[str, Any]]:
    """Start it; give its exit code and its findings by check (of images, the last)."""
    done = project.run("doctor", "--json", env=env)
    (found,) = done.events
    assert done.code == found["exit_code"], done.text
    assert not list((project.root / FOLDER).glob("doctor-*"))
    return done.code, {check["check"]: check for check in found["checks"]}


@pytest.fixture
def patient(contained: Project, tmp_path: Path) -> Project:
    """A project with a stage and a remote."""
    contained.stages(one=contained.stage("one", "pass", outs=["out.txt"], container={"network": "tracking"}))
    store = tmp_path / "store"
    contained.dvc("remote", "add", "--default", "store", str(store)).ended(0)
    store.mkdir()
    if contained.owner is not None:
        store.chmod(0o777)
    return contained


def test_all_is_well(patient: Project) -> None:
    with web(an_mlflow) as port:
        code, found = doctor(patient, MLFLOW_TRACKING_URI=f"http://127.0.0.1:{port}")
    assert code == 0
    assert {name for name, check in found.items() if check["state"] == "ok"} >= PROVED, json.dumps(found, indent=1)
    assert {name for name, check in found.items() if check["state"] == "failed"} == set()
    assert f"uid {patient.root.stat().st_uid}," in found["container user"]["told"]
    for check in ("container network", "container tracking"):
        assert "cannot reach another port of this machine" in found[check]["told"]


def test_lines_are_for_people(patient: Project) -> None:
    with web(an_mlflow) as port:
        done = patient.run("doctor", env={"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}).ended(0)
    lines = done.out.splitlines()
    assert len(lines) >= len(PROVED)
    assert {line[0] for line in lines} <= {"✓", "–"}  # noqa: RUF001 - its mark


def test_an_image_that_nobody_has(patient: Project) -> None:
    with web(an_mlflow) as port:
        uri = f"http://127.0.0.1:{port}"
        code, found = doctor(patient, MLFLOW_TRACKING_URI=uri, BASE_IMAGE="127.0.0.1:1/none:1")
    assert code == EXIT_ENGINE
    assert found["image"]["state"] == "failed"
    assert "127.0.0.1:1/none:1" in found["image"]["told"]
    assert found["container files"]["state"] == "not_applicable"


def test_an_image_that_the_first_run_pulls(patient: Project, registry: Registry) -> None:
    name = f"{registry.address}/to/pull@{registry.push('to/pull', {'file': os.urandom(9)})}"
    container = {"image": name}
    patient.stages(one={"cmd": "dvc-runner exec true", "outs": ["out.txt"], "meta": {"container": container}})
    with web(an_mlflow) as port:
        code, found = doctor(patient, MLFLOW_TRACKING_URI=f"http://127.0.0.1:{port}")
    assert code == 0
    assert found["image"]["state"] == "ok"
    assert f"{name} is not here yet; its registry has it" in found["image"]["told"]


def test_an_engine_that_does_not_see_the_project(patient: Project) -> None:
    """A runner whose project is on a disk that the engine does not see: here, one that only it has mounted."""
    alone = ("unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--mount", "--propagation", "private")
    hide = ("sh", "-c", 'mount -t tmpfs -o mode=777 t .dvc/tmp && exec "$@"', "sh")
    hidden = dataclasses.replace(patient, prefix=(*alone, *hide, *patient.prefix))
    (patient.root / ".dvc/tmp").mkdir(exist_ok=True)
    with web(an_mlflow) as port:
        code, found = doctor(hidden, MLFLOW_TRACKING_URI=f"http://127.0.0.1:{port}")
    assert code == EXIT_HOST_PATH
    assert found["host path"]["state"] == "failed"
    assert str(patient.root) in found["host path"]["told"]


@cases("executor", {"processes": ["process"]})
def test_without_containers_nothing_is_asked_of_the_engine(patient: Project, executor: str) -> None:
    with web(an_mlflow) as port:
        uri = f"http://127.0.0.1:{port}"
        code, found = doctor(patient, MLFLOW_TRACKING_URI=uri, DVC_RUNNER_EXECUTOR=executor)
    assert code == 0
    for check in ("engine", "engine socket", "host path", "container files", "container tracking"):
        assert found[check]["state"] == "not_applicable"
