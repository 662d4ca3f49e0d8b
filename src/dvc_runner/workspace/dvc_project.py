"""The one place that talks to DVC's Python API, with its parts. Holds for DVC 3.60 to 3.67 (scripts/test)."""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from dvc.exceptions import CheckoutError
from dvc.fs import localfs
from dvc.repo import lock_repo
from dvc.stage import PipelineStage
from dvc.stage.cache import RunCacheNotFoundError, RunCacheNotSupported
from flufl.lock import NotLockedError

from dvc_runner.errors import StageError
from dvc_runner.interrupts import INTERRUPTS
from dvc_runner.model import Handling, ShellCommands, Stage
from dvc_runner.workspace import (
    dvc_content,
    dvc_leftovers,
    dvc_lock,
    dvc_remote,
    dvc_run_cache,
    dvc_stage,
    dvc_tracked,
    ran_in,
    stamps,
    up_to_date,
)
from dvc_runner.workspace.aside import aside
from dvc_runner.workspace.dvc_errors import told
from dvc_runner.workspace.dvc_hashing import Hashes
from dvc_runner.workspace.dvc_ignore import Ignored
from dvc_runner.workspace.dvc_links import Links
from dvc_runner.workspace.dvc_notes import Notes
from dvc_runner.workspace.dvc_plan import DvcPlan, Holds
from dvc_runner.workspace.dvc_waiting import Turn, in_turn, patiently
from dvc_runner.workspace.dvc_watch import Watch
from dvc_runner.workspace.places import ASIDE


