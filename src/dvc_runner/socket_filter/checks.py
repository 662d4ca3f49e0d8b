"""What a value may be, said as a table: a check passes in silence, or says where what is wrong."""

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from dvc_runner.socket_filter.refused import RefusedError
from dvc_runner.socket_filter.strict_json import Json, serialise

Check: TypeAlias = Callable[[str, Json], None]
LONGEST_TEXT = 2**20
MOST_ITEMS = 10_000
SHOWN = 120


def exactly(*wanted: Json) -> Check:
    """One of these values, of the same types."""
    written = {serialise(value): value for value in wanted}

    def check(where: str, value: Json) -> None:
        if serialise(value) not in written:
            raise _refused(where, value, " or ".join(repr(one) for one in wanted))

    return check


def text(pattern: str = r"(?s:.*)", *, meaning: str = "text") -> Check:
    """A text that matches ``pattern`` from end to end."""
    wanted = re.compile(pattern)

    def check(where: str, value: Json) -> None:
        if not isinstance(value, str) or len(value) > LONGEST_TEXT or not wanted.fullmatch(value):
            raise _refused(where, value, meaning)

    return check


def integer(least: int, most: int) -> Check:
    """An integer between the two, inclusive; a boolean is none."""

    def check(where: str, value: Json) -> None:
        if type(value) is not int or not least <= value <= most:
            raise _refused(where, value, f"an integer from {least} to {most}")

    return check


def each(check_item: Check, *, least: int = 0, most: int = MOST_ITEMS) -> Check:
    """A list of so many items, which all pass."""

    def check(where: str, value: Json) -> None:
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise _refused(where, value, f"a list of {least} to {most}")
        for index, item in enumerate(value):
            check_item(f"{where}[{index}]", item)

    return check


def mapping(key: str, check_value: Check) -> Check:
    """An object whose keys all match the pattern ``key``, and whose values all pass."""
    wanted = re.compile(key)

    def check(where: str, value: Json) -> None:
        if not isinstance(value, dict):
            raise _refused(where, value, "an object")
        for name, item in value.items():
            if not wanted.fullmatch(name):
                raise RefusedError(f"{where} holds {name!r}; what passes there matches {key}")
            check_value(f"{where}[{name!r}]", item)

    return check


def fields(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """An object with these keys, spelt exactly so, and no other."""
    known = {**required, **(optional or {})}

    def check(where: str, value: Json) -> None:
        if not isinstance(value, dict):
            raise _refused(where, value, "an object")
        for name in value:
            if name not in known:
                raise RefusedError(f"{where} holds {name!r}, which the runner never sets")
        for name in required:
            if name not in value:
                raise RefusedError(f"{where} lacks {name!r}, which the runner always sets")
        for name, item in value.items():
            known[name](f"{where}.{name}", item)

    return check


def _refused(where: str, value: Json, wanted: str) -> RefusedError:
    shown = repr(value)
    if len(shown) > SHOWN:
        shown = f"{shown[:SHOWN]}…"
    return RefusedError(f"{where} is {shown}; what passes there is {wanted}")
