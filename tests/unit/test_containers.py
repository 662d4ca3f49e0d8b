"""What an engine says of a container that is about to go; a real one says it only when its disk is busy."""

from http import HTTPStatus
from typing import Any

import pytest
import requests
from docker.errors import APIError, NotFound

from dvc_runner.engine import containers
from dvc_runner.errors import EngineError


def answered(status: HTTPStatus) -> APIError:
    """Give what the SDK makes of a status."""
    response = requests.Response()
    response.status_code = status
    return (NotFound if status is HTTPStatus.NOT_FOUND else APIError)("said", response=response, explanation="busy")


class Client:
    """An engine that answers a removal with ``status``, and has the container for ``looks`` looks more."""

    def __init__(self, status: HTTPStatus, looks: float) -> None:
        self.looks = looks
        self._status = status

    def remove_container(self, container: str, **how: bool) -> None:
        assert (container, how) == ("c" * 64, {"force": True, "v": True})
        raise answered(self._status)

    def inspect_container(self, container: str) -> dict[str, Any]:
        if self.looks <= 0:
            raise answered(HTTPStatus.NOT_FOUND)
        self.looks -= 1
        return {"Id": container}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "GOING_STEP_S", 0)
    monkeypatch.setattr(containers, "REMOVE_PAUSE_S", 0)


def test_a_container_that_goes_is_waited_for() -> None:
    engine: Any = Client(HTTPStatus.CONFLICT, looks=3)
    containers.remove(engine, "c" * 64)
    assert engine.looks == 0


def test_one_that_is_gone_is_not_looked_for() -> None:
    engine: Any = Client(HTTPStatus.NOT_FOUND, looks=3)
    containers.remove(engine, "c" * 64)
    assert engine.looks == 3


@pytest.mark.parametrize("status", [HTTPStatus.CONFLICT, HTTPStatus.INTERNAL_SERVER_ERROR])
def test_one_that_stays_is_told_with_what_removes_it(status: HTTPStatus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "GOING_S", 0)
    engine: Any = Client(status, looks=float("inf"))
    with pytest.raises(EngineError, match=f"the container {'c' * 12} could not be removed") as told:
        containers.remove(engine, "c" * 64)
    assert told.value.remedy == f"docker rm -f {'c' * 12}"
