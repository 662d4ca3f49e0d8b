"""Secrets' values do not show."""

import base64
import json
from urllib.parse import quote, quote_plus

from hypothesis import assume, given
from hypothesis import strategies as st
from tests.support.cases import cases

from dvc_runner.pipeline.mask import CUT, MASK, SHORTEST, Mask


def masked(values: tuple[str, ...], *lines: str, cut: int = CUT, joined: tuple[str, ...] = ()) -> list[str]:
    shown: list[str] = []
    mask = Mask(values, shown.append, cut=cut, joined=joined)
    for line in lines:
        mask(line)
    mask.flush()
    return shown


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
    assert masked(values, line) == [shown]


@given(st.text(min_size=SHORTEST), st.text(), st.text())
def test_a_value_never_shows(value: str, before: str, after: str) -> None:
    assume(value not in MASK and not set(value) & set(MASK))
    assert value not in "".join(masked((value,), f"{before}{value}{after}"))


SECRET = "s3cr+t/ välue?=&"


@cases(
    "line",
    {
        "in a URL": [f"https://me:{quote(SECRET, safe='')}@host"],
        "in a URL, slashes left": [quote(SECRET)],
        "in a form": [f"a=1&password={quote_plus(SECRET)}"],
        "in JSON": [json.dumps({"p": SECRET})],
        "in JSON, accents left": [json.dumps({"p": SECRET}, ensure_ascii=False)],
        "as Python shows it": [repr(SECRET)],
    },
)
def test_a_value_in_another_form_is_masked(line: str) -> None:
    (shown,) = masked((SECRET,), line)
    assert MASK in shown
    assert not any(part in shown for part in ("s3cr", "lue"))


@given(st.text(min_size=6, alphabet=st.characters(codec="utf-8")), st.binary(max_size=9), st.binary(max_size=9))
def test_a_value_in_base64_is_masked_wherever_it_begins(value: str, before: bytes, after: bytes) -> None:
    whole = before + value.encode() + after
    for encoded in (base64.b64encode(whole), base64.urlsafe_b64encode(whole)):
        inner = encoded.decode()[-(-len(before) * 8 // 6) : (len(before) + len(value.encode())) * 8 // 6]
        (shown,) = masked((value,), encoded.decode())
        assert inner not in shown


def test_a_header_is_masked_whole() -> None:
    header = base64.b64encode(b"me:hunter2x").decode()
    assert masked(("hunter2x",), f"Authorization: Basic {header}", joined=("me:hunter2x",)) == [
        f"Authorization: Basic {MASK}="
    ]


@given(
    st.text(alphabet="abcd", min_size=SHORTEST, max_size=12),
    st.text(alphabet="abcdx", max_size=30),
    st.text(alphabet="abcdx", max_size=30),
    st.integers(min_value=1, max_value=9),
)
def test_a_value_cut_up_by_long_lines_is_masked(value: str, before: str, after: str, size: int) -> None:
    text = before + value + after
    cut = max(size, len(value))
    lines = [text[start : start + cut] for start in range(0, len(text), cut)]
    assert value not in "".join(masked((value,), *lines, cut=cut))


@cases(
    "lines, shown",
    {
        "in the middle": (["it is hunt", "er2!"], [f"it is {MASK}", "!"]),
        "after one letter": (["it is h", "unter2!"], ["it is h", "!"]),
        "before the last letter": (["it is hunter", "2!"], [f"it is {MASK}", "!"]),
        "a beginning alone": (["it is hunt", "ing"], ["it is hunt", "ing"]),
        "a beginning at the end": (["it is hunt"], ["it is hunt"]),
        "two beginnings": (["hunt", "hunt", "er2"], ["hunt", MASK, ""]),
        "an empty line between": (["hunt", "", "er2"], ["hunt", "", "er2"]),
    },
)
def test_a_value_that_goes_on_in_the_next_line(lines: list[str], shown: list[str]) -> None:
    assert masked(("hunter2",), *lines) == shown


def test_a_value_of_several_lines_is_masked_line_by_line() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----\n"
    assert "".join(masked((key,), *key.splitlines())).strip("*") == ""


def test_lines_are_not_held_back_without_need() -> None:
    shown: list[str] = []
    mask = Mask(("hunter2",), shown.append)
    mask("password:")
    assert shown == ["password:"]
    mask("hun")
    assert shown[1:] == ["hun"]
