"""JSON in which nothing can be read in two ways."""

import json
from collections.abc import Iterator
from typing import NoReturn, TypeAlias

from dvc_runner.socket_filter.refused import RefusedError

Json: TypeAlias = "bool | int | str | list[Json] | dict[str, Json] | None"


def parse(data: bytes) -> Json:
    """Read JSON as the engine would, if nothing in it could be read otherwise.

    Raises:
        RefusedError: A key stands twice in an object, a number is no integer, a text holds NUL or half a
            character, or it is no JSON in UTF-8.
    """
    try:
        value: Json = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_float=_no_integer,
            parse_constant=_no_integer,
        )
        for text in _texts(value):
            text.encode("utf-8")
            if "\0" in text:
                raise RefusedError(f"the text {text!r} holds NUL")
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"this is no strict JSON: {error}") from error
    return value


def serialise(value: Json) -> bytes:
    """Write JSON in ASCII, each key once."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for key, value in pairs:
        if key in found:
            raise RefusedError(f"the key {key!r} stands twice in one object")
        found[key] = value
    return found


def _no_integer(text: str) -> NoReturn:
    raise RefusedError(f"{text} is no integer")


def _texts(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _texts(item)
