"""When an interrupt is raised, and when it waits."""

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from tests.support.cases import cases

from dvc_runner import interrupts
from dvc_runner.interrupts import SIGNALS, Interrupts


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[Interrupts]:
    """Interrupts that take this process's signals; two in a row are two."""
    monkeypatch.setattr(interrupts, "ECHO_S", 0)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    found = Interrupts()
    found.listen()
    yield found
    for number, handler in before.items():
        signal.signal(number, handler)
    for end in (found._read, found._write):
        os.close(end)


def can_be_read(found: Interrupts) -> bool:
    return bool(select.select([found], [], [], 0)[0])


@pytest.mark.parametrize("number", SIGNALS)
def test_an_interrupt_is_raised_at_once(listening: Interrupts, number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    assert can_be_read(listening)
    assert not listening.hurry.is_set()


class Cut:
    """What raises where nobody can catch it."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __del__(self) -> None:
        raise self.error


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> list[type[BaseException]]:
    """Takes what is told of errors that cannot be raised."""
    told: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: told.append(found.exc_type))
    return told


def test_what_an_interrupt_leaves_half_made_is_not_told_of(
    unraisable: list[type[BaseException]], listening: Interrupts
) -> None:
    Cut(AttributeError)
    assert unraisable == [AttributeError]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGHUP)
    Cut(AttributeError)
    assert unraisable == [AttributeError]
    # Python drops one that is raised there: it is raised where it can be.
    Cut(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        listening.check()
    assert unraisable == [AttributeError]


def test_that_one_came_is_known_also_when_it_is_over(listening: Interrupts) -> None:
    listening.end_all()
    assert not listening.came()
    with listening.postponed():
        signal.raise_signal(signal.SIGINT)
        assert listening.taken()
    assert listening.came()


def test_one_that_is_postponed_is_raised_at_the_end(listening: Interrupts) -> None:
    reached = []

    def work() -> None:
        with listening.postponed():
            with listening.postponed():
                signal.raise_signal(signal.SIGINT)
                reached.append("inside")
            reached.append("outside")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached == ["inside", "outside"]
    assert can_be_read(listening)


def test_one_that_was_postponed_can_be_raised_where_it_fits(listening: Interrupts) -> None:
    with listening.postponed():
        listening.check()
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            listening.check()
        listening.check()


def test_the_second_asks_for_haste_and_cuts_through_nothing(listening: Interrupts) -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    with listening.postponed():
        signal.raise_signal(signal.SIGTERM)
    assert listening.hurry.is_set()


def test_the_third_is_raised_wherever_it_comes(listening: Interrupts) -> None:
    with listening.postponed():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            listening.check()


def test_the_echo_of_one_is_none(listening: Interrupts, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    monkeypatch.setattr(interrupts, "ECHO_S", 60)
    signal.raise_signal(signal.SIGTERM)
    assert not listening.hurry.is_set()


@cases("number", {"under nohup": [signal.SIGHUP], "in the background of a script": [signal.SIGINT]})
def test_what_is_ignored_stays_so(listening: Interrupts, number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_IGN)
    listening.listen()
    signal.raise_signal(number)
    assert not can_be_read(listening)


def test_other_threads_are_never_interrupted(listening: Interrupts) -> None:
    ended = threading.Event()

    def work() -> None:
        with listening.postponed():
            pass
        ended.set()

    with listening.postponed():
        signal.raise_signal(signal.SIGINT)
        threading.Thread(target=work).start()
        assert ended.wait(60)
        with pytest.raises(KeyboardInterrupt):
            listening.check()


def test_one_cuts_through_what_changes_nothing(listening: Interrupts) -> None:
    def work() -> None:
        with listening.allowed():
            signal.raise_signal(signal.SIGINT)
            pytest.fail("it came too late")

    with listening.postponed(), pytest.raises(KeyboardInterrupt):
        work()


def test_one_that_came_before_is_raised_where_that_begins(listening: Interrupts) -> None:
    with listening.postponed():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt), listening.allowed():
            pytest.fail("it came too late")


def test_one_that_was_taken_is_not_raised_any_more(listening: Interrupts) -> None:
    with listening.postponed():
        assert not listening.taken()
        signal.raise_signal(signal.SIGINT)
        assert listening.taken()
        assert not listening.taken()


@pytest.mark.parametrize("ends", [lambda _: signal.raise_signal(signal.SIGINT), Interrupts.end_all])
def test_other_threads_look_for_it(listening: Interrupts, ends: Callable[[Interrupts], None]) -> None:
    raised: list[bool] = []

    def look() -> None:
        try:
            listening.check()
            raised.append(False)
        except KeyboardInterrupt:
            raised.append(True)

    with listening.postponed():
        for act in (None, ends):
            if act:
                act(listening)
            thread = threading.Thread(target=look)
            thread.start()
            thread.join()
        listening.taken()
    assert raised == [False, True]
    assert can_be_read(listening)
