"""Outs of every form, by either executor: they appear when all is well, and not at all otherwise."""

import signal
import subprocess
import sys
from typing import Any

import pytest
from tests.support.cases import cases
from tests.support.disks import another_disk
from tests.support.people import give
from tests.support.projects import Project
from tests.support.trees import lay

from dvc_runner.errors import EXIT_STAGE_FAILED

pytestmark = pytest.mark.engine
EXECUTORS = ["docker", "process"]

WRITE = """
import os, pathlib
def write(path, text):
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(path).write_text(text)
write('file.csv', '1')
write('folder/deep/a', '2')
write('nested/one/a', '3')
write('nested/one/two/b', '4')
write('nested/c', '5')
write('data/beside.csv', open('data/in.csv').read())
write('a b/ç:d é.csv', '6')
write('metrics.json', '{"n": 1}')
with open('log.txt', 'a') as log:
    log.write('more')
os.symlink('a', 'folder/deep/link')
os.chmod('folder/deep', 0)
"""
OUTS: list[Any] = [
    "file.csv",
    "folder",
    "nested/one/a",
    "nested/one/two/b",
    "nested/c",
    "data/beside.csv",
    "a b/ç:d é.csv",
    {"log.txt": {"persist": True}},
]
WRITTEN = {
    "file.csv": b"1",
    "folder/deep/a": b"2",
    "folder/deep/link": b"2",
    "nested/one/a": b"3",
    "nested/one/two/b": b"4",
    "nested/c": b"5",
    "data/beside.csv": b"in",
    "a b/ç:d é.csv": b"6",
    "metrics.json": b'{"n": 1}',
    "log.txt": b"firstmore",
}


def writing(project: Project, executor: str, code: str) -> Project:
    found = project.with_env(DVC_RUNNER_EXECUTOR=executor, LOGNAME="somebody")
    lay(found.root, {"data": {"in.csv": "in"}, "log.txt": "first", "file.csv": "former"})
    one = found.stage("one", code, deps=["data/in.csv"], outs=OUTS)
    found.stages(one={**one, "metrics": [{"metrics.json": {"cache": False}}]})
    found.adopt()
    return found


@pytest.mark.parametrize("executor", EXECUTORS)
def test_outs_of_every_form(contained: Project, executor: str) -> None:
    found = writing(contained, executor, WRITE)
    done = found.json().ended(0)
    assert {name: text for name, text in found.files().items() if name in WRITTEN} == WRITTEN
    assert "folder/deep" in next(line for line in done.err.splitlines() if "warning" in line)
    assert found.json().ended(0).outcomes == {"one": "skipped"}


# What the stage does, and what its error has to name.
BREAK = {
    "it fails": ("raise SystemExit(3)", "exit code 3"),
    "it is killed": ("os.kill(os.getpid(), 9)", "exit code 137"),
    "an out is missing": ("os.remove('metrics.json')", "metrics.json"),
    "a FIFO": (
        "os.mkfifo('nested/one/pipe'); os.remove('nested/one/a'); os.rename('nested/one/pipe', 'nested/one/a')",
        "nested/one/a",
    ),
    "a socket": (
        "import socket; os.remove('nested/c'); socket.socket(socket.AF_UNIX).bind('nested/c')",
        "nested/c",
    ),
    # The only device that is not root's to make.
    "a device": ("import stat; os.remove('nested/c'); os.mknod('nested/c', stat.S_IFCHR, 0)", "nested/c"),
    "a link that leads out": (
        "os.chmod('folder/deep', 0o700); os.symlink('/etc/passwd', 'folder/deep/out')",
        "folder with a link that leads out of it: out",
    ),
    "a link to what stands beside": ("os.remove('nested/c'); os.symlink('one', 'nested/c')", "nested/c"),
}


# What does not depend on the executor is tried with the one that starts sooner.
BROKEN = [("it is killed", "docker"), *((name, "docker" if name == "a device" else "process") for name in BREAK)]


@cases("executor, ending", {f"{name}, {executor}": (executor, name) for name, executor in BROKEN})
def test_nothing_changes_unless_all_is_well(contained: Project, executor: str, ending: str) -> None:
    code, named = BREAK[ending]
    found = writing(contained, executor, f"{WRITE}\n{code}\n")
    before = found.files()
    done = found.json().ended(EXIT_STAGE_FAILED)
    after = found.files()
    assert done.outcomes == {"one": "failed"}
    assert named in next(event["error"] for event in done.events if event["event"] == "stage_end")
    assert {name: text for name, text in after.items() if name != "dvc.lock"} == before
    assert not (found.root / "nested").exists()


def test_outs_on_another_disk(contained: Project) -> None:
    lay(contained.root, {"nested": {}})
    contained.adopt()
    with another_disk(contained.root / "nested"):
        give((contained.root / "nested").resolve())
        code = "import os; os.makedirs('nested/deep'); open('nested/deep/a', 'w').write('1'); open('here', 'w')"
        contained.stages(one=contained.stage("one", code, outs=["nested/deep", "here"]))
        contained.json().ended(0)
        assert contained.read("nested/deep/a") == "1"
        assert {path.name for path in (contained.root / "nested").iterdir()} <= {"deep", ".gitignore"}


KILLED_WHILE_COLLECTING = """
import os, signal, sys
from pathlib import Path
from dvc_runner.cli.main import main

def kill_when_half_is_there(event, arguments):
    if event == "os.rename" and str(arguments[1]).endswith("last.csv"):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill_when_half_is_there)
main(["run", "--executor", "process"])
"""


def test_a_run_killed_while_it_collects_is_undone_by_the_next(contained: Project) -> None:
    outs = ["first.csv", "folder", "last.csv"]
    code = f"""
import os, shutil
os.mkdir('folder')
for name in {[*outs[::2], "folder/a"]}:
    shutil.copy('in.csv', name)
"""
    found = contained.with_env(DVC_RUNNER_EXECUTOR="process", LOGNAME="somebody")
    contained.write("in.csv", "1")
    found.stages(one=found.stage("one", code, deps=["in.csv"], outs=outs))
    found.json().ended(0)
    before = {name: text for name, text in found.files().items() if name != "in.csv"}
    contained.write("in.csv", "2")
    command = [*found.prefix, sys.executable, "-c", KILLED_WHILE_COLLECTING]
    killed = subprocess.run(command, cwd=found.root, env=found.env, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed
    assert found.files().get("last.csv") is None
    contained.write("stages/one/one.py", "raise SystemExit(3)")
    done = found.json().ended(EXIT_STAGE_FAILED)
    assert "is back" in done.err
    now = {name: text for name, text in found.files().items() if name not in ("in.csv", "stages/one/one.py")}
    assert now == {name: text for name, text in before.items() if name != "stages/one/one.py"}
    assert list((found.root / ".dvc/tmp/dvc-runner/aside").iterdir()) == []
    found.age_scratches()
    contained.write("stages/one/one.py", code)
    found.json().ended(0)
    assert found.read("folder/a") == "2"
