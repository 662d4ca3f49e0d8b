"""Files set aside come back, all of them, unless what replaces them is whole."""

import contextlib
import json
import os
import signal
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.disks import another_disk
from tests.support.trees import Node, lay, tree

from dvc_runner.workspace.aside import aside, recover, remove

NAMES = ["a.csv", "b b", "ç:ü", "folder"]
KINDS: list[Node] = ["old", {"inner": "old", "deep": {"x": "old"}}, Path("nowhere"), None]


def test_gone_while_set_aside_and_deleted_in_the_end(tmp_path: Path) -> None:
    lay(tmp_path, {"a": "old", "b": {"x": "old"}})
    with aside([tmp_path / "a", tmp_path / "b", tmp_path / "c"], tmp_path / "aside"):
        assert not (tmp_path / "a").exists()
        assert not (tmp_path / "b").exists()
        (tmp_path / "a").write_text("new")
    assert tree(tmp_path) == {"a": "new", "aside": {}}


def test_put_back_when_asked(tmp_path: Path) -> None:
    lay(tmp_path, {"a": "old", "b": {"x": "old"}})
    with aside([tmp_path / "a", tmp_path / "b"], tmp_path / "aside") as put_back:
        lay(tmp_path, {"a": {"half": "done"}, "b": "new"})
        put_back()
    assert tree(tmp_path) == {"a": "old", "b": {"x": "old"}, "aside": {}}


@given(
    kinds=st.tuples(*[st.sampled_from(KINDS)] * len(NAMES)),
    replaced=st.tuples(*[st.sampled_from(KINDS)] * len(NAMES)),
    reached=st.integers(min_value=0, max_value=len(NAMES)),
    error=st.sampled_from([OSError, KeyboardInterrupt, SystemExit]),
)
def test_an_error_at_any_moment_puts_everything_back(
    kinds: tuple[Node, ...], replaced: tuple[Node, ...], reached: int, error: type[BaseException]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name, "root")
        lay(root, dict(zip(NAMES, kinds, strict=True)))
        before = tree(root)
        with contextlib.suppress(error), aside([root / name for name in NAMES], Path(name, "parent")):
            lay(root, dict(list(zip(NAMES, replaced, strict=True))[:reached]))
            raise error
        assert tree(root) == before
        assert tree(Path(name, "parent")) == {}


def test_an_error_while_moving_puts_back_what_was_moved(tmp_path: Path) -> None:
    lay(tmp_path, {"a": "old", "b": {"x": "old"}})
    with pytest.raises(OSError, match="b"), aside([tmp_path / "a", tmp_path / "b"], tmp_path / "b" / "aside"):
        pytest.fail("a folder cannot be moved into itself")
    assert tree(tmp_path) == {"a": "old", "b": {"x": "old", "aside": {}}}


def test_one_that_cannot_be_put_back_keeps_no_other_from_it(tmp_path: Path) -> None:
    lay(tmp_path, {"a": "old", "b": {"x": "old"}})
    impossible = tmp_path / ("n" * 300)
    paths = [tmp_path / "a", impossible, tmp_path / "b"]
    with pytest.raises(OSError, match="nnn"), aside(paths, tmp_path / "aside") as put_back:
        put_back()
    found = tree(tmp_path)
    assert {name: found[name] for name in ("a", "b")} == {"a": "old", "b": {"x": "old"}}


def test_remove_takes_whatever_is_there(tmp_path: Path) -> None:
    lay(tmp_path, {"kept": {"x": "1"}, "file": "1", "folder": {"x": "1"}, "empty": {}, "link": Path("kept")})
    for name in ("file", "folder", "empty", "link", "nothing"):
        remove(tmp_path / name)
    assert tree(tmp_path) == {"kept": {"x": "1"}}


# Killed in the middle.


def killed(act: Callable[[], None]) -> None:
    """Call ``act`` in a process that then dies as by SIGKILL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        act()
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


@settings(deadline=None, max_examples=40)
@given(
    kinds=st.tuples(*[st.sampled_from(KINDS)] * len(NAMES)),
    new=st.tuples(*[st.sampled_from(KINDS[:3])] * len(NAMES)),
    came=st.integers(min_value=0, max_value=len(NAMES)),
)
def test_what_a_killed_runner_set_aside_comes_back(kinds: tuple[Node, ...], new: tuple[Node, ...], came: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        root, scratch, parent = (Path(name, part) for part in ("root", "scratch", "parent"))
        lay(root, dict(zip(NAMES, kinds, strict=True)))
        lay(scratch, dict(zip(NAMES, new, strict=True)))
        before = tree(root)

        def act() -> None:
            incoming = [scratch / one for one in NAMES]
            with aside([root / one for one in NAMES], parent, incoming=incoming):
                for one in NAMES[:came]:
                    (scratch / one).rename(root / one)
                os.kill(os.getpid(), signal.SIGKILL)

        killed(act)
        put_back = recover(parent)
        assert tree(root) == before
        assert sorted(path.name for path in put_back) == sorted(before)
        assert tree(parent) == {}
        assert recover(parent) == ()


def test_what_had_come_wholly_stays(tmp_path: Path) -> None:
    lay(tmp_path, {"a": "new", "parent": {"aside-x": {"0": "old"}}})
    journal = {"complete": True, "paths": [str(tmp_path / "a")], "incoming": []}
    lay(tmp_path / "parent" / "aside-x", {"journal.json": json.dumps(journal)})
    assert recover(tmp_path / "parent") == ()
    assert tree(tmp_path) == {"a": "new", "parent": {}}


def test_what_somebody_wrote_since_stays_where_nothing_was(tmp_path: Path) -> None:
    def act() -> None:
        with aside([tmp_path / "a"], tmp_path / "parent", incoming=[tmp_path / "incoming"]):
            os.kill(os.getpid(), signal.SIGKILL)

    lay(tmp_path, {"incoming": "x"})
    killed(act)
    (tmp_path / "a").write_text("by hand")
    recover(tmp_path / "parent")
    assert (tmp_path / "a").read_text() == "by hand"


def test_a_folder_made_and_not_yet_used_is_removed(tmp_path: Path) -> None:
    lay(tmp_path, {"aside-x": {"journal.json.draft": "{"}})
    assert recover(tmp_path) == ()
    assert tree(tmp_path) == {}


def test_what_a_living_runner_set_aside_is_left_alone(tmp_path: Path) -> None:
    lay(tmp_path, {"a": "old"})
    with aside([tmp_path / "a"], tmp_path / "parent"):
        assert recover(tmp_path / "parent") == ()
        assert not (tmp_path / "a").exists()


def test_on_another_disk_it_is_set_aside_in_its_own_folder(tmp_path: Path) -> None:
    with another_disk(tmp_path / "disk"):
        lay(tmp_path / "disk", {"a": {"x": "old"}})
        with contextlib.suppress(OSError), aside([tmp_path / "disk" / "a"], tmp_path / "parent"):
            assert not (tmp_path / "disk" / "a").exists()
            raise OSError
        assert tree(tmp_path / "disk") == {"a": {"x": "old"}}

        def act() -> None:
            with aside([tmp_path / "disk" / "a"], tmp_path / "parent"):
                os.kill(os.getpid(), signal.SIGKILL)

        killed(act)
        recover(tmp_path / "parent")
        assert tree(tmp_path / "disk") == {"a": {"x": "old"}}
        with aside([tmp_path / "disk" / "a"], tmp_path / "parent"):
            pass
        assert tree(tmp_path / "disk") == {}
