"""``dvc-runner gc`` removes environments that nobody has used for long."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from tests.support.projects import Finished, Project

# pygtrie, which DVC walks its index with.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")
Here: TypeAlias = Callable[..., Finished]
DAY_S = 86400


@pytest.fixture
def cached(project: Project, tmp_path: Path) -> tuple[Project, Path]:
    """A project with environments of two lock files, the second of which is its own now; and the folder of both."""
    found = project.with_env(XDG_CACHE_HOME=str(tmp_path / "cache"))
    for word in ("first", "second"):
        found.stages(one=found.stage("one", "pass", outs=["out.txt"]))
        found.write("stages/one/requirements.txt", f"# {word}\n")
        found.run("build").ended(0)
    return found, tmp_path / "cache/dvc-runner/environments"


def environments(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/complete"))


def age(folder: Path, days: float) -> None:
    for path in folder.glob("*/complete"):
        os.utime(path, (time.time() - days * DAY_S,) * 2)


def test_what_is_old_and_not_needed_goes_when_asked(cached: tuple[Project, Path], here: Here) -> None:
    project, folder = cached
    needed = project.run("build").ended(0).out.split()[1]
    assert len(environments(folder)) == 2
    age(folder, 31)
    (old,) = [path for path in environments(folder) if str(path) != needed]
    said = here(project, "gc").ended(0)
    assert f"environment  {old}" in said.out
    assert needed not in said.out
    assert "nothing was removed" in said.out
    assert len(environments(folder)) == 2
    here(project, "gc", "--force").ended(0)
    assert not old.exists()
    assert [str(path) for path in environments(folder)] == [needed]
    assert "nothing is unused" in here(project, "gc").ended(0).out


def test_what_was_used_lately_stays(cached: tuple[Project, Path], here: Here) -> None:
    project, folder = cached
    age(folder, 29)
    here(project, "gc", "--force").ended(0)
    assert len(environments(folder)) == 2
    here(project, "gc", "--force", "--older-than", "28d").ended(0)
    assert len(environments(folder)) == 1


def test_a_use_counts(cached: tuple[Project, Path], here: Here) -> None:
    project, folder = cached
    age(folder, 31)
    project.write("stages/one/requirements.txt", "# first\n")
    here(project, "build").ended(0)
    project.write("stages/one/requirements.txt", "# second\n")
    here(project, "gc", "--force").ended(0)
    assert len(environments(folder)) == 2


def test_machines_are_told_what_went(cached: tuple[Project, Path]) -> None:
    project, folder = cached
    age(folder, 31)
    told = json.loads(project.run("gc", "--force", "--json").ended(0).out)
    assert told["dry_run"] is False
    (gone,) = told["unused"]
    assert (gone["kind"], gone["removed"], gone["error"]) == ("environment", True, None)
    assert told["frees_bytes"] == gone["size_bytes"]
    assert not Path(gone["name"]).exists()
