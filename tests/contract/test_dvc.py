"""The DVC adapter against the DVC that is installed: what it writes, what it says, what it refuses."""

import contextlib
import dataclasses
import json
import os
import shutil
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import dvc
import pytest
import yaml
from dvc.repo import Repo
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from tests.support.cases import cases
from tests.support.disks import disk_with_reflinks, shares_content
from tests.support.projects import Finished, Project
from tests.support.trees import lay

from dvc_runner.errors import EXIT_CONFIGURATION, EXIT_STAGE_FAILED, ConfigurationError, StageError
from dvc_runner.model import Handling, Reason, ReasonKind, Revision, Selection
from dvc_runner.workspace.dvc_errors import told
from dvc_runner.workspace.dvc_project import DvcProject
from dvc_runner.workspace.dvc_tracked import Tracked

# pygtrie, which DVC walks its index with.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")
Here: TypeAlias = Callable[..., Finished]
ROOT = Path(__file__).parents[2]


def test_the_adapter_knows_this_dvc() -> None:
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (known,) = (one.specifier for one in map(Requirement, required) if one.name == "dvc")
    assert known == SpecifierSet(">=3.60,<3.68")
    assert dvc.__version__ in known
    assert "DVC 3.60 to 3.67" in (ROOT / "docs" / "ARCHITECTURE.md").read_text()


def test_a_dvc_that_cannot_be_loaded_is_told() -> None:
    with pytest.raises(ConfigurationError, match="nothing_of_this_name") as found, told():
        exec("import nothing_of_this_name", {"__name__": "dvc.ignore"})
    assert "pathspec<1" in found.value.remedy


# A dep that changes while its stage runs is noticed.


def in_place(path: Path) -> None:
    path.write_text("other, and longer")


def in_place_disguised(path: Path) -> None:
    before = path.stat()
    path.write_text(path.read_text().upper())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def by_rename_disguised(path: Path) -> None:
    before = path.stat()
    path.with_name("other").write_text(path.read_text().upper())
    os.utime(path.with_name("other"), ns=(before.st_atime_ns, before.st_mtime_ns))
    path.with_name("other").replace(path)


@cases(
    "change, is_noticed",
    {
        "nothing": (lambda _: None, False),
        "in place": (in_place, True),
        "in place, its size and time kept": (in_place_disguised, True),
        "by rename": (by_rename_disguised, True),
        "a file comes": (lambda path: path.with_name("new").write_text("x"), True),
        "a file goes": (Path.unlink, True),
        "the same is written again": (lambda path: path.write_text(path.read_text()), False),
        "its rights": (lambda path: path.chmod(0o600), False),
        "a link to it": (lambda path: os.link(path, path.parent.parent / "link"), False),
    },
)
@pytest.mark.parametrize("name", ["data", "data/a.csv"])
def test_a_dep_that_changes_meanwhile(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    change: Callable[[Path], object],
    is_noticed: bool,  # noqa: FBT001
) -> None:
    monkeypatch.chdir(project.root)
    lay(project.root, {"data": {"a.csv": "first", "b.csv": "b"}})
    project.stages(one={"cmd": "true", "deps": [name]})
    with contextlib.closing(DvcProject(project.root)) as opened, opened.session():
        opened.plan(Selection())
        for _ in range(2):  # the second time with all hashes known
            opened.hash_deps("one")
            opened.confirm_deps("one")
        change(project.root / "data" / "a.csv")
        if is_noticed and not (name == "data/a.csv" and (project.root / "data/new").exists()):
            with pytest.raises(StageError, match=r"data|missing"):
                opened.confirm_deps("one")
        else:
            opened.confirm_deps("one")


# What a run writes is what ``dvc repro`` writes.

COUNT = """\
import sys
print(sum(len(open(path).read()) for path in sys.argv[1:]))
"""


