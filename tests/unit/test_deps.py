"""Deps with links and mounts in them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.cases import cases
from tests.support.disks import another_disk, bound
from tests.support.trees import Node, lay, tree
from tests.support.values import a_stage

from dvc_runner.errors import ConfigurationError
from dvc_runner.model import Sandbox
from dvc_runner.workspace import sandbox


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project, and a cache outside it."""
    folder = tmp_path / "my proj:éct"
    lay(
        tmp_path,
        {
            folder.name: {"data": {"real.csv": "real", "deep": {"x.csv": "x"}}, "other": {"o.csv": "o"}, "f.csv": "f"},
            "cache": {"files": {"object": "cached"}},
            "elsewhere": {"object": "foreign"},
        },
    )
    (tmp_path / "cache/files/object").chmod(0o444)
    return folder


@contextlib.contextmanager
def opened(root: Path, *deps: str, links: bool = False) -> Iterator[Sandbox]:
    cache = root.parent / "cache"
    user = sandbox.current_user() if links else sandbox.stage_user(root)
    stage = a_stage("train", deps=deps)
    with sandbox.opened((root, cache), stage, user=user, secrets={}, links=links) as found:
        yield found


def shown(found: Sandbox, target: str) -> dict[str, Node]:
    """Give what is mounted, or linked, at ``target``."""
    (bind,) = [bind for bind in found.deps if bind.target == target]
    return tree(bind.source)


CACHED = Path("../../cache/files/object")


@cases(
    "links, seen",
    {
        "to the cache": ({"a.csv": CACHED}, {"a.csv": "cached"}),
        "to the cache, deep inside": ({"n": {"a.csv": Path("..") / CACHED}}, {"n": {"a.csv": "cached"}}),
        "to a file of the project": ({"a.csv": Path("../f.csv")}, {"a.csv": "f"}),
        "by way of another link": (
            {"a.csv": Path("b.csv"), "b.csv": CACHED},
            {"a.csv": Path("b.csv"), "b.csv": "cached"},
        ),
        "beside itself": ({"a.csv": Path("real.csv")}, {"a.csv": Path("real.csv")}),
        "to a folder beside itself": ({"d": Path("deep")}, {"d": Path("deep")}),
        "up and down again": ({"a.csv": Path("../data/real.csv")}, {"a.csv": Path("../data/real.csv")}),
        "to another dep": ({"a.csv": Path("../other/o.csv")}, {"a.csv": Path("../other/o.csv")}),
        "to nothing": ({"a.csv": Path("nowhere")}, {"a.csv": Path("nowhere")}),
        "in a circle": ({"a.csv": Path("a.csv")}, {"a.csv": Path("a.csv")}),
        "to nothing, beside one to the cache": (
            {"a.csv": Path("/nowhere"), "b.csv": CACHED},
            {"a.csv": Path("/nowhere"), "b.csv": "cached"},
        ),
    },
)
@pytest.mark.parametrize("how", ["mounted", "linked"])
def test_links_in_a_folder_show_what_they_lead_to(
    root: Path, how: str, links: dict[str, Node], seen: dict[str, Node]
) -> None:
    lay(root / "data", links)
    before = tree(root), tree(root.parent / "cache")
    with opened(root, "data", "other", links=how == "linked") as found:
        assert shown(found, "data") == {"real.csv": "real", "deep": {"x.csv": "x"}, **seen}
    after = tree(root)
    after.pop(".dvc")
    assert (after, tree(root.parent / "cache")) == before


@cases(
    "lead, text",
    {
        "to its own folder": ("data/real.csv", "../real.csv"),
        "to another dep": ("other/o.csv", "../../other/o.csv"),
        "to a folder of another dep": ("other", "../../other"),
    },
)
def test_absolute_links_into_deps_become_relative(root: Path, lead: str, text: str) -> None:
    lay(root / "data", {"n": {"link": root / lead}})
    with opened(root, "data", "other") as found:
        assert shown(found, "data")["n"] == {"link": Path(text)}


