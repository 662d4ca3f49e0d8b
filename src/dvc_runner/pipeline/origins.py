"""Where the results of one command's stages come from, as the stages are told."""

import os
import pwd
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from dvc_runner.model import Environment, Past, Revision, Stage
from dvc_runner.pipeline.mask import Mask
from dvc_runner.workspace import lineage, ran_in


class Origins:
    """Knows the code's revision, and what each stage runs in; any thread may ask."""

    def __init__(self, ask: Callable[[], Revision] = Revision, hidden: Sequence[str] = ()) -> None:
        """Tell of the revision that git is asked for, ``hidden`` values left out of its diff."""
        self._ask = ask
        self._hidden = hidden
        self._revision: Revision | None = None
        self._runs_in: dict[str, Environment] = {}

    def revision(self) -> Revision:
        """Give what git said of the code when it was first asked, which a run does before anything runs."""
        if self._revision is None:
            self._revision = _masked(self._ask(), self._hidden)
        return self._revision

    def text(self, stage: Stage, environment: Environment, *, executor: str, root: Path, secrets: Sequence[str]) -> str:
        """Give the content of a stage's LINEAGE_FILE, without those secrets; ``environment`` is what it runs in."""
        self._runs_in[stage.address] = environment
        ours = (one for one in stage.before.stages if one.stage) if stage.before else ()
        found = {one.address: ran_in.find(root, one) for one in ours}
        return lineage.text(
            stage,
            revision=_masked(self.revision(), secrets),
            system_user=system_user(),
            executor=executor,
            environments={stage.address: environment, **{name: one for name, one in found.items() if one}},
        )

    def keep(self, root: Path, past: Past) -> None:
        """Note what a stage that is done ran in."""
        if past.address in self._runs_in:
            ran_in.keep(root, past, self._runs_in[past.address])


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
