"""What LINEAGE_FILE tells a stage of where its results come from."""

import getpass
import json
import os
import shutil
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import pytest
import yaml
from tests.support.cases import cases
from tests.support.json_schema import problems, schema
from tests.support.projects import Finished, Project
from tests.support.trees import lay

from dvc_runner.workspace import ran_in
from dvc_runner.workspace.dvc_past import FURTHEST
from dvc_runner.workspace.dvc_revision import DIFF_CHARACTERS
from dvc_runner.workspace.places import RAN_IN

# pygtrie, which DVC walks its index with.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")
Here: TypeAlias = Callable[..., Finished]
TELL = "import os, shutil; shutil.copy(os.environ['LINEAGE_FILE'], 'lineage.json')"
OF_THE_STAGE = {"read", "python", "libraries", "host", "started_at", "logged_at"}
RAW_MD5 = "bdd166af3a63f7be696dd17a218a6ffb"


@pytest.fixture
def told(project: Project, here: Here) -> Callable[..., dict[str, Any]]:
    """Runs the project, and gives what its stage ``last`` was told."""

    def run(*arguments: str, env: Mapping[str, str] | None = None) -> dict[str, Any]:
        here(project, "run", *arguments, env=env).ended(0)
        found: dict[str, Any] = json.loads(project.read("lineage.json"))
        return found

    return run


@pytest.fixture
def alone(project: Project) -> Project:
    """A project of one stage, committed."""
    lay(project.root, {"in.csv": "raw", "notes.txt": "one\n"})
    project.params(train={"n": 1}, other=2)
    project.stages(last=project.stage("last", TELL, deps=["in.csv"], params=["train"], outs=["lineage.json"]))
    project.git("add", "-A")
    project.git("commit", "-qm", "first")
    project.git("config", "user.name", "Ada")
    return project


def test_it_tells_of_code_image_data_and_params(alone: Project, told: Callable[..., dict[str, Any]]) -> None:
    # What git says is of the time before anything runs.
    last = yaml.safe_load(alone.read("dvc.yaml"))["stages"]["last"]
    alone.stages(
        edits={"cmd": "tee notes.txt < in.csv > two", "outs": ["two"]}, last={**last, "deps": [*last["deps"], "two"]}
    )
    alone.git("commit", "-qam", "second")
    found = told()
    assert alone.git("diff", "--name-only", "notes.txt").strip()
    assert found["git_commit"] == alone.git("rev-parse", "HEAD").strip()
    assert (found["git_branch"], found["git_dirty"], found["git_diff"]) == ("main", False, None)
    assert (found["git_user"], found["system_user"]) == ("Ada", getpass.getuser())
    assert (found["stage"], found["cmd"]) == ("last", "dvc-runner exec python3 -m last")
    assert found["executor"] == "process"
    assert found["deps"]["in.csv"] == RAW_MD5
    assert set(found["deps"]) == {"in.csv", "two", "stages/last"}
    assert found["params"] == {"params.yaml": {"train": {"n": 1}}}
    assert found["image"]["key"]
    assert ([one["stage"] for one in found["upstream"]], found["upstream_whole"]) == (["edits"], True)


def test_it_is_the_schemas_part_that_no_stage_adds(alone: Project, told: Callable[..., dict[str, Any]]) -> None:
    whole = schema("lineage")
    whole["required"] = [key for key in whole["required"] if key not in OF_THE_STAGE]
    assert set(whole["required"]) | OF_THE_STAGE == set(whole["properties"])
    alone.write("notes.txt", "two\n")
    found = told()
    assert problems(found, whole) == []
    assert set(found).isdisjoint(OF_THE_STAGE)


def piped(project: Project) -> None:
    """A .dvc file, a stage of ours, one of a shell, and the last; and another beside them."""
    lay(project.root, {"raw.csv": "raw"})
    project.dvc("add", "--quiet", "raw.csv").ended(0)
    copy = "import shutil; shutil.copy('raw.csv', 'first.csv')"
    project.params(n=1, m=1)
    project.stages(
        last=project.stage("last", TELL, deps=["second.csv"], params=["m"], outs=["lineage.json"]),
        first=project.stage("first", copy, deps=["raw.csv"], params=["n"], outs=["first.csv"]),
        second={"cmd": "cp first.csv second.csv", "deps": ["first.csv"], "outs": ["second.csv"]},
        beside={"cmd": "cp raw.csv beside.csv", "deps": ["raw.csv"], "outs": ["beside.csv"]},
    )