@cases(
    "links",
    {
        "relative": [{"other": Path("../../other/o.csv"), "own": Path("../real.csv")}],
        "absolute": [{"other": "other/o.csv", "own": "data/real.csv"}],
    },
)
def test_links_into_deps_hold_beside_links_to_the_cache(root: Path, links: dict[str, Path | str]) -> None:
    nodes = {name: lead if isinstance(lead, Path) else root / lead for name, lead in links.items()}
    lay(root / "data", {"cached": CACHED, "n": nodes})
    with opened(root, "data", "other", links=True) as found:
        seen = [(found.workspace / "data" / name).read_text() for name in ("cached", "n/other", "n/own")]
        assert seen == ["cached", "o", "real"]


@cases(
    "lead, named",
    {
        "a file elsewhere": ("../../elsewhere/object", "elsewhere/object"),
        "the system": ("/etc/passwd", "/etc/passwd"),
        "a folder elsewhere": ("../../elsewhere", "elsewhere"),
        "a folder of the project that is no dep": ("../hidden", "hidden"),
        "by way of the project": ("../out-link", "elsewhere/object"),
    },
)
def test_links_that_lead_out_are_refused_by_name(root: Path, lead: str, named: str) -> None:
    lay(root, {"hidden": {"h": "h"}, "out-link": Path("../elsewhere/object")})
    lay(root / "data", {"deep": {"sub": {"fine": CACHED}}, "a link": Path(lead)})
    with pytest.raises(ConfigurationError, match=r"data/a link") as raised, opened(root, "data"):
        pytest.fail("it leads out")
    assert named in str(raised.value)
    assert list((root / ".dvc/tmp/dvc-runner/scratch").iterdir()) == []


def test_files_behind_links_are_linked_not_copied_and_keep_their_rights(root: Path) -> None:
    cached = root.parent / "cache/files/object"
    lay(root / "data", {"a.csv": CACHED})
    before = cached.stat()
    with opened(root, "data") as found:
        (bind,) = found.deps
        assert (bind.source / "a.csv").stat().st_ino == before.st_ino
        assert (bind.source / "real.csv").stat().st_ino == (root / "data/real.csv").stat().st_ino
        (found.workspace / "junk").write_text("x")
    after = cached.stat()
    assert (after.st_mode, after.st_uid, after.st_gid, after.st_nlink) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
        before.st_nlink,
    )


def test_a_cache_on_another_disk_is_linked_there(root: Path) -> None:
    cache = root.parent / "cache"
    with another_disk(root.parent / "disk"):
        lay(root.parent / "disk", {"cache": {"files": {"object": "cached"}}})
        lay(root / "data", {"a.csv": root.parent / "disk/cache/files/object"})
        cache.rename(root.parent / "former")
        cache.symlink_to(root.parent / "disk/cache")
        with opened(root, "data") as found:
            (bind,) = found.deps
            assert tree(bind.source) == {"a.csv": "cached", "deep": {"x.csv": "x"}, "real.csv": "real"}
            assert (bind.source / "a.csv").stat().st_ino == (cache / "files/object").stat().st_ino
        assert tree(root.parent / "disk")["cache"] == {"dvc-runner": {}, "files": {"object": "cached"}}


def test_thousands_of_links(root: Path) -> None:
    lay(root / "data", {f"{number}.csv": CACHED for number in range(3000)})
    with opened(root, "data") as found:
        assert len(found.deps) == 1
        assert len(shown(found, "data")) == 3002


def test_hundreds_of_deps(root: Path) -> None:
    names = [f"data/{number}.csv" for number in range(300)]
    lay(root, {name: name for name in names})
    with opened(root, *names) as found:
        assert [bind.target for bind in found.deps] == sorted(names, key=names.index)


@pytest.mark.root
def test_what_is_mounted_in_a_dep_is_shown_for_itself(root: Path) -> None:
    lay(root.parent, {"disk": {"d.csv": "d", "l.csv": root.parent / "cache/files/object"}})
    lay(root / "data", {"mount": {}, "n": {"file": ""}})
    with bound(root.parent / "disk", root / "data/mount"), bound(root / "f.csv", root / "data/n/file"):
        with opened(root, "data") as found:
            assert {bind.target for bind in found.deps} == {"data", "data/mount", "data/n/file"}
            assert shown(found, "data/mount") == {"d.csv": "d", "l.csv": "cached"}
        with opened(root, "data", links=True) as found:
            assert (found.workspace / "data/mount/d.csv").read_text() == "d"
