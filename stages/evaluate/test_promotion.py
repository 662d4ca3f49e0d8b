import pytest
from promotion import Rule, decide


@pytest.mark.parametrize(
    ("candidate", "production", "margin", "promoted"),
    [
        pytest.param(0.8, None, 0.0, True, id="first, reaches the minimum"),
        pytest.param(0.79, None, 0.0, False, id="first, below the minimum"),
        pytest.param(0.79, 0.5, 0.0, False, id="better, below the minimum"),
        pytest.param(0.91, 0.9, 0.0, True, id="better"),
        pytest.param(0.9, 0.9, 0.0, False, id="tie"),
        pytest.param(0.89, 0.9, 0.0, False, id="worse"),
        pytest.param(0.95, 0.9, 0.1, False, id="better, within the margin"),
        pytest.param(0.875, 0.75, 0.125, False, id="better by the margin"),
        pytest.param(0.9, 0.75, 0.125, True, id="better by more than the margin"),
    ],
)
def test_the_rule(candidate: float, production: float | None, margin: float, *, promoted: bool) -> None:
    decision, reason = decide(candidate, production, Rule(metric="accuracy", minimum=0.8, margin=margin))
    assert decision is promoted
    assert str(candidate) in reason
