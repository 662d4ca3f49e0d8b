"""An executor that makes nothing, and does what a test says instead."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar

from dvc_runner.engine.cancellation import NEVER, Cancellation
from dvc_runner.executors.base import Executor
from dvc_runner.model import ContainerExit, ContainerSpec, Ending, Environment, Stage

Make = Callable[[Stage, Callable[[str], None], Cancellation], None]
Execute = Callable[[ContainerSpec], None]


def nothing(*_: object) -> None:
    """Do nothing."""


class Preparer:
    """Calls ``make`` where an image would be built, and ``execute`` where a command would run."""

    name: ClassVar[str] = "preparer"
    links_deps: ClassVar[bool] = True
    vanishing: ClassVar[tuple[str, ...]] = ()

    def __init__(self, make: Make = nothing, execute: Execute = nothing) -> None:
        """Remember in ``made`` what was asked for."""
        self._make = make
        self._execute = execute
        self._lock = threading.Lock()
        self.names: dict[str, str] = {}
        self.made: list[str] = []

    def named(self, stage: Stage) -> str:
        """Give the name in ``names``, or else the stage's own."""
        return self.names.get(stage.address, stage.address)

    def prepare(self, stage: Stage, on_line: Callable[[str], None], cancellation: Cancellation = NEVER) -> Environment:
        """Call ``make``."""
        with self._lock:
            self.made.append(stage.address)
        self._make(stage, on_line, cancellation)
        return Environment(reference=self.named(stage), key="key")

    def execute(self, spec: ContainerSpec, on_line: Callable[[str], None]) -> ContainerExit:
        """Call ``execute``; every out is there afterwards."""
        del on_line
        self._execute(spec)
        (spec.sandbox.workspace / f"{spec.stage}.txt").write_text(spec.stage)
        return ContainerExit(code=0, ending=Ending.EXITED, seconds=1)

    def opened(self) -> AbstractContextManager[Executor]:
        """Need nothing."""
        return nullcontext(self)


class Watched:
    """Keeps what a watch is told."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.told: list[str] = []

    def begun(self, stage: str, line: str) -> None:
        """Keep it."""
        self.told.append(f"{stage} begun: {line}")

    def said(self, stage: str, line: str) -> None:
        """Keep it."""
        self.told.append(f"{stage} said: {line}")

    def ended(self, stage: str, *, well: bool) -> None:
        """Keep it."""
        self.told.append(f"{stage} ended {'well' if well else 'badly'}")

    def passed(self) -> None:
        """Keep nothing."""
