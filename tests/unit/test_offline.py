"""Runs are kept on this machine if a person wants that, who is asked only where the server is away."""

import socket
import sys
from pathlib import Path

import pytest
from tests.support.cases import cases
from tests.support.servers import Told, an_mlflow, web

sys.path.append(str(Path(__file__).parents[2] / "scripts"))

import offline


def nobody(question: str) -> str:
    raise AssertionError(question)


def test_with_a_server_that_answers_nobody_is_asked() -> None:
    with web(an_mlflow) as port:
        assert not offline.is_wanted({"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}, nobody)


@cases("answer, wanted", {"yes": ["y", True], "in full": [" YES ", True], "no": ["n", False], "enter": ["", False]})
def test_where_it_is_away_a_person_decides(
    capsys: pytest.CaptureFixture[str],
    answer: str,
    wanted: bool,  # noqa: FBT001
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert offline.is_wanted({"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}, lambda _: answer) is wanted
    assert f"http://127.0.0.1:{port}: it refused the connection" in capsys.readouterr().err


def test_what_is_no_mlflow_is_told_too(capsys: pytest.CaptureFixture[str]) -> None:
    with web(lambda *_: Told(status=503)) as port:
        assert offline.is_wanted({"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}, lambda _: "y")
    assert "503" in capsys.readouterr().err


def test_a_terminal_that_is_closed_is_no_answer() -> None:
    def closed(_: str) -> str:
        raise EOFError

    with web(lambda *_: Told(status=503)) as port:
        assert not offline.is_wanted({"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}, closed)
