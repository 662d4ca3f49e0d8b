"""Sizes and times as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.cases import cases

from dvc_runner.workspace.quantities import in_words, size_bytes, time_s

UNITS = {"": 1, "b": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
SECONDS = {"": 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


@cases(
    "text, expected",
    {
        "bare number is bytes": ("512", 512),
        "binary": ("2GiB", 2 * 2**30),
        "decimal": ("500 MB", 500 * 10**6),
        "fraction": ("1.5KiB", 1536),
        "case does not matter": ("1gIb", 2**30),
        "spaces around": ("  1 kb ", 1000),
        "largest unit": ("1TiB", 2**40),
    },
)
def test_size(text: str, expected: int) -> None:
    assert size_bytes(text) == expected


@cases(
    "text, expected",
    {
        "bare number is seconds": ("90", 90),
        "seconds": ("90s", 90),
        "minutes": ("30min", 1800),
        "fraction": ("1.5 h", 5400),
        "days": ("2d", 172800),
    },
)
def test_time(text: str, expected: float) -> None:
    assert time_s(text) == expected


WRONG = {
    "empty": [""],
    "unit alone": ["GiB"],
    "zero": ["0"],
    "zero with a unit": ["0.0h"],
    "negative": ["-1"],
    "unknown unit": ["3 parsecs"],
    "words": ["plenty"],
    "not a number": ["nan"],
    "infinite": ["inf"],
    "more than a number holds": ["9" * 400],
    "list": ["[1]"],
    "two": ["1 2"],
}


@cases("text", WRONG)
def test_wrong_size_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size") as raised:
        size_bytes(text)
    assert repr(text) in str(raised.value)


@cases("text", WRONG)
def test_wrong_time_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time") as raised:
        time_s(text)
    assert repr(text) in str(raised.value)


def test_less_than_a_byte_is_no_size() -> None:
    with pytest.raises(ValueError, match=r"0\.1b"):
        size_bytes("0.1b")


@given(st.integers(min_value=1, max_value=10**6), st.sampled_from(sorted(UNITS)))
def test_every_size_is_its_number_times_its_unit(number: int, unit: str) -> None:
    assert size_bytes(f"{number} {unit}") == number * UNITS[unit]


@given(st.integers(min_value=1, max_value=10**6), st.sampled_from(sorted(SECONDS)))
def test_every_time_is_its_number_times_its_unit(number: int, unit: str) -> None:
    assert time_s(f"{number}{unit}") == number * SECONDS[unit]


@given(st.one_of(st.text(), st.from_regex(r"\d{0,330}\.?\d{0,20} ?[kmgtKMGT]?i?[bsmhd]?", fullmatch=True)))
def test_any_text_is_above_zero_or_a_value_error(text: str) -> None:
    for read in (size_bytes, time_s):
        try:
            assert 0 < read(text) < float("inf")
        except ValueError:
            continue


@cases(
    "size, words",
    {
        "none": (0, "0 B"),
        "bytes": (1023, "1023 B"),
        "a unit": (1024, "1 KiB"),
        "in part": (1536 * 2**20, "1.5 GiB"),
        "three figures": (64 * 2**20 - 5000, "64 MiB"),
        "nearly the next unit": (1023 * 2**20, "1023 MiB"),
        "the largest": (5000 * 2**30, "5000 GiB"),
    },
)
def test_a_size_in_words(size: int, words: str) -> None:
    assert in_words(size) == words
