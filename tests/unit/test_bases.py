"""Which images a Dockerfile begins from: they are pulled before its build."""

from pathlib import Path

from tests.support.cases import cases

from dvc_runner.engine.pulls import bases


@cases(
    "text, frontend, expected",
    {
        "one": ("FROM a:1", False, ["a:1"]),
        "in small letters": ("from a:1 as b", False, ["a:1"]),
        "with a digest": ("FROM a:1@sha256:00", False, ["a:1@sha256:00"]),
        "for a platform": ("FROM --platform=linux/amd64 a", False, ["a"]),
        "an argument": ("ARG BASE\nFROM ${BASE}", False, ["given"]),
        "an argument without braces": ("ARG BASE=x\nFROM $BASE", False, ["given"]),
        "an argument's default": ("ARG OTHER='b:2'\nFROM ${OTHER}", False, ["b:2"]),
        "an argument that nobody gave": ("ARG OTHER\nFROM ${OTHER}", False, []),
        "a name without ARG": ("FROM ${BASE}", False, []),
        "what only the builder understands": ("ARG BASE\nFROM ${BASE:-b}", False, []),
        "an earlier stage": ("FROM a AS One\nFROM one\nFROM b AS two\nFROM two", False, ["a", "b"]),
        "the same twice": ("FROM a\nFROM a", False, ["a"]),
        "nothing": ("FROM scratch", False, []),
        "a word of a command": ("FROM a\nRUN echo \\\n  FROMAGE", False, ["a"]),
        "a frontend": ("# syntax=docker/dockerfile:1\nFROM a", True, ["docker/dockerfile:1", "a"]),
        "a frontend that the builder does not read": ("# syntax=docker/dockerfile:1\nFROM a", False, ["a"]),
        "a comment like one": ("# Build it\n# syntax=x\nFROM a", True, ["a"]),
        "an empty file": ("", True, []),
    },
)
def test_bases(tmp_path: Path, text: str, frontend: bool, expected: list[str]) -> None:  # noqa: FBT001
    (tmp_path / "Dockerfile").write_text(text)
    assert list(bases(tmp_path / "Dockerfile", {"BASE": "given"}, frontend=frontend)) == expected