class DvcProject(DvcPlan):
    """A project, and what changes it.

    That holds DVC's own lock, and lets go of it while a stage's command runs, as ``dvc repro`` does.
    """

    turn: Turn

    def __init__(self, folder: Path, like: DvcPlan | None = None) -> None:
        """Open the project that ``folder`` belongs to; cache and remotes are those of ``like``, if given.

        Raises:
            ConfigurationError: There is none, or its files cannot be read.
        """
        super().__init__(folder, like)
        self._stamps: dict[str, Mapping[str, stamps.Stamp | None]] = {}
        self._seen: Mapping[str, stamps.Stamp | None] = {}
        self._lock_files = dvc_lock.LockFiles(Path(self._repo.tmp_dir))
        self._ignored = Ignored(self._repo)
        dvc_tracked.read_once(self._repo)
        self._notes = Notes(self._repo)
        self._links = Links(self._repo)

    @contextlib.contextmanager
    def session(self, *, is_watched: bool = False, on_wait: Callable[[str], None] = lambda _: None) -> Iterator[None]:
        """Hold DVC's lock; ``.gitignore`` entries made inside stay whatever happens, and dvc.lock is written.

        One that is watched can give a ``look`` at its end; ``on_wait`` is told who is waited for inside.

        Raises:
            WorkspaceBusyError: Another dvc command holds it for long.
        """
        with told(), contextlib.ExitStack() as stack:
            # How one of DVC's two kinds of lock says that it is held no more: an interrupt came first.
            stack.enter_context(contextlib.suppress(NotLockedError))
            patiently(lambda: stack.enter_context(lock_repo(self._repo)), self.root)
            self.turn = Turn(self._repo.lock, self._notes.show, on_wait)
            self._repo.scm_context.quiet = True
            self._lock_files.replay()
            self._watch = Watch(self._repo) if is_watched else None
            try:
                yield
            finally:
                with INTERRUPTS.postponed():
                    self._notes.clear()
                    if self.turn.is_held:
                        self._lock_files.flush()
                        self._ignored.sort()
                    self._repo.scm_context.ignored_paths = []
                    if self._repo.scm_context.autostage:
                        self._repo.scm_context.track_changed_files()
                    self._repo.scm_context.files_to_track = set()

    def seen_as(self, root: str, container: str) -> None:
        """Note what a run uses also for others, outside of our ``container``, where the project is ``root``."""
        self._notes.also_at(root, container)

    def sweep(self) -> None:
        """Remove what a killed DVC left beside outs: it makes such files only under its lock, which we hold.

        What a killed run noted goes, too; what is kept of folders that stages read, and of what stages ran in, is cut
        down.
        """
        dvc_content.sweep_lists(self.root)
        ran_in.sweep(self.root, len(self._stages))
        with told():
            self._notes.sweep()
        dvc_leftovers.sweep({Path(out).parent for address in self._stages for out in self.outs(address)})

    def see_project(self) -> None:
        """Look at what says which stages there are, and at what earlier runs looked at."""
        with told():
            self._seen = up_to_date.seen(self.root)
            self._forget_disguised(self._seen)
            if self._watch:
                self._watch.see_project()

    def look(self, done: Collection[str]) -> up_to_date.Look | None:
        """Give what everything looks like, with whether nothing is to do now; ``done`` are the stages that may be.

        None if the session is not watched, or has lost DVC's lock.
        """
        if not self._watch or not self.turn.is_held:
            return None
        with told():
            self._lock_files.flush()
            self._ignored.sort()
            for address in done:
                if not self._watch.is_proved(address):
                    self.reasons(address, forced=False)
            pointers = map(self.registers, self._stages)
            look = self._watch.look(tuple(self._stages), self._lock_files.stamps(), self._seen)
            return replace(look, pointers=tuple(filter(None, pointers)))

    def fetch_sources(self) -> None:
        """Bring what .dvc files name into the workspace: from the cache, or else from the default remote."""
        with told():
            dvc_remote.fetch_sources(self._repo)

    def pull_run_cache(self) -> None:
        """Fetch what the default remote has of the run-cache; one that has none is fine."""
        with told(), contextlib.suppress(RunCacheNotSupported):
            self._repo.stage_cache.pull(None)

    @in_turn
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

    @in_turn
    def restore(self, address: str, handling: Handling, holds: Holds) -> bool:
        """Bring a stage's outs back from the run-cache, if it ran with the same inputs before.

        Where the stage registers a model, only what names one of which the registry ``holds`` will do.

        Raises:
            StageError: A dep is missing.
        """
        stage = self._stages[address]
        with told(stage=stage):
            if handling.pull:
                for dep in dvc_stage.missing_deps(stage):
                    self._repo.pull(dep.def_path)
            dvc_stage.check_deps(stage)
            accept = self._accept(address, holds)
            pull, run_cache = handling.pull, handling.run_cache
            there = dvc_run_cache.fetched if pull else None
            cached = dvc_run_cache.cached_of(stage, {}, run_cache=run_cache, accept=accept, there=there)
        if cached is None:
            return False
        outs = [Path(out.fs_path) for out in stage.outs if not out.persist]
        with told(), aside(outs, self.root / ASIDE) as put_back:
            try:
                if accept:
                    # DVC would take the newest.
                    stage.save_deps()
                    cached.checkout()
                else:
                    self._repo.stage_cache.restore(stage, run_cache=run_cache, pull=pull)
            except RunCacheNotFoundError:
                put_back()
                return False
        self._record(address, handling)
        return True

    @in_turn
    def begin(self, address: str) -> Stage:
        """Note what a stage of ours uses, from now until it is left; hash what it reads, and read it with those hashes.

        Raises:
            StageError: A dep is missing.
        """
        with told():
            self._notes.take(self._stages[address])
        return self.hash_deps(address)

    def hash_deps(self, address: str) -> Stage:
        """Hash what a stage reads, and read it again with those hashes.

        Raises:
            StageError: A dep is missing.
        """
        stage = self._stages[address]
        self._stamps[address] = stamps.of_files(dep.fs_path for dep in stage.deps if dep.protocol == "local")
        with told(stage=stage):
            stage.save_deps()
            return replace(self.stage(address), before=self.before(address))

    def confirm_deps(self, address: str) -> None:
        """See that a stage's deps are still what ``hash_deps`` found.

        Raises:
            StageError: One is not, or is gone.
        """
        stage = self._stages[address]
        self._stamps[address] = self._forget_disguised(self._stamps.get(address, {}))
        before = {dep.def_path: dep.hash_info for dep in stage.deps}
        with told(stage=stage):
            stage.save_deps()
            changed = [d.def_path for d in stage.deps if d.hash_info != before[d.def_path]]
            if changed:
                raise StageError(
                    f"{', '.join(changed)} changed while {address} ran, so its outs belong to no known input",
                    remedy="run again; a stage that writes to a dep of its own has to write to an out instead",
                )

    def _forget_disguised(self, before: Mapping[str, stamps.Stamp | None]) -> Mapping[str, stamps.Stamp | None]:
        """Have DVC read files again that were changed and given their old time: it would trust that.

        Gives the stamps that files have now, of those that had one ``before``.
        """
        now = {path: stamps.of_one(path) for path in before}
        for path in stamps.disguised(before, now):
            self._repo.state.hashes.delete(path)
        return now

    def know(self, hashes: Hashes) -> None:
        """Take hashes, so that DVC does not hash those files."""
        self._repo.state.save_many(hashes, localfs)

    @in_turn
    def commit(self, address: str, handling: Handling) -> None:
        """Take what a stage of ours wrote into the cache, dvc.lock and the run-cache.

        Raises:
            StageError: A dep is not what it was when the stage began, or an out is missing.
        """
        self.confirm_deps(address)
        self._record(address, handling)

    @in_turn
    def record(self, address: str, handling: Handling) -> None:
        """The same for a stage of DVC's own kind, which may change its deps.

        Raises:
            StageError: An out is missing.
        """
        self._record(address, handling)

    def _record(self, address: str, handling: Handling) -> None:
        stage = self._stages[address]
        uncached = [o for o in stage.outs if not o.use_cache and not (o.is_metric or o.is_plot)]
        with told(stage=stage):
            with self._ignored.in_order(self._ranks[address]):
                stage.save(allow_missing=handling.allow_missing, run_cache=handling.commit and not uncached)
            if handling.commit:
                stay = self._links.are_copies(stage)
                self._notes.noted(stage.commit)(stage, allow_missing=handling.allow_missing, relink=not stay)
                if stay:
                    self._links.note(stage)
            self._dump(address)
            dvc_content.keep_lists(stage)

    @in_turn
    def shell(self, address: str, handling: Handling) -> ShellCommands:
        """Get a stage of DVC's own kind ready as DVC does, its outs removed; give what a shell has to run.

        Raises:
            StageError: A dep is missing.
        """
        stage = self._stages[address]
        with told(stage=stage):
            self._notes.take(stage)
            self._notes.noted(stage.remove_outs)(stage, ignore_remove=False, force=False)
            if not handling.force:
                stage.save_deps()
        return dvc_stage.shell_commands(stage)

    @in_turn
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

    def write_lock(self) -> float | None:
        """Write what dvc.lock does not hold yet, where that is cheap; give the seconds until it is, None if all is."""
        with told():
            seconds = self._lock_files.write()
        if seconds is None:
            self._notes.drop_left()
        return seconds

    def leave(self, address: str) -> None:
        """Take that a stage is not at work any more: others may use its outs, once dvc.lock tells of them."""
        self._notes.leave(address)
        self.turn.leave(address)

    def _dump(self, address: str) -> None:
        stage = self._stages[address]
        self._past.pop(address, None)
        if isinstance(stage, PipelineStage):
            self._lock_files.put(stage, self._ranks[address])
            stage.cmd_changed = False
        else:
            stage.dump(update_pipeline=False)
