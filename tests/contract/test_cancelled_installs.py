"""An installation that is cancelled ends, leaves nothing running, and is never taken for whole."""

import concurrent.futures
import os
import socket
import threading
from pathlib import Path

import pytest
from tests.support.servers import serve
from tests.support.values import a_stage
from tests.support.waiting import until
from tests.support.ways import BUILD, lay_out, with_mark

from dvc_runner.engine.cancellation import Cancellation
from dvc_runner.executors.process import ProcessExecutor
from dvc_runner.model import Container

LIMIT_S = 120


def test_an_installation_that_is_cancelled_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = lay_out(tmp_path / "project", "FROM scratch\n")
    monkeypatch.setenv("MARK", mark := f"cancelled-{os.getpid()}")
    asked, done = threading.Event(), threading.Event()

    def never_answer(connection: socket.socket) -> None:
        asked.set()
        done.wait(LIMIT_S)
        connection.close()

    cancellation = Cancellation()
    stage = a_stage(container=Container(build=BUILD))
    executor = ProcessExecutor(root, cache=tmp_path / "cache")
    with socket.create_server(("127.0.0.1", 0)) as server, concurrent.futures.ThreadPoolExecutor(1) as pool:
        serve(server, never_answer)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x-1.0.tar.gz"
        (root / "stages/lab/requirements.txt").write_text(f"x @ {url} --hash=sha256:{'0' * 64}\n")
        making = pool.submit(executor.prepare, stage, lambda _: None, cancellation)
        assert asked.wait(LIMIT_S)
        until(lambda: bool(with_mark(mark)))
        cancellation.request()
        with pytest.raises(concurrent.futures.CancelledError):
            making.result(LIMIT_S)
        assert until(lambda: not with_mark(mark), LIMIT_S)
        done.set()
        server.shutdown(socket.SHUT_RDWR)
    assert not (Path(executor.named(stage)) / "complete").exists()
