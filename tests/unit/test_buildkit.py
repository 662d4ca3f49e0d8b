"""BuildKit's progress is read as far as it goes, and never breaks a build."""

import base64

from tests.support.cases import cases

from dvc_runner.engine import buildkit


def field(number: int, value: bytes | int) -> bytes:
    """One field of a protocol-buffers message; no part of it is longer than 127 bytes."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    return bytes([number << 3 | 2, len(value)]) + value


def step(digest: bytes, name: bytes, *, cached: bool = False, error: bytes = b"") -> bytes:
    parts = field(1, digest) + field(3, name) + (field(4, 1) if cached else b"") + field(5, b"\x08\x01")
    return field(1, parts + (field(7, error) if error else b""))


def log(digest: bytes, text: bytes) -> bytes:
    return field(3, field(1, digest) + field(2, b"\x08\x01") + field(3, 1) + field(4, text))


def read(*messages: bytes, tail: int = 2) -> tuple[list[str], tuple[str, ...]]:
    lines: list[str] = []
    trace = buildkit.Trace(lines.append, tail=tail)
    for message in messages:
        trace.take(base64.b64encode(message).decode())
    return lines, trace.failed


@cases(
    "messages, lines",
    {
        "nothing": ([b""], []),
        "a step that has not begun": ([field(1, field(1, b"a") + field(3, b"RUN x"))], []),
        "a step": ([step(b"a", b"RUN x")], ["RUN x"]),
        "a step told of twice": ([step(b"a", b"RUN x"), step(b"a", b"RUN x")], ["RUN x"]),
        "two steps of one name": ([step(b"a", b"RUN x") + step(b"b", b"RUN x")], ["RUN x", "RUN x"]),
        "a step from the cache": ([step(b"a", b"RUN x", cached=True)], ["RUN x (cached)"]),
        "what it says": ([step(b"a", b"RUN x"), log(b"a", b"one\ntwo\n")], ["RUN x", "one", "two"]),
        "what is no UTF-8": ([log(b"a", b"\xff!")], ["\ufffd!"]),
        "fields of a newer BuildKit": (
            [bytes([9 << 3 | 5, 0, 0, 0, 0, 10 << 3 | 1, *[0] * 8]) + log(b"a", b"x")],
            ["x"],
        ),
        "a number of several bytes": ([bytes([9 << 3, 0xFF, 0x01]) + log(b"a", b"x")], ["x"]),
        "a message cut off": ([log(b"a", b"x")[:-3], b"\x80", log(b"a", b"y")], ["y"]),
        "no message at all": ([bytes([9 << 3 | 7]), log(b"a", b"y")], ["y"]),
    },
)
def test_progress_becomes_lines(messages: list[bytes], lines: list[str]) -> None:
    found, failed = read(*messages)
    assert [line for line in found if line] == lines
    assert failed == ()


def test_the_last_words_are_those_of_the_step_that_failed() -> None:
    _, failed = read(
        step(b"a", b"RUN bad"),
        step(b"b", b"RUN good"),
        log(b"a", b"1\n2\n3\n"),
        log(b"b", b"not this\n"),
        step(b"a", b"RUN bad", error=b"exit code: 3"),
    )
    assert failed == ("2", "3")
