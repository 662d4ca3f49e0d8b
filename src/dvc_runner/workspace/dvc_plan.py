"""What DVC knows of a project, asked without changing anything. A part of the DVC adapter."""

import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dvc.repo import Repo
from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro
from dvc.stage import PipelineStage
from dvc.stage import Stage as DvcStage

from dvc_runner.errors import ConfigurationError
from dvc_runner.model import Before, Handling, Kind, Past, Reason, Revision, Selection, Stage
from dvc_runner.workspace import dvc_past, dvc_remote, dvc_revision, dvc_run_cache, dvc_stage
from dvc_runner.workspace.dvc_errors import told
from dvc_runner.workspace.dvc_position import CONTAINER, located
from dvc_runner.workspace.dvc_watch import Watch

Holds = Callable[[str], bool]


class DvcPlan:
    """One DVC project, for the length of one command; stages are named by their address."""

    def __init__(self, folder: Path, like: "DvcPlan | None" = None) -> None:
        """Open the project that ``folder`` belongs to; cache and remotes are those of ``like``, if given.

        Raises:
            ConfigurationError: There is none, or its files cannot be read.
        """
        # DVC's words go to its logger; ours say the same with the way out.
        logging.getLogger("dvc").setLevel(logging.CRITICAL)
        with told():
            self._repo = Repo(str(folder), config=like.places() if like else None)
        self.root = Path(self._repo.root_dir)
        # Where files of DVC 2 lie too: files/md5 in it is the newer ones'.
        self.cache = Path(self._repo.cache.legacy.path)
        self._stages: dict[str, DvcStage] = {}
        self._upstream: dict[str, tuple[str, ...]] = {}
        self._ranks: dict[str, int] = {}
        self._entries: dict[str, Mapping[str, Any]] = {}
        self._watch: Watch | None = None
        self._downstream: dict[str, list[str]] = {}
        self._makers: dvc_past.Makers | None = None
        self._past: dict[str, Past] = {}

    def places(self) -> dict[str, Any]:
        """Give where data are: in memory, so that no credential of a remote is written anywhere."""
        config = self._repo.config
        remote = config["core"].get("remote")
        core = {"core": {"remote": remote}} if remote else {}
        return {**core, "cache": {"dir": str(self.cache)}, "remote": {**config["remote"]}}

    def close(self) -> None:
        """Let go of DVC's databases."""
        self._repo.close()

    def check_config(self) -> None:
        """See that DVC's configuration wants nothing of ``dvc repro`` that a run does not do.

        Raises:
            ConfigurationError: It wants a person to be asked before each stage.
        """
        if self._repo.config["core"].get("interactive"):
            raise ConfigurationError(
                "DVC's configuration has core.interactive, and a run asks nobody before it starts a stage",
                remedy="look at  dvc-runner plan  first, and take that out:  dvc config --unset core.interactive"
                "  (with --local or --global where it is set there)",
            )

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
        self._makers = None
        self._past = {}
        self._stages = {str(stage.addressing): stage for stage in order}
        self._entries = {}
        self._ranks = {address: rank for rank, address in enumerate(self._stages)}
        self._upstream = {
            str(stage.addressing): tuple(str(other.addressing) for other in graph.successors(stage)) if graph else ()
            for stage in order
        }
        self._downstream = {address: [] for address in self._stages}
        for address, upstream in self._upstream.items():
            for one in upstream:
                self._downstream.setdefault(one, []).append(address)
        return tuple(self._stages)

    def _chosen(self, selection: Selection) -> list[DvcStage]:
        """Give the stages that a selection names."""
        here = Path("dvc.yaml").absolute()
        # Those of the file here are known already: DVC would read it once more.
        known = [] if selection.targets else [one for one in self._repo.index.stages if Path(one.path) == here]
        targets = selection.targets or [here.name]
        return known or list(collect_stages(self._repo, targets, recursive=selection.recursive, glob=selection.glob))

    def upstream(self, address: str) -> tuple[str, ...]:
        """Give the addresses of the stages whose outs this one reads."""
        return self._upstream[address]

    def downstream(self, address: str) -> list[str]:
        """Give the addresses of the planned stages that read a stage's outs."""
        return self._downstream[address]

    def kind(self, address: str) -> Kind:
        """Say who runs a stage."""
        return dvc_stage.kind(self._stages[address])

    def registers(self, address: str) -> str | None:
        """Give the path of the out by which a stage of ours says which model it registered, if it has one."""
        return dvc_stage.registers(self._stages[address])

    def stage(self, address: str) -> Stage:
        """Read a planned stage."""
        return self._read(self._stages[address])

    def _read(self, stage: DvcStage) -> Stage:
        with told(stage=stage), located(stage, *CONTAINER):
            return dvc_stage.read(stage, self.root)

    @contextlib.contextmanager
    def located(self, address: str) -> Iterator[None]:
        """Have what is wrong with a stage's container say where that stands in dvc.yaml."""
        with located(self._stages[address], *CONTAINER):
            yield

    def stages(self) -> tuple[Stage, ...]:
        """Read every stage of the project that has a command, also those of other dvc.yaml files than the first.

        Raises:
            ConfigurationError: One makes no sense.
        """
        with told():
            return tuple(self._read(stage) for stage in self._repo.index.stages if isinstance(stage, PipelineStage))

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

    def outs(self, address: str) -> list[str]:
        """Give the paths that a stage writes."""
        return [out.fs_path for out in self._stages[address].outs]

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
        with told(f"what {stage.relpath} and dvc.lock say of {address}", stage):
            seen = self._watch.seen(stage) if self._watch and not brought else {}
            found = dvc_stage.reasons(
                stage,
                forced=forced,
                locked=lambda: self._locked(stage),
                missing_is_fine_but=upstream,
                brought=brought or {},
            )
            if self._watch and not found and not brought:
                self._watch.proved(stage, seen)
        return found

    def _locked(self, stage: DvcStage) -> Mapping[str, Any]:
        """Give the entries of a stage's dvc.lock as they were when the stages were planned."""
        if stage.path not in self._entries:
            self._entries[stage.path] = stage.dvcfile.lockfile_contents.get("stages") or {}
        return self._entries[stage.path]

    def _planned(self, addresses: Sequence[str]) -> list[DvcStage]:
        return [self._stages[address] for address in addresses if address in self._stages]

    def overlapping(self, address: str, paths: Iterable[str]) -> set[str]:
        """Give those paths that hold a dep of a stage, or lie in one, without being one."""
        deps = [dep.fs_path for dep in self._stages[address].deps]
        return {path for path in paths if any(path != dep and _overlap(path, dep) for dep in deps)}

    def inside(self, address: str, paths: Iterable[str]) -> set[str]:
        """Give the deps of a stage that lie in one of those paths."""
        deps = {dep.fs_path for dep in self._stages[address].deps}
        return {dep for path in paths for dep in deps if dep != path and Path(dep).is_relative_to(path)}

    def lacks_deps(self, address: str, there: Collection[str]) -> bool:
        """Say whether a stage has a dep or param that is missing, and does not overlap what is going to be there."""
        stage = self._stages[address]
        with told():
            missing = [dep.fs_path for dep in (*dvc_stage.absent(stage), *dvc_stage.short_of_params(stage))]
        return any(path not in there and not any(_overlap(path, one) for one in there) for path in missing)

    def pullable(self, address: str) -> dict[str, str] | None:
        """Give the outs, by path and hash, that cache or default remote have of an unchanged stage; None if not all."""
        stage = self._stages[address]
        with told():
            outs = {out.fs_path: str(out.hash_info.value) for out in stage.outs if out.use_cache and out.hash_info}
            return outs if dvc_remote.can_bring(stage) else None

    def restorable(
        self, address: str, brought: Mapping[str, str], handling: Handling, holds: Holds
    ) -> dict[str, str] | None:
        """Give the outs, by path and hash, that the run-cache has for a changed stage; None if it has not.

        ``holds`` says of what an out says whether the registry has it, where the stage registers a model.
        """
        with told():
            accept = self._accept(address, holds)
            there = dvc_remote.can_bring if handling.pull else None
            found = dvc_run_cache.cached_of(
                self._stages[address], brought, run_cache=handling.run_cache, accept=accept, there=there
            )
            return dvc_run_cache.outs_of(found) if found else None

    def _accept(self, address: str, holds: Holds) -> dvc_run_cache.Accept | None:
        """Give what says whether outs in the cache will do; None for a stage that registers no model."""
        path = self.registers(address)
        if path is None:
            return None

        def accept(outs: Mapping[str, str]) -> bool:
            try:
                file = self._repo.cache.local.oid_to_path(outs[path])
                return holds(Path(file).read_text(encoding="utf-8", errors="replace"))
            except (KeyError, OSError):
                return False

        return accept

    def revision(self) -> Revision:
        """Give what git says of the project."""
        return dvc_revision.read(self._repo)

    def before(self, address: str) -> Before:
        """Give what dvc.lock says of the stages that a stage's deps come from."""
        return dvc_past.before(self._all_makers(), address, self.root, self._past)

    def makers(self, address: str) -> tuple[str, ...]:
        """Give the addresses of the stages that a stage's deps come from, whatever is planned."""
        return self._all_makers().of(address)

    def _all_makers(self) -> dvc_past.Makers:
        if self._makers is None:
            stages = {str(stage.addressing): stage for stage in self._repo.index.stages}
            self._makers = dvc_past.Makers({**stages, **self._stages})
        return self._makers

    def past(self, address: str) -> Past:
        """Give what dvc.lock says of a stage."""
        return dvc_past.read(self._stages[address], self.root)


def _overlap(one: str, other: str) -> bool:
    return Path(one).is_relative_to(other) or Path(other).is_relative_to(one)
