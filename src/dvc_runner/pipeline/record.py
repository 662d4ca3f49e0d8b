"""The record of a run: JSON lines on disk, a log file per stage, and whoever else listens."""

import contextlib
import dataclasses
import datetime as dt
import itertools
import json
import secrets
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TextIO

from dvc_runner.model import Reason, StageResult, file_name
from dvc_runner.workspace.places import FOLDER

RECORD = "record.jsonl"
# Of docs/schemas/run.schema.json.
SCHEMA_VERSION = 1
LOOKED_AT = 50
# In the first line of a run that asked nobody: such are most of them.
NOTHING_TO_DO = '"executor": null'


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

    def __init__(self, root: Path, observers: Sequence[Observer], *, on_disk: bool = True) -> None:
        """Begin the record of a run in the project at ``root``; one that is not ``on_disk`` is told only."""
        now = dt.datetime.now(dt.UTC)
        self.run = f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        self._root = root
        self._folder = root / FOLDER / "runs" / self.run
        self._is_on_disk = on_disk
        if on_disk:
            self._folder.mkdir(parents=True)
        self._observers = observers

    def run_started(self, *, targets: tuple[str, ...], jobs: int, executor: str | None) -> None:
        """Note the beginning of the run; it has no executor where nothing has to run."""
        values = {"schema_version": SCHEMA_VERSION, "targets": list(targets), "jobs": jobs, "executor": executor}
        self._emit("run_start", values)

    def stage_started(self, stage: str, reasons: tuple[Reason, ...]) -> None:
        """Note that a stage's command is about to run."""
        self._emit("stage_start", {"stage": stage, "reasons": plain(reasons)})

    def stage_ended(self, result: StageResult) -> None:
        """Note what became of a stage."""
        values: dict[str, object] = {
            "stage": result.stage,
            "outcome": str(result.outcome),
            "reasons": plain(result.reasons),
            "seconds": round(result.seconds, 3),
            "image": result.image,
            "log": result.log,
        }
        if result.usage:
            values["usage"] = dataclasses.asdict(result.usage)
        if result.undeclared_writes:
            values["undeclared_writes"] = list(result.undeclared_writes)
        if result.error:
            values |= {"error": result.error, "remedy": result.remedy}
        self._emit("stage_end", values)

    def waits(self, told: str) -> None:
        """Note that the run stands still, and what for."""
        self._emit("waiting", {"told": told})

    def run_ended(self, *, outcome: str, exit_code: int, seconds: float) -> None:
        """Note the end of the run."""
        values: dict[str, object] = {"outcome": outcome, "exit_code": exit_code}
        self._emit("run_end", {**values, "seconds": round(seconds, 3)})

    @property
    def folder(self) -> Path:
        """Give the folder of the run, relative to the project's root."""
        return self._folder.relative_to(self._root)

    def log_of(self, stage: str) -> str:
        """Give the path of a stage's log, relative to the project's root."""
        return (self.folder / f"{file_name(stage)}.log").as_posix()

    @contextlib.contextmanager
    def writing_log(self, stage: str) -> Iterator["StageLog"]:
        """Open a stage's log."""
        # A file's name can hold what UTF-8 cannot.
        with (self._root / self.log_of(stage)).open("a", encoding="utf-8", errors="backslashreplace") as file:
            yield StageLog(stage, file, self._observers)

    def _emit(self, event: str, values: dict[str, object]) -> None:
        now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        whole = {"event": event, "time": now.replace("+00:00", "Z"), "run": self.run, **values}
        if self._is_on_disk:
            with (self._folder / RECORD).open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(json.dumps(whole, ensure_ascii=False) + "\n")
        for observer in self._observers:
            observer.event(event, whole)


class StageLog:
    """A stage's log file, and whoever listens."""

    def __init__(self, stage: str, file: TextIO, observers: Sequence[Observer]) -> None:
        """Write to ``file``, and tell ``observers``."""
        self._stage = stage
        self._file = file
        self._observers = observers

    def line(self, line: str) -> None:
        """Take a line of the stage's own output."""
        self._file.write(line + "\n")
        for observer in self._observers:
            observer.line(self._stage, line)


def last_seconds(root: Path, stages: Collection[str]) -> dict[str, float]:
    """Give how long stages took when they last ran, as far as the records of the last runs in which any ran tell."""
    found: dict[str, float] = {}
    wanted = set(stages)
    left = LOOKED_AT
    for path in sorted((root / FOLDER / "runs").glob(f"*/{RECORD}"), reverse=True):
        if not left or found.keys() >= wanted:
            break
        taken = _seconds(path)
        found = {**taken, **found}
        left -= bool(taken)
    return found


def _seconds(path: Path) -> dict[str, float]:
    """Give how long each stage took that ran, by a record."""
    found: dict[str, float] = {}
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = itertools.takewhile(lambda line: NOTHING_TO_DO not in line, file)
        # Most lines of most records tell of stages that did not run.
        for line in lines:
            if '"outcome": "ran"' in line:
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    event = json.loads(line)
                    found[event["stage"]] = float(event["seconds"])
    return found


def plain(reasons: tuple[Reason, ...]) -> list[dict[str, object]]:
    """Give reasons as JSON has them."""
    return [
        {"kind": str(reason.kind), "name": reason.name, "old": reason.old, "new": reason.new}
        | ({"files": dict(reason.files), "more_files": reason.more_files} if reason.files else {})
        for reason in reasons
    ]
