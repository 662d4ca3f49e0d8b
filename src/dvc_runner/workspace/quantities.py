"""Sizes and times as people write them: ``2GiB``, ``500 MB``, ``30min``."""

import re

_SIZES = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_TIMES = {"": 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)


def size_bytes(text: str) -> int:
    """Read a size; a bare number is bytes.

    Raises:
        ValueError: It is no size, or not above zero.
    """
    return int(_quantity(text, _SIZES, "a size such as 512MiB or 2GB"))


def time_s(text: str) -> float:
    """Read a time; a bare number is seconds.

    Raises:
        ValueError: It is no time, or not above zero.
    """
    return _quantity(text, _TIMES, "a time such as 90s, 30min or 2h")


def _quantity(text: str, units: dict[str, int], expected: str) -> float:
    match = _QUANTITY.fullmatch(text)
    factor = units.get(match[2].lower()) if match else None
    if match is None or factor is None or float(match[1]) * factor <= 0:
        message = f"{text!r} is not {expected}"
        raise ValueError(message)
    return float(match[1]) * factor
