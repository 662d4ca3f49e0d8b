"""Compare a version with the one in production, and put it there if the rule says so; docs/PROMOTION.md tells more."""

import logging
from collections.abc import Callable, Mapping
from typing import Literal

import alias_history
from alias_history import PRODUCTION, STAGING, Event
from claim import Patience, claimed
from contract import StageError
from mlflow import MlflowClient
from pydantic import BaseModel
from registry import ModelError, ModelPointer, aliases
from rule import Rule, decide, lowest
from tracking import registered_model

ROUNDS = 10
log = logging.getLogger("evaluate")


class Decision(BaseModel):
    """What came of the rule, with the numbers it was made from; None for what is not there.

    ``production_state`` says what production was: ``none`` (no version), ``same`` (this one), ``compared``,
    ``compared_other_classes``, or why it could not be compared with: ``gone``, ``unloadable``, ``other_columns``.
    """

    schema_version: Literal[1] = 1
    promoted: bool
    reason: str
    rule: Rule
    candidate: float
    candidate_version: str
    lowest_class: dict[str, float]
    production: float | None
    production_version: str | None
    production_state: str
    rounds: int = 1
    who: str
    at: str

    def tags(self) -> dict[str, object]:
        """Give the run's tags that tell of it."""
        told = self.model_dump()
        return {f"promotion.{key}": value for key, value in (told | told.pop("rule")).items()}


Measure = Callable[[str], tuple[Mapping[str, float], bool]]


def judge(
    client: MlflowClient,
    pointer: ModelPointer,
    rule: Rule,
    candidate: Mapping[str, float],
    measure: Measure,
    who: str,
) -> Decision:
    """Compare the candidate with the version that is in production now.

    Args:
        client: Of the server.
        pointer: To the candidate.
        rule: Of params.yaml.
        candidate: Its metrics.
        measure: Gives another version's metrics on the same rows, and whether it knows their classes; or raises
            ``ModelError``.
        who: Is noted.
    """
    version = aliases(client, pointer.model_name).get(PRODUCTION)
    production, state = None, "none"
    if version == pointer.model_version:
        promoted, reason = False, "this version is in production already"
        production, state = candidate[rule.metric], "same"
    else:
        if version:
            try:
                metrics, same_classes = measure(version)
                production, state = metrics[rule.metric], "compared" if same_classes else "compared_other_classes"
            except ModelError as error:
                state = error.state
                log.warning("production cannot be compared with: %s", error)
        promoted, reason = decide(candidate, production, rule)
    floor = lowest(candidate, rule.class_floor.metric if rule.class_floor else "recall")
    return Decision(
        promoted=promoted,
        reason=reason,
        rule=rule,
        candidate=candidate[rule.metric],
        candidate_version=pointer.model_version,
        lowest_class=dict([floor]),
        production=production,
        production_version=version,
        production_state=state,
        who=who,
        at=alias_history.now(),
    )


def promote(
    client: MlflowClient, pointer: ModelPointer, judged: Callable[[], Decision], patience: Patience
) -> Decision:
    """Decide, and move ``production`` if that is the decision and production is still what it was made by.

    Args:
        client: Of the server.
        pointer: To the candidate.
        judged: Compares it with what is in production now.
        patience: With others who decide on the same model.

    Raises:
        StageError: Production is moved by others, again and again.
    """
    name = pointer.model_name
    for rounds in range(1, ROUNDS + 1):
        decision = judged().model_copy(update={"rounds": rounds})
        if not decision.promoted:
            return decision
        with claimed(client, name, decision.who, patience) as claim:
            model = registered_model(client, name)
            if claim.holds(model) and _version(model.aliases) == decision.production_version:
                alias_history.move(client, name, _event(pointer, PRODUCTION, decision.production_version, decision))
                if _version(registered_model(client, name).aliases) == pointer.model_version:
                    return decision
        log.info("production of %s moved while this was decided: deciding again", name)
    raise StageError(f"production of {name} was moved by others {ROUNDS} times while this one decided: run again")


def move_staging(client: MlflowClient, pointer: ModelPointer, decision: Decision) -> None:
    """Point ``staging`` at the version that was evaluated last."""
    before = aliases(client, pointer.model_name).get(STAGING)
    if before != pointer.model_version:
        alias_history.move(client, pointer.model_name, _event(pointer, STAGING, before, decision))


def _version(found: Mapping[str, object]) -> str | None:
    return str(found[PRODUCTION]) if PRODUCTION in found else None


def _event(pointer: ModelPointer, alias: str, before: str | None, decision: Decision) -> Event:
    why = f"{decision.rule.metric}: {decision.reason}" if alias == PRODUCTION else "evaluated"
    return Event(
        alias=alias,
        at=alias_history.now(),
        who=decision.who,
        from_version=before,
        to_version=pointer.model_version,
        why=why[: alias_history.LONGEST_WHY],
        run_id=pointer.run_id,
    )
