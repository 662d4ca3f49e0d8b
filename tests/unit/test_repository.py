"""What is written in two places, or promised in a document, agrees."""

import re
from pathlib import Path

import pytest
import yaml

from dvc_runner import errors
from dvc_runner.cli.guard_image import GUARD_IMAGE

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
LOCKS = sorted([*ROOT.glob("stages/*/requirements.txt"), *ROOT.glob("tracking-server/requirements.txt")])
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def test_guards_run_in_the_base_image_of_the_stages() -> None:
    assert yaml.safe_load((ROOT / "params.yaml").read_text())["base_image"] == GUARD_IMAGE, "run make lock"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_in_documents_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|\$ )make ([a-z][a-z-]+)", document.read_text())) <= targets


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_the_base_image(name: str) -> None:
    assert "base_image" in STAGES[name]["params"]
    assert STAGES[name]["meta"]["container"]["build"]["args"] == {"BASE_IMAGE": "${base_image}"}


def test_exit_codes_in_the_architecture_are_those_of_the_code() -> None:
    told = re.search(r"^Exit codes: (.+)\.$", (ROOT / "docs/ARCHITECTURE.md").read_text(), re.MULTILINE)
    assert told
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert {int(code) for code in re.findall(r"(?:^|· )(\d+)", told[1])} == {0, *codes}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.parent.name)
def test_locks_name_hashes_and_no_index(lock: Path) -> None:
    text = lock.read_text()
    assert "--hash=sha256:" in text
    assert not re.search(r"--(extra-)?index-url|--find-links|file:", text)
