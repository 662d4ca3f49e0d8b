"""Where threads at work hand over what only the main thread may do: DVC's objects are for one thread."""

import contextlib
import os
import queue
import select
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from dvc_runner.interrupts import INTERRUPTS

T = TypeVar("T")


class Desk:
    """A queue of things to do, which can be waited for together with an interrupt."""

    def __init__(self) -> None:
        """Have nothing to do."""
        self._todo: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._lock = threading.Lock()
        self._promised: set[Future[Any]] = set()
        self._is_closed = False

    def close(self) -> None:
        """Do nothing more: whoever waits is interrupted."""
        with self._lock:
            self._is_closed = True
            for future in self._promised:
                future.cancel()
        for end in (self._read, self._write):
            os.close(end)

    def post(self, act: Callable[[], object]) -> None:
        """Have something done; any thread may ask."""
        with self._lock:
            if self._is_closed:
                return
            self._todo.put(act)
            # A full pipe can be read as well as one with a byte in it.
            with contextlib.suppress(BlockingIOError):
                os.write(self._write, b".")

    def call(self, act: Callable[[], T]) -> T:
        """Have something done, and wait for what comes of it.

        Raises:
            KeyboardInterrupt: The desk was closed.
        """
        future: Future[T] = Future()
        with self._lock:
            self._promised.add(future)
            if self._is_closed:
                future.cancel()
        self.post(lambda: _keep(future, act))
        try:
            return future.result()
        except CancelledError as error:
            raise KeyboardInterrupt from error
        finally:
            with self._lock:
                self._promised.discard(future)

    def serve(self) -> None:
        """Do what was posted."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._todo.get_nowait()()

    def wait(self, seconds: float | None, *, until_interrupted: bool) -> None:
        """Wait until something is posted, the time is over, or an interrupt comes."""
        ends = [self._read, INTERRUPTS.fileno()] if until_interrupted else [self._read]
        ready, _, _ = select.select(ends, [], [], seconds)
        if self._read in ready:
            os.read(self._read, 2**16)


def _keep(future: Future[T], act: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(act())
    except BaseException as error:  # noqa: BLE001 - whoever asked is told
        future.set_exception(error)
