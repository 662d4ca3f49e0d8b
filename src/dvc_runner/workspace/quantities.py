"""Sizes and times as people write and read them: ``2GiB``, ``500 MB``, ``30min``."""

import math
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
UNITS = ("B", "KiB", "MiB", "GiB")
WHOLE = 100
_TIMES = {"": 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)


def size_bytes(text: str) -> int:
    """Read a size; a bare number is bytes.

    Raises:
        ValueError: It is no size, or less than a byte.
    """
    return int(_quantity(text, _SIZES, 1, "a size such as 512MiB or 2GB"))


def time_s(text: str) -> float:
    """Read a time; a bare number is seconds.

    Raises:
        ValueError: It is no time, or less than a millisecond.
    """
    return _quantity(text, _TIMES, 0.001, "a time such as 90s, 30min or 2h")


def in_words(size: int) -> str:
    """Write a size: ``64 MiB``, ``1.5 GiB``; ``size`` is in bytes."""
    power = next((power for power in (3, 2, 1) if size >= 1024**power), 0)
    value = size / 1024**power
    return f"{value:.0f} {UNITS[power]}" if value >= WHOLE else f"{value:.3g} {UNITS[power]}"


def _quantity(text: str, units: dict[str, int], least: float, expected: str) -> float:
    match = _QUANTITY.fullmatch(text)
    value = float(match[1]) * units.get(match[2].lower(), 0) if match else 0.0
    if not least <= value < math.inf:
        message = f"{text!r} is not {expected}"
        raise ValueError(message)
    return value
