"""What threads hand over to the main thread."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from dvc_runner.interrupts import INTERRUPTS
from dvc_runner.pipeline.desk import Desk

LIMIT_S = 10


@pytest.fixture
def desk() -> Iterator[Desk]:
    INTERRUPTS.listen()
    yield Desk()
    INTERRUPTS.listen()


def test_it_is_done_by_whoever_serves(desk: Desk) -> None:
    with ThreadPoolExecutor() as threads:
        asked = [threads.submit(desk.call, threading.current_thread) for _ in range(50)]
        while not all(one.done() for one in asked):
            desk.wait(0.1, until_interrupted=False)
            desk.serve()
    assert {one.result() for one in asked} == {threading.main_thread()}
    desk.close()


def test_whoever_asked_is_told_what_went_wrong(desk: Desk) -> None:
    def fail() -> None:
        raise ValueError("no")

    with ThreadPoolExecutor() as threads:
        asked = threads.submit(desk.call, fail)
        desk.wait(LIMIT_S, until_interrupted=False)
        desk.serve()
        with pytest.raises(ValueError, match="no"):
            asked.result(LIMIT_S)
    desk.close()


def test_nobody_waits_for_a_desk_that_is_closed(desk: Desk) -> None:
    with ThreadPoolExecutor() as threads:
        asked = threads.submit(desk.call, lambda: None)
        desk.wait(LIMIT_S, until_interrupted=False)
        desk.close()
        with pytest.raises(KeyboardInterrupt):
            asked.result(LIMIT_S)
    with pytest.raises(KeyboardInterrupt):
        desk.call(lambda: None)
    desk.post(lambda: pytest.fail("done after all"))


def test_an_interrupt_ends_the_wait(desk: Desk) -> None:
    INTERRUPTS.end_all()
    desk.wait(None, until_interrupted=True)
    desk.close()
