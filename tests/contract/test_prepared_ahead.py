"""A run has what later stages run in made while the first of them runs, and nothing made where nothing runs."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.cases import cases
from tests.support.preparers import Execute, Preparer, Watched, nothing
from tests.support.projects import Project

from dvc_runner.model import ContainerSpec, Selection
from dvc_runner.pipeline.preparations import Preparations
from dvc_runner.pipeline.record import Record
from dvc_runner.pipeline.request import Request
from dvc_runner.pipeline.run import Run
from dvc_runner.pipeline.stage_run import Surroundings
from dvc_runner.workspace.dvc_project import DvcProject

# pygtrie, which DVC walks its index with.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")
LIMIT_S = 60


@pytest.fixture
def chained(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Stages a → b → c, and d → e beside them."""
    monkeypatch.chdir(project.root)
    project.stages(
        a=project.stage("a", "pass", outs=["a.txt"]),
        b=project.stage("b", "pass", deps=["a.txt"], outs=["b.txt"]),
        c=project.stage("c", "pass", deps=["b.txt"], outs=["c.txt"]),
        d=project.stage("d", "pass", outs=["d.txt"]),
        e=project.stage("e", "pass", deps=["d.txt"], outs=["e.txt"]),
    )
    return project


@contextlib.contextmanager
def run(root: Path, preparer: Preparer, *targets: str) -> Iterator[Run]:
    """Run the project; the block is at work before what is being made is ended."""
    with contextlib.closing(DvcProject(root)) as project:
        around = Surroundings(root=project.root, cache=project.cache, executor=preparer, settings={})
        record = Record(project.root, [])
        preparations = Preparations(preparer, project.root, record.folder, {}, Watched())
        work = Run(project, around, Request(selection=Selection(targets=targets)), record, preparations)
        with preparations.opened():
            work.go()
            yield work


def outcomes(work: Run) -> dict[str, str]:
    return {name: str(result.outcome) for name, result in work.results.items()}


def test_later_stages_are_prepared_while_the_first_runs(chained: Project) -> None:
    made = {name: threading.Event() for name in "abcde"}

    def execute(spec: ContainerSpec) -> None:
        if spec.stage == "a":
            assert all(event.wait(LIMIT_S) for event in made.values())

    preparer = Preparer(lambda stage, *_: made[stage.address].set(), execute)
    with run(chained.root, preparer) as work:
        assert set(outcomes(work).values()) == {"ran"}
    assert sorted(preparer.made) == list("abcde")


def test_a_run_with_nothing_to_do_prepares_nothing(chained: Project) -> None:
    with run(chained.root, Preparer()):
        pass
    again = Preparer()
    with run(chained.root, again) as work:
        assert set(outcomes(work).values()) == {"skipped"}
    assert again.made == []


@cases(
    "edited, prepared",
    {
        "the first": ("a", "abc"),
        "one in the middle": ("b", "bc"),
        "the last": ("c", "c"),
        "one of each branch": ("bd", "bcde"),
    },
)
def test_what_runs_is_prepared_and_nothing_else(chained: Project, edited: str, prepared: str) -> None:
    with run(chained.root, Preparer()):
        pass
    for name in edited:
        chained.write(f"stages/{name}/{name}.py", "edited")
    finished = threading.Semaphore(0)
    again = Preparer(lambda *_: finished.release(), wait_for(finished, len(prepared)))
    with run(chained.root, again):
        pass
    assert sorted(again.made) == list(prepared)


def wait_for(finished: threading.Semaphore, count: int) -> Execute:
    """Give what waits, in the first stage that runs, until all are made; what follows needs not wait."""

    def execute(_: ContainerSpec) -> None:
        if not done.is_set():
            assert all(finished.acquire(timeout=LIMIT_S) for _ in range(count))
            done.set()

    done = threading.Event()
    return execute


def test_a_stage_whose_deps_are_missing_does_not_keep_others_from_being_prepared(chained: Project) -> None:
    chained.stages(
        a=chained.stage("a", "pass", outs=["a.txt"]),
        x=chained.stage("x", "pass", deps=["missing.txt"], outs=["x.txt"]),
        d=chained.stage("d", "pass", outs=["d.txt"]),
    )
    preparer = Preparer(nothing)
    with run(chained.root, preparer) as work:
        assert outcomes(work)["a"] == "ran"
        assert "failed" in outcomes(work).values()
