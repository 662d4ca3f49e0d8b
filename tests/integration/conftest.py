"""Projects whose stages run in containers, and the proof that nothing of them is left behind."""

import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.contained import contain
from tests.support.engines import Engine
from tests.support.projects import Project
from tests.support.registry import Registry, is_installed, serving
from tests.support.waiting import until
from tests.support.ways import Way, with_mark

from dvc_runner.workspace.places import FOLDER


def is_roots(path: Path) -> bool:
    return path.lstat().st_uid == 0


def scratches(root: Path) -> list[Path]:
    scratch = root / FOLDER / "scratch"
    return list(scratch.iterdir()) if scratch.exists() else []


@pytest.fixture
def made(containers: Engine) -> Iterator[list[Path]]:
    """The workspaces of a test; in the end nothing may be left of what ran in them."""
    found: list[Path] = []
    networks = containers.networks()
    yield found
    assert containers.none_left(), containers.ours()
    assert until(lambda: containers.networks() == networks), containers.networks()
    for root in found:
        assert until(lambda root=root: not with_mark(str(root)))  # type: ignore[misc]
        assert scratches(root) == []
        assert is_roots(root) or not [path for path in root.rglob("*") if is_roots(path)]


@pytest.fixture(autouse=True)
def nothing_left(made: list[Path], lab: Way) -> Iterator[None]:
    """No test leaves a container, a network, a process, a scratch folder or a file of root's."""
    del made
    yield
    assert scratches(lab.root) == []


@pytest.fixture
def contained(bare_project: Path, tmp_path: Path, containers: Engine, made: list[Path]) -> Project:
    """A project whose stages run in containers."""
    found = contain(bare_project, tmp_path, containers)
    made.append(found.root)
    return found


@pytest.fixture(scope="session")
def registry(containers: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry of images; where none can be started, what needs one is skipped."""
    if not is_installed():
        if os.environ.get("REQUIRE_ENGINE") == "1":
            pytest.fail("REQUIRE_ENGINE=1, and docker-registry is not installed", pytrace=False)
        pytest.skip("docker-registry is not installed")
    with serving(tmp_path_factory.mktemp("registry"), containers.api) as found:
        yield found


WAIT = """
import os, pathlib, signal, subprocess, time
pathlib.Path('out.txt').write_text('half')
subprocess.Popen(['sleep', '600'], start_new_session=True)
if pathlib.Path('data/wait').read_text() == 'yes':
    print('begun', flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="session")
def about_to_wait(bare_project: Path, tmp_path_factory: pytest.TempPathFactory, containers: Engine) -> Project:
    """A project whose stage ran once, and waits for ever in the next run; to be copied."""
    found = contain(bare_project, tmp_path_factory.mktemp("waiting"), containers)
    found.write("data/wait", "no")
    found.write(".env", "A_TOKEN=tok-1234\n")
    secrets = {"secrets": ["A_TOKEN"]}
    found.stages(one=found.stage("one", WAIT, deps=["data/wait"], outs=["out.txt"], container=secrets))
    found.json().ended(0)
    found.write("data/wait", "yes")
    return found


@pytest.fixture
def waiting(about_to_wait: Project, tmp_path: Path, made: list[Path]) -> Project:
    """A project whose stage ran once, and waits for ever in the next run."""
    root = tmp_path / "a projéct: mine"
    shutil.copytree(about_to_wait.root, root, symlinks=True)
    found = dataclasses.replace(about_to_wait, root=root)
    found.adopt()
    made.append(root)
    return found
