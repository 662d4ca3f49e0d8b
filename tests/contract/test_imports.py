"""What ``.dvc`` files tell of is brought, as a dep and as a target, as ``dvc repro`` does it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dvc.repo.open_repo import clean_repos
from tests.support.projects import Project

# pygtrie, which DVC walks its index with.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")
Here = Callable[..., Any]
Dvc = Callable[..., int]
NAMES = ("added.csv", "git.csv", "tracked.csv", "url.csv")


@pytest.fixture
def publish(bare_project: Path, tmp_path: Path, a_project: Callable[[Path], Project], dvc_in: Dvc) -> Any:
    """Gives the project that others import from a version: a file in git, one that DVC tracks, one beside it."""
    source = a_project(tmp_path / "source")
    shutil.copytree(bare_project, source.root, symlinks=True)

    def act(text: str) -> Project:
        for name in ("git.csv", "tracked.csv", "../url.csv"):
            source.write(name, f"{name} {text}\n")
        assert dvc_in(source, "add", "tracked.csv") == 0
        source.git("add", ".")
        source.git("commit", "--quiet", "--message", text)
        return source

    return act


def test_imports(project: Project, publish: Callable[[str], Project], here: Here, dvc_in: Dvc) -> None:
    source = publish("1").root
    project.write("added.csv", "added 1\n")
    commands = [("import", str(source), "git.csv"), ("import", str(source), "tracked.csv")]
    for command in [*commands, ("import-url", str(source.with_name("url.csv"))), ("add", "added.csv")]:
        assert dvc_in(project, *command) == 0
    project.stages(all={"cmd": f"cat {' '.join(NAMES)} > all.txt", "deps": list(NAMES), "outs": ["all.txt"]})
    twin = project.twin()

    def same(*arguments: str) -> dict[str, str]:
        clean_repos()
        ours, code = here(project, "run", *arguments), dvc_in(twin, "repro", *arguments)
        assert bool(ours.code) == bool(code), ours.text
        assert {**project.files(), **project.cache()} == {**twin.files(), **twin.cache()}
        return project.outcomes()

    assert same("tracked.csv.dvc", "url.csv.dvc") == {"tracked.csv.dvc": "skipped", "url.csv.dvc": "skipped"}
    assert same()["all"] == "ran"
    publish("2")
    assert set(same().values()) == {"skipped"}

    ran = ("git.csv.dvc", "tracked.csv.dvc", "all")
    for one in (project, twin):
        assert dvc_in(one, "unfreeze", "git.csv.dvc", "tracked.csv.dvc", "url.csv.dvc") == 0
    assert same("url.csv.dvc") == {"url.csv.dvc": "ran"}
    # DVC imports from git the commit on record once more: another is for dvc update.
    assert same() == {**dict.fromkeys(ran, "ran"), **dict.fromkeys(("added.csv.dvc", "url.csv.dvc"), "skipped")}
    assert project.read("all.txt") == "added 1\ngit.csv 1\ntracked.csv 1\n../url.csv 2\n"

    for one in (project, twin):
        one.write("added.csv", "added 2\n")
    assert same("added.csv.dvc") == {"added.csv.dvc": "ran"}
    assert same()["all"] == "ran"
    for one in (project, twin):
        (one.root / "added.csv").unlink()
        (one.root / "git.csv").unlink()
    assert same("added.csv.dvc") == {"added.csv.dvc": "failed"}
    (end,) = [event for event in project.records()[-1] if event["event"] == "stage_end"]
    assert ("added.csv" in end["error"], "dvc pull" in end["remedy"]) == (True, True)
    assert [reason["kind"] for reason in end["reasons"]] == ["out"]
    assert same("--pull")["added.csv.dvc"] == "restored"
