"""Secrets' values do not show."""

from hypothesis import assume, given
from hypothesis import strategies as st
from tests.support.cases import cases

from dvc_runner.pipeline.mask import MASK, SHORTEST, Mask


def masked(values: tuple[str, ...], line: str) -> str:
    lines: list[str] = []
    Mask(values, lines.append)(line)
    assert len(lines) == 1
    return lines[0]


@cases(
    "values, line, shown",
    {
        "none": ((), "password", "password"),
        "one": (("hunter2",), "it is hunter2!", f"it is {MASK}!"),
        "twice": (("hunter2",), "hunter2 hunter2", f"{MASK} {MASK}"),
        "several": (("hunter2", "s3cret"), "hunter2 s3cret", f"{MASK} {MASK}"),
        "one inside another": (("hunter", "hunter2-long"), "hunter2-long", MASK),
        "too short to tell from words": (("a", "abc"), "abc a", "abc a"),
        "with signs of patterns": (("a.*b(",), "axxb a.*b(", f"axxb {MASK}"),
        "empty": (("",), "word", "word"),
        "accents": (("pässwörd",), "pässwörd", MASK),
    },
)
def test_masked(values: tuple[str, ...], line: str, shown: str) -> None:
    assert masked(values, line) == shown


@given(st.text(min_size=SHORTEST), st.text(), st.text())
def test_a_value_never_shows(value: str, before: str, after: str) -> None:
    assume(value not in MASK and not set(value) & set(MASK))
    assert value not in masked((value,), f"{before}{value}{after}")
