"""A project whose stages run in containers."""

import dataclasses
import os
import shutil
from pathlib import Path

from tests.support import projects
from tests.support.engines import Engine
from tests.support.people import SOMEBODY
from tests.support.projects import Project


def contain(bare_project: Path, folder: Path, containers: Engine) -> Project:
    """Make a project in ``folder``; where we are root, it is somebody else's."""
    root, home = folder / "a projéct: mine", folder / "home"
    shutil.copytree(bare_project, root, symlinks=True)
    home.mkdir()
    env = projects.environment(
        DVC_RUNNER_EXECUTOR="docker",
        DOCKER_HOST=containers.address,
        HOME=str(home),
        XDG_CACHE_HOME=str(home),
        UV_CACHE_DIR=str(home / "uv"),
    )
    found = Project(root=root, env=env, dockerfile=containers.dockerfile)
    if os.geteuid() != 0:
        return found
    socket = Path(containers.address.removeprefix("unix://"))
    os.chown(home, SOMEBODY, SOMEBODY)
    found = dataclasses.replace(found, prefix=projects.as_other_user(socket.stat().st_gid), owner=SOMEBODY)
    found.adopt()
    return found
