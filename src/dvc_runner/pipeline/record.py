"""The record of a run: JSON lines on disk, a log file per stage, and whoever else listens."""

import contextlib
import datetime as dt
import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TextIO

from dvc_runner.model import Reason, StageResult
from dvc_runner.workspace.sandbox import FOLDER


class Observer(Protocol):
    """Whoever is told of a run as it goes."""

    def event(self, event: str, values: dict[str, object]) -> None:
        """Take one event; ``values`` can be written as JSON."""
        ...

    def line(self, stage: str, line: str) -> None:
        """Take one line of a stage's output."""
        ...


class Record:
    """Writes a run down as it goes, and tells the observers.

    The events and their keys are the contract of ``docs/ARCHITECTURE.md``.
    """

    def __init__(self, root: Path, observers: Sequence[Observer]) -> None:
        """Begin the record of a run in the project at ``root``."""
        now = dt.datetime.now(dt.UTC)
        self.run = f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        self._root = root
        self._folder = root / FOLDER / "runs" / self.run
        self._folder.mkdir(parents=True)
        self._observers = observers

    def run_started(self, *, targets: tuple[str, ...], jobs: int, executor: str) -> None:
        """Note the beginning of the run."""
        self._emit("run_start", {"targets": list(targets), "jobs": jobs, "executor": executor})

    def stage_started(self, stage: str, reasons: tuple[Reason, ...]) -> None:
        """Note that a stage's command is about to run."""
        self._emit("stage_start", {"stage": stage, "reasons": _plain(reasons)})

    def stage_ended(self, result: StageResult) -> None:
        """Note what became of a stage."""
        values: dict[str, object] = {
            "stage": result.stage,
            "outcome": str(result.outcome),
            "reasons": _plain(result.reasons),
            "seconds": round(result.seconds, 3),
            "image": result.image,
            "log": result.log,
        }
        if result.error:
            values |= {"error": result.error, "remedy": result.remedy}
        self._emit("stage_end", values)

    def run_ended(self, *, outcome: str, exit_code: int, seconds: float) -> None:
        """Note the end of the run."""
        values: dict[str, object] = {"outcome": outcome, "exit_code": exit_code}
        self._emit("run_end", {**values, "seconds": round(seconds, 3)})

    def log_of(self, stage: str) -> str:
        """Give the path of a stage's log, relative to the project's root."""
        name = stage.replace("/", "-").replace(":", "-")
        return (self._folder / f"{name}.log").relative_to(self._root).as_posix()

    @contextlib.contextmanager
    def writing_log(self, stage: str) -> Iterator[Callable[[str], None]]:
        """Give a function that takes a stage's output, line by line."""
        with (self._root / self.log_of(stage)).open("a", encoding="utf-8") as log:
            yield lambda line: self._line(log, stage, line)

    def _line(self, log: TextIO, stage: str, line: str) -> None:
        log.write(line + "\n")
        for observer in self._observers:
            observer.line(stage, line)

    def _emit(self, event: str, values: dict[str, object]) -> None:
        now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        whole = {"event": event, "time": now.replace("+00:00", "Z"), "run": self.run, **values}
        with (self._folder / "record.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(whole, ensure_ascii=False) + "\n")
        for observer in self._observers:
            observer.event(event, whole)


def _plain(reasons: tuple[Reason, ...]) -> list[dict[str, str | None]]:
    return [
        {"kind": str(reason.kind), "name": reason.name, "old": reason.old, "new": reason.new}
        for reason in reasons
    ]
