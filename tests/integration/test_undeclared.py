"""What a stage reads and writes without having declared it, by either executor."""

import pytest
from tests.support.cases import cases
from tests.support.projects import Project
from tests.support.trees import lay

from dvc_runner.errors import EXIT_STAGE_FAILED

pytestmark = pytest.mark.engine
RAW = "data/raw/iris é.csv"
READS = {
    "relative": f"open({RAW!r})",
    "absolute": f"import os; open(os.environ['DVC_ROOT'] + '/' + {RAW!r})",
    "by a program": f"import subprocess; subprocess.check_call(['cat', {RAW!r}])",
}


@cases("executor", {"docker": ["docker"], "process": ["process"]})
@cases("code", {name: [code] for name, code in READS.items()})
def test_an_undeclared_read_fails_and_is_told(contained: Project, executor: str, code: str) -> None:
    found = contained.with_env(DVC_RUNNER_EXECUTOR=executor, LOGNAME="somebody")
    lay(found.root, {"data": {"raw": {"iris é.csv": "1"}, "in.csv": "1"}})
    found.stages(train=found.stage("train", code, deps=["data/in.csv"], outs=["out.csv"]))
    found.adopt()
    message = f"could not read {RAW}, which exists in the project and is not among its deps"
    remedy = f"add {RAW} to deps of train in dvc.yaml"
    done = found.json()
    assert done.code == EXIT_STAGE_FAILED, done.text
    (end,) = [event for event in done.events if event["event"] == "stage_end"]
    assert message in end["error"]
    assert end["remedy"] == remedy
    if code == READS["relative"]:
        for told in (found.run("run"), found.dvc("repro")):
            assert message in told.text
            assert remedy in told.text


@cases("executor", {"docker": ["docker"], "process": ["process"]})
def test_undeclared_writes_are_told_and_dropped(contained: Project, executor: str) -> None:
    code = """
import os, pathlib, tempfile
os.makedirs('deep/er')
for name in ('out.csv', 'deep/er/stray é.csv', *(f'many-{n}' for n in range(10))):
    open(name, 'w')
(pathlib.Path.home() / '.cache').mkdir()
for folder in (pathlib.Path.home(), pathlib.Path.home() / '.cache', pathlib.Path(tempfile.gettempdir())):
    (folder / 'no stray').write_text('1')
"""
    found = contained.with_env(DVC_RUNNER_EXECUTOR=executor)
    found.stages(train=found.stage("train", code, outs=["out.csv"]))
    done = found.json().ended(0)
    (end,) = [event for event in done.events if event["event"] == "stage_end"]
    strays = ["deep/er/stray é.csv", *(f"many-{n}" for n in range(10))]
    assert end["undeclared_writes"] == strays
    (warning,) = [line for line in done.err.splitlines() if "warning" in line]
    assert "stray é.csv" in warning
    assert "and 6 more" in warning
    assert not [path for path in found.root.rglob("*") if path.name in {*strays, "stray é.csv"}]
