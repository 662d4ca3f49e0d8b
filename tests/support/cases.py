"""A test is a table of named cases."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest


def cases(names: str, table: Mapping[str, Sequence[Any]]) -> pytest.MarkDecorator:
    """Run a test once per row; ``names`` are its columns, the keys are the rows' names."""
    columns = [name.strip() for name in names.split(",")]
    rows = [row[0] if len(columns) == 1 else tuple(row) for row in table.values()]
    return pytest.mark.parametrize(columns if len(columns) > 1 else columns[0], rows, ids=list(table))
