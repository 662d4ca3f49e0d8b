"""DVC's other commands on stages of ours: experiments in the workspace, in a folder and from a queue; what changed."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from tests.support.cases import cases
from tests.support.projects import Project

CODE = """
import json, os, pathlib
n = json.loads(pathlib.Path("params.yaml").read_text().partition("n: ")[2])
pathlib.Path("n.json").write_text(json.dumps({"n": n, "at": os.environ["MLFLOW_TRACKING_URI"]}))
pathlib.Path("curve.csv").write_text(f"x,y\\n1,{n}\\n")
"""
URI = "http://127.0.0.1:9"


@pytest.fixture
def counted(project: Project, tmp_path: Path) -> Project:
    """A project that ran with n = 1, which is committed."""
    # DVC itself fails with --temp below a folder with an accent in its name.
    project = dataclasses.replace(project, root=Path(shutil.copytree(project.root, tmp_path / "plain", symlinks=True)))
    entry = project.stage("count", CODE, params=["n"], container={"network": "tracking"})
    project.stages(count={**entry, "metrics": [{"n.json": {"cache": False}}], "plots": ["curve.csv"]})
    project.params(n=1)
    # Not in git, so not in the experiment's own folder either.
    project.write(".env", f"MLFLOW_TRACKING_URI={URI}\n")
    project.write(".gitignore", "/.env\n")
    project.run("run").ended(0)
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", "One")
    return project


def shown(project: Project) -> str:
    """Give what DVC shows of its experiments."""
    return json.dumps(json.loads(project.dvc("exp", "show", "--json").ended(0).out))


@cases("where", {"in the workspace": [[]], "in a folder of its own": [["--temp"]]})
def test_an_experiment_runs_stages_of_ours(counted: Project, where: list[str]) -> None:
    counted.dvc("exp", "run", "--name", "two", "--set-param", "n=2", *where).ended(0)
    assert shown(counted).count('"n": 2') >= 1
    counted.dvc("exp", "apply", "two").ended(0)
    assert json.loads(counted.read("n.json")) == {"n": 2, "at": URI}
    assert counted.json().ended(0).outcomes == {"count": "skipped"}


def test_experiments_in_a_queue_run_stages_of_ours(counted: Project) -> None:
    for n in (2, 3):
        counted.dvc("exp", "run", "--queue", "--name", f"n{n}", "--set-param", f"n={n}").ended(0)
    counted.dvc("exp", "run", "--run-all", "--jobs", "2").ended(0)
    assert counted.dvc("queue", "status").ended(0).out.count("Success") == 2
    for n in (2, 3):
        counted.dvc("exp", "apply", f"n{n}").ended(0)
        assert json.loads(counted.read("n.json")) == {"n": n, "at": URI}


def test_our_run_goes_on_from_what_dvc_ran(counted: Project) -> None:
    (counted.root / "dvc.lock").unlink()
    for made in ("cache", "tmp"):
        shutil.rmtree(counted.root / ".dvc" / made)
    counted.dvc("repro").ended(0)
    counted.params(n=2)
    counted.dvc("repro").ended(0)
    assert counted.json().ended(0).outcomes == {"count": "skipped"}
    counted.params(n=1)
    assert counted.json().ended(0).outcomes == {"count": "restored"}
    assert json.loads(counted.read("n.json"))["n"] == 1
    assert "up to date" in counted.dvc("status").ended(0).text


def test_dvc_understands_what_we_ran(counted: Project) -> None:
    counted.params(n=2)
    assert list(json.loads(counted.dvc("status", "--json").ended(0).out)) == ["count"]
    counted.run("run").ended(0)
    assert "up to date" in counted.dvc("status").ended(0).text
    metrics = json.loads(counted.dvc("metrics", "diff", "--json").ended(0).out)
    assert metrics["n.json"]["n"] == {"old": 1, "new": 2, "diff": 1}
    params = json.loads(counted.dvc("params", "diff", "--json").ended(0).out)
    assert params["params.yaml"]["n"] == {"old": 1, "new": 2, "diff": 1}
    assert "curve.csv" in counted.dvc("diff", "--json").ended(0).out
    assert json.loads(counted.dvc("metrics", "show", "--json").ended(0).out)[""]["data"]["n.json"]["data"]["n"] == 2
    plots = json.loads(counted.dvc("plots", "diff", "--json", "--split").ended(0).out)
    assert "curve.csv" in json.dumps(plots)
