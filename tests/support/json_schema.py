"""As much of JSON Schema as docs/schemas uses; a word that it does not know is an error."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "object": dict,
    "array": list,
    "null": type(None),
}
KNOWN = {
    "type",
    "const",
    "required",
    "properties",
    "additionalProperties",
    "items",
    "$ref",
    "$defs",
    "$schema",
    "title",
}


def schema(name: str) -> dict[str, Any]:
    """Read one of docs/schemas."""
    found: dict[str, Any] = json.loads((SCHEMAS / f"{name}.schema.json").read_text("utf-8"))
    return found


def problems(value: object, rule: Mapping[str, Any], whole: Mapping[str, Any], where: str = "") -> Iterator[str]:
    """Say where a value is not as a rule of a ``whole`` schema has it."""
    assert set(rule) <= KNOWN, set(rule) - KNOWN
    if "$ref" in rule:
        yield from problems(value, whole["$defs"][rule["$ref"].rpartition("/")[2]], whole, where)
        return
    if "const" in rule and value != rule["const"]:
        yield f"{where} is {value!r}, not {rule['const']!r}"
    names = rule.get("type", list(TYPES))
    if not any(_is(value, name) for name in ([names] if isinstance(names, str) else names)):
        yield f"{where} is {value!r}, not {names}"
        return
    if isinstance(value, dict):
        yield from (f"{where}.{key} is missing" for key in rule.get("required", ()) if key not in value)
    for key, one, its_rule in _parts(value, rule):
        if its_rule is False:
            yield f"{where}.{key} is unknown"
        else:
            yield from problems(one, its_rule, whole, f"{where}.{key}")


def _parts(value: object, rule: Mapping[str, Any]) -> Iterator[tuple[object, object, Any]]:
    """Give the parts of a value, each with its rule; False forbids it."""
    if isinstance(value, dict):
        rest = rule.get("additionalProperties", {})
        for key, one in value.items():
            yield key, one, rule.get("properties", {}).get(key, {} if rest is True else rest)
    if isinstance(value, list):
        for number, one in enumerate(value):
            yield number, one, rule.get("items", {})


def _is(value: object, name: str) -> bool:
    return isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool))
