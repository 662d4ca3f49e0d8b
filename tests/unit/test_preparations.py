"""What stages run in is made several at a time, once each, and ended when asked."""

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path

import pytest
from tests.support.preparers import Make, Preparer, Watched, nothing
from tests.support.values import a_stage

from dvc_runner.engine.cancellation import Cancellation
from dvc_runner.errors import BuildError, EngineError
from dvc_runner.model import Container, Stage
from dvc_runner.pipeline.preparations import AT_ONCE, Preparations

LIMIT_S = 60
LOGS = Path("logs")
SECRET = "a-token-1234"


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
def preparing(tmp_path: Path, watched: Watched) -> Callable[[Make], tuple[Preparer, Preparations]]:
    def give(make: Make) -> tuple[Preparer, Preparations]:
        preparer = Preparer(make)
        return preparer, Preparations(preparer, tmp_path, LOGS, {"TOKEN": SECRET}, watched)

    return give


Preparing = Callable[[Make], tuple[Preparer, Preparations]]


def several(count: int) -> list[Stage]:
    return [a_stage(str(number)) for number in range(count)]


def test_several_are_made_at_once(preparing: Preparing) -> None:
    together = threading.Barrier(AT_ONCE)
    _, preparations = preparing(lambda *_: nothing(together.wait(LIMIT_S)))
    with preparations.opened():
        preparations.begin(several(AT_ONCE))
        assert [preparations.take(stage).reference for stage in several(AT_ONCE)] == ["0", "1", "2", "3"]


def test_what_is_taken_first_is_made_first(preparing: Preparing) -> None:
    preparer, preparations = preparing(nothing)
    with preparations.opened():
        preparations.begin(several(20))
        for stage in several(20):
            preparations.take(stage)
    assert preparer.made[0] in {"0", "1", "2", "3"}
    assert sorted(preparer.made, key=int) == [str(number) for number in range(20)]


def test_two_stages_of_one_image_have_it_made_once(preparing: Preparing) -> None:
    preparer, preparations = preparing(nothing)
    preparer.names = {"0": "same", "1": "same"}
    with preparations.opened():
        preparations.begin(several(2))
        assert {preparations.take(stage).reference for stage in several(2)} == {"same"}
    assert len(preparer.made) == 1


def test_what_changed_since_it_was_begun_is_made_anew(preparing: Preparing) -> None:
    preparer, preparations = preparing(nothing)
    with preparations.opened():
        preparations.begin(several(1))
        preparations.take(several(1)[0])
        preparer.names = {"0": "another"}
        assert preparations.take(several(1)[0]).reference == "another"
    assert preparer.made == ["0", "0"]


def test_nothing_begins_by_itself(preparing: Preparing, tmp_path: Path) -> None:
    preparer, preparations = preparing(nothing)
    with preparations.opened():
        pass
    assert preparer.made == []
    assert not (tmp_path / LOGS).exists()


def test_lines_go_to_a_log_and_to_the_watch(preparing: Preparing, tmp_path: Path, watched: Watched) -> None:
    def make(_: Stage, on_line: Callable[[str], None], __: Cancellation) -> None:
        for line in ("building one", "step 1", f"é {SECRET}"):
            on_line(line)

    _, preparations = preparing(make)
    stage = a_stage("sub/dvc.yaml:one", container=Container(image="x", secrets=("TOKEN",)))
    with preparations.opened():
        preparations.take(stage)
    log = preparations.log_of(stage.address)
    assert (tmp_path / log).read_text("utf-8") == "building one\nstep 1\né *****\n"
    assert watched.told == [
        "sub/dvc.yaml:one begun: building one",
        "sub/dvc.yaml:one said: step 1",
        "sub/dvc.yaml:one said: é *****",
        "sub/dvc.yaml:one ended well",
    ]


def test_what_is_there_already_is_not_told_of(preparing: Preparing, tmp_path: Path, watched: Watched) -> None:
    _, preparations = preparing(nothing)
    with preparations.opened():
        preparations.take(a_stage())
    assert watched.told == []
    assert not (tmp_path / LOGS).exists()


def test_a_failure_is_told_to_whoever_takes_it_and_names_the_log(preparing: Preparing, watched: Watched) -> None:
    def make(stage: Stage, on_line: Callable[[str], None], _: Cancellation) -> None:
        on_line("building")
        if stage.address == "0":
            raise BuildError("it broke", remedy="mend it")

    _, preparations = preparing(make)
    with preparations.opened():
        preparations.begin(several(2))
        assert preparations.take(several(2)[1]).reference == "1"
        for _ in range(2):
            with pytest.raises(BuildError, match=r"it broke\n.*logs/0\.build\.log") as raised:
                preparations.take(several(2)[0])
            assert raised.value.remedy == "mend it"
    assert "0 ended badly" in watched.told


def test_a_stage_without_a_name_fails_when_it_is_taken() -> None:
    class Nameless(Preparer):
        def named(self, stage: Stage) -> str:
            raise EngineError(f"{stage.address} has none", remedy="give it one")

    preparations = Preparations(Nameless(), Path(), LOGS, {}, Watched())
    with preparations.opened():
        preparations.begin(several(1))
        with pytest.raises(EngineError, match="0 has none"):
            preparations.take(several(1)[0])


def test_in_the_end_what_is_at_work_is_cancelled_and_what_waits_never_begins(preparing: Preparing) -> None:
    ended = []
    begun = threading.Semaphore(0)

    def make(stage: Stage, _: Callable[[str], None], cancellation: Cancellation) -> None:
        asked = threading.Event()
        try:
            with cancellation.ends(asked.set):
                begun.release()
                assert asked.wait(LIMIT_S)
        except CancelledError:
            ended.append(stage.address)
            raise

    preparer, preparations = preparing(make)
    with preparations.opened():
        preparations.begin(several(AT_ONCE + 2))
        for _ in range(AT_ONCE):
            assert begun.acquire(timeout=LIMIT_S)
    assert sorted(ended) == sorted(preparer.made) == ["0", "1", "2", "3"]


def test_the_end_does_not_wait_long_for_what_does_not_listen(
    preparing: Preparing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dvc_runner.pipeline.preparations.ENDING_S", 0.1)
    begun, deaf, ended = threading.Event(), threading.Event(), threading.Event()

    def make(*_: object) -> None:
        begun.set()
        deaf.wait(LIMIT_S)
        ended.set()

    _, preparations = preparing(make)
    with preparations.opened():
        preparations.begin(several(1))
        assert begun.wait(LIMIT_S)
    assert not ended.is_set()
    deaf.set()
    assert ended.wait(LIMIT_S)
