"""A request's line, read so that it can mean one thing only, and written anew from what was read."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, urlencode

from dvc_runner.socket_filter.refused import RefusedError
from dvc_runner.socket_filter.strict_json import Json

LONGEST_TARGET = 65536
MOST_PARAMETERS = 32
_PATH = re.compile(r"(?P<version>/v1\.[0-9]{1,3})?(?P<path>(?:/[A-Za-z0-9_][A-Za-z0-9._:@-]*)+)")
# What clients escape although they need not: ":" and "@" in the name of an image.
_ESCAPED = {"%3A": ":", "%3a": ":", "%40": "@"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """A request, checked as far as its form goes.

    ``names`` are the parts of the path that a route leaves open, ``login`` is the header with which
    a client authenticates at a registry, through the engine.
    """

    method: str
    version: str
    path: str
    query: Mapping[str, str]
    names: Mapping[str, str] = field(default_factory=dict)
    body: Json = None
    login: tuple[tuple[str, str], ...] = ()

    @property
    def target(self) -> str:
        """The request's target, written anew."""
        query = f"?{urlencode(self.query)}" if self.query else ""
        return f"{self.version}{quote(self.path, safe='/:@')}{query}"


def read(method: str, target: str) -> Ask:
    """Read the line of a request.

    Raises:
        RefusedError: The target is not in its one normal form.
    """
    raw_path, mark, raw_query = target.partition("?")
    if len(target) > LONGEST_TARGET:
        raise RefusedError(f"a target of {len(target)} characters")
    path = re.sub("%3[Aa]|%40", lambda escape: _ESCAPED[escape[0]], raw_path)
    found = _PATH.fullmatch(path)
    if found is None:
        raise RefusedError("the path is not plain: no escapes, no empty or dotted parts, and it begins with /")
    return Ask(
        method=method,
        version=found["version"] or "",
        path=found["path"],
        query=_query(raw_query) if mark and raw_query else {},
    )


def _query(raw: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            raw, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=MOST_PARAMETERS
        )
    except ValueError as error:
        raise RefusedError(f"the query cannot be read: {error}") from error
    query: dict[str, str] = {}
    for name, value in pairs:
        if name in query:
            raise RefusedError(f"the parameter {name!r} stands twice")
        if "\0" in value:
            raise RefusedError(f"the parameter {name!r} holds NUL")
        query[name] = value
    return query
