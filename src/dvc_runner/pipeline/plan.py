"""What a run is going to do with each stage, and why, before it does anything."""

from dvc_runner.model import Decision, Kind, PlannedStage, Reason, ReasonKind
from dvc_runner.pipeline.registered import Registered
from dvc_runner.pipeline.request import Request
from dvc_runner.workspace.dvc_project import DvcProject


class Plan:
    """The decisions about a request's stages, each made knowing those about the stages before it.

    What a stage that runs is going to write, nobody knows: a stage after it has the reason ``upstream``, and if that
    is its only one, it runs only if something it reads comes out differently.
    """

    def __init__(self, project: DvcProject, request: Request, registered: Registered) -> None:
        """Plan nothing yet."""
        self._project = project
        self._registered = registered
        self._handling = request.handling
        self._selection = request.selection
        self._forced: set[str] = set()
        self._stages: dict[str, PlannedStage] = {}
        # What stages that are restored bring, by path and hash; and that with what stages that run write.
        self._brought: dict[str, dict[str, str]] = {}
        self._there: set[str] = set()

    def make(self) -> tuple[PlannedStage, ...]:
        """Decide about every stage, in the order of the run.

        Raises:
            ConfigurationError: A target is unknown, or dvc.yaml makes no sense.
        """
        if self._handling.pull and self._handling.run_cache:
            # As in a dry run of DVC's: what it would take from there is not known otherwise.
            self._project.pull_run_cache()
        order = self._project.plan(self._selection)
        self._project.see_project()
        for address in order:
            found = self._decided(address)
            self._stages[address] = found
            if found.decision is Decision.RUN:
                self._there.update(self._project.outs(address))
            self._there.update(self._brought.get(address, ()))
        return tuple(self._stages.values())

    def _decided(self, address: str) -> PlannedStage:
        upstream = self._project.upstream(address)
        blocked = [one for one in upstream if one in self._stages and self._stages[one].decision is Decision.BLOCKED]
        if blocked:
            return _planned(address, Decision.BLOCKED, *(_upstream(one, "blocked") for one in blocked))
        # Stages that run as they were named read what those before them wrote all the same.
        makers = self._project.makers(address) if self._selection.single_item else upstream
        before = [self._stages[one] for one in makers if one in self._stages]
        brought = {path: md5 for one in before for path, md5 in self._brought.get(one.stage, {}).items()}
        forced = self._handling.force or address in self._forced
        unknown = dict.fromkeys(
            path for one in before if one.decision is Decision.RUN for path in self._project.outs(one.stage)
        )
        # What lies in a folder that is brought is another then, whatever is there now.
        unknown |= dict.fromkeys(self._project.inside(address, (*brought, *unknown)))
        reasons = self._project.reasons(
            address, forced=forced, allow_missing=self._handling.allow_missing, brought={**brought, **unknown}
        )
        unclear = [] if forced else self._unclear(address, before, brought)
        if not reasons and not unclear:
            reasons = self._registered.reasons(self._project, address)
        if self._handling.force_downstream and (forced or reasons):
            self._forced.update(self._project.downstream(address))
        if not reasons and not unclear:
            return _planned(address, Decision.SKIP)
        is_made = self._project.kind(address) is not Kind.DVC
        if is_made and not self._handling.pull and self._project.lacks_deps(address, self._there):
            return _planned(address, Decision.BLOCKED, *reasons)
        if unclear:
            return _planned(address, Decision.RUN, *reasons, *(_upstream(one, "runs") for one in unclear))
        return _planned(address, self._for(address, brought, reasons), *reasons)

    def _unclear(self, address: str, before: list[PlannedStage], brought: dict[str, str]) -> list[str]:
        """Give the stages of which nobody knows yet what this one will read."""
        parts = self._project.overlapping(address, brought)
        return [
            one.stage
            for one in before
            if one.decision is Decision.RUN or not parts.isdisjoint(self._brought.get(one.stage, ()))
        ]

    def _for(self, address: str, brought: dict[str, str], reasons: tuple[Reason, ...]) -> Decision:
        """Decide about a stage that has reasons of its own."""
        forced = reasons[0].kind is ReasonKind.FORCED
        may_pull = self._handling.pull and not forced and reasons[0].kind is not ReasonKind.REGISTRY
        found = None
        if may_pull and not self._project.reasons(address, forced=False, allow_missing=True, brought=brought):
            found = self._project.pullable(address)
        if found is None and (forced or self._project.kind(address) is Kind.DVC):
            return Decision.RUN
        if found is None:
            found = self._project.restorable(address, brought, self._handling, self._registered.holds)
        if found is None:
            return Decision.RUN
        self._brought[address] = found
        return Decision.RESTORE


def _planned(address: str, decision: Decision, *reasons: Reason) -> PlannedStage:
    return PlannedStage(stage=address, decision=decision, reasons=reasons)


def _upstream(name: str, new: str) -> Reason:
    return Reason(kind=ReasonKind.UPSTREAM, name=name, new=new)
