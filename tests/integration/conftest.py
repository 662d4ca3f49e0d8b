"""Projects whose stages run in containers."""

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


@pytest.fixture(autouse=True)
def looked_after(nothing_left: None) -> None:
    """See that each test leaves nothing."""


@pytest.fixture
def contained(bare_project: Path, tmp_path: Path, containers: Engine) -> Project:
    """A project whose stages run in containers."""
    return contain(bare_project, tmp_path, containers)


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
def waiting(about_to_wait: Project, tmp_path: Path) -> Project:
    """A project whose stage ran once, and waits for ever in the next run."""
    root = tmp_path / "a projéct: mine"
    shutil.copytree(about_to_wait.root, root, symlinks=True)
    found = dataclasses.replace(about_to_wait, root=root)
    found.adopt()
    return found
