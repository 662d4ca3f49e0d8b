"""Outs are renamed into the project, or copied whole where a rename cannot be."""

import os
import signal
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from tests.support.cases import cases
from tests.support.disks import another_disk
from tests.support.people import SOMEBODY
from tests.support.trees import Node, lay, tree
from tests.support.values import a_stage

from dvc_runner.errors import StageError, of_os_error
from dvc_runner.model import Out
from dvc_runner.workspace import moving, outs, sandbox
from dvc_runner.workspace.places import NOTE, SCRATCH

OLD = 10**9


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "my proj:éct"
    folder.mkdir()
    return folder


def collect(
    root: Path, declared: Sequence[str | Out], written: Mapping[str, Node], modes: Mapping[str, int] | None = None
) -> list[str]:
    """Let a stage write; collect it; give what was said."""
    said: list[str] = []
    stage = a_stage("train", outs=declared)
    with sandbox.opened((root, root / "cache"), stage, user=sandbox.current_user(), secrets={}, links=True) as found:
        lay(found.workspace, written)
        for name, mode in (modes or {}).items():
            (found.workspace / name).chmod(mode)
        outs.collect(root, stage, found, said.append)
    return said


def content(root: Path) -> dict[str, Node]:
    found = tree(root)
    found.pop(".dvc", None)
    return found


def test_an_out_is_renamed_not_copied(root: Path) -> None:
    stage = a_stage(outs=["big.bin", "models"])
    with sandbox.opened((root, root), stage, user=sandbox.current_user(), secrets={}, links=True) as found:
        lay(found.workspace, {"big.bin": "x", "models": {"deep": {"a": "1"}}})
        names = ("big.bin", "models", "models/deep", "models/deep/a")
        before = [(found.workspace / name).stat().st_ino for name in names]
        outs.collect(root, stage, found, print)
    assert [(root / name).stat().st_ino for name in names] == before


WRITTEN: dict[str, Node] = {
    "disk": {"a b:é.csv": "new", "models": {"deep": {"a": "1", "link": Path("a")}, "empty": {}}},
    "here.csv": "new",
}
DECLARED = ["disk/a b:é.csv", "disk/models", "here.csv"]


def test_outs_on_another_disk_are_copied_whole(root: Path) -> None:
    with another_disk(root / "disk"):
        lay(root / "disk", {"a b:é.csv": "old", "models": {"gone": "old"}, "kept": "x"})
        collect(root, DECLARED, WRITTEN)
        assert tree(root / "disk") == {**WRITTEN["disk"], "kept": "x"}  # type: ignore[dict-item]
        assert (root / "here.csv").read_text() == "new"
        if os.geteuid() == 0:
            os.chown(root, SOMEBODY, SOMEBODY)
            collect(root, DECLARED, WRITTEN)
            assert {path.lstat().st_uid for path in (root / "disk" / "models").rglob("*")} == {SOMEBODY}


def copies_of(root: Path) -> list[tuple[Path, Path]]:
    lay(root, {"scratch": {"out": {"a": "1", "b": "2" * 10**6}}})
    return [(root / "scratch" / "out", root / "disk" / "out")]


def test_a_copy_says_how_far_it_came(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "TELL_S", 0)
    monkeypatch.setattr(moving, "GIGABYTE", 10**6)
    with another_disk(root / "disk"):
        said = collect(root, ["disk/a"], {"disk": {"a": {"b": "1" * 10**6, "c": "2" * 10**6}}})
    assert "1.0 of 2.0" in said[0]
    assert "2.0 of 2.0" in said[-1]
    assert collect(root, ["near"], {"near": "1"}) == []


def test_a_copy_that_fails_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "TELL_S", 0)

    def fail(line: str) -> None:
        raise OSError(28, line)

    with another_disk(root / "disk"):
        with (
            pytest.raises(OSError, match="GB"),
            moving.brought_near(copies_of(root), root / "scratch" / NOTE, fail),
        ):
            pytest.fail("it failed")
        assert tree(root / "disk") == {}


