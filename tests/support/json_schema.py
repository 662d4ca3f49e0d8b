"""What docs/schemas say of what we write, by jsonschema."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


def schema(name: str) -> dict[str, Any]:
    """Read one of docs/schemas, which has to be a schema."""
    found: dict[str, Any] = json.loads((SCHEMAS / f"{name}.schema.json").read_text("utf-8"))
    Draft202012Validator.check_schema(found)
    return found


def problems(value: object, rule: Mapping[str, Any]) -> list[str]:
    """Say where a value is not as a schema has it."""
    return [f"{found.json_path}: {found.message}" for found in Draft202012Validator(rule).iter_errors(value)]
