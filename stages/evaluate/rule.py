"""The rule of params.yaml by which a version goes into production; docs/PROMOTION.md has it in words."""

from collections.abc import Mapping
from typing import Literal, Self

from contract import Checked
from pydantic import Field, model_validator

Direction = Literal["higher", "lower"]
DIRECTIONS: dict[str, Direction] = {
    "accuracy": "higher",
    "macro_f1": "higher",
    "macro_precision": "higher",
    "macro_recall": "higher",
    "error_rate": "lower",
}


class ClassFloor(Checked):
    """What the candidate has to reach in every class that the test rows hold."""

    metric: Literal["precision", "recall", "f1"]
    minimum: float = Field(ge=0, le=1)


class Rule(Checked):
    """When a version takes the alias ``production``: the section ``evaluate.promote`` of params.yaml."""

    metric: Literal["accuracy", "macro_f1", "macro_precision", "macro_recall", "error_rate"]
    direction: Direction
    bound: float
    margin: float = Field(ge=0)
    class_floor: ClassFloor | None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.direction != DIRECTIONS[self.metric]:
            raise ValueError(f"{self.metric} is better {DIRECTIONS[self.metric]}: set direction to that")
        return self

    def is_better(self, one: float, other: float, by: float = 0.0) -> bool:
        """Say whether one value is better than another by more than ``by``."""
        return one > other + by if self.direction == "higher" else one < other - by

    def why_not(self, candidate: Mapping[str, float]) -> str | None:
        """Say why a version may not go into production, whatever is there; None if it may."""
        reached = candidate[self.metric]
        if self.is_better(self.bound, reached):
            return f"{reached} is {'below' if self.direction == 'higher' else 'above'} the bound of {self.bound}"
        if self.class_floor:
            name, worst = lowest(candidate, self.class_floor.metric)
            if worst < self.class_floor.minimum:
                return f"{name} of {worst} is below the class floor of {self.class_floor.minimum}"
        return None


def lowest(metrics: Mapping[str, float], kind: str) -> tuple[str, float]:
    """Give the class, as ``recall.CLASS``, in which a version does worst, and how it does there."""
    return min(
        ((name, value) for name, value in metrics.items() if name.startswith(f"{kind}.")), key=lambda one: one[1]
    )


def decide(candidate: Mapping[str, float], production: float | None, rule: Rule) -> tuple[bool, str]:
    """Apply the rule: is the candidate promoted, and why.

    Args:
        candidate: The new version's metrics.
        production: What the version in production reaches on the same rows; None if nothing can be compared with.
        rule: A tie keeps production.
    """
    reached = candidate[rule.metric]
    if why_not := rule.why_not(candidate):
        return False, why_not
    if production is None:
        return True, f"{reached} reaches the bound of {rule.bound}, and there is nothing to compare it with"
    if rule.is_better(reached, production, by=rule.margin):
        return True, f"{reached} beats {production} by more than {rule.margin}"
    return False, f"{reached} does not beat {production} by more than {rule.margin}"
