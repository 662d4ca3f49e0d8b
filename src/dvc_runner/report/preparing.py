"""What is being built, pulled or installed, as it goes: one live line, or a plain one at begin and end of each."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from dvc_runner.report import words


@dataclass(kw_only=True, slots=True)
class _Task:
    first: str
    last: str
    began: float


class Preparing:
    """Shows what is being made. Its methods may be called from any thread."""

    def __init__(self, write: Callable[[str], None], live: Callable[[str], None] | None) -> None:
        """Hand whole lines to ``write``, and the line that changes to ``live``; None where there is no terminal."""
        self._write = write
        self._live = live
        self._lock = threading.Lock()
        self._tasks: dict[str, _Task] = {}

    def begun(self, stage: str, line: str) -> None:
        """Show that something is being made for ``stage``."""
        with self._lock:
            self._tasks[stage] = _Task(first=line, last=line, began=time.monotonic())
            if self._live is None:
                self._write(f"  {stage} │ {line}")
            self._draw()

    def said(self, stage: str, line: str) -> None:
        """Show the newest line."""
        with self._lock:
            self._tasks[stage].last = line
            self._draw()

    def ended(self, stage: str, *, well: bool) -> None:
        """Show that it is there, or could not be made, and after how long."""
        with self._lock:
            task = self._tasks.pop(stage)
            seconds = words.duration(time.monotonic() - task.began)
            what = f"{task.first}: " if self._live else ""
            self._draw()
            self._write(f"  {stage} │ {what}{'ready after' if well else 'given up after'} {seconds}")

    def passed(self) -> None:
        """Show how the seconds go by."""
        with self._lock:
            self._draw()

    def _draw(self) -> None:
        if self._live is None:
            return
        now = time.monotonic()
        self._live(" · ".join(f"{stage} {now - task.began:.0f} s: {task.last}" for stage, task in self._tasks.items()))
