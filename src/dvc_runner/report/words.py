"""Reasons and times in words."""

from collections.abc import Sequence

from dvc_runner.model import Reason, ReasonKind

MINUTE = 60
THOUSAND = 1000
LONGEST = 60
# Of more stages than this, those with nothing to say are not listed.
MANY = 40
OUT_STATES = {
    "deleted": "is missing",
    "not in cache": "is not in the cache",
    "new": "is new",
}

WITH_VALUES = (ReasonKind.DEP, ReasonKind.COMMAND, ReasonKind.OUT)


def reason(kind: str, name: str, old: str | None, new: str | None) -> str:
    """Say one reason in a few words."""
    change = f" {old} → {new}" if old is not None and new is not None else ""
    return {
        "new": "never run",
        "dep": f"{name} changed" if new != "missing" else f"{name} is missing",
        "param": f"{name}{change}" if change else f"{name} {new or 'changed'}",
        "out": f"{name} {OUT_STATES.get(str(new), 'was changed')}",
        "command": "the command changed",
        "forced": "forced",
        "always_changed": "always runs",
        "upstream": f"{name} {new or 'changes'}",
        "registry": f"{name} {new}",
    }[kind]


def whole(found: Reason) -> str:
    """Say one reason with all that is known of it."""
    old, new = found.old, found.new
    said = reason(str(found.kind), found.name, old, new)
    if found.kind not in WITH_VALUES or old is None or new is None or new == "missing" or new in OUT_STATES:
        return said
    files = ", ".join(f"{path} {how}" for path, how in found.files)
    more = f" and {found.more_files} more" if found.more_files else ""
    return f"{said}: {old} → {new}" + (f" ({files}{more})" if files else "")


def reasons(found: Sequence[tuple[str, str, str | None, str | None]]) -> str:
    """Say the first reason, and how many more there are."""
    if not found:
        return "nothing changed"
    first = reason(*found[0])
    first = first if len(first) <= LONGEST else first[: LONGEST - 1] + "…"
    return first + (f" (+{len(found) - 1} more)" if len(found) > 1 else "")


def size(size_bytes: float) -> str:
    """Say a size, short: ``412 MB``, ``1.3 GB``."""
    for unit in ("B", "kB", "MB"):
        if round(size_bytes) < THOUSAND:
            return f"{size_bytes:.0f} {unit}"
        size_bytes /= THOUSAND
    return f"{size_bytes:.1f} GB"


def duration(seconds: float) -> str:
    """Say a time, short: ``3.2 s``, ``2 min 05 s``."""
    if round(seconds, 1) < MINUTE:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), MINUTE)
    return f"{minutes} min {rest:02d} s"
