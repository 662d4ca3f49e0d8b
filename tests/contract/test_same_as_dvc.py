"""What our runs leave is what ``dvc repro`` leaves, whatever the pipeline and whatever happened before; and what
``plan`` says is what ``run`` then does."""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from dvc.cli import main as dvc
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from tests.support.pipelines import EDITS, Pipeline, pipelines
from tests.support.projects import Project
from tests.support.trees import files

from dvc_runner.cli import options
from dvc_runner.cli.main import _parser
from dvc_runner.cli.main import main as dvc_runner
from dvc_runner.model import Decision, PlannedStage, ReasonKind
from dvc_runner.pipeline.plan import Plan
from dvc_runner.pipeline.registered import Registered
from dvc_runner.workspace.dvc_project import DvcProject

# pygtrie, which DVC walks its index with.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")
EXAMPLES = int(os.environ.get("PIPELINES", "6"))
drawn = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    # A smaller example of a failure would take minutes to find.
    phases=[Phase.explicit, Phase.generate],
    derandomize="PIPELINES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
# DVC's own choice is a reflink where the disk has it, else a copy.
LINKS = ["", "copy", "hardlink", "symlink"]
DISGUISED = "a source, with its old size and time"
# Once in a few edits: with others only, nothing would be learned of it.
any_edit = st.one_of(st.just(DISGUISED), st.sampled_from(sorted(EDITS)), st.sampled_from(sorted(EDITS)))
targets_drawn = st.lists(st.sampled_from(["s0", "s1", "s2"]), unique=True, max_size=2)
OPTIONS = [
    "",
    "",
    "--force",
    "--no-run-cache",
    "--single-item",
    "--downstream",
    "--force-downstream",
    "--allow-missing",
    "--pull",
    "--pull",
]
# Once in a few times, DVC goes on from what we left, and we from what it leaves.
edits = st.lists(
    st.tuples(st.sampled_from(sorted(EDITS)), st.sampled_from([False, False, True])), min_size=2, max_size=4
)
requests = st.lists(st.tuples(any_edit, targets_drawn, st.sampled_from(OPTIONS)), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder with a short name: hypothesis draws hundreds of projects."""
    found = Path(tempfile.mkdtemp())
    yield found
    shutil.rmtree(found)


@dataclasses.dataclass
class Twins:
    """One project run by us, and its copy run by DVC."""

    ours: Project
    dvcs: Project
    has_failed: bool = False
    has_lost_cache: bool = False

    def edit(self, act: Callable[[Project], object]) -> None:
        for one in (self.ours, self.dvcs):
            act(one)

    def run(self, *arguments: str, both_by_dvc: bool = False) -> None:
        first = (dvc, ["repro", "-q"]) if both_by_dvc else (dvc_runner, ["run", "-j", "4"])
        codes = [self._code(first[0], self.ours, *first[1], *arguments)]
        codes.append(self._code(dvc, self.dvcs, "repro", "-q", *arguments))
        self.has_failed = self.has_failed or bool(codes[1])
        assert bool(codes[0]) == bool(codes[1]), codes

    def compare(self) -> None:
        found = [self._seen(one) for one in (self.ours, self.dvcs)]
        assert found[0] == found[1]

    def _seen(self, project: Project) -> dict[str, bytes]:
        # Two stages at once both run for the content that the cache lacks, and DVC's second is spared that, and a link.
        links = {} if self.has_lost_cache else self._links(project)
        seen = {**project.files(), **project.cache(), **links}
        # dvc repro takes all entries of a run back in which anything failed, also of stages that succeeded.
        drop = ".gitignore" if self.has_failed else "no such name"
        return {name: text for name, text in seen.items() if Path(name).name != drop}

    @staticmethod
    def _links(project: Project) -> dict[str, bytes]:
        """Say which files are links to the cache, and of which kind."""
        found = {f"link {name}": project.root / name for name in project.files()}
        kinds = {name: (path.is_symlink(), path.lstat().st_nlink > 1) for name, path in found.items()}
        return {name: repr(kind).encode() for name, kind in kinds.items() if any(kind)}

    def _code(self, main: Callable[[list[str]], int], project: Project, *arguments: str) -> int:
        os.chdir(project.root)
        return main(list(arguments))


@pytest.fixture
def twins(bare_project: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Twins]:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_RUNNER_EXECUTOR", "process")
    monkeypatch.setenv("SHELL", "/bin/sh")

    def make(pipeline: Pipeline, links: str = "") -> Twins:
        os.chdir(folder)
        made = []
        for name in ("ours", "dvcs"):
            shutil.rmtree(folder / name, ignore_errors=True)
            shutil.copytree(bare_project, folder / name, symlinks=True)
            made.append(Project(root=folder / name, env={}))
            made[-1].write(".dvc/config.local", f"[cache]\n    type = {links}\n" if links else "")
            pipeline.write(made[-1])
        return Twins(ours=made[0], dvcs=made[1])

    return make


@drawn
@given(
    pipeline=pipelines(),
    happens=edits,
    everything=st.booleans(),
    links=st.sampled_from(LINKS),
    begins_by_dvc=st.booleans(),
)
def test_the_same_is_left(
    twins: Callable[..., Twins],
    pipeline: Pipeline,
    happens: list[tuple[str, bool]],
    everything: bool,  # noqa: FBT001
    links: str,
    begins_by_dvc: bool,  # noqa: FBT001
) -> None:
    note(json.dumps(dataclasses.asdict(pipeline), indent=1))
    note(links)
    both = twins(pipeline, links)
    arguments = ["--keep-going", *(["--all-pipelines"] if everything else [])]
    for edit, both_by_dvc in (("nothing", begins_by_dvc), *happens):
        note(f"{edit}{', then dvc repro' if both_by_dvc else ''}")
        both.edit(EDITS[edit])
        both.has_lost_cache = both.has_lost_cache or edit == "no cache"
        both.run(*arguments, both_by_dvc=both_by_dvc)
        both.compare()


def planned_by(arguments: list[str]) -> dict[str, PlannedStage]:
    """Give what is planned for the project in the working folder."""
    request = options.request(_parser().parse_args(arguments))
    with contextlib.closing(DvcProject(Path.cwd())) as project, project.session():
        return {one.stage: one for one in Plan(project, request, Registered({})).make()}


def disguised(project: Project) -> None:
    """Change a source in place, and give it its old size and time."""
    path = project.root / "one.csv"
    state = path.stat()
    path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def is_true(project: Project, outcomes: Mapping[str, str]) -> bool:
    """Say whether dvc.lock has the source that such a change may have been made to as it is."""
    md5 = hashlib.md5((project.root / "one.csv").read_bytes()).hexdigest()
    entries = [entry for name, entry in project.lock().items() if outcomes.get(name) in {"ran", "restored", "skipped"}]
    found = {dep["md5"] for entry in entries for dep in entry.get("deps", ()) if Path(dep["path"]).name == "one.csv"}
    return found <= {md5}


AGREES = {
    Decision.SKIP: {"skipped"},
    Decision.RESTORE: {"restored"},
    Decision.RUN: {"ran", "failed"},
    Decision.BLOCKED: {"failed", "blocked"},
}


@drawn
@given(pipeline=pipelines(), happens=requests)
def test_a_run_does_as_planned(
    twins: Callable[..., Twins],
    pipeline: Pipeline,
    happens: list[tuple[str, list[str], str]],
) -> None:
    project = twins(pipeline).ours
    os.chdir(project.root)
    # A new one: DVC remembers what a remote has.
    store = tempfile.mkdtemp(dir=project.root.parent)
    project.write(".dvc/config.local", f"[core]\n    remote = store\n['remote \"store\"']\n    url = {store}\n")
    note(json.dumps(dataclasses.asdict(pipeline), indent=1))
    has_failed = has_no_cache = False
    for edit, targets, option in (("nothing", [], ""), *happens):
        arguments = ["run", "--keep-going", *filter(None, [option]), *(t for t in targets if t in pipeline.main)]
        note(f"{edit}: {arguments}")
        if option == "--pull":
            # What is not in the cache is not pushed.
            dvc(["push", "-qq", "--run-cache"])
        {**EDITS, DISGUISED: disguised}[edit](project)
        # A plan with --pull fetches the run-cache, as a dry run of DVC's does.
        leave_out = (".git", ".dvc/tmp", ".dvc/cache/runs" if option == "--pull" else ".git")
        before = files(project.root, leave_out=leave_out)
        planned = planned_by(arguments)
        assert files(project.root, leave_out=leave_out) == before
        dvc_runner(arguments)
        outcomes = project.outcomes()
        has_no_cache = has_no_cache or edit == "no cache"
        failed = {name for name, outcome in outcomes.items() if outcome in {"failed", "blocked"}}
        for name, one in planned.items():
            expected = AGREES[one.decision]
            kinds = {reason.kind for reason in one.reasons}
            if ReasonKind.UPSTREAM in kinds and one.decision is Decision.RUN:
                expected = expected | {"restored"} | ({"skipped"} if kinds == {ReasonKind.UPSTREAM} else set())
                expected = expected | ({"blocked"} if failed else set())
            elif failed:
                expected = expected | {"blocked"}
            brings = {Decision.RUN: {"ran"}, Decision.RESTORE: {"restored"}}.get(one.decision, set())
            if has_no_cache and not brings.isdisjoint(outcomes.values()):
                # Another stage may write, or fetch, what the cache lacks for this one.
                expected = expected | {"restored", "skipped"}
            assert outcomes[name] in expected, (name, one, outcomes)
        has_failed = has_failed or bool(failed)
        is_frozen = "frozen" in project.read("dvc.yaml")
        assert has_failed or is_frozen or not outcomes or is_true(project, outcomes)
