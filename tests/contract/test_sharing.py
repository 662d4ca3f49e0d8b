"""`make push` and `make pull` with a remote that is a folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DVC = Path(sys.executable).with_name("dvc")
STAGES = """stages:
  file:
    cmd: cp in.txt out.txt
    deps: [in.txt]
    outs: [out.txt]
  folder:
    cmd: mkdir dir && cp in.txt dir/same && (echo more; cat in.txt) > dir/more
    deps: [in.txt]
    outs: [dir]
"""


def git(root: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, check=True).stdout


def share(root: Path, word: str, *, message: str = "", code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, root / "scripts" / "share.py", word],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"GIT_SYNC_MESSAGE": message},
        check=False,
    )
    assert done.returncode == code, done.stdout
    assert "Traceback" not in done.stdout
    return done.stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a git remote that has run twice, with different inputs."""
    root = tmp_path / "a projéct"
    shutil.copytree(ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    (root / ".dvc").mkdir()
    for name in (".env.example", ".gitignore", ".dvc/config", ".dvc/.gitignore"):
        shutil.copy(ROOT / name, root / name)
    (root / "dvc.yaml").write_text(STAGES)
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "first"]):
        git(root, *command)
    git(tmp_path, "init", "--quiet", "--bare", "remote.git")
    git(root, "remote", "add", "origin", "../remote.git")
    for number in ("1", "2"):
        (root / "in.txt").write_text(number)
        subprocess.run([DVC, "repro", "--quiet"], cwd=root, check=True)
    return root


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_an_earlier_run_is_restored_from_what_was_pushed(project: Path) -> None:
    printed = share(project, "push", message="two runs")
    assert "data and run-cache: at" in printed
    assert "two runs" in printed
    assert git(project, "status", "--porcelain", "--branch").splitlines()[0].endswith("...origin/" + branch(project))
    now = content(project / "dir")
    shutil.rmtree(project / ".dvc" / "cache")
    shutil.rmtree(project / "dir")
    share(project, "pull")
    assert content(project / "dir") == now
    (project / "in.txt").write_text("1")
    done = subprocess.run([DVC, "repro", "--pull"], cwd=project, capture_output=True, text=True, check=True)
    assert "Stage 'file' is cached - skipping run" in done.stdout
    assert (project / "out.txt").read_text() == "1"
    objects = [path.read_text() for path in (project / ".local" / "dvc-remote" / "files").rglob("*") if path.is_file()]
    assert {"more\n1", "more\n2"} <= set(objects)


def branch(root: Path) -> str:
    return git(root, "branch", "--show-current").strip()


def test_without_a_message_data_go_and_code_stays(project: Path) -> None:
    printed = share(project, "push")
    assert 'make git-sync M="what changed"' in printed
    assert (project / ".local" / "dvc-remote" / "files").is_dir()
    assert git(project, "log", "--format=%s").split() == ["first"]
    assert git(project, "ls-remote") == ""


def test_what_is_committed_is_pushed_without_a_message(project: Path) -> None:
    git(project, "add", ".")
    git(project, "commit", "--quiet", "--message", "by hand")
    share(project, "push")
    assert git(project, "rev-parse", "HEAD").strip() in git(project, "ls-remote")


def test_code_that_the_remote_refuses_is_told(project: Path) -> None:
    shutil.rmtree(project.parent / "remote.git")
    assert "not pushed" in share(project, "push", message="more", code=3)


def test_a_pull_that_does_not_find_all_is_told(project: Path) -> None:
    shutil.rmtree(project / ".dvc" / "cache")
    for name in ("out.txt", "dir/same", "dir/more"):
        (project / name).unlink()
    assert "make run computes what is missing" in share(project, "pull", code=1)


def test_without_git_data_go_alone(project: Path) -> None:
    shutil.rmtree(project / ".git")
    assert "this folder is no git repository" in share(project, "push")
    assert (project / ".local" / "dvc-remote" / "files").is_dir()
