"""dvc-runner show: what would be started, ready to paste."""

from dvc_runner.cli.commands import opened, surroundings
from dvc_runner.cli.printing import out
from dvc_runner.errors import StageError, UsageError
from dvc_runner.executors import docker
from dvc_runner.executors.docker import DockerExecutor
from dvc_runner.model import Selection, Stage
from dvc_runner.pipeline.show import show as stage_shown
from dvc_runner.report import script
from dvc_runner.workspace.dvc_project import DvcProject


def show(target: str, executor_name: str | None, *, as_json: bool) -> int:
    """Print the equivalent ``docker run`` of one stage; give the exit code."""
    if executor_name not in (None, DockerExecutor.name):
        raise UsageError(
            f"show prints a docker run command, and --executor is {executor_name}",
            remedy=f"leave it out:  dvc-runner show {target}",
        )
    with opened() as (project, settings):
        stage = _stage(project, target)
        executor = docker.connect(project.root, settings.engine)
        with executor.opened():
            shown = stage_shown(stage, surroundings(project, settings, executor), executor, settings.engine_host)
    out(script.as_json(shown) if as_json else script.text(shown))
    return 0


def _stage(project: DvcProject, target: str) -> Stage:
    """Find the one stage that is meant, its deps hashed if they are there."""
    addresses = project.plan(Selection(targets=(target,), single_item=True))
    if len(addresses) != 1:
        raise UsageError(
            f"{target} is {len(addresses)} stages: {', '.join(addresses)}",
            remedy="name one of them",
        )
    try:
        return project.hash_deps(addresses[0])
    except StageError:
        # What is missing is told beside the command.
        return project.stage(addresses[0])
