"""How a run is told: on the screen, to machines, and in its record."""

import time
from collections.abc import Sequence
from pathlib import Path

from dvc_runner.cli.printing import err, machine_readable, out
from dvc_runner.model import StageResult
from dvc_runner.pipeline.record import Observer, Record
from dvc_runner.pipeline.request import Request
from dvc_runner.report import summary, words
from dvc_runner.report.progress import JsonLines, Progress


class Telling:
    """Tells one run, from before its project is opened."""

    def __init__(self, request: Request, again: str, *, as_json: bool) -> None:
        """Tell nothing yet; ``again`` is the command that goes on if this fails."""
        self._again = again
        self._began = time.monotonic()
        self._request = request
        self.write = err if as_json else out
        self._observer: Observer = JsonLines(machine_readable(), err) if as_json else Progress(out)

    def started(self, root: Path, executor: str | None) -> Record:
        """Begin the record of the run of the project at ``root``, and give it."""
        self._root = root
        self._record = Record(root, [self._observer])
        request = self._request
        self._record.run_started(targets=request.selection.targets, jobs=request.room.jobs, executor=executor)
        return self._record

    def broken_off(self, outcome: str, exit_code: int) -> None:
        """Take that the run ended with an error, which is told elsewhere."""
        self._record.run_ended(outcome=outcome, exit_code=exit_code, seconds=time.monotonic() - self._began)

    def ended(self, outcome: str, exit_code: int, results: Sequence[StageResult]) -> None:
        """Tell what the run came to."""
        seconds = time.monotonic() - self._began
        self._record.run_ended(outcome=outcome, exit_code=exit_code, seconds=seconds)
        for line in [*summary.table(results), *summary.failures(self._root, results)]:
            self.write(line)
        self.write(f"{outcome} in {words.duration(seconds)}; record: {self._record.folder.as_posix()}")
        if outcome == "failed":
            self.write(f"once that is mended, this goes on from there:  {self._again}")
