"""``dvc exp run`` on stages of ours, in the workspace and in a folder of the experiment's own."""

import dataclasses
import json
import shutil
from pathlib import Path

from tests.support.cases import cases
from tests.support.projects import Project

CODE = """
import json, os, pathlib, yaml
n = json.loads(pathlib.Path("params.yaml").read_text().partition("n: ")[2])
pathlib.Path("n.json").write_text(json.dumps({"n": n, "at": os.environ["MLFLOW_TRACKING_URI"]}))
""".replace(", yaml", "")
URI = "http://127.0.0.1:9"


@cases("where", {"in the workspace": [[]], "in a folder of its own": [["--temp"]]})
def test_an_experiment_runs_stages_of_ours(project: Project, tmp_path: Path, where: list[str]) -> None:
    # DVC itself fails with --temp below a folder with an accent in its name.
    project = dataclasses.replace(project, root=Path(shutil.copytree(project.root, tmp_path / "plain", symlinks=True)))
    entry = project.stage("count", CODE, params=["n"], container={"network": "tracking"})
    project.stages(count={**entry, "metrics": [{"n.json": {"cache": False}}]})
    project.params(n=1)
    # Not in git, so not in the experiment's own folder either.
    project.write(".env", f"MLFLOW_TRACKING_URI={URI}\n")
    project.write(".gitignore", "/.env\n")
    project.run("run").ended(0)
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", "One")
    project.dvc("exp", "run", "--name", "two", "--set-param", "n=2", *where).ended(0)
    shown = json.loads(project.dvc("exp", "show", "--json").ended(0).out)
    assert json.dumps(shown).count('"n": 2') >= 1
    project.dvc("exp", "apply", "two").ended(0)
    assert json.loads(project.read("n.json")) == {"n": 2, "at": URI}
