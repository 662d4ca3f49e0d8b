"""What every test of chaos finds around it."""

import pytest


@pytest.fixture(autouse=True)
def looked_after(nothing_left: None) -> None:
    """See that each test leaves nothing."""
