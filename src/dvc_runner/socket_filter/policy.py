"""What one filter lets through, as it was started.

The names below are the runner's own, written down a second time: a change on the runner's side
passes here only after somebody has changed the wall as well. A test compares the two.
"""

from dataclasses import dataclass
from pathlib import Path

LABEL = "io.github.dvc-runner"
GUARD_LABEL = f"{LABEL}.guard-of"
STAGE_LABEL = f"{LABEL}.stage"
# Set by the filter and by nobody else: the workspace whose runner a container was made for.
FILTERED_LABEL = f"{LABEL}.filtered"
REPOSITORY = "dvc-runner/"
# The label's value on images of ours.
STAGE = "stage"
SCRATCH = ".dvc/tmp/dvc-runner/scratch"
GUARD_USER = "65533:65533"
NOBODY = 65532


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """Where containers may look, what they may be made of, and whom they may be.

    Args:
        workspace: The project's folder, at the path where the engine has it.
        also_readable: Folders outside it that may be mounted read-only, such as a shared DVC cache.
        images: Images that pass by their name.
        user: Whom stages run as, ``uid:gid``.
        runner: The runner's container, by name or id; None lets any container be asked whether it is.
        gpus: Whether containers may have GPUs.
    """

    workspace: Path
    also_readable: tuple[Path, ...]
    images: frozenset[str]
    user: str
    runner: str | None
    gpus: bool

    @property
    def scratch(self) -> Path:
        """The only folder below which a mount may be writable."""
        return self.workspace / SCRATCH


def user_of(workspace: Path) -> str:
    """Give whom the runner starts stages as, for a project in ``workspace``: never root."""
    owner = workspace.stat()
    return f"{owner.st_uid or NOBODY}:{owner.st_gid or NOBODY}"
