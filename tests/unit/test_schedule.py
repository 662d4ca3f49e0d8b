"""Which stage starts next, and beside which others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dvc_runner.model import Limits
from dvc_runner.pipeline.request import Room
from dvc_runner.pipeline.schedule import Schedule

ROOM = Room(jobs=2, cpus=4, memory_bytes=100)


def opened(schedule: Schedule) -> list[str]:
    """Give every stage that is open now."""
    found = []
    while (one := schedule.opened()) is not None:
        found.append(one)
    return found


def started(schedule: Schedule) -> list[str]:
    """Start what can be started now."""
    found = []
    while (one := schedule.start()) is not None:
        found.append(one)
    return found


def test_a_stage_opens_when_all_before_it_are_settled() -> None:
    schedule = Schedule("abcd", {"a": "", "b": "", "c": "ab", "d": "c"}, ROOM)
    assert opened(schedule) == ["a", "b"]
    schedule.settle("a")
    assert opened(schedule) == []
    schedule.settle("b")
    assert opened(schedule) == ["c"]
    schedule.settle("c")
    assert opened(schedule) == ["d"]


def test_what_is_not_of_the_run_is_not_waited_for() -> None:
    schedule = Schedule(["a"], {"a": ["elsewhere"]}, ROOM)
    assert opened(schedule) == ["a"]


def test_no_more_than_jobs_are_at_work_and_the_first_go_first() -> None:
    schedule = Schedule("abc", dict.fromkeys("abc", ""), ROOM)
    for one in "cba":
        schedule.queue(one, Limits())
    assert started(schedule) == ["a", "b"]
    schedule.leave("b")
    assert started(schedule) == ["c"]
    assert schedule.at_work == 2


@pytest.mark.parametrize(
    ("first", "second", "fits"),
    [
        (Limits(cpus=2), Limits(cpus=2), True),
        (Limits(cpus=2), Limits(cpus=2.5), False),
        (Limits(cpus=4), Limits(), True),
        (Limits(memory_bytes=50), Limits(memory_bytes=50), True),
        (Limits(memory_bytes=50), Limits(memory_bytes=51), False),
        (Limits(cpus=9), Limits(cpus=0.5), False),
    ],
)
def test_what_they_ask_for_fits_together(first: Limits, second: Limits, *, fits: bool) -> None:
    schedule = Schedule("ab", {"a": "", "b": ""}, ROOM)
    schedule.queue("a", first)
    schedule.queue("b", second)
    assert started(schedule) == (["a", "b"] if fits else ["a"])
    schedule.leave("a")
    assert started(schedule) == ([] if fits else ["b"])


def test_one_that_fits_goes_before_one_that_does_not() -> None:
    schedule = Schedule("abc", dict.fromkeys("abc", ""), ROOM)
    for one, cpus in (("a", 3), ("b", 2), ("c", 1)):
        schedule.queue(one, Limits(cpus=cpus))
    assert started(schedule) == ["a", "c"]


@given(
    after=st.lists(st.sets(st.integers(0, 30)), max_size=30),
    jobs=st.integers(1, 5),
    cpus=st.lists(st.floats(0.1, 9), min_size=31, max_size=31),
)
def test_every_stage_has_its_turn_after_all_before_it(after: list[set[int]], jobs: int, cpus: list[float]) -> None:
    order = [str(n) for n in range(len(after))]
    before = {str(n): [str(m) for m in found if m < n] for n, found in enumerate(after)}
    schedule = Schedule(order, before, Room(jobs=jobs, cpus=4, memory_bytes=0))
    done: list[str] = []
    at_work: list[str] = []
    while True:
        for one in opened(schedule):
            schedule.queue(one, Limits(cpus=cpus[int(one)]))
        at_work += started(schedule)
        assert len(at_work) <= jobs
        assert len(at_work) == 1 or sum(cpus[int(one)] for one in at_work) <= 4
        if not at_work:
            break
        one = at_work.pop()
        assert set(before[one]) <= set(done)
        schedule.leave(one)
        schedule.settle(one)
        done.append(one)
    assert sorted(done) == sorted(order)
