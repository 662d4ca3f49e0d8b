import json
from collections.abc import Iterator
from pathlib import Path

import alias_history
import pytest
import tracking
from alias_history import Event, move, now, read
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from tests.support.json_schema import problems, schema


@pytest.fixture
def client(mlflow_uri: str) -> Iterator[MlflowClient]:  # noqa: ARG001
    with tracking.connect() as client:
        yield client


@pytest.fixture
def name(client: MlflowClient, unique: str) -> str:
    """A registered model with three versions."""
    client.create_registered_model(unique)
    with tracking.training_run(client, unique) as run:
        for _ in range(3):
            client.create_model_version(unique, f"{run.info.artifact_uri}/model", run.info.run_id)
    return unique


def a_move(alias: str, before: str | None, after: str | None) -> Event:
    why = "macro_f1: 0.9 beats 0.8"
    return Event(alias=alias, at=now(), who="Ada", from_version=before, to_version=after, why=why, run_id="r")


def archived(client: MlflowClient, name: str) -> list[str]:
    return [number for number in "123" if "archived" in client.get_model_version(name, number).tags]


def test_every_move_is_kept_and_what_production_left_is_archived(client: MlflowClient, name: str) -> None:
    there = [(None, "1"), ("1", "2"), ("2", "3"), ("3", "1")]
    marked = [[], ["1"], ["1", "2"], ["2", "3"]]
    moves = []
    for (before, after), expected in zip(there, marked, strict=True):
        moves.append(a_move("production", before, after))
        move(client, name, moves[-1])
        assert client.get_registered_model(name).aliases == {"production": after}
        assert archived(client, name) == expected
    assert read(client, name, "production") == moves


def test_other_aliases_have_a_history_of_their_own_and_archive_nothing(client: MlflowClient, name: str) -> None:
    moves = []
    for before, after in ((None, "1"), ("1", "2"), ("2", None)):
        moves.append(a_move("staging", before, after))
        move(client, name, moves[-1])
    assert (read(client, name, "staging"), read(client, name, "production")) == (moves, [])
    assert client.get_registered_model(name).aliases == {}
    assert archived(client, name) == []


def test_events_are_as_the_schema_says_and_documented(client: MlflowClient, name: str) -> None:
    move(client, name, a_move("production", None, "1"))
    [(key, value)] = client.get_registered_model(name).tags.items()
    assert key.startswith("alias_history.production.")
    whole = schema("alias_event")
    assert problems(json.loads(value), whole) == []
    document = (Path(__file__).parents[2] / "docs/PROMOTION.md").read_text(encoding="utf-8")
    assert [key for key in whole["required"] if f"`{key}`" not in document] == []


def test_a_move_that_cannot_be_noted_is_told_of(
    client: MlflowClient, name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alias_history, "PREFIX", "k" * 9000)  # no server takes that
    with pytest.raises(MlflowException):
        move(client, name, a_move("production", None, "1"))
    assert f"production of {name} is version 1 now" in caplog.text


def test_a_version_that_is_gone_is_not_archived(client: MlflowClient, name: str) -> None:
    client.delete_model_version(name, "1")
    move(client, name, a_move("production", "1", "2"))
    assert client.get_registered_model(name).aliases == {"production": "2"}


def test_what_others_put_among_the_tags_is_passed_over(client: MlflowClient, name: str) -> None:
    client.set_registered_model_tag(name, "alias_history.production.0", "by hand")
    client.set_registered_model_tag(name, "alias_history.production.1", '{"schema_version": 2}')
    move(client, name, a_move("production", None, "1"))
    assert [one.to_version for one in read(client, name, "production")] == ["1"]
