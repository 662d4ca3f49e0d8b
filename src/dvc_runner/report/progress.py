"""A run as it goes: for people, or as JSON lines for machines."""

import json
from collections.abc import Callable

from dvc_runner.model import Reason
from dvc_runner.report import words


class Progress:
    """Tells a run in plain lines."""

    def __init__(self, write: Callable[[str], None]) -> None:
        """Hand every line to ``write``."""
        self._write = write

    def event(self, event: str, values: dict[str, object]) -> None:
        """Tell of a stage that starts, and of what is waited for; the summary tells the rest."""
        if event == "stage_start":
            self._write(f"▶ {values['stage']}: {told(values['reasons'])}")
        elif event == "waiting":
            self._write(str(values["told"]))

    def line(self, stage: str, line: str) -> None:
        """Show one line of a stage's output."""
        self._write(f"  {stage} │ {line}")


class JsonLines:
    """Tells a run as one JSON object a line."""

    def __init__(self, write: Callable[[str], None], aside: Callable[[str], None]) -> None:
        """Hand events to ``write``, and the stages' own words to ``aside``."""
        self._write = write
        self._aside = aside

    def event(self, event: str, values: dict[str, object]) -> None:
        """Write the event."""
        del event
        self._write(json.dumps(values, ensure_ascii=False))

    def line(self, stage: str, line: str) -> None:
        """Show one line of a stage's output, for people."""
        self._aside(f"  {stage} │ {line}")


def told(found: object) -> str:
    """Say an event's reasons in words."""
    if not isinstance(found, list):
        return ""
    return words.reasons([(r["kind"], r["name"], r["old"], r["new"]) for r in found])


def of_result(found: tuple[Reason, ...]) -> str:
    """Say a result's reasons in words."""
    return words.reasons([(str(r.kind), r.name, r.old, r.new) for r in found])
