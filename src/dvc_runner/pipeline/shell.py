"""Stages of DVC's own kind: a shell runs their commands, and nothing of those outlives the run."""

from collections.abc import Callable, Sequence

from dvc_runner.errors import StageError
from dvc_runner.executors import processes
from dvc_runner.model import ShellCommands, Stage, Usage
from dvc_runner.pipeline.stage_run import failure


def run_commands(
    stage: Stage, shell: ShellCommands, on_line: Callable[[str], None]
) -> tuple[Usage | None, StageError | None]:
    """Run a stage's commands, up to the first that fails; give what they took, and how that one failed."""
    usages = []
    error = None
    for command in shell.commands:
        on_line(f"> {command[-1]}")
        ended = processes.run(command, on_line, cwd=shell.folder, env=shell.env)
        usages += [ended.usage] if ended.usage else []
        error = failure(stage, ended)
        if error:
            break
    return _together(usages), error


def _together(usages: Sequence[Usage]) -> Usage | None:
    if not usages:
        return None
    return Usage(
        how=usages[0].how,
        peak_memory_bytes=max(one.peak_memory_bytes or 0 for one in usages),
        cpu_s=sum(one.cpu_s or 0 for one in usages),
        read_bytes=sum(one.read_bytes or 0 for one in usages),
        written_bytes=sum(one.written_bytes or 0 for one in usages),
    )
