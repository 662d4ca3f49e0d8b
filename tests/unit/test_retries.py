"""Which failures are met with another try, and what is said of those that are not."""

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import ClassVar

from tests.support.cases import cases
from tests.support.servers import Told, web

from dvc_runner.engine.cancellation import NEVER, Cancellation
from dvc_runner.executors.base import Executor
from dvc_runner.executors.docker import DockerExecutor
from dvc_runner.model import (
    Build,
    Container,
    ContainerExit,
    ContainerSpec,
    Dep,
    Ending,
    Environment,
    Network,
    Out,
    Stage,
)
from dvc_runner.pipeline.stage_run import Performed, Surroundings, run_stage


class Scripted:
    """An executor whose commands end as told, one after the other; the last ending is for good."""

    name: ClassVar[str] = "scripted"
    links_deps: ClassVar[bool] = False
    vanishing: ClassVar[tuple[str, ...]] = DockerExecutor.vanishing

    def __init__(self, endings: list[tuple[Ending, int]], *, writes: bool = True) -> None:
        self.endings = endings
        self.writes = writes
        self.says: list[str] = []
        self.scratches: list[Path] = []

    def named(self, stage: Stage) -> str:
        del stage
        return "none"

    def prepare(self, stage: Stage, on_line: Callable[[str], None], cancellation: Cancellation = NEVER) -> Environment:
        del stage, on_line, cancellation
        return Environment(reference="none", key="none")

    def execute(self, spec: ContainerSpec, on_line: Callable[[str], None]) -> ContainerExit:
        for line in self.says:
            on_line(line)
        if self.writes:
            (spec.sandbox.workspace / "out.txt").write_text(str(len(self.scratches)))
        self.scratches.append(spec.sandbox.scratch)
        ending, code = self.endings.pop(0) if len(self.endings) > 1 else self.endings[0]
        return ContainerExit(code=code, ending=ending, seconds=1)

    def opened(self) -> AbstractContextManager[Executor]:
        return nullcontext(self)


def perform(
    root: Path,
    executor: Scripted,
    *,
    retries: int,
    settings: Mapping[str, str] | None = None,
    network: Network = Network.NONE,
) -> tuple[Performed, list[str]]:
    (root / "code").mkdir()
    (root / "code/Dockerfile").touch()
    stage = Stage(
        address="one",
        wdir=".",
        cmd="",
        argv=("true",),
        deps=(Dep(path="code"),),
        outs=(Out(path="out.txt"),),
        params=(),
        container=Container(
            build=Build(context="code", dockerfile="code/Dockerfile"), retries=retries, network=network
        ),
    )
    around = Surroundings(root=root, cache=root, executor=executor, settings=settings or {})
    said: list[str] = []
    prepare = partial(executor.prepare, on_line=said.append)
    return run_stage(stage, around, said.append, prepare, confirm=lambda: None), said


FAILED = (Ending.EXITED, 1)
WELL = (Ending.EXITED, 0)


@cases(
    "endings, retries, tries, well",
    {
        "well at once": ([WELL], 2, 1, True),
        "well the second time": ([FAILED, WELL], 2, 2, True),
        "well the last time": ([FAILED, FAILED, WELL], 2, 3, True),
        "never well": ([FAILED], 2, 3, False),
        "none by default": ([FAILED], 0, 1, False),
        "killed, then well": ([(Ending.KILLED, 137), WELL], 1, 2, True),
        "vanished, then well": ([(Ending.VANISHED, -1), WELL], 1, 2, True),
        "timed out, then well": ([(Ending.TIMED_OUT, 143), WELL], 1, 2, True),
        "timed out, ended well at the signal, then well": ([(Ending.TIMED_OUT, 0), WELL], 1, 2, True),
        "out of memory stays so": ([(Ending.OUT_OF_MEMORY, 137), WELL], 2, 1, False),
    },
)
def test_tries(endings: list[tuple[Ending, int]], retries: int, tries: int, well: bool, tmp_path: Path) -> None:  # noqa: FBT001
    executor = Scripted(list(endings))
    performed, said = perform(tmp_path, executor, retries=retries)
    assert len(set(executor.scratches)) == len(executor.scratches) == tries
    assert (performed.error is None) == well
    assert (tmp_path / "out.txt").exists() == well
    assert not well or (tmp_path / "out.txt").read_text() == str(tries - 1)
    assert len(said) == tries - 1