def check_upstream(found: dict[str, Any]) -> dict[str, Any]:
    assert [one["stage"] for one in found["upstream"]] == ["second", "first", "raw.csv.dvc"]
    assert found["upstream_whole"] is True
    second, first, raw = found["upstream"]
    assert second["deps"] == {"first.csv": RAW_MD5}
    assert second["outs"] == {"second.csv": RAW_MD5}
    assert (second["image"], second["cmd"]) == (None, "cp first.csv second.csv")
    assert first["deps"]["raw.csv"] == raw["outs"]["raw.csv"] == RAW_MD5
    assert set(first["deps"]) == {"raw.csv", "stages/first"}
    assert first["params"] == {"params.yaml": {"n": 1}}
    image: dict[str, Any] = first["image"]
    return image


def test_it_leads_back_to_the_raw_data(project: Project, told: Callable[..., dict[str, Any]]) -> None:
    piped(project)
    image = check_upstream(told())
    assert image["key"]
    # Up to date, and run alone, they are told of as they were.
    project.params(n=1, m=2)
    assert check_upstream(told()) == image
    project.params(n=1, m=3)
    assert check_upstream(told("--single-item", "last")) == image


def test_what_was_restored_is_told_with_what_made_it(project: Project, told: Callable[..., dict[str, Any]]) -> None:
    piped(project)
    told()
    notes = [path for path in (project.root / RAN_IN).rglob("*") if path.is_file()]
    assert len(notes) == 2
    for note in notes:
        note.write_text(json.dumps({"key": "of then", "id": "sha256:1"}))
    project.params(n=2, m=1)
    assert told()["upstream"][1]["image"]["key"] != "of then"
    project.params(n=1, m=2)
    assert told()["upstream"][1]["image"] == {"key": "of then", "id": "sha256:1"}
    assert project.outcomes()["first"] == "restored"
    shutil.rmtree(project.root / RAN_IN)
    project.params(n=2, m=3)
    assert told()["upstream"][1]["image"] is None


def test_notes_that_nobody_needs_go_and_one_in_use_stays(project: Project, told: Callable[..., dict[str, Any]]) -> None:
    piped(project)
    image = check_upstream(told())
    notes = project.root / RAN_IN
    in_use = min(notes.rglob("*/*"), key=lambda path: path.stat().st_mtime_ns)
    os.utime(in_use, (1, 1))
    project.params(n=1, m=2)
    assert check_upstream(told()) == image
    lay(notes, {f"{n % 256:02x}/{n:064x}": "{}" for n in range(2 * ran_in.KEPT)})
    for path in notes.rglob("*/" + "0" * 60 + "*"):
        os.utime(path, (2, 2))
    project.params(n=1, m=3)
    assert check_upstream(told()) == image
    # One for each stage, the .dvc file among them, and what this run noted.
    assert len(list(notes.rglob("*/*"))) == ran_in.KEPT + 6


def test_it_tells_plain_dvc_the_same(project: Project, told: Callable[..., dict[str, Any]]) -> None:
    piped(project)
    image = check_upstream(told())
    project.params(n=1, m=2)
    project.dvc("repro").ended(0)
    found = json.loads(project.read("lineage.json"))
    assert found["params"] == {"params.yaml": {"m": 2}}
    assert check_upstream(found) == image


def test_it_tells_what_upstream_is_after_this_run(project: Project, told: Callable[..., dict[str, Any]]) -> None:
    piped(project)
    before = told()["upstream"][1]
    project.params(n=2, m=1)
    project.write("stages/first/first.py", "open('first.csv', 'w').write('new')")
    after = told()["upstream"][1]
    assert after["params"] == {"params.yaml": {"n": 2}}
    assert after["outs"]["first.csv"] != before["outs"]["first.csv"]
    assert after["deps"]["stages/first"] != before["deps"]["stages/first"]


def test_what_was_told_of_before_it_ran_is_told_anew(project: Project, told: Callable[..., dict[str, Any]]) -> None:
    """Stages that are named with ``--single-item`` run as they are named."""
    piped(project)
    stages = yaml.safe_load(project.read("dvc.yaml"))["stages"]
    told_early = project.stage(
        "early", TELL.replace("lineage.json", "early.json"), deps=["first.csv"], outs=["early.json"]
    )
    project.stages(**stages, early=told_early)
    told()
    project.params(n=2, m=1)
    found = told("--force", "--single-item", "early", "first", "second", "last")
    early = json.loads(project.read("early.json"))
    assert early["upstream"][0]["params"] == {"params.yaml": {"n": 1}}
    assert found["upstream"][1]["params"] == {"params.yaml": {"n": 2}}


