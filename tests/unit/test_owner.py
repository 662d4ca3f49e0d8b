"""A runner that is root on somebody else's project."""

import dataclasses
import os
import signal
import sys
import warnings
from pathlib import Path

import pytest
from tests.support.cases import cases
from tests.support.people import SOMEBODY, give
from tests.support.projects import Project
from tests.support.started import until_begun

from dvc_runner.cli import owner
from dvc_runner.errors import EXIT_CONFIGURATION
from dvc_runner.workspace.places import FOLDER, SCRATCH

pytestmark = pytest.mark.root


def in_a_child(root: Path) -> list[str]:
    """Become the owner of ``root`` in a process of its own; give what it then is, and whose what it makes is."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        # What other threads hold is of no concern to what the child does.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            # Root's Python may lie where others may not look; what is needed is imported.
            sys.path.clear()
            sys.executable = "/bin/sh"
            os.environ.update(DOCKER_HOST=f"unix://{root}/engine", HOME="/root", LOGNAME="root")
            owner.become(root)
            made = root / "made"
            made.mkdir()
            found = made.stat()
            groups = sorted(set(os.getgroups()) - {os.getgid()})
            whose = [os.getuid(), os.geteuid(), os.getgid(), groups, found.st_uid, found.st_gid]
            words = " ".join(map(str, [*whose, os.environ["LOGNAME"]]))
        except BaseException as error:  # noqa: BLE001 - nothing of pytest's may run in the child
            words = repr(error)
        os.write(write, words.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        said = file.read()
    os.waitpid(pid, 0)
    return said.split(maxsplit=6)


@pytest.fixture
def theirs(project: Project) -> Project:
    """A project of somebody's, in a folder of root's that others may not enter."""
    give(project.root)
    return project


def open_up(root: Path) -> None:
    for parent in root.parents:
        if parent.stat().st_mode & 0o005 != 0o005:
            parent.chmod(parent.stat().st_mode | 0o005)


def test_it_becomes_the_owner_who_may_use_the_engine(theirs: Project) -> None:
    open_up(theirs.root)
    socket = theirs.write("engine", "")
    socket.chmod(0o660)
    os.chown(socket, 0, 4321)
    me = str(SOMEBODY)
    assert in_a_child(theirs.root) == [me, me, me, "[4321]", me, me, me]


@cases(
    "prefix, why",
    {
        "they may not enter its folder": ((), "may not read"),
        "root may not become them": (("setpriv", "--bounding-set=-setuid,-setgid"), "may not become them"),
    },
)
def test_it_refuses_where_it_cannot_go_on_as_the_owner(theirs: Project, prefix: tuple[str, ...], why: str) -> None:
    before = theirs.files()
    done = dataclasses.replace(theirs, prefix=prefix).run("run").ended(EXIT_CONFIGURATION)
    assert why in done.err
    assert f"sudo -u '#{SOMEBODY}'" in done.err
    assert f"--user {SOMEBODY}:{SOMEBODY}" in done.err
    assert theirs.files() == before
    assert [path for path in theirs.root.rglob("*") if path.lstat().st_uid != SOMEBODY] == []


def test_it_stays_root_in_a_project_of_roots(project: Project) -> None:
    open_up(project.root)
    project.write("engine", "")
    assert in_a_child(project.root)[0] == "0"


WAIT = """
import os, time
os.mkdir('folder')
open('folder/a', 'w').close()
print('begun', flush=True)
time.sleep(float(open('seconds').read()))
"""


def test_under_dvc_that_is_root_what_is_ours_is_the_owners(project: Project) -> None:
    project.write("seconds", "600")
    project.stages(one=project.stage("one", WAIT, deps=["seconds"], outs=["folder"]))
    give(project.root)
    with project.with_env(LOGNAME="root").started("dvc", "repro") as process:
        until_begun(process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
    ours = project.root / FOLDER
    assert {path.lstat().st_uid for path in (ours, *ours.iterdir())} == {SOMEBODY}
    project.write("seconds", "0")
    project.age_scratches()
    project.dvc("repro", env={"LOGNAME": "root"}).ended(0)
    made = [*ours.rglob("*"), *(project.root / "folder").rglob("*")]
    assert {path.lstat().st_uid for path in (ours, project.root / "folder", *made)} == {SOMEBODY}
    assert list((project.root / SCRATCH).iterdir()) == []
    assert (project.root / "dvc.lock").stat().st_uid == 0
