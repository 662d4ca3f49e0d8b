"""What dvc.yaml has to say for a stage's results to be trusted."""

from pathlib import PurePosixPath

from dvc_runner.errors import ConfigurationError
from dvc_runner.model import Stage
from dvc_runner.workspace.dvc_project import DvcProject


def checked(project: DvcProject, address: str) -> Stage:
    """Read a planned stage and check it; what is wrong says where in dvc.yaml that stands.

    Raises:
        ConfigurationError: It makes no sense.
    """
    stage = project.stage(address)
    with project.located(address):
        check(stage)
    return stage


def check(stage: Stage) -> None:
    """See that a stage says what it runs in, and that all its image is built from is among its deps.

    Else an edit would change the image, and no dep, and the stage would not run again.

    Raises:
        ConfigurationError: It does not, a folder of the build is not below any dep, or it registers no out of its own.
    """
    if stage.argv and stage.container is None:
        raise ConfigurationError(
            f"stage {stage.address} has the command dvc-runner exec, and no meta.container",
            remedy="say there which image it runs in:  build: FOLDER  or  image: NAME@sha256:…",
        )
    registers = stage.container.registers if stage.container else None
    if registers is not None and registers not in {out.path for out in stage.outs}:
        raise ConfigurationError(
            f"stage {stage.address} registers {registers}, which is not among its outs",
            remedy="name the out there that says which version of which model it registered",
        )
    build = stage.container.build if stage.container else None
    if build is None:
        return
    deps = [dep.path for dep in stage.deps]
    for folder in (*build.folders, build.dockerfile):
        path = PurePosixPath(folder)
        if ".." in path.parts or not any(path.is_relative_to(dep) for dep in deps):
            raise ConfigurationError(
                f"{folder} goes into the image of stage {stage.address}, and is not among its deps",
                remedy=f"add {folder} to deps of {stage.address} in dvc.yaml",
            )