def test_of_a_long_chain_it_tells_the_nearest(project: Project, told: Callable[..., dict[str, Any]]) -> None:
    chain = {
        f"s{n}": {"cmd": f"cp {n}.txt {n + 1}.txt", "deps": [f"{n}.txt"], "outs": [f"{n + 1}.txt"]}
        for n in range(FURTHEST + 1)
    }
    lay(project.root, {"0.txt": "1"})
    project.stages(**chain, last=project.stage("last", TELL, deps=[f"{FURTHEST + 1}.txt"], outs=["lineage.json"]))
    found = told("--jobs", "1")
    assert [one["stage"] for one in found["upstream"]] == [f"s{n}" for n in range(FURTHEST, 0, -1)]
    assert found["upstream_whole"] is False


def test_it_tells_how_tracked_files_differ_and_no_secret(alone: Project, told: Callable[..., dict[str, Any]]) -> None:
    alone.write(".env", "FROM_FILE='of .env/1'\nSHORT=no\n")
    alone.git("add", "-f", ".env")
    alone.git("commit", "-qm", "a mistake")
    alone.write(".env", "FROM_FILE='of .env/1'\nSHORT=no\nMORE='a second value'\n")
    secrets = ["of .env/1", "of%20.env/1", "a second value", "by its name", "of the stage"]
    alone.write("notes.txt", "\n".join(["one", *secrets, "no"]) + "\n")
    alone.write("added.txt", "added\n")
    alone.git("add", "added.txt")
    alone.write("untracked.txt", "untracked\n")
    entry = alone.stage("last", TELL, deps=["in.csv"], outs=["lineage.json"], container={"secrets": ["PLAIN"]})
    alone.stages(last=entry)
    found = told(env={"MY_API_KEY": "by its name", "PLAIN": "of the stage"})
    assert (found["git_dirty"], found["git_diff_whole"]) == (True, False)
    diff = found["git_diff"]
    assert [one for one in secrets if one in json.dumps(found)] == []
    assert " one\n+*****\n+*****\n+*****\n+*****\n+*****\n+no\n" in diff
    assert "+added\n" in diff
    for other in ("untracked", "+++ b/.env", "FROM_FILE"):
        assert other not in diff


@cases(
    "name, content, expected",
    {
        "text of a tracked file": ("notes.txt", b"two\n", (True, True)),
        "a binary in its place": ("notes.txt", b"\0\1", (True, False)),
        "no UTF-8 in its place": ("notes.txt", b"caf\xe9\n", (True, False)),
        "a new file of its code": ("stages/last/util.py", b"", (True, False)),
        "a new folder of its code": ("stages/last/more/util.py", b"", (True, False)),
        "a new file elsewhere": ("other/scratch.py", b"", (False, True)),
    },
)
def test_it_tells_whether_the_diff_is_all(
    alone: Project, told: Callable[..., dict[str, Any]], name: str, content: bytes, expected: tuple[bool, bool]
) -> None:
    path = alone.root / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    found = told()
    assert (found["git_dirty"], found["git_diff_whole"]) == expected


def test_data_that_git_has_no_dvc_file_of_are_told(project: Project, told: Callable[..., dict[str, Any]]) -> None:
    project.write("in/rows.csv", "1")
    project.dvc("add", "in/rows.csv").ended(0)
    project.stages(last=project.stage("last", TELL, deps=["in/rows.csv"], outs=["lineage.json"]))
    project.git("add", "--all")
    project.git("commit", "-qm", "One")
    assert told()["git_dirty"] is False
    project.git("rm", "-q", "--cached", "in/rows.csv.dvc")
    project.git("commit", "-qm", "Another")
    found = told("--force")
    assert (found["git_dirty"], found["git_diff_whole"]) == (True, False)


def test_a_long_diff_is_cut_at_a_line(alone: Project, told: Callable[..., dict[str, Any]]) -> None:
    alone.write("notes.txt", "".join(f"line {number}\n" for number in range(20_000)) + "x" * 200_000)
    found = told()
    assert found["git_diff_whole"] is False
    assert DIFF_CHARACTERS - 100 < len(found["git_diff"]) <= DIFF_CHARACTERS
    assert found["git_diff"].endswith("\n")
