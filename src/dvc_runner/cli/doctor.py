"""dvc-runner doctor: proves, a line each, what runs depend on."""

from dvc_runner.cli.commands import opened
from dvc_runner.cli.printing import machine_readable, out
from dvc_runner.cli.settings import Settings
from dvc_runner.doctor.engine import Engine
from dvc_runner.doctor.examination import Patient, examined
from dvc_runner.doctor.finding import Finding
from dvc_runner.executors import table
from dvc_runner.report import diagnosis
from dvc_runner.workspace.dvc_project import DvcProject


def doctor(executor_name: str | None, *, as_json: bool) -> int:
    """Make every check and print what came of it; give the exit code."""
    write = machine_readable() if as_json else out
    found: list[Finding] = []
    with opened() as (project, settings):
        for finding in examined(_patient(project, settings, executor_name or settings.executor)):
            found.append(finding)
            if not as_json:
                for line in diagnosis.lines(finding):
                    write(line)
    if as_json:
        write(diagnosis.as_json(found))
    return diagnosis.exit_code(found)


def _patient(project: DvcProject, settings: Settings, executor: str | None) -> Patient:
    table.check(executor)
    return Patient(
        project=project,
        settings=settings.values,
        engine=Engine(root=project.root, wanted=executor, settings=settings.engine),
        contained=settings.container is not None,
        cache=settings.cache,
    )
