"""The one place that talks to DVC's Python API. Holds for DVC 3.60 to 3.67 (tests/contract)."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from dvc.lock import LockError
from dvc.repo import Repo, lock_repo
from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro
from dvc.stage import PipelineStage
from dvc.stage import Stage as DvcStage
from dvc.stage.cache import RunCacheNotFoundError

from dvc_runner.errors import ConfigurationError, StageError, WorkspaceBusyError
from dvc_runner.model import Reason, Stage
from dvc_runner.workspace import dvc_lock, dvc_remote, dvc_stage, stamps
from dvc_runner.workspace.aside import aside
from dvc_runner.workspace.dvc_errors import told
from dvc_runner.workspace.places import ASIDE

RELOCK_TRIES = 20


class DvcProject:
    """One DVC project, for the length of one command.

    Stages are named by their address. What changes the project holds DVC's own lock, and lets go
    of it while a stage's command runs, as ``dvc repro`` does.
    """

    def __init__(self, folder: Path) -> None:
        """Open the project that ``folder`` belongs to.

        Raises:
            ConfigurationError: There is none, or its files cannot be read.
        """
        # DVC's words go to its logger; ours say the same with the way out.
        logging.getLogger("dvc").setLevel(logging.CRITICAL)
        with told():
            self._repo = Repo(str(folder))
        self.root = Path(self._repo.root_dir)
        # Where files of DVC 2 lie too: files/md5 in it is the newer ones'.
        self.cache = Path(self._repo.cache.legacy.path)
        self._stages: dict[str, DvcStage] = {}
        self._stamps: dict[str, dict[str, stamps.Stamp]] = {}
        self._upstream: dict[str, tuple[str, ...]] = {}

    def close(self) -> None:
        """Let go of DVC's databases."""
        self._repo.close()

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Hold DVC's lock; ``.gitignore`` entries made inside stay whatever happens."""
        with told(), lock_repo(self._repo):
            self._repo.scm_context.quiet = True
            try:
                yield
            finally:
                self._repo.scm_context.ignored_paths = []
                self._repo.scm_context.files_to_track = set()

    def plan(self, targets: Sequence[str], *, single_item: bool) -> tuple[str, ...]:
        """Give the addresses of what ``targets`` (all, if empty) need, in the order to run them."""
        with told():
            chosen = collect_stages(self._repo, targets or ["dvc.yaml"])
            graph = get_active_graph(self._repo.index.graph)
            order: list[DvcStage] = chosen if single_item else plan_repro(graph, chosen)
        self._stages = {str(stage.addressing): stage for stage in order}
        self._upstream = {
            str(stage.addressing): tuple(str(other.addressing) for other in graph.successors(stage)) for stage in order
        }
        return tuple(self._stages)

    def upstream(self, address: str) -> tuple[str, ...]:
        """Give the addresses of the stages whose outs this one reads."""
        return self._upstream[address]

    def stage(self, address: str) -> Stage:
        """Read a planned stage."""
        with told():
            return dvc_stage.read(self._stages[address], self.root)

    def stages(self) -> tuple[Stage, ...]:
        """Read every stage of the project that has a command, also those of other dvc.yaml files than the first.

        Raises:
            ConfigurationError: One makes no sense.
        """
        with told():
            return tuple(
                dvc_stage.read(stage, self.root)
                for stage in self._repo.index.stages
                if isinstance(stage, PipelineStage)
            )

    def find(self, address: str, wdir: Path, argv: Sequence[str]) -> None:
        """Find the stage that DVC runs now, by what it tells a command; it is known by it from then on.

        ``address`` is DVC_STAGE, which is relative to a folder that DVC does not tell: so the
        stage's working folder and command have to agree too.

        Raises:
            ConfigurationError: None or several fit.
        """
        name = address.rpartition(":")[2]
        with told():
            fitting = [
                stage
                for stage in self._repo.index.stages
                if isinstance(stage, PipelineStage)
                and stage.name == name
                and Path(stage.wdir).resolve() == wdir.resolve()
                and dvc_stage.argv_of(stage.cmd) in (tuple(argv), None)
            ]
        if len(fitting) != 1:
            raise ConfigurationError(
                f"{len(fitting)} stages are called {name} with the command {' '.join(argv)!r}",
                remedy="let DVC start this command: dvc repro, or dvc-runner run",
            )
        self._stages[address] = fitting[0]

    def reasons(self, address: str, *, forced: bool) -> tuple[Reason, ...]:
        """Say why a stage has to run; nothing where it has not."""
        with told():
            return dvc_stage.reasons(self._stages[address], forced=forced)

    def restore(self, address: str) -> bool:
        """Bring a stage's outs back from the run-cache, if it ran with the same inputs before.

        Raises:
            StageError: A dep is missing.
        """
        stage = self._stages[address]
        with told():
            dvc_stage.check_deps(stage)
        outs = [Path(out.fs_path) for out in stage.outs if not out.persist]
        with told(), aside(outs, self.root / ASIDE) as put_back:
            try:
                self._repo.stage_cache.restore(stage)
            except RunCacheNotFoundError:
                put_back()
                return False
        with told():
            self._record(stage)
        return True

    def hash_deps(self, address: str) -> Stage:
        """Hash what a stage reads, and read it again with those hashes.

        Raises:
            StageError: A dep is missing.
        """
        stage = self._stages[address]
        self._stamps[address] = stamps.of_files(dep.fs_path for dep in stage.deps if dep.protocol == "local")
        with told():
            stage.save_deps()
        return self.stage(address)

    @contextlib.contextmanager
    def unlocked(self) -> Iterator[None]:
        """Let go of DVC's lock, and take it again, also while other commands of DVC's hold it."""
        self._repo.lock.unlock()
        try:
            yield
        finally:
            self._relock()

    def _relock(self) -> None:
        for attempt in range(RELOCK_TRIES):
            try:
                self._repo.lock.lock()
            except LockError as error:
                if attempt + 1 == RELOCK_TRIES:
                    raise WorkspaceBusyError(
                        f"another dvc command has held {self.root} for over a minute",
                        remedy="let it end, then run again; what was done is kept in the run-cache",
                    ) from error
            else:
                return

    def confirm_deps(self, address: str) -> None:
        """See that a stage's deps are still what ``hash_deps`` found.

        Raises:
            StageError: One is not, or is gone.
        """
        stage = self._stages[address]
        self._forget_hashes_of_disguised(address)
        before = {dep.def_path: dep.hash_info for dep in stage.deps}
        with told():
            stage.save_deps()
            changed = [d.def_path for d in stage.deps if d.hash_info != before[d.def_path]]
            if changed:
                raise StageError(
                    f"{', '.join(changed)} changed while {address} ran, so its outs belong to no known input",
                    remedy="run again; a stage that writes to a dep of its own has to write to an out instead",
                )

    def _forget_hashes_of_disguised(self, address: str) -> None:
        """Have DVC read files again that were changed in place and given their old time: it would trust that."""
        before = self._stamps.get(address, {})
        now = stamps.of_files(before)
        for path in stamps.disguised(before, now):
            self._repo.state.hashes.delete(path)
        self._stamps[address] = now

    def commit(self, address: str) -> None:
        """Take what a stage wrote into the cache, dvc.lock and the run-cache.

        Raises:
            StageError: A dep is not what it was when the stage began, or an out is missing.
        """
        self.confirm_deps(address)
        with told():
            self._record(self._stages[address])

    def reproduce_as_dvc(self, address: str) -> None:
        """Let DVC run a stage of its own kind: a shell command, a .dvc file, an import.

        Raises:
            StageError: It failed.
        """
        stage = self._stages[address]
        with told():
            stage.reproduce(force=True, upstream=[])
            dvc_lock.dump(stage)

    def prove_remote(self) -> str | None:
        """Write to the default remote and read from it; say what was done, None if there is none.

        Raises:
            ConfigurationError: It cannot be written to or read.
        """
        return dvc_remote.prove(self._repo)

    def revision(self) -> tuple[str | None, str | None, bool | None]:
        """Give git's commit, branch and whether the work tree differs; None where there is none."""
        scm = self._repo.scm
        try:
            commit, dirty = str(scm.get_rev()), bool(scm.is_dirty())
        except Exception:  # noqa: BLE001 - no git, no commit yet: DVC has an error each
            return None, None, None
        try:
            return commit, str(scm.active_branch()), dirty
        except Exception:  # noqa: BLE001 - no branch is checked out: each of DVC's git backends has its error
            return commit, None, dirty

    def _record(self, stage: DvcStage) -> None:
        uncached = [o for o in stage.outs if not o.use_cache and not (o.is_metric or o.is_plot)]
        stage.save(run_cache=not uncached)
        stage.commit()
        dvc_lock.dump(stage)
