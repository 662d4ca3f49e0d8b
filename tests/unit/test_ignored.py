"""Entries of .gitignore, added while stages end in whatever order."""

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dvc_runner.workspace import dvc_ignore
from dvc_runner.workspace.dvc_ignore import Ignored
from dvc_runner.workspace.pace import REST


class Outs:
    """Adds entries as DVC does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths: list[str] = []
        (folder / "tmp").mkdir()
        repo: Any = SimpleNamespace(scm_context=SimpleNamespace(ignored_paths=self._paths), tmp_dir=folder / "tmp")
        self.ignored = Ignored(repo)

    def add(self, rank: int, *, fails: bool = False) -> None:
        with self.ignored.in_order(rank):
            for name in (f"{rank}.txt", f"{rank}.a"):
                with (self._folder / ".gitignore").open("a") as file:
                    file.write(f"/{name}\n")
                self._paths.append(str(self._folder / name))
            if fails:
                raise ValueError(rank)


@pytest.fixture
def outs(tmp_path: Path) -> Outs:
    return Outs(tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / ".gitignore"


def entries(*ranks: int) -> str:
    return "".join(f"/{rank}.txt\n/{rank}.a\n" for rank in ranks)


@pytest.mark.parametrize("seed", range(10))
def test_they_come_by_rank_after_what_was_there(outs: Outs, file: Path, seed: int) -> None:
    file.write_text("/mine\n")
    ranks = random.Random(seed).sample(range(20), 20)
    for rank in ranks:
        outs.add(rank)
    outs.ignored.sort()
    assert file.read_text() == "/mine\n" + entries(*range(20))


def test_what_a_stage_added_that_failed_has_its_place(outs: Outs, file: Path) -> None:
    outs.add(2)
    with pytest.raises(ValueError, match="1"):
        outs.add(1, fails=True)
    outs.add(0)
    outs.ignored.sort()
    assert file.read_text() == entries(0, 1, 2)


def test_what_somebody_else_wrote_stays_where_it_is(outs: Outs, file: Path) -> None:
    outs.add(3)
    outs.add(2)
    outs.ignored.sort()
    file.write_text(file.read_text() + "/mine\n")
    outs.add(1)
    outs.ignored.sort()
    outs.add(5)
    outs.add(4)
    outs.ignored.sort()
    assert file.read_text() == entries(2, 3) + "/mine\n" + entries(1, 4, 5)


def test_a_file_that_is_gone_is_begun_anew(outs: Outs, file: Path) -> None:
    outs.add(1)
    file.unlink()
    outs.add(0)
    outs.ignored.sort()
    assert file.read_text() == entries(0)


def test_sorting_takes_a_small_part_of_the_time(outs: Outs, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("dvc_runner.workspace.pace.time.monotonic", lambda: now[0])
    writes = []

    def slowly(*_: object) -> None:
        writes.append(now[0])
        now[0] += 1

    monkeypatch.setattr(dvc_ignore, "replace", slowly)
    for rank in reversed(range(100)):
        outs.add(rank)
        now[0] += 0.5
    assert 1 < len(writes) <= 100 * 0.5 / REST + 1
