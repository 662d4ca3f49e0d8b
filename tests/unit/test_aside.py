"""Files set aside come back, all of them, unless what replaces them is whole."""

import contextlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.trees import Node, lay, tree

from dvc_runner.workspace.aside import aside, remove

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
