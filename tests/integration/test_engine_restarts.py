"""What runs is ended with its runner, and told truly, whatever becomes of the engine meanwhile."""

import secrets
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.cases import cases
from tests.support.contained import contain
from tests.support.engines import Engine
from tests.support.private_engines import PrivateEngine, private_engine
from tests.support.projects import Project
from tests.support.started import until_begun
from tests.support.waiting import until
from tests.support.ways import with_mark

from dvc_runner.errors import EXIT_STAGE_FAILED

pytestmark = [pytest.mark.engine, pytest.mark.root]
NAME = f"one{secrets.token_hex(4)}"
MARK = f"DVC_STAGE={NAME}"
WAIT = """
import pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path('out.txt').write_text('half')
if pathlib.Path('data/wait').read_text() == 'yes':
    print('begun', flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def private(containers: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateEngine]:
    """An engine of our own, started."""
    if not shutil.which("dockerd"):
        pytest.skip("there is no dockerd to start")
    with private_engine(tmp_path_factory.mktemp("engine"), containers.address, containers.base) as found:
        yield found


@pytest.fixture(scope="module")
def there(
    private: PrivateEngine, containers: Engine, engines: list[Engine], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """That engine, as tests see it."""
    found = Engine(private.address, containers.base, "", tmp_path_factory.getbasetemp())
    engines.append(found)
    yield found
    engines.remove(found)
    found.api.close()


@pytest.fixture(scope="module")
def waiting_there(there: Engine, bare_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose stage ran once on that engine, and waits for ever in the next run."""
    found = contain(bare_project, tmp_path_factory.mktemp("restarts"), there)
    found.write("data/wait", "no")
    found.stages(**{NAME: found.stage(NAME, WAIT, deps=["data/wait"], outs=["out.txt"])})
    found.json().ended(0)
    found.write("data/wait", "yes")
    return found


@cases(
    "flags, number",
    {
        "is restarted": ([], signal.SIGTERM),
        "is restarted with live-restore": (["--live-restore"], signal.SIGTERM),
        "is killed": (["--live-restore"], signal.SIGKILL),
    },
)
def test_the_run_fails_and_leaves_nothing_when_the_engine(
    private: PrivateEngine, there: Engine, waiting_there: Project, flags: list[str], number: signal.Signals
) -> None:
    before = waiting_there.files()
    private.start(*flags)
    with waiting_there.started("dvc-runner", "run") as process:
        until_begun(process)
        assert with_mark(MARK)
        private.end(number)
        printed, _ = process.communicate(timeout=60)
    assert process.returncode == EXIT_STAGE_FAILED, printed
    assert "vanished" in printed
    # Its engine is gone: that it ends is the guard's doing.
    assert until(lambda: not with_mark(MARK))
    private.start(*flags)
    assert there.none_left(), there.ours()
    assert waiting_there.files() == before


@cases("restarted", {"while the engine is away": [False], "after it was restarted": [True]})
def test_a_runner_that_is_killed_leaves_nothing_with_live_restore(
    private: PrivateEngine,
    there: Engine,
    waiting_there: Project,
    restarted: bool,  # noqa: FBT001
) -> None:
    before = waiting_there.files()
    private.start("--live-restore")
    with waiting_there.started("dvc-runner", "run") as process:
        until_begun(process)
        # Else it would see the engine go, and end all by itself.
        process.send_signal(signal.SIGSTOP)
        private.end()
        assert with_mark(MARK)
        if restarted:
            private.start("--live-restore")
        process.kill()
        process.wait()
        assert until(lambda: not with_mark(MARK))
    if not restarted:
        private.start("--live-restore")
    assert there.none_left(), there.ours()
    assert waiting_there.files() == before
    waiting_there.write("data/wait", "no")
    waiting_there.age_scratches()
    waiting_there.json("--force").ended(0)
    waiting_there.write("data/wait", "yes")
