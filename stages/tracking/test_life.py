import time
from collections.abc import Iterator

import life
import pytest
import tracking
from mlflow import MlflowClient


@pytest.fixture
def client(mlflow_uri: str) -> Iterator[MlflowClient]:  # noqa: ARG001
    with tracking.connect() as client:
        yield client


@pytest.fixture
def experiment(client: MlflowClient, unique: str) -> str:
    return str(client.create_experiment(unique))


def left(client: MlflowClient, experiment: str, said: str | None) -> str:
    """Make a run as one that was killed leaves it."""
    return str(client.create_run(experiment, tags={} if said is None else {life.ALIVE_AT: said}).info.run_id)


def test_the_next_training_ends_what_was_killed_long_ago_and_nothing_else(
    client: MlflowClient, experiment: str, unique: str
) -> None:
    died = int(time.time()) - life.SILENT_S - 10
    killed, at_work, anothers = (left(client, experiment, said) for said in (str(died), life.now(), None))
    with tracking.training_run(client, unique) as run:
        pass
    status = {found.info.run_id: found.info.status for found in client.search_runs([experiment])}
    assert status == {killed: "FAILED", at_work: "RUNNING", anothers: "RUNNING", run.info.run_id: "FINISHED"}
    assert client.get_run(killed).info.end_time == died * 1000


def test_a_run_under_way_gives_signs_of_life(client: MlflowClient, experiment: str) -> None:
    run_id = left(client, experiment, "1")
    with life.beating(client, run_id, every_s=0.05):
        end = time.monotonic() + 20
        while client.get_run(run_id).data.tags[life.ALIVE_AT] == "1":
            assert time.monotonic() < end
            time.sleep(0.05)


def test_a_sign_of_life_that_does_not_arrive_disturbs_nothing(client: MlflowClient) -> None:
    with life.beating(client, "no-such-run", every_s=0.01):
        time.sleep(0.3)


@pytest.mark.usefixtures("client")
def test_what_cannot_be_ended_is_told_of_and_no_reason_not_to_train(caplog: pytest.LogCaptureFixture) -> None:
    life.end_silent(MlflowClient("http://127.0.0.1:9"), "0")
    assert "could not be ended" in caplog.text
