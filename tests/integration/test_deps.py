"""What a stage in a container can do with its deps, whatever they are made of."""

import json
from pathlib import Path

import pytest
from tests.support.cases import cases
from tests.support.disks import bound
from tests.support.projects import Project
from tests.support.trees import lay, tree
from tests.support.ways import Way

from dvc_runner.errors import EXIT_STAGE_FAILED

pytestmark = pytest.mark.engine

TRY_TO_CHANGE = """
import json, os
def attempt(act):
    try:
        act()
    except OSError as error:
        return ''
    return 'done'
seen, done = {}, []
for folder, names, files in os.walk('data'):
    done += [folder for act in (lambda: open(folder + '/new', 'w'), lambda: os.chmod(folder, 0o777)) if attempt(act)]
    for path in sorted(os.path.join(folder, name) for name in files):
        seen[path] = open(path).read()
        acts = (
            lambda: open(path, 'a').write('x'),
            lambda: os.chmod(path, 0o666),
            lambda: os.utime(path),
            lambda: os.remove(path),
            lambda: os.rename(path, 'moved'),
            lambda: os.link(path, 'linked'),
        )
        done += [path for act in acts if attempt(act)]
json.dump([seen, done], open('out.json', 'w'))
"""


@pytest.mark.parametrize("kind", ["copy", "hardlink", "symlink"])
def test_deps_from_dvcs_cache_are_read_and_not_changed(contained: Project, kind: str) -> None:
    lay(contained.root, {"data": {"file.csv": "1", "folder": {"a b:é.csv": "2", "deep": {"c.csv": "3"}}}})
    contained.adopt()
    named = {"LOGNAME": "somebody"}
    contained.dvc("config", "cache.type", kind).ended(0)
    contained.dvc("add", "data/file.csv", "data/folder", env=named).ended(0)
    if kind != "copy":
        path = contained.root / "data/folder/deep/c.csv"
        assert path.is_symlink() if kind == "symlink" else path.stat().st_nlink > 1
    deps = ["data/file.csv", "data/folder"]
    contained.stages(one=contained.stage("one", TRY_TO_CHANGE, deps=deps, outs=["out.json"]))
    before = contained.cache()
    states = {path: path.stat() for path in contained.root.glob(".dvc/cache/**/*") if path.is_file()}
    contained.json("one").ended(0)
    seen, done = json.loads(contained.read("out.json"))
    assert seen == {"data/file.csv": "1", "data/folder/a b:é.csv": "2", "data/folder/deep/c.csv": "3"}
    # The folder data is the stage's own: room beside its deps.
    assert set(done) <= {"data"}
    assert {name: text for name, text in contained.cache().items() if name in before} == before
    for path, state in states.items():
        now = path.stat()
        assert (now.st_mode, now.st_uid, now.st_mtime_ns, now.st_nlink) == (
            state.st_mode,
            state.st_uid,
            state.st_mtime_ns,
            state.st_nlink,
        )
    assert json.loads(contained.dvc("status", "--json", env=named).ended(0).out) == {}


def test_a_link_that_leads_out_of_a_folder_is_refused_before_anything_runs(contained: Project) -> None:
    lay(contained.root, {"data": {"a.csv": "1", "link": Path("/etc/hostname")}})
    contained.stages(one=contained.stage("one", TRY_TO_CHANGE, deps=["data"], outs=["out.json"]))
    contained.adopt()
    done = contained.json().ended(EXIT_STAGE_FAILED)
    assert "data/link" in done.err
    assert not (contained.root / "out.json").exists()


@pytest.mark.root
def test_what_is_mounted_in_a_dep_is_read_and_not_changed(lab: Way, tmp_path: Path) -> None:
    lay(tmp_path, {"disk": {"d.csv": "d", "deep": {"e.csv": "e"}}})
    for path in [tmp_path / "disk", *(tmp_path / "disk").rglob("*")]:
        path.chmod(0o777)
    lay(lab.root, {"data": {"with mount": {"x.csv": "x", "mount": {}}}})
    with bound(tmp_path / "disk", lab.root / "data/with mount/mount"):
        ran = lab.python(f"{TRY_TO_CHANGE}\nprint(open('out.json').read())", deps=["data/with mount"])
    seen, done = ran.said
    assert seen == {
        "data/with mount/x.csv": "x",
        "data/with mount/mount/d.csv": "d",
        "data/with mount/mount/deep/e.csv": "e",
    }
    assert set(done) <= {"data"}
    assert tree(tmp_path / "disk") == {"d.csv": "d", "deep": {"e.csv": "e"}}


@cases("number", {"three hundred": [300]})
def test_many_deps(lab: Way, number: int) -> None:
    names = [f"data/many/{n}.csv" for n in range(number)]
    lay(lab.root, {name: name for name in names})
    code = "import json, os; print(json.dumps({n: open(f'data/many/{n}').read() for n in os.listdir('data/many')}))"
    assert lab.python(code, deps=names).said == {Path(name).name: name for name in names}


@pytest.mark.parametrize("program", ["dvc-runner", "dvc"])
def test_a_dep_that_changes_while_its_stage_runs_fails_it(contained: Project, program: str) -> None:
    code = """
import os, time
print('begun', flush=True)
while not os.path.exists('gate/open'):
    time.sleep(0.05)
open('out.csv', 'w').write('new')
"""
    found = contained.with_env(LOGNAME="somebody")
    lay(found.root, {"gate": {"closed": ""}})
    found.stages(one=found.stage("one", code, deps=["gate"], outs=["out.csv"]))
    found.adopt()
    with found.started(program, "run" if program == "dvc-runner" else "repro") as process:
        assert any("begun" in line for line in process.stdout or ())
        found.write("gate/open", "")
        printed, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "gate changed while one ran" in printed
    assert not (found.root / "out.csv").exists()
