"""What is being made, on a terminal and elsewhere."""

import contextlib
import io
import re
import sys
from collections.abc import Callable, Iterator

import pytest

from dvc_runner.cli import printing
from dvc_runner.report.preparing import Preparing


def play(watch: Preparing) -> None:
    watch.begun("train", "building t:1")
    watch.said("train", "step 1")
    watch.begun("evaluate", "building e:1")
    watch.passed()
    watch.ended("train", well=True)
    watch.ended("evaluate", well=False)


def without_times(lines: list[str]) -> list[str]:
    return [re.sub(r"\d+(\.\d)? s", "0 s", line) for line in lines]


def test_elsewhere_a_line_at_begin_and_end() -> None:
    lines: list[str] = []
    play(Preparing(lines.append, None))
    assert without_times(lines) == [
        "  train │ building t:1",
        "  evaluate │ building e:1",
        "  train │ ready after 0 s",
        "  evaluate │ given up after 0 s",
    ]


def test_on_a_terminal_one_line_that_changes() -> None:
    lines: list[str] = []
    live: list[str] = []
    play(Preparing(lines.append, live.append))
    assert without_times(lines) == [
        "  train │ building t:1: ready after 0 s",
        "  evaluate │ building e:1: given up after 0 s",
    ]
    assert without_times(live) == [
        "train 0 s: building t:1",
        "train 0 s: step 1",
        "train 0 s: step 1 · evaluate 0 s: building e:1",
        "train 0 s: step 1 · evaluate 0 s: building e:1",
        "evaluate 0 s: building e:1",
        "",
    ]


class Terminal(io.StringIO):
    """What a person sees on, 20 columns wide."""

    def isatty(self) -> bool:
        return True

    @contextlib.contextmanager
    def shown(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
        """Take the place of stderr; give what shows the live line."""
        monkeypatch.setenv("COLUMNS", "20")
        monkeypatch.setattr(sys, "stderr", self)
        live = printing.live()
        assert live
        yield live
        live("")


def test_the_live_line_stays_below_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    with terminal.shown(monkeypatch) as live:
        live("a line that is longer than the terminal is wide")
        printing.err("another")
        live("")
        printing.err("the last")
    first = "a line that is long"
    assert terminal.getvalue() == f"{first}{printing.ERASE}another\n{first}{printing.ERASE}the last\n"


def test_what_would_move_the_cursor_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    with terminal.shown(monkeypatch) as live:
        live("a\x1b[2J\tb\rc")
        assert terminal.getvalue() == "a [2J b c"


def test_there_is_no_live_line_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    del capsys
    assert printing.live() is None
