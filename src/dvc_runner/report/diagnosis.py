"""What the doctor found, in lines and as JSON."""

import dataclasses
import json
from collections.abc import Sequence

from dvc_runner.doctor.finding import Finding, State

MARKS = {State.OK: "✓", State.FAILED: "✗", State.NOT_APPLICABLE: "–"}  # noqa: RUF001 - a dash for what does not apply
WIDTH = 18


def lines(finding: Finding) -> list[str]:
    """Give one line, and below a failure the way out."""
    told = f"{MARKS[finding.state]} {finding.check:<{WIDTH}} {finding.told}"
    return [told, f"  {'':<{WIDTH}} → {finding.remedy}"] if finding.remedy else [told]


def exit_code(findings: Sequence[Finding]) -> int:
    """Give the code of the first failure; 0 where there is none."""
    return next((finding.exit_code for finding in findings if finding.state is State.FAILED), 0)


def as_json(findings: Sequence[Finding]) -> str:
    """Give one object: every check, and the exit code."""
    checks = [dataclasses.asdict(finding) for finding in findings]
    return json.dumps({"checks": checks, "exit_code": exit_code(findings)}, ensure_ascii=False)
