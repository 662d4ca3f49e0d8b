"""The rule by which a version goes into production."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from contract import Checked
from mlflow import MlflowClient
from pydantic import Field
from registry import ModelError, ModelPointer, aliases

log = logging.getLogger("evaluate")


class Rule(Checked):
    """When a version takes the alias ``production``: the section ``evaluate.promote`` of params.yaml."""

    metric: Literal["accuracy", "macro_f1", "macro_precision", "macro_recall"]
    minimum: float
    margin: float = Field(ge=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What came of the rule, with the numbers it was made from; None for a number that is not there."""

    promoted: bool
    reason: str
    metric: str
    minimum: float
    margin: float
    candidate: float
    production: float | None
    production_version: str | None

    def tags(self) -> dict[str, object]:
        """Give the run's tags that tell of it."""
        return {f"promotion.{key}": value for key, value in asdict(self).items()}


def decide(candidate: float, production: float | None, rule: Rule) -> tuple[bool, str]:
    """Apply the rule: is the candidate promoted, and why.

    Args:
        candidate: What the new version reaches in the rule's metric.
        production: What the version in production reaches on the same rows; None if nothing can be compared with.
        rule: A tie keeps production.
    """
    if candidate < rule.minimum:
        return False, f"{candidate} is below the minimum of {rule.minimum}"
    if production is None:
        return True, f"{candidate} reaches the minimum of {rule.minimum}, and there is nothing to compare it with"
    if candidate > production + rule.margin:
        return True, f"{candidate} beats {production} by more than {rule.margin}"
    return False, f"{candidate} does not beat {production} by more than {rule.margin}"


def judge(
    client: MlflowClient,
    pointer: ModelPointer,
    rule: Rule,
    candidate: Mapping[str, float],
    measure: Callable[[str], Mapping[str, float]],
) -> Decision:
    """Compare the candidate with the version in production.

    Args:
        client: Of the server.
        pointer: To the candidate.
        rule: Of params.yaml.
        candidate: Its metrics.
        measure: Gives another version's metrics on the same rows, or raises ``ModelError``.
    """
    version = aliases(client, pointer.model_name).get("production")
    production = None
    if version == pointer.model_version:
        promoted, reason = False, "this version is in production already"
        production = candidate[rule.metric]
    else:
        if version:
            try:
                production = measure(version)[rule.metric]
            except ModelError as error:
                log.warning("production cannot be compared with: %s", error)
        promoted, reason = decide(candidate[rule.metric], production, rule)
    return Decision(
        promoted=promoted,
        reason=reason,
        candidate=candidate[rule.metric],
        production=production,
        production_version=version,
        **rule.model_dump(),
    )


def move_aliases(client: MlflowClient, pointer: ModelPointer, decision: Decision) -> None:
    """Point ``staging`` at the candidate, and ``production`` if it was promoted."""
    client.set_registered_model_alias(pointer.model_name, "staging", pointer.model_version)
    if decision.promoted:
        client.set_registered_model_alias(pointer.model_name, "production", pointer.model_version)
