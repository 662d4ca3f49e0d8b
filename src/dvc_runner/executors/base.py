"""What every executor promises."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import ClassVar, Protocol

from dvc_runner.engine.cancellation import NEVER, Cancellation
from dvc_runner.model import ContainerExit, ContainerSpec, Environment, Stage


class Executor(Protocol):
    """A way of running stages. ``tests/contract`` holds one test per promise."""

    name: ClassVar[str]
    links_deps: ClassVar[bool]
    # Where a stage may write, and what it leaves is gone with it.
    vanishing: ClassVar[tuple[str, ...]]

    def named(self, stage: Stage) -> str:
        """Give the ``reference`` of what ``prepare`` would give for the stage as it is now, made or not."""
        ...

    def prepare(self, stage: Stage, on_line: Callable[[str], None], cancellation: Cancellation = NEVER) -> Environment:
        """Make what the stage's code runs in, unless it is there already; any thread may ask.

        An implementation must:
          1. name it by the hash of what it is made from, so that it is never stale;
          2. hand over the words of whatever makes it, line by line, and none where it is there;
          3. raise ``BuildError`` with the last of those words if it cannot be made;
          4. end soon with ``CancelledError``, and leave nothing half-made, when ``cancellation`` is requested.
        """
        ...

    def execute(self, spec: ContainerSpec, on_line: Callable[[str], None]) -> ContainerExit:
        """Block until the stage's command ends, and say how it ended.

        An implementation must:
          1. start it exactly as ``spec`` says, or raise ``EngineError``;
          2. hand over each output line as it arrives, without its newline;
          3. leave nothing running, also on ``KeyboardInterrupt``;
          4. end it after ``spec.limits.timeout_s`` with ``Ending.TIMED_OUT``;
          5. call what vanished ``VANISHED``, never a success;
          6. show it its deps, its environment and the system, and nothing else of the machine;
          7. let it change nothing but its folders, and reach nothing but what ``spec.network`` says.

        What an executor cannot hold of 6 and 7 on a system, it says at the start of a run.
        """
        ...

    def opened(self) -> AbstractContextManager["Executor"]:
        """Get ready for a run, and let go of everything at its end."""
        ...