def shell_pipeline(project: Project) -> None:
    """Every kind of entry that a stage of a shell's can have."""
    lay(project.root, {"raw": {"a.txt": "1\n", "b b é.txt": "2\n"}, "count.py": COUNT, "keep.log": "kept\n"})
    project.params(train={"n": 3, "rate": 0.5, "names": ["x", "y"]}, other=1)
    project.write("more.json", json.dumps({"depth": {"a": 1}}))
    project.stages(
        join={"cmd": "cat raw/* > joined.txt", "deps": ["raw"], "outs": ["joined.txt"], "desc": "Join"},
        fan={
            "foreach": ["x", "y"],
            "do": {"cmd": "mkdir -p out/${item} && cp joined.txt out/${item}/f", "deps": ["joined.txt"]}
            | {"outs": ["out/${item}"], "params": ["train.n"]},
        },
        grid={
            "matrix": {"n": [1, 2], "letter": ["p"]},
            "cmd": "echo ${item.n}${item.letter} > grid-${item.n}${item.letter}.txt",
            "outs": ["grid-${item.n}${item.letter}.txt"],
        },
        score={
            "cmd": ["python3 count.py joined.txt > n.txt", "echo '{\"n\": 1}' > metrics.json", "echo x,y > plot.csv"],
            "deps": ["joined.txt", "count.py", "out/x", "out/y"],
            "params": ["train", {"more.json": ["depth"]}],
            "outs": ["n.txt"],
            "metrics": [{"metrics.json": {"cache": False}}],
            "plots": [{"plot.csv": {"cache": False, "x": "x"}}],
        },
        plain={
            "cmd": "echo $((1 + 1)) > bare.txt",
            "deps": ["n.txt"],
            "outs": [{"bare.txt": {"cache": False}}],
        },
        log={"cmd": "echo more >> keep.log", "deps": ["n.txt"], "outs": [{"keep.log": {"persist": True}}]},
        sub={"cmd": "cat ../n.txt > here.txt", "wdir": "sub dir", "deps": ["../n.txt"], "outs": ["here.txt"]},
        silent={"cmd": "cat n.txt", "deps": ["n.txt"], "meta": {"note": 1}},
    )
    (project.root / "sub dir").mkdir()


OURS = """\
import json, os, pathlib, re
params = open('params.yaml').read()
os.makedirs('models/deep', exist_ok=True)
open('models/deep/model é.txt', 'w').write(params + open('data/raw.csv').read())
open('models/empty', 'w')
os.makedirs('metrics', exist_ok=True)
json.dump({'n': 1}, open('metrics/m.json', 'w'))
"""


def our_pipeline(project: Project) -> None:
    """Stages of ours, among them one in a working folder and one fed by a tracked file."""
    lay(project.root, {"data": {"raw.csv": "1\n2\n"}})
    project.params(train={"n": 3}, other={"m": 1})
    project.dvc("add", "data/raw.csv").ended(0)
    train = project.stage("train", OURS, deps=["data/raw.csv"], outs=["models"], params=["train"])
    train["metrics"] = [{"metrics/m.json": {"cache": False}}]
    code = "open('here.txt', 'w').write(open('../models/deep/model é.txt').read())"
    use = project.stage("use", code, outs=["here.txt"], wdir="sub dir")
    (project.root / "sub dir").mkdir()
    use["deps"] = ["../stages/use", "../models"]
    use["meta"]["container"]["build"]["context"] = "../stages/use"
    project.stages(train=train, use=use)


@cases(
    "make, edits",
    {
        "stages of a shell": (shell_pipeline, ["keep", "edit_inputs", "drop_out"]),
        "stages of ours": (our_pipeline, ["keep", "edit_inputs"]),
    },
)
def test_a_run_writes_what_dvc_repro_writes(
    project: Project, here: Here, make: Callable[[Project], None], edits: list[str]
) -> None:
    make(project)
    twin = project.twin()
    for edit in (EDITS[name] for name in edits):
        edit(project)
        edit(twin)
        here(project, "run").ended(0)
        twin.dvc("repro").ended(0)
        assert project.files() == twin.files()
        assert project.cache() == twin.cache()
    assert json.loads(project.dvc("status", "--json").ended(0).out) == {}


OF_A_SHELL = "  copy: {cmd: cat data/raw.csv > copy.csv, deps: [data/raw.csv], outs: [copy.csv]}\n"


@pytest.mark.root
@pytest.mark.parametrize("kinds", ["reflink", "reflink,copy"])
def test_outs_share_their_content_with_the_cache_where_the_disk_can(
    project: Project, here: Here, tmp_path: Path, kinds: str
) -> None:
    with disk_with_reflinks(tmp_path / "disk"):
        root = shutil.copytree(project.root, tmp_path / "disk" / "project", symlinks=True)
        ours = dataclasses.replace(project, root=root)
        ours.dvc("config", "cache.type", kinds).ended(0)
        twin = ours.twin()
        for one in (ours, twin):
            our_pipeline(one)
            one.write("dvc.yaml", one.read("dvc.yaml") + OF_A_SHELL)
        for edit in (keep, edit_inputs):
            for one in (ours, twin):
                edit(one)
            here(ours, "run").ended(0)
            twin.dvc("repro").ended(0)
            assert ours.files() == twin.files()
            assert ours.cache() == twin.cache()
            shared = [{name for name in one.files() if shares_content(one.root / name)} for one in (ours, twin)]
            assert shared[0] == shared[1]
            assert {"data/raw.csv", "copy.csv", "sub dir/here.txt"} <= shared[0]


