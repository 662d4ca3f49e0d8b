import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
import tracking
from claim import TAG, Patience, claimed
from contract import StageError
from mlflow import MlflowClient

Proxy = Callable[[str, Callable[[str, bytes], None]], AbstractContextManager[str]]
QUICK = Patience(settle_s=0.5, valid_s=5, expires_s=1, gives_up_s=30)


@pytest.fixture
def client(mlflow_uri: str) -> Iterator[MlflowClient]:  # noqa: ARG001
    with tracking.connect() as client:
        yield client


@pytest.fixture
def name(client: MlflowClient, unique: str) -> str:
    client.create_registered_model(unique)
    return unique


def test_a_claim_is_there_while_it_is_held(client: MlflowClient, name: str) -> None:
    with claimed(client, name, "Ada", QUICK) as claim:
        model = client.get_registered_model(name)
        assert json.loads(model.tags[TAG])["who"] == "Ada"
        assert claim.holds(model)
    assert client.get_registered_model(name).tags == {}


def test_it_goes_also_where_its_holder_fails(client: MlflowClient, name: str) -> None:
    with pytest.raises(ZeroDivisionError), claimed(client, name, "Ada", QUICK):
        raise ZeroDivisionError
    assert client.get_registered_model(name).tags == {}


def test_one_at_a_time(client: MlflowClient, name: str) -> None:
    """Each reads a number and writes the next one, which loses some if two do so at once."""
    patience = Patience(settle_s=1, gives_up_s=120)
    client.set_registered_model_tag(name, "count", "0")

    def count() -> None:
        with claimed(client, name, "Ada", patience):
            before = int(client.get_registered_model(name).tags["count"])
            time.sleep(0.3)
            client.set_registered_model_tag(name, "count", str(before + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.get_registered_model(name).tags == {"count": "4"}


def test_of_two_who_found_none_the_last_to_write_has_it(mlflow_uri: str, name: str, proxy: Proxy) -> None:
    """The second is held up between finding no claim and writing its own, until the first has written."""
    patience = Patience(settle_s=1.5, gives_up_s=120)
    found_none, written = threading.Event(), threading.Event()
    inside: list[str] = []
    most = []

    def first_writes_after_second_looked(path: str, _: bytes) -> None:
        if path.endswith("set-tag"):
            found_none.wait(20)
            threading.Timer(0.3, written.set).start()

    def second_writes_after_first(path: str, _: bytes) -> None:
        if path.endswith("set-tag"):
            found_none.set()
            written.wait(20)

    def hold(uri: str, who: str) -> None:
        with claimed(MlflowClient(uri), name, who, patience):
            inside.append(who)
            time.sleep(1)
            most.append(len(inside))
            inside.remove(who)

    with (
        proxy(mlflow_uri, first_writes_after_second_looked) as one,
        proxy(mlflow_uri, second_writes_after_first) as other,
    ):
        threads = [threading.Thread(target=hold, args=pair) for pair in ((one, "Ada"), (other, "Bob"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert most == [1, 1]


def test_one_that_nobody_removes_expires_and_is_told_of(
    client: MlflowClient, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client.set_registered_model_tag(name, TAG, '{"who": "somebody killed"}')
    began = time.monotonic()
    with claimed(client, name, "Ada", QUICK):
        assert time.monotonic() - began > QUICK.expires_s
    assert "somebody killed" in caplog.text


def test_one_that_was_overwritten_does_not_hold_and_is_left_alone(client: MlflowClient, name: str) -> None:
    with claimed(client, name, "Ada", QUICK) as claim:
        client.set_registered_model_tag(name, TAG, "of another")
        assert not claim.holds(client.get_registered_model(name))
    assert client.get_registered_model(name).tags == {TAG: "of another"}


def test_one_that_is_old_does_not_hold(client: MlflowClient, name: str) -> None:
    with claimed(client, name, "Ada", Patience(settle_s=0.5, valid_s=0)) as claim:
        assert not claim.holds(client.get_registered_model(name))


@pytest.mark.parametrize(
    ("patience", "tag"),
    [
        pytest.param(Patience(settle_s=0.2, gives_up_s=1), "of another", id="others have it"),
        pytest.param(Patience(settle_s=0.0001, gives_up_s=1), None, id="the server is slow"),
    ],
)
def test_who_gets_none_is_told_in_one_line(
    client: MlflowClient, name: str, patience: Patience, tag: str | None
) -> None:
    if tag:
        client.set_registered_model_tag(name, TAG, tag)
    with pytest.raises(StageError, match=TAG) as error, claimed(client, name, "Ada", patience):
        pytest.fail("two have it")
    assert name in str(error.value)
    assert "\n" not in str(error.value)
    assert client.get_registered_model(name).tags == ({TAG: tag} if tag else {})
