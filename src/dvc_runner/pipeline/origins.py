"""Where the results of one command's stages come from, as the stages are told."""

import os
import pwd
from collections.abc import Sequence
from dataclasses import replace

from dvc_runner.errors import DvcRunnerError
from dvc_runner.executors.base import Executor
from dvc_runner.model import Environment, Past, Revision, Stage
from dvc_runner.pipeline.mask import Mask
from dvc_runner.workspace import lineage


class Origins:
    """Knows the code's revision, and what each stage ran in; any thread may ask."""

    def __init__(self, revision: Revision | None = None, hidden: Sequence[str] = ()) -> None:
        """Tell of a revision, ``hidden`` values left out of its diff."""
        self._revision = _masked(revision or Revision(), hidden)
        self._ran: dict[str, Environment] = {}
        self._named: dict[str, Environment | None] = {}

    def text(self, stage: Stage, environment: Environment, executor: Executor, secrets: Sequence[str]) -> str:
        """Give the content of a stage's LINEAGE_FILE, without those secrets; ``environment`` is what it runs in."""
        self._ran[stage.address] = environment
        found = {one.address: self._of(one, executor) for one in stage.before.stages} if stage.before else {}
        return lineage.text(
            stage,
            revision=_masked(self._revision, secrets),
            system_user=system_user(),
            executor=executor.name,
            environments={stage.address: environment, **{name: one for name, one in found.items() if one}},
        )

    def _of(self, past: Past, executor: Executor) -> Environment | None:
        """Give what an earlier stage ran in, or, if that was in another command, what it would run in now."""
        if past.stage is None:
            return None
        if past.address in self._ran:
            return self._ran[past.address]
        if past.address not in self._named:
            try:
                reference = executor.named(past.stage)
            except (DvcRunnerError, OSError):  # its files are gone, or this executor cannot run it: another did
                self._named[past.address] = None
            else:
                mark = next((mark for mark in "@:" if mark in reference.rpartition("/")[2]), "/")
                self._named[past.address] = Environment(reference=reference, key=reference.rpartition(mark)[2])
        return self._named[past.address]


def _masked(revision: Revision, hidden: Sequence[str]) -> Revision:
    """Leave values out of the diff, however they are written; then it makes the same files no more."""
    if not revision.diff or not hidden:
        return revision
    lines: list[str] = []
    mask = Mask(hidden, lines.append)
    for line in revision.diff.split("\n"):
        mask(line)
    mask.flush()
    diff = "\n".join(lines)
    return replace(revision, diff=diff, is_diff_whole=revision.is_diff_whole and diff == revision.diff)


def system_user() -> str | None:
    """Say whom the system knows this process as, if it does."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return None