def test_a_missing_out_is_no_matter_of_luck(tmp_path: Path) -> None:
    executor = Scripted([WELL], writes=False)
    performed, _ = perform(tmp_path, executor, retries=3)
    assert len(executor.scratches) == 1
    assert "out.txt" in str(performed.error)


UNREADABLE = "FileNotFoundError: [Errno 2] No such file or directory: 'data.csv'"


@cases("says, tries", {"of a hidden file": (UNREADABLE, 1), "of another": (UNREADABLE.replace("data", "other"), 3)})
def test_what_is_hidden_from_a_stage_stays_so(says: str, tries: int, tmp_path: Path) -> None:
    (tmp_path / "data.csv").touch()
    executor = Scripted([FAILED])
    executor.says = [says]
    performed, _ = perform(tmp_path, executor, retries=2)
    assert len(executor.scratches) == tries
    assert ("data.csv" in str(performed.error)) == (tries == 1)


def test_no_line_is_lost_for_ending_like_a_secret(tmp_path: Path) -> None:
    executor = Scripted([WELL])
    executor.says = ["it is hunter2!", "it is hunt"]
    _, said = perform(tmp_path, executor, retries=0, settings={"MLFLOW_TRACKING_PASSWORD": "hunter2"})
    assert said == ["it is *****!", "it is hunt"]


def test_who_killed_a_stage_is_not_guessed(tmp_path: Path) -> None:
    performed, _ = perform(tmp_path, Scripted([(Ending.KILLED, 137)]), retries=0)
    assert "exit code 137" in str(performed.error)
    assert "outside" not in str(performed.error)


def tracked(root: Path, ending: tuple[Ending, int], place: str, **settings: str) -> tuple[Performed, list[str]]:
    """Perform with a server that has its clients keep the files of an experiment at a place."""
    experiments = [{"name": "fine", "artifact_location": "mlflow-artifacts:/0"}]
    experiments += [{"name": "iris", "artifact_location": place}]
    answer = Told(kind="application/json", text=json.dumps({"experiments": experiments}))
    with web(lambda *_: answer) as port:
        settings["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{port}"
        return perform(root, Scripted([ending]), retries=0, settings=settings, network=Network.TRACKING)


@cases(
    "place, s3, told",
    {
        "handed on by the server": ("mlflow-artifacts:/1", None, False),
        "handed on by it, by name": ("mlflow-artifacts://127.0.0.1:5000/1", None, False),
        "at its own address": ("http://127.0.0.1:5000/api/2.0/mlflow-artifacts/artifacts/1", None, False),
        "at another's": ("https://elsewhere.example/1", None, True),
        "S3": ("s3://bucket/1", None, True),
        "S3, by its endpoint": ("s3://bucket/1", "http://127.0.0.1:9000", False),
        "Google's": ("gs://bucket/1", "http://127.0.0.1:9000", True),
        "a folder": ("/srv/mlruns/1", None, True),
        "a folder, as a URL": ("file:///srv/mlruns/1", None, True),
    },
)
def test_a_store_that_is_out_of_reach_is_told_of_a_failure(
    place: str,
    s3: str | None,
    told: bool,  # noqa: FBT001
    tmp_path: Path,
) -> None:
    settings = {"MLFLOW_S3_ENDPOINT_URL": s3} if s3 else {}
    performed, _ = tracked(tmp_path, FAILED, place, **settings)
    assert performed.error
    assert (f"iris in {place}," in performed.error.remedy) == told
    assert "fine" not in performed.error.remedy


@cases(
    "place, told",
    {
        "handed on by the server": ("mlflow-artifacts:/1", False),
        "nowhere in a stage": ("/srv/mlruns/1", False),
        "in memory": ("/tmp/mlruns/1", True),
        "the same, as a URL": ("file:///srv/../tmp/mlruns/1", True),
        "in the working folder": ("/workspace/mlruns/1", True),
        "in a folder of such a name": ("/tmpfiles/1", False),
    },
)
def test_files_that_are_gone_with_their_stage_are_told_of(place: str, told: bool, tmp_path: Path) -> None:  # noqa: FBT001
    performed, said = tracked(tmp_path, WELL, place)
    assert performed.error is None
    assert [f"iris in {place}," in line and "--serve-artifacts" in line for line in said] == [True] * told


def test_a_server_that_does_not_tell_of_its_store_changes_nothing(tmp_path: Path) -> None:
    settings = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}
    performed, _ = perform(tmp_path, Scripted([FAILED]), retries=0, settings=settings, network=Network.TRACKING)
    assert performed.error
    assert performed.error.remedy == "its own words say why"
