"""What stages run in, made ahead of them and several at a time."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from functools import partial
from pathlib import Path
from typing import Protocol, Self, TextIO

from dvc_runner.engine.cancellation import Cancellation
from dvc_runner.errors import BuildError, DvcRunnerError
from dvc_runner.executors.base import Executor
from dvc_runner.interrupts import INTERRUPTS
from dvc_runner.model import Environment, Stage, file_name
from dvc_runner.pipeline.mask import Mask
from dvc_runner.workspace import secrets

AT_ONCE = 4
ENDING_S = 5
REDRAW_S = 0.5


class Watch(Protocol):
    """Whoever shows what is being made; called from several threads."""

    def begun(self, stage: str, line: str) -> None:
        """Take the first line of what makes a stage's image or environment."""
        ...

    def said(self, stage: str, line: str) -> None:
        """Take the lines that follow."""
        ...

    def ended(self, stage: str, *, well: bool) -> None:
        """Take the end of it."""
        ...

    def passed(self) -> None:
        """Take that a moment has gone by."""
        ...


class Preparations:
    """Makes images or environments on threads of its own; DVC is never asked from them.

    What makes one talks to a log of its own, which is there from its first line on.
    """

    def __init__(self, executor: Executor, root: Path, folder: Path, settings: Mapping[str, str], watch: Watch) -> None:
        """Make nothing yet.

        Args:
            executor: Makes them.
            root: The project.
            folder: Where logs go, relative to the root.
            settings: Hold the secrets that no log may show.
            watch: Is told.
        """
        self._executor = executor
        self._root = root
        self._folder = folder
        self._settings = settings
        self._watch = watch
        self._cancellation = Cancellation()
        self._lock = threading.Lock()
        self._made: dict[str, Future[Environment]] = {}
        self._work: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    @contextlib.contextmanager
    def opened(self) -> Iterator["Preparations"]:
        """End in the end what is still being made."""
        try:
            yield self
        finally:
            self._cancellation.request()
            until = time.monotonic() + ENDING_S
            for _ in self._threads:
                self._work.put(self._cancellation.check)
            for thread in self._threads:
                thread.join(max(0.0, until - time.monotonic()))

    def begin(self, stages: Iterable[Stage]) -> None:
        """Make what these stages run in, in this order; what goes wrong is told when it is taken."""
        for stage in stages:
            self._work.put(partial(self._promised, stage))
        self._hire()

    def take(self, stage: Stage) -> Environment:
        """Wait for what a stage runs in, as it is now, and give it.

        Raises:
            BuildError: It could not be made; the message holds the last lines and names the log.
            EngineError: It could not be pulled, or the engine went away.
        """
        promised = self._promised(stage)
        self._hire()
        while True:
            with contextlib.suppress(TimeoutError):
                return promised.result(timeout=REDRAW_S)
            INTERRUPTS.check()
            self._watch.passed()

    def log_of(self, stage: str) -> str:
        """Give the log of what makes a stage's image or environment, relative to the project's root."""
        return (self._folder / f"{file_name(stage)}.build.log").as_posix()

    def _promised(self, stage: Stage) -> Future[Environment]:
        """Have it made, unless that is so already: two stages may run in one image."""
        name = self._executor.named(stage)
        with self._lock:
            if name not in self._made:
                self._made[name] = future = Future[Environment]()
                self._work.put(partial(self._keep, future, stage))
            return self._made[name]

    def _keep(self, future: Future[Environment], stage: Stage) -> None:
        try:
            future.set_result(self._make(stage))
        except BaseException as error:  # noqa: BLE001 - whoever takes it is told
            future.set_exception(error)

    def _make(self, stage: Stage) -> Environment:
        self._cancellation.check()
        names = stage.container.secrets if stage.container else ()
        with _Telling(self._root / self.log_of(stage.address), stage.address, self._watch) as telling:
            masked = Mask(secrets.values(self._settings, names), telling, joined=secrets.joined(self._settings))
            try:
                return self._executor.prepare(stage, masked, self._cancellation)
            except BuildError as error:
                message = f"{error}\n  all of them: {self.log_of(stage.address)}"
                raise BuildError(message, remedy=error.remedy) from error
            finally:
                masked.flush()

    def _hire(self) -> None:
        while len(self._threads) < AT_ONCE:
            # A daemon: no answer that the engine owes us holds the end of the process up.
            thread = threading.Thread(target=self._labour, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _labour(self) -> None:
        with contextlib.suppress(CancelledError):
            while True:
                work = self._work.get()
                self._cancellation.check()
                with contextlib.suppress(DvcRunnerError, OSError):
                    work()


class _Telling:
    """Writes lines to a log and tells the watch; nothing is written where nothing is said."""

    def __init__(self, path: Path, stage: str, watch: Watch) -> None:
        self._path = path
        self._stage = stage
        self._watch = watch
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._file:
            self._file.close()
            self._watch.ended(self._stage, well=kind is None)

    def __call__(self, line: str) -> None:
        first = self._file is None
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("w", encoding="utf-8", errors="backslashreplace")
        self._file.write(line + "\n")
        self._file.flush()
        (self._watch.begun if first else self._watch.said)(self._stage, line)
