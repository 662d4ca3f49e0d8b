"""The engine's frames, and the lines in them, however the stream is cut."""

import itertools
import os
import socket

from hypothesis import given
from hypothesis import strategies as st
from tests.support.cases import cases

from dvc_runner.engine.frames import Frames, payloads
from dvc_runner.engine.lines import LONGEST_LINE, Lines


def framed(parts: list[bytes]) -> bytes:
    return b"".join(bytes([1 + n % 2, 0, 0, 0]) + len(part).to_bytes(4, "big") + part for n, part in enumerate(parts))


def cut(data: bytes, at: list[int]) -> list[bytes]:
    places = sorted({min(place, len(data)) for place in at} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


@given(st.lists(st.binary(max_size=40)), st.lists(st.integers(min_value=0, max_value=500)))
def test_headers_are_taken_out_wherever_the_stream_is_cut(parts: list[bytes], at: list[int]) -> None:
    frames = Frames()
    assert b"".join(frames.payload(piece) for piece in cut(framed(parts), at)) == b"".join(parts)


@given(st.text(alphabet="aé\n\r日", max_size=60), st.lists(st.integers(min_value=0, max_value=200)))
def test_lines_are_whole_wherever_the_stream_is_cut(text: str, at: list[int]) -> None:
    found: list[str] = []
    lines = Lines(found.append)
    for piece in cut(text.encode(), at):
        lines.feed(piece)
    lines.end()
    *whole, rest = text.split("\n")
    assert found == [line.rstrip("\r") for line in whole] + ([rest] if rest else [])


@cases(
    "text, lengths",
    {
        "as long as may be": ("x" * LONGEST_LINE + "\ny\n", [LONGEST_LINE, 1]),
        "longer": ("x" * (LONGEST_LINE + 1) + "\ny\n", [LONGEST_LINE, 1, 1]),
        "longer, and never ended": ("x" * (2 * LONGEST_LINE + 5), [LONGEST_LINE, LONGEST_LINE, 5]),
        "empty ones between": ("\n\n", [0, 0]),
    },
)
def test_over_long_lines_are_cut_up(text: str, lengths: list[int]) -> None:
    found: list[str] = []
    lines = Lines(found.append)
    lines.feed(text.encode())
    lines.end()
    assert [len(line) for line in found] == lengths


def test_whoever_waits_is_woken() -> None:
    near, far = socket.socketpair()
    read, write = os.pipe()
    with near, far:
        found = payloads(near, read)
        far.sendall(framed([b"a"]))
        assert next(found) == b"a"
        os.write(write, b"!")
        assert next(found) is None
        os.read(read, 1)
        far.close()
        assert list(found) == []
    os.close(read)
    os.close(write)
