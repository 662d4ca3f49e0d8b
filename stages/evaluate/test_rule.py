import pytest
from pydantic import ValidationError
from rule import ClassFloor, Rule, decide


def a_rule(**changes: object) -> Rule:
    values = {"metric": "accuracy", "direction": "higher", "bound": 0.8, "margin": 0.0, "class_floor": None}
    return Rule.model_validate(values | changes)


@pytest.mark.parametrize(
    ("candidate", "production", "margin", "promoted"),
    [
        pytest.param(0.8, None, 0.0, True, id="first, reaches the bound"),
        pytest.param(0.79, None, 0.0, False, id="first, below the bound"),
        pytest.param(0.79, 0.5, 0.0, False, id="better, below the bound"),
        pytest.param(0.91, 0.9, 0.0, True, id="better"),
        pytest.param(0.9, 0.9, 0.0, False, id="tie"),
        pytest.param(0.89, 0.9, 0.0, False, id="worse"),
        pytest.param(0.95, 0.9, 0.1, False, id="better, within the margin"),
        pytest.param(0.875, 0.75, 0.125, False, id="better by the margin"),
        pytest.param(0.9, 0.75, 0.125, True, id="better by more than the margin"),
    ],
)
def test_where_higher_is_better(candidate: float, production: float | None, margin: float, *, promoted: bool) -> None:
    decision, reason = decide({"accuracy": candidate}, production, a_rule(margin=margin))
    assert decision is promoted
    assert str(candidate) in reason


@pytest.mark.parametrize(
    ("candidate", "production", "margin", "promoted"),
    [
        pytest.param(0.2, None, 0.0, True, id="first, reaches the bound"),
        pytest.param(0.21, None, 0.0, False, id="first, above the bound"),
        pytest.param(0.21, 0.5, 0.0, False, id="better, above the bound"),
        pytest.param(0.09, 0.1, 0.0, True, id="better"),
        pytest.param(0.1, 0.1, 0.0, False, id="tie"),
        pytest.param(0.11, 0.1, 0.0, False, id="worse"),
        pytest.param(0.125, 0.25, 0.125, False, id="better by the margin"),
        pytest.param(0.1, 0.25, 0.125, True, id="better by more than the margin"),
    ],
)
def test_where_lower_is_better(candidate: float, production: float | None, margin: float, *, promoted: bool) -> None:
    rule = a_rule(metric="error_rate", direction="lower", bound=0.2, margin=margin)
    decision, reason = decide({"error_rate": candidate}, production, rule)
    assert decision is promoted
    assert str(candidate) in reason


@pytest.mark.parametrize(
    ("floor", "promoted"),
    [
        pytest.param(None, True, id="no floor"),
        pytest.param(ClassFloor(metric="recall", minimum=0.4), True, id="reached by all"),
        pytest.param(ClassFloor(metric="recall", minimum=0.5), False, id="missed by one"),
        pytest.param(ClassFloor(metric="precision", minimum=0.5), True, id="another metric"),
    ],
)
def test_no_class_falls_below_the_floor(floor: ClassFloor | None, *, promoted: bool) -> None:
    metrics = {"accuracy": 0.9, "recall.a": 1.0, "recall.b": 0.4, "precision.a": 0.6, "precision.b": 0.9}
    decision, reason = decide(metrics, 0.8, a_rule(class_floor=floor))
    assert decision is promoted
    assert ("recall.b of 0.4" in reason) is not promoted


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_a_direction_that_would_promote_the_worse_is_refused(metric: str) -> None:
    with pytest.raises(ValidationError, match=f"{metric} is better higher"):
        a_rule(metric=metric, direction="lower")