def test_git_is_asked_once_what_it_tracks_until_that_changes(
    project: Project, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(project.root, {"a": "", "b": {"in": ""}, "b-": "", "b.c": "", "é ü": "", "z": {"deep": {"in": ""}}})
    ours, theirs = (Repo(str(project.root)).scm for _ in range(2))
    tracked = Tracked(ours.dulwich)
    read: list[Any] = []
    open_index = ours.dulwich.repo.open_index

    def counted() -> Any:
        read.append(open_index())
        return read[-1]

    monkeypatch.setattr(ours.dulwich.repo, "open_index", counted)
    for number, added in enumerate(["a", "b/in", "b.c", "é ü", "z/deep"], start=1):
        project.git("add", added)
        for path in ("a", "b", "b/in", "b-", "b.c", "é ü", "z", "z/deep", "z/d", "b/i", "zz", "."):
            whole = str(project.root / path)
            assert tracked(whole) == theirs.is_tracked(whole), path
        assert len(read) == number
    project.stages(one={"cmd": "echo > b.c", "outs": ["b.c"]})
    assert "'b.c' is already tracked by SCM" in here(project, "run").ended(EXIT_STAGE_FAILED).text


MODES = {
    "tool": "echo > tool; chmod 755 tool",
    "hidden": "echo 1 > hidden; chmod 600 hidden",
    "twice": "echo 2 > twice; ln twice again",
    "led": "echo 3 > target; ln -s target led",
    "folder": "mkdir folder; echo 4 > folder/f; chmod 755 folder/f; ln folder/f outside",
    "another's": 'echo 5 > "another\'s"; chown 1 "another\'s" 2> /dev/null || true',
}


@pytest.mark.parametrize("shared", [None, "group"])
def test_outs_lie_as_dvc_repro_leaves_them(project: Project, here: Here, shared: str | None) -> None:
    if shared:
        project.dvc("config", "cache.shared", shared).ended(0)
    project.stages(**{str(n): {"cmd": MODES[out], "outs": [out]} for n, out in enumerate(MODES)})
    twin = project.twin()
    here(project, "run").ended(0)
    twin.dvc("repro").ended(0)
    lying = []
    for one in (project, twin):
        found = {name: (one.root / name).lstat() for name in one.files() if name != "dvc.lock"}
        with contextlib.closing(Repo(str(one.root))) as repo:
            noted = set(repo.state.get_unused_links([], repo.fs))
        lying.append(({name: (oct(was.st_mode), was.st_nlink, was.st_uid) for name, was in found.items()}, noted))
    assert lying[0] == lying[1]
    assert lying[0][1] == set(MODES)


def keep(project: Project) -> None:
    del project


def edit_inputs(project: Project) -> None:
    project.write("params.yaml", project.read("params.yaml").replace("n: 3", "n: 4"))
    raw = "raw/a.txt" if (project.root / "raw").exists() else "data/raw.csv"
    project.write(raw, "3\n")


def drop_out(project: Project) -> None:
    (project.root / "joined.txt").unlink()


EDITS = {"keep": keep, "edit_inputs": edit_inputs, "drop_out": drop_out}


# Why a stage runs.

CODE = "open('out.csv', 'w').write(open('data/raw.csv').read())"


def ran(project: Project) -> None:
    """A project with one stage of ours, and one of a shell's, that ran."""
    lay(project.root, {"data": {"raw.csv": "raw", "deep": {"x": "1"}}})
    project.params(train={"n": 1, "deep": {"rate": 0.5, "kept": 1}}, names=["a"], gone=1)
    params = ["train.n", "train.deep", "names", "gone"]
    one = project.stage("one", CODE, deps=["data/raw.csv", "data/deep"], outs=["out.csv"], params=params)
    project.stages(
        one=one,
        always={"cmd": "true", "always_changed": True},
        frozen={"cmd": "cp data/raw.csv f", "deps": ["data/raw.csv"], "outs": ["f"], "frozen": True},
    )
    lay(project.root, {"f": "raw"})
    project.json().ended(0)


@pytest.fixture(scope="session")
def project_that_ran(bare_project: Path, tmp_path_factory: pytest.TempPathFactory, a_project: Any) -> Path:
    """A project that ran, to be copied."""
    root = tmp_path_factory.mktemp("ran") / "project"
    shutil.copytree(bare_project, root, symlinks=True)
    ran(a_project(root))
    return root


@pytest.fixture
def after(project_that_ran: Path, tmp_path: Path, a_project: Any) -> Project:
    """A copy of a project that ran."""
    root = tmp_path / "a projéct: after"
    shutil.copytree(project_that_ran, root, symlinks=True)
    found: Project = a_project(root)
    return found


@contextlib.contextmanager
def opened(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[DvcProject]:
    """The adapter on a project, as a command of ours has it."""
    monkeypatch.chdir(project.root)
    with contextlib.closing(DvcProject(project.root)) as found, found.session():
        found.plan(Selection())
        yield found


def edited(**stage: Any) -> Callable[[Project], None]:
    """Change entries of the stage called one."""

    def act(project: Project) -> None:
        stages = yaml.safe_load(project.read("dvc.yaml"))["stages"]
        stages["one"].update(stage)
        project.stages(**stages)

    return act


def without_lock(project: Project) -> None:
    (project.root / "dvc.lock").unlink()


def touched(project: Project) -> None:
    project.write("data/raw.csv", "raw")


def nothing(project: Project) -> None:
    del project


def written(name: str, text: str) -> Callable[[Project], None]:
    def act(project: Project) -> None:
        project.write(name, text)

    return act


def deleted(name: str) -> Callable[[Project], None]:
    return lambda project: (project.root / name).unlink()


def params(**values: Any) -> Callable[[Project], None]:
    whole = {"train": {"n": 1, "deep": {"rate": 0.5, "kept": 1}}, "names": ["a"], "gone": 1, **values}
    return lambda project: project.params(**whole)


OLD_CMD = "dvc-runner exec python3 -m one"
RAW, NEW = "3 B, bdd166af", "3 B, 22af645d"


@cases(
    "edit, stage, expected",
    {
        "nothing": (nothing, "one", []),
        "a file written again": (touched, "one", []),
        "a param nobody declared": (params(train={"n": 1, "m": 2, "deep": {"rate": 0.5, "kept": 1}}), "one", []),
        "never run": (without_lock, "one", [Reason(kind=ReasonKind.NEW)]),
        "a dep": (
            written("data/raw.csv", "new"),
            "one",
            [Reason(kind=ReasonKind.DEP, name="data/raw.csv", old=RAW, new=NEW)],
        ),
        "a dep that is missing": (
            deleted("data/raw.csv"),
            "one",
            [Reason(kind=ReasonKind.DEP, name="data/raw.csv", old=RAW, new="missing")],
        ),
        "a param": (
            params(train={"n": 2, "deep": {"rate": 0.5, "kept": 1}}),
            "one",
            [Reason(kind=ReasonKind.PARAM, name="train.n", old="1", new="2")],
        ),
        "a param inside another": (
            params(train={"n": 1, "deep": {"rate": None, "kept": 1}}),
            "one",
            [Reason(kind=ReasonKind.PARAM, name="train.deep.rate", old="0.5", new="null")],
        ),
        "a param that is a list": (
            params(names=["a", "é"]),
            "one",
            [Reason(kind=ReasonKind.PARAM, name="names", old='["a"]', new='["a", "é"]')],
        ),
        "an out that is edited": (
            written("out.csv", "edited"),
            "one",
            [Reason(kind=ReasonKind.OUT, name="out.csv", old=RAW, new="6 B, 683dc527")],
        ),
        "an out that is deleted": (
            deleted("out.csv"),
            "one",
            [Reason(kind=ReasonKind.OUT, name="out.csv", old=RAW, new="deleted")],
        ),
        "the command": (
            edited(cmd="dvc-runner exec python3 -m one --more"),
            "one",
            [Reason(kind=ReasonKind.COMMAND, old=OLD_CMD, new=f"{OLD_CMD} --more")],
        ),
        "what it runs in": (edited(meta={"container": {"image": f"x@sha256:{'0' * 64}"}}), "one", []),
        "its description": (edited(desc="Another"), "one", []),
        "always changed": (nothing, "always", [Reason(kind=ReasonKind.ALWAYS_CHANGED)]),
        "frozen": (written("data/raw.csv", "new"), "frozen", []),
        "two things": (
            lambda project: (written("data/raw.csv", "new")(project), deleted("out.csv")(project)),
            "one",
            [
                Reason(kind=ReasonKind.DEP, name="data/raw.csv", old=RAW, new=NEW),
                Reason(kind=ReasonKind.OUT, name="out.csv", old=RAW, new="deleted"),
            ],
        ),
    },
)
def test_reasons(
    after: Project,
    monkeypatch: pytest.MonkeyPatch,
    edit: Callable[[Project], None],
    stage: str,
    expected: list[Reason],
) -> None:
    edit(after)
    with opened(after, monkeypatch) as project:
        assert list(project.reasons(stage, forced=False)) == expected


def test_forced_is_the_only_reason(after: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    after.write("data/raw.csv", "new")
    with opened(after, monkeypatch) as project:
        assert project.reasons("one", forced=True) == (Reason(kind=ReasonKind.FORCED),)


def test_dvc_agrees_about_what_changed(after: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    after.write("data/raw.csv", "new")
    stale = set(json.loads(after.dvc("status", "--json").ended(0).out))
    with opened(after, monkeypatch) as project:
        assert {name for name in ("one", "always", "frozen") if project.reasons(name, forced=False)} == stale


# Restoring, failing, and what changes meanwhile.


def test_outs_are_restored_from_the_run_cache(after: Project, here: Here) -> None:
    before = after.files()
    after.write("data/raw.csv", "new")
    here(after, "run", "one").ended(0)
    assert after.outcomes() == {"one": "ran"}
    assert after.read("out.csv") == "new"
    after.write("data/raw.csv", "raw")
    (after.root / "out.csv").unlink()
    here(after, "run", "one").ended(0)
    assert after.outcomes() == {"one": "restored"}
    assert after.files() == before
    here(after, "run", "one").ended(0)
    assert after.outcomes() == {"one": "skipped"}


def test_what_the_run_cache_has_lost_is_run(after: Project, here: Here) -> None:
    shutil.rmtree(after.root / ".dvc/cache/files")
    (after.root / "out.csv").unlink()
    here(after, "run", "one").ended(0)
    assert after.outcomes() == {"one": "ran"}
    assert after.read("out.csv") == "raw"


def test_forced_runs_what_could_be_restored(after: Project, here: Here) -> None:
    here(after, "run", "--force", "one").ended(0)
    assert after.outcomes() == {"one": "ran"}
    assert json.loads(after.dvc("status", "--json", "one").out) == {}


CHANGE_A_DEP = """
open('out.csv', 'w').write('new')
try:
    open('data/raw.csv', 'w').write('!')
except OSError as error:
    raise SystemExit(str(error))
"""
FAILS = {
    "an exit code": ("open('out.csv', 'w').write('new'); raise SystemExit(3)", "3"),
    "a message": ("open('out.csv', 'w').write('new'); raise SystemExit('it broke')", "it broke"),
    "a signal": ("open('out.csv', 'w').write('new'); import os; os.kill(os.getpid(), 9)", "killed"),
    "no out": ("pass", "out.csv"),
    "a link for an out": ("import os; os.symlink('/etc/passwd', 'out.csv')", "out.csv"),
    # Where the kernel walls it off, it cannot; else that it did is noticed.
    "a dep that it would change": (
        CHANGE_A_DEP,
        "data/raw.csv",
    ),
}


def without(name: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {path: content for path, content in files.items() if path != name}


@cases("code, named", FAILS)
def test_a_failed_stage_leaves_the_former_outs(after: Project, here: Here, code: str, named: str) -> None:
    after.write("stages/one/one.py", code)
    before = without("data/raw.csv", after.files())
    done = here(after, "run", "one").ended(EXIT_STAGE_FAILED)
    assert named in done.out
    assert without("data/raw.csv", after.files()) == before


@cases("code, named", {name: FAILS[name] for name in ("an exit code", "a dep that it would change")})
def test_a_stage_that_fails_in_dvc_repro_is_no_success(after: Project, code: str, named: str) -> None:
    after.write("stages/one/one.py", code)
    lock = after.read("dvc.lock")
    done = after.dvc("repro", "one")
    assert done.code != 0
    assert named in done.text
    assert "Traceback" not in done.text
    assert after.read("dvc.lock") == lock
    # DVC itself deletes outs before it starts a command.
    assert not (after.root / "out.csv").exists()


def test_a_dep_that_another_changes_meanwhile(after: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    after.write("stages/one/one.py", "# edited\n" + CODE)
    with opened(after, monkeypatch) as project:
        project.hash_deps("one")
        after.write("data/raw.csv", "changed meanwhile")
        with pytest.raises(StageError, match=r"data/raw\.csv"):
            project.commit("one", Handling())


def test_a_failure_in_a_later_stage_keeps_what_was_done(project: Project, here: Here) -> None:
    project.stages(
        good={"cmd": "echo 1 > good.txt", "outs": ["good.txt"]},
        bad={"cmd": "cat good.txt; exit 3", "deps": ["good.txt"], "outs": ["bad.txt"]},
    )
    here(project, "run").ended(EXIT_STAGE_FAILED)
    assert project.outcomes() == {"good": "ran", "bad": "failed"}
    assert "/good.txt" in project.read(".gitignore").splitlines()
    assert set(project.lock()) == {"good"}
    here(project, "run").ended(EXIT_STAGE_FAILED)
    assert project.outcomes()["good"] == "skipped"


@cases(
    "checked_out, expected",
    {
        "a branch": (["checkout", "-q", "-b", "work"], "work"),
        "no branch": (["checkout", "-q", "--detach"], None),
    },
)
def test_revision_is_gits(
    project: Project, monkeypatch: pytest.MonkeyPatch, checked_out: list[str], expected: str | None
) -> None:
    project.stages(one={"cmd": "true"})
    project.git("add", "-A")
    project.git("commit", "-qm", "first")
    project.git(*checked_out)
    head = project.git("rev-parse", "HEAD").strip()
    with opened(project, monkeypatch) as found:
        clean = found.revision()
    project.write("dvc.yaml", project.read("dvc.yaml") + "\n")
    with opened(project, monkeypatch) as found:
        dirty = found.revision()
    assert [(one.commit, one.branch) for one in (clean, dirty)] == [(head, expected)] * 2
    assert (clean.dirty, clean.diff, dirty.dirty) == (False, None, True)
    assert dirty.diff
    assert dirty.diff.endswith("\n+\n")


def test_revision_before_the_first_commit(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.stages(one={"cmd": "true"})
    with opened(project, monkeypatch) as found:
        assert found.revision() == Revision()


# What is broken is told with its name, and with no traceback.

GOOD = "stages:\n  one:\n    cmd: echo 1 > out\n    outs: [out]\n"
EACH = "stages:\n  one:\n    foreach: [x]\n    do:\n      cmd: echo ${nope}\n"
LOCK = """\
schema: '2.0'
stages:
  one:
    cmd: echo 1 > out
    outs:
    - path: out
      hash: md5
      md5: b026324c6904b2a9cb4b88d6d61c81d1
      size: 2
"""
IMAGE = f"x@sha256:{'0' * 64}"


def ours(**container: Any) -> str:
    """A dvc.yaml with one stage of ours."""
    return yaml.safe_dump({"stages": {"one": {"cmd": "dvc-runner exec true", "meta": {"container": container}}}})


BROKEN: dict[str, tuple[dict[str, str], list[str]]] = {
    "no dvc.yaml": ({}, ["dvc.yaml"]),
    "YAML that ends too soon": ({"dvc.yaml": "stages:\n  one:\n    cmd: [a\n"}, ["dvc.yaml", "line 4"]),
    "a tab": ({"dvc.yaml": "stages:\n\tone: 1\n"}, ["dvc.yaml", "line 2"]),
    "a merge marker": ({"dvc.yaml": GOOD + "<<<<<<< HEAD\n"}, ["dvc.yaml", "line 5", "merge"]),
    "a key twice": ({"dvc.yaml": GOOD + "  one:\n    cmd: x\n"}, ["dvc.yaml", "one"]),
    "an unknown key": ({"dvc.yaml": GOOD + "    outz: [x]\n"}, ["dvc.yaml", "line 5", "outz"]),
    "no command": ({"dvc.yaml": "stages:\n  one:\n    outs: [x]\n"}, ["dvc.yaml", "line 2", "cmd"]),
    "stages that are a list": ({"dvc.yaml": "stages: [one]\n"}, ["dvc.yaml", "line 1", "stages"]),
    "zeros": ({"dvc.yaml": GOOD + "\0"}, ["dvc.yaml", "character 54"]),
    "a YAML of the future": ({"dvc.yaml": "%YAML 9.9\n---\n" + GOOD}, ["dvc.yaml"]),
    "a variable nobody set": ({"dvc.yaml": GOOD.replace("echo", "echo ${nope}")}, ["dvc.yaml: line 3: ", "nope"]),
    "a variable nobody set, in a group": ({"dvc.yaml": EACH}, ["dvc.yaml: line 5: ", "nope"]),
    "an out without a name": (
        {"dvc.yaml": "stages:\n  one:\n    foreach: [~]\n    do: {cmd: x, outs: ['${item}']}\n"},
        ["dvc.yaml: line 2: "],
    ),
    "an at sign in a member of a group": ({"dvc.yaml": EACH.replace("x", "a@b")}, ["dvc.yaml: line 2: ", "a@b"]),
    "a cycle": (
        {"dvc.yaml": "stages:\n  a: {cmd: x, deps: [p], outs: [q]}\n  b: {cmd: x, deps: [q], outs: [p]}\n"},
        ["dvc.yaml: line 2, line 3: ", "stages: ", "a", "b"],
    ),
    "a cycle of two files": (
        {
            "dvc.yaml": "stages:\n  a: {cmd: x, deps: [sub/p], outs: [q]}\n",
            "sub/dvc.yaml": "stages:\n\n  b: {cmd: x, deps: [../q], outs: [p]}\n",
        },
        ["dvc.yaml: line 2; sub/dvc.yaml: line 3: "],
    ),
    "a stage that reads what it writes": (
        {"dvc.yaml": "stages:\n  a: {cmd: x}\n  b: {cmd: x, deps: [p], outs: [p]}\n"},
        ["dvc.yaml: line 3: ", "b"],
    ),
    "an out of two stages": (
        {"dvc.yaml": "stages:\n  a: {cmd: x, outs: [p]}\n  b: {cmd: x, outs: [p]}\n"},
        ["dvc.yaml: line 2, line 3: ", "'p'", "a", "b"],
    ),
    "an out inside another": (
        {"dvc.yaml": "stages:\n  a: {cmd: x, outs: [p]}\n  b: {cmd: x, outs: [p/q]}\n"},
        ["dvc.yaml: line 2, line 3: ", "p/q"],
    ),
    "a broken params.yaml": (
        {"dvc.yaml": GOOD + "    params: [n]\n", "params.yaml": "n: [1\nm: 2\n"},
        ["params.yaml", "line"],
    ),
    "a broken params.yaml, read by dvc.yaml": (
        {"dvc.yaml": GOOD.replace("1", "${n}"), "params.yaml": "n: [1\nm: 2\n"},
        ["params.yaml", "line"],
    ),
    "a merge marker in params.yaml": (
        {"dvc.yaml": GOOD + "    params: [n]\n", "params.yaml": "m: 1\n<<<<<<< HEAD\nn: 1\n=======\nn: 2\n"},
        ["params.yaml", "line 2: a merge conflict", "resolve it"],
    ),
    "a value that DVC cannot take": ({"dvc.yaml": GOOD, "params.yaml": "since: 2026-01-02\n"}, ["params.yaml:since"]),
    "a broken dvc.lock": ({"dvc.yaml": GOOD, "dvc.lock": "schema: '2.0'\nstages: {\n"}, ["dvc.lock", "line"]),
    "a merge marker in dvc.lock": (
        {"dvc.yaml": GOOD, "dvc.lock": LOCK.replace("      md5", "<<<<<<< HEAD\n      md5")},
        ["dvc.lock", "line 8", "merge"],
    ),
    "a dvc.lock of another schema": (
        {"dvc.yaml": GOOD, "dvc.lock": "schema: '9.0'\nstages: {}\n"},
        ["dvc.lock", "line 1"],
    ),
    "a broken config of DVC's": ({"dvc.yaml": GOOD, ".dvc/config": "[core\n"}, ["config"]),
    "an unknown key of a container": (
        {"dvc.yaml": ours(image=IMAGE, memry="1GB")},
        ["dvc.yaml: line 5: ", "one", "memry", "memory"],
    ),
    "an image without digest": ({"dvc.yaml": ours(image="python:3.13")}, ["dvc.yaml: line 5: ", "one", "python:3.13"]),
    "no container for a command of ours": (
        {"dvc.yaml": "stages:\n  one: {cmd: dvc-runner exec true}\n"},
        ["dvc.yaml: line 2: ", "one", "meta.container"],
    ),
    "a build that is no dep": ({"dvc.yaml": ours(build="stages/one")}, ["dvc.yaml: line 5: ", "one", "stages/one"]),
}


def test_a_hash_that_nobody_knows(project: Project, here: Here) -> None:
    lay(project.root, {"dvc.yaml": GOOD, "out": "1\n", "dvc.lock": LOCK.replace("hash: md5", "hash: md6")})
    before = project.files()
    done = here(project, "run").ended(EXIT_STAGE_FAILED)
    assert "dvc.yaml and dvc.lock say of one" in done.text
    assert project.files() == before


@cases("files, named", BROKEN)
def test_broken_files_are_named(project: Project, here: Here, files: dict[str, str], named: list[str]) -> None:
    for name, text in files.items():
        project.write(name, text)
    before = project.files()
    done = here(project, "run").ended(EXIT_CONFIGURATION)
    for name in named:
        assert name in done.text
    assert project.files() == before


@cases(
    "content",
    {"not UTF-8": [b"stages: \xff\xfe\n"], "zeros": [b"\0\0\0"], "a number": [b"3"], "a text": [b"stages"]},
)
def test_a_dvc_yaml_that_is_none(project: Project, here: Here, content: bytes) -> None:
    (project.root / "dvc.yaml").write_bytes(content)
    assert "dvc.yaml" in here(project, "run").ended(EXIT_CONFIGURATION).err


def test_a_params_yaml_that_is_not_utf8(project: Project, here: Here) -> None:
    project.write("dvc.yaml", GOOD + "    params: [n]\n")
    (project.root / "params.yaml").write_bytes(b"n: \xff\n")
    assert "params.yaml" in here(project, "run").ended(EXIT_CONFIGURATION).text


def test_what_is_broken_is_told_alike_by_a_process_of_its_own(project: Project) -> None:
    project.write("dvc.yaml", BROKEN["YAML that ends too soon"][0]["dvc.yaml"])
    done = project.json().ended(EXIT_CONFIGURATION)
    assert "dvc.yaml" in done.err
    assert [event["event"] for event in done.events] == ["run_start", "run_end"]
    assert done.events[-1]["exit_code"] == EXIT_CONFIGURATION


FAILING: dict[str, tuple[dict[str, str], dict[str, str], int, list[str]]] = {
    "a hash that nobody knows in dvc.lock": (
        {"dvc.yaml": GOOD, "out": "1\n", "dvc.lock": LOCK.replace("hash: md5", "hash: md6")},
        {},
        EXIT_STAGE_FAILED,
        ["dvc.lock", "one"],
    ),
    "a dep that is missing": (
        {"dvc.yaml": GOOD + "    deps: [nope.csv]\n"},
        {},
        EXIT_STAGE_FAILED,
        ["dvc.yaml: line 2: ", "nope.csv", "dvc pull"],
    ),
    "a dep of ours that is missing": (
        {"dvc.yaml": ours(image=IMAGE).replace("cmd:", "deps: [nope.csv]\n    cmd:")},
        {},
        EXIT_STAGE_FAILED,
        ["dvc.yaml: line 2: ", "nope.csv", "dvc pull"],
    ),
    "a param that is missing": (
        {"dvc.yaml": GOOD + "    params: [train.nope]\n", "params.yaml": "train: {n: 1}\n"},
        {},
        EXIT_STAGE_FAILED,
        ["dvc.yaml: line 2: ", "train.nope"],
    ),
    "no params.yaml": ({"dvc.yaml": GOOD + "    params: [n]\n"}, {}, EXIT_STAGE_FAILED, ["line 2: ", "params.yaml"]),
    "an out that is not written": (
        {"dvc.yaml": "stages:\n  one: {cmd: 'true', outs: [nope.csv]}\n"},
        {},
        EXIT_STAGE_FAILED,
        ["dvc.yaml: line 2: ", "nope.csv"],
    ),
    "a command that fails": ({"dvc.yaml": "stages:\n  one: {cmd: exit 7}\n"}, {}, EXIT_STAGE_FAILED, ["exit 7", "7"]),
    "a secret without a value": (
        {"dvc.yaml": ours(image=IMAGE, secrets=["A_TOKEN"])},
        {},
        EXIT_CONFIGURATION,
        ["one", "A_TOKEN"],
    ),
    "no tracking server": (
        {"dvc.yaml": ours(image=IMAGE, network="tracking")},
        {},
        EXIT_CONFIGURATION,
        ["one", "MLFLOW_TRACKING_URI"],
    ),
    "a tracking server that is a folder": (
        {"dvc.yaml": ours(image=IMAGE, network="tracking")},
        {"MLFLOW_TRACKING_URI": "./mlruns"},
        EXIT_CONFIGURATION,
        ["MLFLOW_TRACKING_URI", "./mlruns"],
    ),
    "a tracking server with a strange port": (
        {"dvc.yaml": ours(image=IMAGE, network="tracking")},
        {"MLFLOW_TRACKING_URI": "http://localhost:mlflow"},
        EXIT_CONFIGURATION,
        ["MLFLOW_TRACKING_URI", "http://localhost:mlflow"],
    ),
    "a tracking server with a broken address": (
        {"dvc.yaml": ours(image=IMAGE, network="tracking")},
        {"MLFLOW_TRACKING_URI": "http://[::1"},
        EXIT_CONFIGURATION,
        ["MLFLOW_TRACKING_URI", "http://[::1"],
    ),
}


@cases("files, env, code, named", FAILING)
def test_stages_that_cannot_run_are_named(
    project: Project, here: Here, files: dict[str, str], env: dict[str, str], code: int, named: list[str]
) -> None:
    for name, text in files.items():
        project.write(name, text)
    done = here(project, "run", env=env).ended(code)
    for name in named:
        assert name in done.text
    assert ("dvc.lock" in project.files()) == ("dvc.lock" in files)


def test_a_target_that_does_not_exist(project: Project, here: Here) -> None:
    project.write("dvc.yaml", GOOD)
    for command in ("run", "build"):
        assert "nope" in here(project, command, "nope").ended(EXIT_CONFIGURATION).text


def test_a_dep_outside_the_project(project: Project, here: Here) -> None:
    project.root.with_name("outside.csv").write_text("x")
    (project.root / "link.csv").symlink_to("../outside.csv")
    one = project.stage("one", "open('out', 'w')", deps=["link.csv"], outs=["out"])
    project.stages(one=one)
    assert "link.csv" in here(project, "run").ended(EXIT_STAGE_FAILED).text
