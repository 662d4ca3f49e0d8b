"""What a stage sees of the project, and how its outs come back."""

import contextlib
import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.support.cases import cases
from tests.support.people import SOMEBODY, as_somebody, give
from tests.support.trees import Node, lay, tree
from tests.support.values import a_stage

from dvc_runner.errors import ConfigurationError, StageError
from dvc_runner.model import Out, ParamsFile, Sandbox, Stage
from dvc_runner.workspace import outs as outs_of
from dvc_runner.workspace import sandbox
from dvc_runner.workspace.places import SCRATCH

PARAMS = ParamsFile(path="params.yaml", text="train:\n  n: 1\n", json_values="{}")
OLD = 10**9


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with data, and more in it than a stage declares."""
    folder = tmp_path / "my proj:éct"
    lay(
        folder,
        {
            "data": {"raw.csv": "raw", "more": {"x.csv": "x"}},
            "stages": {"one": {"one.py": "code"}},
            "params.yaml": "train: {n: 1}\nsecret: 2\n",
            ".env": "TOKEN=1",
            "undeclared.csv": "no",
        },
    )
    return folder


@contextlib.contextmanager
def opened(
    root: Path, stage: Stage, *, links: bool = True, secrets: Mapping[str, str] | None = None
) -> Iterator[Sandbox]:
    """Open a sandbox as the runner does."""
    cache = root.parent / "cache"
    user = sandbox.current_user() if links else sandbox.stage_user(root)
    with sandbox.opened((root, cache), stage, user=user, secrets=secrets or {}, links=links) as made:
        yield made


def scratches(root: Path) -> list[Path]:
    return list((root / SCRATCH).iterdir())


def seen(found: Sandbox) -> dict[str, str]:
    """Give the files that a stage finds in its working folder, by path, links followed."""
    return {
        (Path(here) / name).relative_to(found.workspace).as_posix(): Path(here, name).read_text()
        for here, _, names in os.walk(found.workspace, followlinks=True)
        for name in names
    }


@cases(
    "deps, content",
    {
        "none": ([], {}),
        "a file": (["data/raw.csv"], {"data/raw.csv": "raw"}),
        "a folder": (["data"], {"data/raw.csv": "raw", "data/more/x.csv": "x"}),
        "two in one folder": (
            ["data/raw.csv", "data/more/x.csv"],
            {"data/raw.csv": "raw", "data/more/x.csv": "x"},
        ),
        "a folder, then a file in it": (["data", "data/raw.csv"], {"data/raw.csv": "raw", "data/more/x.csv": "x"}),
        "a file, then the folder around it": (
            ["data/more/x.csv", "data"],
            {"data/raw.csv": "raw", "data/more/x.csv": "x"},
        ),
        "the whole params file": (["params.yaml"], {"params.yaml": "train: {n: 1}\nsecret: 2\n"}),
    },
)
def test_links_show_declared_deps_and_nothing_else(root: Path, deps: list[str], content: dict[str, str]) -> None:
    before = tree(root / "data")
    with opened(root, a_stage(deps=deps)) as found:
        assert seen(found) == content
    assert tree(root / "data") == before


@cases(
    "deps, content, mounted",
    {
        "a file": (["data/raw.csv"], {"data": {"raw.csv": ""}}, ["data/raw.csv"]),
        "a folder": (["data"], {"data": {}}, ["data"]),
        "a file twice": (["data/raw.csv"] * 2, {"data": {"raw.csv": ""}}, ["data/raw.csv"]),
        "a folder, then a file in it": (["data", "data/raw.csv"], {"data": {}}, ["data"]),
        "a file, then the folder around it": (["data/raw.csv", "data"], {"data": {}}, ["data"]),
    },
)
def test_mount_points_are_there_and_empty(
    root: Path, deps: list[str], content: dict[str, Node], mounted: list[str]
) -> None:
    with opened(root, a_stage(deps=deps), links=False) as found:
        assert tree(found.workspace) == content
        assert [bind.target for bind in found.deps] == mounted
        assert [bind.source for bind in found.deps] == [root / dep for dep in mounted]


@pytest.mark.parametrize("links", [True, False])
def test_params_are_only_the_declared_ones(root: Path, links: bool) -> None:  # noqa: FBT001
    with opened(root, a_stage(params=[PARAMS]), links=links) as found:
        path = found.workspace / "params.yaml"
        assert path.read_text() == PARAMS.text
        assert stat.S_IMODE(path.stat().st_mode) == 0o444


@pytest.mark.parametrize("links", [True, False])
@cases(
    "dep, path",
    {
        "the file itself": ("params.yaml", "params.yaml"),
        "a folder around it": ("stages/one", "stages/one/params.yaml"),
    },
)
def test_params_file_that_is_a_dep_too_is_seen_whole(root: Path, links: bool, dep: str, path: str) -> None:  # noqa: FBT001
    (root / path).write_text("whole: 1\n")
    params = ParamsFile(path=path, text="declared: 1\n", json_values="{}")
    with opened(root, a_stage(deps=[dep], params=[params]), links=links) as found:
        if links:
            assert (found.workspace / path).read_text() == "whole: 1\n"
    assert (root / path).read_text() == "whole: 1\n"


@cases(
    "wdir, out, made",
    {
        "at the root": (".", "model.bin", ["."]),
        "in new folders": (".", "models/deep/model.bin", ["models/deep"]),
        "in a working folder": ("sub/deeper", "sub/deeper/out.csv", ["sub/deeper"]),
        "beside the working folder": ("sub", "models/x", ["sub", "models"]),
    },
)
def test_there_is_room_for_outs(root: Path, wdir: str, out: str, made: list[str]) -> None:
    with opened(root, a_stage(outs=[out], wdir=wdir)) as found:
        for name in made:
            assert (found.workspace / name).is_dir()
        assert not (found.workspace / out).exists()


def test_persisted_outs_are_copies(root: Path) -> None:
    lay(root, {"state": {"a": "1"}, "log.txt": "first"})
    outs = [Out(path="state", persist=True), Out(path="log.txt", persist=True), Out(path="new", persist=True)]
    with opened(root, a_stage(outs=outs)) as found:
        assert tree(found.workspace) == {"state": {"a": "1"}, "log.txt": "first"}
        (found.workspace / "state" / "a").write_text("2")
        (found.workspace / "log.txt").write_text("2")
    assert tree(root / "state") == {"a": "1"}
    assert (root / "log.txt").read_text() == "first"


def test_persisted_outs_that_the_cache_protects_can_be_written(root: Path) -> None:
    lay(root.parent, {"cache": {"object": "cached"}})
    lay(root, {"state": {"linked": root.parent / "cache" / "object"}, "log.txt": "first"})
    for path in (root.parent / "cache" / "object", root / "log.txt"):
        path.chmod(0o444)
    reachable(root)

    def act() -> None:
        outs = [Out(path="state", persist=True), Out(path="log.txt", persist=True)]
        with opened(root, a_stage(outs=outs)) as found:
            for name in ("state/linked", "log.txt"):
                (found.workspace / name).write_text("more")

    as_somebody(act)
    assert (root.parent / "cache" / "object").read_text() == "cached"
    assert (root / "log.txt").read_text() == "first"


def test_secrets_are_for_the_owners_eyes(root: Path) -> None:
    with opened(root, a_stage(), secrets={".mlflow/credentials": "p%ss: é"}) as found:
        path = found.home / ".mlflow" / "credentials"
        assert path.read_text("utf-8") == "p%ss: é"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(found.scratch.stat().st_mode) == 0o700
        assert not any("p%ss" in text for text in seen(found).values())


def test_identity_names_the_user(root: Path) -> None:
    with opened(root, a_stage(), links=False) as found:
        user = sandbox.stage_user(root)
        (line,) = [line for line in (found.etc / "passwd").read_text().splitlines() if line.startswith("stage:")]
        assert line.split(":")[2:4] == [str(user.uid), str(user.gid)]
        assert f"stage:x:{user.gid}:" in (found.etc / "group").read_text().splitlines()


def test_stages_are_never_root(root: Path) -> None:
    if os.geteuid() == 0:
        os.chown(root, 0, 0)
        assert sandbox.stage_user(root).uid != 0
        assert sandbox.stage_user(root).gid != 0
        os.chown(root, SOMEBODY, SOMEBODY)
        assert sandbox.stage_user(root).uid == SOMEBODY
    else:
        assert sandbox.stage_user(root).uid == os.geteuid()


def test_lineage_can_be_read_only(root: Path) -> None:
    with opened(root, a_stage()) as found:
        sandbox.write_lineage(found, '{"a": "é"}')
        assert found.lineage.read_text("utf-8") == '{"a": "é"}'
        assert stat.S_IMODE(found.lineage.stat().st_mode) == 0o444


def test_text_is_utf8_whatever_the_locale(root: Path) -> None:
    with opened(root, a_stage(params=[ParamsFile(path="p.yaml", text="ä: é\n", json_values="{}")])) as found:
        assert (found.workspace / "p.yaml").read_bytes() == "ä: é\n".encode()


@pytest.mark.parametrize("error", [StageError, KeyboardInterrupt, SystemExit])
def test_scratch_is_gone_whatever_happens(root: Path, error: type[BaseException]) -> None:
    with contextlib.suppress(error), opened(root, a_stage(deps=["data"])) as found:
        lay(found.workspace, {"junk": {"a": "1"}})
        raise error("x", remedy="y") if error is StageError else error
    assert scratches(root) == []
    assert tree(root / "data") == {"raw.csv": "raw", "more": {"x.csv": "x"}}


def test_scratch_is_gone_when_it_could_not_be_laid_out(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"), opened(root, a_stage(deps=["nowhere"])):
        pytest.fail("a dep is missing")
    assert scratches(root) == []


@cases(
    "target, refused",
    {
        "a file of the project": ("data/raw.csv", False),
        "the cache": ("../cache/object", False),
        "elsewhere": ("../elsewhere/object", True),
        "the system": ("/etc/passwd", True),
        "a name that begins like the project's": ("../my proj:éct 2/object", True),
    },
)
def test_linked_deps_lead_to_project_or_cache(root: Path, target: str, refused: bool) -> None:  # noqa: FBT001
    lay(root.parent, {name: {"object": "content"} for name in ("cache", "elsewhere", "my proj:éct 2")})
    (root / "dep.csv").symlink_to(target if target.startswith("/") else root / target)
    stage = a_stage(deps=["dep.csv"])
    if refused:
        with pytest.raises(ConfigurationError, match=r"dep\.csv"), opened(root, stage):
            pytest.fail("it leads out")
        assert scratches(root) == []
    else:
        with opened(root, stage) as found:
            assert seen(found)["dep.csv"] in {"raw", "content"}


def collect(root: Path, stage: Stage, written: Mapping[str, Node]) -> tuple[str, ...]:
    """Let a stage write; collect it; give the stray files."""
    with opened(root, stage) as found:
        lay(found.workspace, written)
        return outs_of.collect(root, stage, found, print)


@cases(
    "outs, written",
    {
        "a file": (["out.csv"], {"out.csv": "new"}),
        "an empty file": (["out.csv"], {"out.csv": ""}),
        "a folder": (["models"], {"models": {"a": "1", "deep": {"b": "2"}}}),
        "an empty folder": (["models"], {"models": {}}),
        "several": (["data/new.csv", "models"], {"data": {"new.csv": "n"}, "models": {"a": "1"}}),
        "spaces, colons, accents": (["a b/ç:d.csv"], {"a b": {"ç:d.csv": "x"}}),
        "a folder with a link inside": (["models"], {"models": {"a": "1", "b": Path("a"), "c": Path("./a")}}),
    },
)
def test_outs_come_back(root: Path, outs: list[str], written: dict[str, Node]) -> None:
    before = tree(root)
    assert collect(root, a_stage(deps=["data/raw.csv"], outs=outs), written) == ()
    after = tree(root)
    after.pop(".dvc")
    expected = {**before, **written}
    if "data" in written:
        expected["data"] = {"more": {"x.csv": "x"}, "new.csv": "n", "raw.csv": "raw"}
    assert after == expected


@cases(
    "old, new",
    {
        "a file by a file": ("old", "new"),
        "a folder by a folder": ({"a": "old", "gone": "old"}, {"a": "new"}),
        "a file by a folder": ("old", {"a": "new"}),
        "a folder by a file": ({"a": "old"}, "new"),
        "a link into the cache by a file": (Path("../cache/object"), "new"),
    },
)
def test_former_outs_are_replaced(root: Path, old: Node, new: Node) -> None:
    lay(root.parent, {"cache": {"object": "cached"}})
    lay(root, {"out": old})
    collect(root, a_stage(outs=["out"]), {"out": new})
    assert tree(root)["out"] == new
    assert tree(root.parent / "cache") == {"object": "cached"}


def make_fifo(folder: Path) -> None:
    (folder / "out").mkdir()
    os.mkfifo(folder / "out" / "pipe")


def make_device(folder: Path) -> None:
    (folder / "out").mkdir()
    # Of these numbers anybody may make one, in a container too; others are root's to make.
    os.mknod(folder / "out" / "device", stat.S_IFCHR, os.makedev(1, 3) if os.geteuid() == 0 else 0)


def make_link_out(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "link").symlink_to("/etc/passwd")


def make_fifo_behind_a_lock(folder: Path) -> None:
    make_fifo(folder)
    (folder / "out").chmod(0)


def make_absolute_link(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "a").write_text("x")
    (folder / "out" / "link").symlink_to(folder / "out" / "a")


def make_link_beside(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "beside").write_text("x")
    (folder / "out" / "link").symlink_to("../beside")


def make_link(folder: Path) -> None:
    (folder / "beside").write_text("x")
    (folder / "out").symlink_to("beside")


def make_dangling_link(folder: Path) -> None:
    (folder / "out").symlink_to("nowhere")


def make_nothing(folder: Path) -> None:
    del folder


@cases(
    "make, named",
    {
        "nothing": (make_nothing, "out"),
        "a FIFO in a folder": (make_fifo, "pipe"),
        "a FIFO in a locked folder": (make_fifo_behind_a_lock, "pipe"),
        "a device": (make_device, "device"),
        "a link that leads out": (make_link_out, "link"),
        "a link that ends with the scratch folder": (make_absolute_link, "link"),
        "a link to what stands beside it": (make_link_beside, "link"),
        "a link in place of the out": (make_link, "out"),
        "a link to nothing": (make_dangling_link, "out"),
    },
)
def test_refused_outs_change_nothing(root: Path, make: object, named: str) -> None:
    assert callable(make)
    lay(root, {"first": "old", "out": {"a": "old"}})
    before = tree(root)
    stage = a_stage("train", outs=["first", "out", "last"])
    with opened(root, stage) as found:
        lay(found.workspace, {"first": "new", "last": "new"})
        make(found.workspace)
        with pytest.raises(StageError, match="train") as raised:
            outs_of.collect(root, stage, found, print)
    assert named in str(raised.value)
    after = tree(root)
    after.pop(".dvc")
    assert after == before


def test_outs_come_back_all_or_none(root: Path) -> None:
    lay(root, {"first": "old"})
    before = tree(root)
    stage = a_stage(outs=["first", "fresh", "stages/one/one.py/below-a-file"])
    with opened(root, stage) as found:
        lay(found.workspace, {"first": "new", "fresh": "new", "stages": {"one": {"one.py": {"below-a-file": "new"}}}})
        with pytest.raises(OSError, match=r"one\.py"):
            outs_of.collect(root, stage, found, print)
    after = tree(root)
    after.pop(".dvc")
    assert after == before


def test_stray_files_are_named_and_dropped(root: Path) -> None:
    stage = a_stage(deps=["data/raw.csv", "stages/one"], outs=["models"], params=[PARAMS])
    stray = collect(
        root,
        stage,
        {"models": {"a": "1"}, "notes.txt": "x", "data": {"raw.tmp": "x"}, "deep": {"er": {"y": "x"}}},
    )
    assert stray == ("data/raw.tmp", "deep/er/y", "notes.txt")
    assert tree(root).keys() == {".dvc", ".env", "data", "models", "params.yaml", "stages", "undeclared.csv"}


def test_collected_outs_are_the_projects_owners(root: Path) -> None:
    if os.geteuid() == 0:
        os.chown(root, SOMEBODY, SOMEBODY)
    collect(root, a_stage(outs=["models"]), {"models": {"a": {"b": "1"}}})
    for path in (root / "models", root / "models" / "a", root / "models" / "a" / "b"):
        assert path.stat().st_uid == root.stat().st_uid


def reachable(folder: Path) -> None:
    """Let anybody walk to ``folder``, and somebody own it."""
    for parent in [*folder.parents][:4]:
        if parent.stat().st_mode & 0o005 != 0o005 and parent.stat().st_uid == os.geteuid():
            parent.chmod(0o755)
    give(folder)


def test_scratch_with_folders_locked_by_the_stage_is_deleted(root: Path) -> None:
    reachable(root)

    def act() -> None:
        with opened(root, a_stage()) as found:
            lay(found.workspace, {"locked": {"deeper": {"a": "1"}}})
            (found.workspace / "locked" / "deeper").chmod(0)
            (found.workspace / "locked").chmod(0o500)
        assert scratches(root) == []

    as_somebody(act)


def test_out_that_the_stage_locked_is_mended(root: Path) -> None:
    reachable(root)

    def act() -> None:
        stage = a_stage(outs=["out"])
        with opened(root, stage) as found:
            lay(found.workspace, {"out": {"locked": {"a": "1"}}})
            for path in ("out/locked/a", "out/locked", "out"):
                (found.workspace / path).chmod(0)
            outs_of.collect(root, stage, found, print)
        assert tree(root / "out") == {"locked": {"a": "1"}}

    as_somebody(act)


HOLDER = """
import sys
from pathlib import Path
from dvc_runner.model import Stage
from dvc_runner.workspace import sandbox
root = Path(sys.argv[1])
stage = Stage(address="held", wdir=".", cmd="", argv=(), deps=(), outs=(), params=(), container=None)
with sandbox.opened((root, root), stage, user=sandbox.current_user(), secrets={"s": "x"}, links=True) as found:
    print(found.scratch, flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def another_runner(root: Path) -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    """Another process with a sandbox of its own in the project."""
    command = [sys.executable, "-c", HOLDER, str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def test_sweep_takes_the_dead_and_not_the_living(root: Path) -> None:
    with another_runner(root) as (_, living), another_runner(root) as (doomed, dead):
        doomed.kill()
        doomed.wait()
        for scratch in (living, dead):
            os.utime(scratch, (OLD, OLD))
        with opened(root, a_stage()) as found:
            assert set(scratches(root)) == {living, found.scratch}


def test_sweep_leaves_what_is_new(root: Path) -> None:
    with another_runner(root) as (doomed, dead):
        doomed.kill()
        doomed.wait()
        with opened(root, a_stage()):
            assert dead in scratches(root)


def test_sweep_survives_what_is_not_ours(root: Path) -> None:
    parent = root / SCRATCH
    lay(parent, {"theirs-x": {"workspace": {"a": "1"}}, ".DS_Store": "x"})
    reachable(root)
    (parent / "theirs-x").chmod(0o700)
    if os.geteuid() == 0:
        os.chown(parent / "theirs-x", 0, 0)
    os.utime(parent / "theirs-x", (OLD, OLD))

    def act() -> None:
        with opened(root, a_stage(outs=["out"])) as found:
            (found.workspace / "out").write_text("1")

    as_somebody(act)


def test_names_that_cannot_be_a_folders(root: Path) -> None:
    for address in ("sub/dvc.yaml:train", "train@a", "sub\\x"):
        with opened(root, a_stage(address)) as found:
            assert found.scratch.parent == root / SCRATCH


def test_its_lock_is_held_while_open(root: Path) -> None:
    with opened(root, a_stage()) as found:
        descriptor = os.open(found.scratch, os.O_RDONLY)
        try:
            with pytest.raises(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)