def test_a_copy_that_a_killed_runner_left_is_swept(root: Path) -> None:
    scratch = root / SCRATCH / "dead"
    scratch.mkdir(parents=True)
    with another_disk(root / "disk"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            with moving.brought_near(copies_of(root), scratch / NOTE, print):
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(pid, 0)
        assert tree(root / "disk") != {}
        os.utime(scratch, (OLD, OLD))
        collect(root, [], {})
        assert tree(root / "disk") == {}
        assert list((root / SCRATCH).iterdir()) == []


@cases(
    "declared, written",
    {
        "a file": (["a.csv"], {"a.csv": "1"}),
        "a folder": (["a"], {"a": {"b": {"c": "1"}}}),
        "in one folder": (["m/a", "m/b"], {"m": {"a": "1", "b": "2"}}),
        "one parent inside the other's": (
            ["m/a", "m/n/b", "m/n/o/c"],
            {"m": {"a": "1", "n": {"b": "2", "o": {"c": "3"}}}},
        ),
        "a folder beside a file of its name's beginning": (["m", "m.txt"], {"m": {"a": "1"}, "m.txt": "2"}),
        "spaces, colons, accents, a line end": (["a b/ç:d\n.csv"], {"a b": {"ç:d\n.csv": "1"}}),
        "a name that begins with a dot": ([".hidden/a"], {".hidden": {"a": "1"}}),
        "persisted": ([Out(path="log", persist=True)], {"log": "1"}),
    },
)
def test_outs_of_any_form_come(root: Path, declared: list[str | Out], written: dict[str, Node]) -> None:
    for _ in range(2):  # the second time they replace the former ones
        assert collect(root, declared, written) == []
        assert content(root) == written


@cases(
    "modes, mended",
    {
        "a folder": ({"m/n": 0}, ["m/n"]),
        "the out itself": ({"m": 0}, ["m"]),
        "a file": ({"m/n/a": 0}, ["m/n/a"]),
        "the folder that the out lies in": ({"p": 0}, []),
        "a file that is only protected": ({"m/n/a": 0o444}, []),
    },
)
def test_what_was_locked_is_mended_and_said(root: Path, modes: dict[str, int], mended: list[str]) -> None:
    written: dict[str, Node] = {"m": {"n": {"a": "1"}}, "p": {"q": "2"}}
    said = collect(root, ["m", "p/q"], written, modes)
    assert content(root) == written
    assert all(name in "".join(said) for name in mended)
    assert len(said) == bool(mended)


def test_an_out_that_is_missing_is_told_with_what_was_written_instead(root: Path) -> None:
    with pytest.raises(StageError, match=r"train.*models/m\.pkl; it wrote m\.pkl instead"):
        collect(root, ["models/m.pkl"], {"m.pkl": "1"})
    assert content(root) == {}


def test_folders_made_for_outs_are_the_owners(root: Path) -> None:
    if os.geteuid() == 0:
        os.chown(root, SOMEBODY, SOMEBODY)
    collect(root, ["new/folders/out"], {"new": {"folders": {"out": "1"}}})
    assert {path.lstat().st_uid for path in (root / "new", root / "new" / "folders")} == {root.stat().st_uid}


@cases(
    "number, words",
    {"one": (1, "0"), "five": (5, "0, 1, 2, 3, 4"), "many": (10_000, "0, 1, 2, 3, 4 and 9995 more")},
)
def test_the_first_few_are_named(number: int, words: str) -> None:
    assert outs.named(tuple(map(str, range(number)))) == words


@pytest.mark.root
def test_an_out_that_is_a_mount_point_is_told_and_nothing_changes(root: Path) -> None:
    lay(root, {"first": "old"})
    with another_disk(root / "disk"):
        lay(root / "disk", {"a": "old"})
        with pytest.raises(OSError, match="disk") as raised:
            collect(root, ["first", "disk"], {"first": "new", "disk": {"a": "new"}})
        assert "mount point" in str(of_os_error(raised.value))
        assert content(root) == {"first": "old", "disk": {"a": "old"}}
