"""``make lock`` renews the digest of the base image, which stands in params.yaml and is handed on from there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.engines import Engine
from tests.support.registry import Registry

pytestmark = pytest.mark.engine
ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts/base_image.py"
GUARD = "src/dvc_runner/cli/guard_image.py"
PARAMS = "# One number.\nbase_image: {image}  # by digest\n\ntrain: {{n: 1}}\n"


def a_project(folder: Path, image: str) -> Path:
    (folder / GUARD).parent.mkdir(parents=True)
    (folder / GUARD).write_text("")
    (folder / "params.yaml").write_text(PARAMS.format(image=image))
    return folder


def renew(folder: Path, engine: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "DOCKER_HOST": engine}
    command = [sys.executable, str(SCRIPT), str(folder)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert "Traceback" not in done.stderr
    return done


def standing(folder: Path) -> str:
    """Give the image that both places name; the rest of params.yaml is as it was."""
    found = re.search(r"base_image: (\S+)", (folder / "params.yaml").read_text())
    assert found
    assert (folder / "params.yaml").read_text() == PARAMS.format(image=found[1])
    assert f'GUARD_IMAGE = "{found[1]}"\n' in (folder / GUARD).read_text()
    return found[1]


def test_the_digest_is_renewed_in_both_places(tmp_path: Path, containers: Engine, registry: Registry) -> None:
    name = f"{registry.address}/base:1"
    first = registry.push("base", {"file": b"first"})
    folder = a_project(tmp_path, name)
    assert renew(folder, containers.address).returncode == 0
    assert standing(folder) == f"{name}@{first}"
    second = registry.push("base", {"file": b"second"})
    done = renew(folder, containers.address)
    assert (done.returncode, done.stderr) == (0, "")
    assert standing(folder) == f"{name}@{second}" != f"{name}@{first}"
    assert f"now {second}" in done.stdout
    assert f"still {second}" in renew(folder, containers.address).stdout


def test_make_lock_renews_it_with_the_requirements(tmp_path: Path, containers: Engine, registry: Registry) -> None:
    name = f"{registry.address}/locked:1"
    digest = registry.push("locked", {"file": os.urandom(9)})
    folder = a_project(tmp_path, f"{name}@sha256:{'0' * 64}")
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    (folder / ".venv").symlink_to(ROOT / ".venv")
    (folder / "pyproject.toml").write_text('[project]\nname = "p"\nversion = "0"\nrequires-python = ">=3.11"\n')
    (folder / "stages/one").mkdir(parents=True)
    (folder / "stages/one/requirements.in").write_text("iniconfig<2\n")
    command, env = [str(folder / "scripts/lock")], {**os.environ, "DOCKER_HOST": containers.address}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert (folder / "uv.lock").exists()
    assert "iniconfig==1.1.1 \\\n    --hash=sha256:" in (folder / "stages/one/requirements.txt").read_text()
    assert standing(folder) == f"{name}@{digest}"


@pytest.mark.parametrize("away", ["registry", "engine"])
def test_where_nobody_can_be_asked_the_digest_stays(tmp_path: Path, containers: Engine, away: str) -> None:
    image = f"127.0.0.1:1/base:1@sha256:{'0' * 64}"
    folder = a_project(tmp_path, image)
    done = renew(folder, containers.address if away == "registry" else "unix:///nowhere/s")
    assert done.returncode == 4
    assert standing(folder) == image
    assert f"127.0.0.1:1/base:1 stays at sha256:{'0' * 64}" in done.stderr


def test_params_without_a_base_image_are_told(tmp_path: Path, containers: Engine) -> None:
    folder = a_project(tmp_path, "x")
    (folder / "params.yaml").write_text("train: {n: 1}\n")
    done = renew(folder, containers.address)
    assert done.returncode == 3
    assert "base_image" in done.stderr


def test_the_guard_runs_in_what_the_script_writes(tmp_path: Path) -> None:
    """The file in the repository is the script's, byte for byte."""
    params = (ROOT / "params.yaml").read_text()
    (tmp_path / GUARD).parent.mkdir(parents=True)
    (tmp_path / "params.yaml").write_text(params)
    renew(tmp_path, "unix:///nowhere/s")
    assert (tmp_path / "params.yaml").read_text() == params
    assert (tmp_path / GUARD).read_text() == (ROOT / GUARD).read_text()
