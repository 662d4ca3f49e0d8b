"""The one place that talks to DVC's Python API. Holds for DVC 3.60 to 3.67 (tests/contract)."""

import contextlib
import json
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MethodType
from typing import Any

from dvc.exceptions import CheckoutError
from dvc.lock import LockError
from dvc.repo import Repo, lock_repo
from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro
from dvc.stage import PipelineStage
from dvc.stage import Stage as DvcStage
from dvc.stage.cache import RunCacheNotFoundError, RunCacheNotSupported

from dvc_runner.errors import ConfigurationError, StageError, WorkspaceBusyError
from dvc_runner.interrupts import INTERRUPTS
from dvc_runner.model import Handling, Kind, Reason, Selection, ShellCommands, Stage
from dvc_runner.workspace import dvc_lock, dvc_remote, dvc_run_cache, dvc_stage, dvc_watch, stamps
from dvc_runner.workspace.aside import aside
from dvc_runner.workspace.dvc_errors import told
from dvc_runner.workspace.dvc_ignore import Ignored
from dvc_runner.workspace.dvc_watch import Watch
from dvc_runner.workspace.places import ASIDE
from dvc_runner.workspace.up_to_date import Look

LOCK_TRIES = 20


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
        self._ranks: dict[str, int] = {}
        self._entries: dict[str, Mapping[str, Any]] = {}

    def close(self) -> None:
        """Let go of DVC's databases."""
        self._repo.close()

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Hold DVC's lock; ``.gitignore`` entries made inside stay whatever happens, and dvc.lock is written.

        Raises:
            WorkspaceBusyError: Another dvc command holds it for long.
        """
        with told(), contextlib.ExitStack() as stack:
            self._patiently(lambda: stack.enter_context(lock_repo(self._repo)))
            self._repo.scm_context.quiet = True
            self._watch = Watch(self._repo)
            self._lock_files = dvc_lock.LockFiles(Path(self._repo.tmp_dir))
            self._ignored = Ignored(self._repo)
            try:
                yield
            finally:
                with INTERRUPTS.postponed():
                    self._lock_files.flush()
                    self._repo.scm_context.ignored_paths = []
                    if self._repo.scm_context.autostage:
                        self._repo.scm_context.track_changed_files()
                    self._repo.scm_context.files_to_track = set()

    def plan(self, selection: Selection) -> tuple[str, ...]:
        """Give the addresses of what a selection needs, in the order to run them.

        Raises:
            ConfigurationError: A target is unknown, or dvc.yaml makes no sense.
        """
        with told():
            whole = selection.all_pipelines or selection.pipeline
            chosen = [] if selection.all_pipelines else self._chosen(selection)
            order: list[DvcStage] = chosen
            graph = None
            if whole or not selection.single_item:
                graph = get_active_graph(self._repo.index.graph)
                downstream = selection.downstream and not whole
                order = plan_repro(graph, chosen, pipeline=selection.pipeline, downstream=downstream)
        self._stages = {str(stage.addressing): stage for stage in order}
        self._entries = {}
        self._ranks = {address: rank for rank, address in enumerate(self._stages)}
        self._upstream = {
            str(stage.addressing): tuple(str(other.addressing) for other in graph.successors(stage)) if graph else ()
            for stage in order
        }
        return tuple(self._stages)

    def _chosen(self, selection: Selection) -> list[DvcStage]:
        """Give the stages that a selection names."""
        here = Path("dvc.yaml")
        if selection.targets or not here.is_file():
            targets = selection.targets or [str(here)]
            found: list[DvcStage] = collect_stages(
                self._repo, targets, recursive=selection.recursive, glob=selection.glob
            )
            return found
        # They are known already: DVC would read the file once more.
        return [stage for stage in self._repo.index.stages if Path(stage.path) == here.absolute()]

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

    def kind(self, address: str) -> Kind:
        """Say who runs a stage."""
        return dvc_stage.kind(self._stages[address])

    def reasons(
        self,
        address: str,
        *,
        forced: bool,
        allow_missing: bool = False,
        brought: Mapping[str, str | None] | None = None,
    ) -> tuple[Reason, ...]:
        """Say why a stage has to run; nothing where it has not.

        Args:
            address: The stage.
            forced: It has to in any case.
            allow_missing: What is missing, and unchanged otherwise, is no reason.
            brought: What some paths are going to be, by their hash, in place of what they are; None is unknown.
        """
        upstream = self._planned(self._upstream.get(address, ())) if allow_missing else None
        stage = self._stages[address]
        with told():
            seen = self._watch.seen(stage)
            found = dvc_stage.reasons(
                stage,
                forced=forced,
                locked=lambda: self._locked(stage),
                missing_is_fine_but=upstream,
                brought=brought or {},
            )
            if not found and not brought:
                self._watch.proved(stage, seen)
        return found

    def see_project(self, last: Look | None) -> None:
        """Look at what says which stages there are; ``last`` is what it looked like when nothing was to do."""
        with told():
            dvc_watch.forget_disguised(self._repo, last)
            self._watch.see_project()

    def look(self, *, done: bool, last: Look | None) -> Look:
        """Give what everything looks like, with whether nothing is to do now, as it may be if all is ``done``."""
        with told():
            self._lock_files.flush()
            for address in self._stages if done else ():
                if not self._watch.is_proved(address) and self.reasons(address, forced=False):
                    break
            return self._watch.look(tuple(self._stages), self._lock_files.stamps(), last)

    def _locked(self, stage: DvcStage) -> Mapping[str, Any]:
        """Give the entries of a stage's dvc.lock as they were when the stages were planned."""
        if stage.path not in self._entries:
            self._entries[stage.path] = stage.dvcfile.lockfile_contents.get("stages") or {}
        return self._entries[stage.path]

    def downstream(self, address: str) -> list[str]:
        """Give the addresses of the planned stages that read a stage's outs."""
        return [one for one in self._stages if address in self._upstream[one]]

    def outs(self, address: str) -> list[str]:
        """Give the paths that a stage writes."""
        return [out.fs_path for out in self._stages[address].outs]

    def overlapping(self, address: str, paths: Iterable[str]) -> set[str]:
        """Give those paths that hold a dep of a stage, or lie in one, without being one."""
        deps = [Path(dep.fs_path) for dep in self._stages[address].deps]
        return {
            path
            for path in paths
            if any(Path(path) != d and (Path(path).is_relative_to(d) or d.is_relative_to(path)) for d in deps)
        }

    def lacks_deps(self, address: str, there: Collection[str]) -> bool:
        """Say whether a stage has a dep that is missing, and does not overlap what is going to be there."""
        with told():
            missing = [dep.fs_path for dep in dvc_stage.absent(self._stages[address])]
        return any(path not in there and not self._overlaps(path, there) for path in missing)

    @staticmethod
    def _overlaps(path: str, others: Iterable[str]) -> bool:
        return any(Path(path).is_relative_to(other) or Path(other).is_relative_to(path) for other in others)

    def restorable(self, address: str, brought: Mapping[str, str], *, run_cache: bool) -> dict[str, str] | None:
        """Give the outs, by path and hash, that the run-cache has for a changed stage; None if it has not."""
        with told():
            return dvc_run_cache.entry_of(self._stages[address], brought, run_cache=run_cache)

    def pull_run_cache(self) -> None:
        """Fetch what the default remote has of the run-cache; one that has none is fine."""
        with told(), contextlib.suppress(RunCacheNotSupported):
            self._repo.stage_cache.pull(None)

    def pull(self, address: str) -> bool:
        """Fetch a stage's outs, if they alone are missing; say whether they are there now."""
        if self.reasons(address, forced=False, allow_missing=True):
            return False
        stage = self._stages[address]
        with told():
            try:
                self._repo.pull(address)
                stage.checkout()
            except CheckoutError:
                return False
        return True

    def restore(self, address: str, handling: Handling) -> bool:
        """Bring a stage's outs back from the run-cache, if it ran with the same inputs before.

        Raises:
            StageError: A dep is missing.
        """
        stage = self._stages[address]
        with told():
            if handling.pull:
                for dep in dvc_stage.missing_deps(stage):
                    self._repo.pull(dep.def_path)
            dvc_stage.check_deps(stage)
        if not handling.pull and self.restorable(address, {}, run_cache=handling.run_cache) is None:
            return False
        outs = [Path(out.fs_path) for out in stage.outs if not out.persist]
        with told(), aside(outs, self.root / ASIDE) as put_back:
            try:
                self._repo.stage_cache.restore(stage, run_cache=handling.run_cache, pull=handling.pull)
            except RunCacheNotFoundError:
                put_back()
                return False
        with told():
            self._record(address, handling)
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
        self._patiently(self._repo.lock.lock)

    def _patiently(self, act: Callable[[], object]) -> None:
        for attempt in range(LOCK_TRIES):
            try:
                act()
            except LockError as error:
                if attempt + 1 == LOCK_TRIES:
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

    def commit(self, address: str, handling: Handling) -> None:
        """Take what a stage of ours wrote into the cache, dvc.lock and the run-cache.

        Raises:
            StageError: A dep is not what it was when the stage began, or an out is missing.
        """
        self.confirm_deps(address)
        self.record(address, handling)

    def record(self, address: str, handling: Handling) -> None:
        """The same for a stage of DVC's own kind, which may change its deps.

        Raises:
            StageError: An out is missing.
        """
        with told():
            self._record(address, handling)

    def shell(self, address: str, handling: Handling) -> ShellCommands:
        """Get a stage of DVC's own kind ready as DVC does, its outs removed; give what a shell has to run.

        Raises:
            StageError: A dep is missing.
        """
        stage = self._stages[address]
        with told():
            self._alone(stage.remove_outs)(stage, ignore_remove=False, force=False)
            if not handling.force:
                stage.save_deps()
        return dvc_stage.shell_commands(stage)

    def reproduce_as_dvc(self, address: str, handling: Handling, *, forced: bool) -> None:
        """Let DVC see to what has no command to run: a .dvc file, an import, a frozen stage.

        Raises:
            StageError: It failed.
        """
        with told(), self._ignored.in_order(self._ranks[address]):
            self._stages[address].reproduce(
                force=forced,
                upstream=self._planned(self._upstream[address]),
                pull=handling.pull,
                allow_missing=handling.allow_missing,
                no_commit=not handling.commit,
            )
        with told():
            self._dump(address)

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

    def _planned(self, addresses: Sequence[str]) -> list[DvcStage]:
        return [self._stages[address] for address in addresses if address in self._stages]

    def write_lock(self) -> float | None:
        """Write what dvc.lock does not hold yet, where that is cheap; give the seconds until it is, None if all is."""
        with told():
            return self._lock_files.write()

    def _record(self, address: str, handling: Handling) -> None:
        stage = self._stages[address]
        uncached = [o for o in stage.outs if not o.use_cache and not (o.is_metric or o.is_plot)]
        with self._ignored.in_order(self._ranks[address]):
            stage.save(allow_missing=handling.allow_missing, run_cache=handling.commit and not uncached)
            if handling.commit:
                self._alone(stage.commit)(stage, allow_missing=handling.allow_missing)
        self._dump(address)

    def _alone(self, method: MethodType) -> Callable[..., object]:
        """Give a method of a stage's as a function that notes for no other dvc command which paths it uses.

        Such a note costs more than the work; where another command has left one, they are made as DVC does.
        """
        notes = Path(self._repo.tmp_dir, "rwlock")
        try:
            is_alone = not any(json.loads(notes.read_text("utf-8") or "{}").values())
        except FileNotFoundError:
            is_alone = True
        except ValueError:
            is_alone = False
        function: Callable[..., object] = method.__func__
        return getattr(function, "__wrapped__", function) if is_alone else function

    def _dump(self, address: str) -> None:
        stage = self._stages[address]
        if isinstance(stage, PipelineStage):
            self._lock_files.put(stage, self._ranks[address])
            stage.cmd_changed = False
        else:
            stage.dump(update_pipeline=False)
