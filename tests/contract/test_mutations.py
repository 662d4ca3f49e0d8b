"""Files that were mutilated at random: each is planned, or refused in words; nothing breaks, and nothing hangs."""

import contextlib
import faulthandler
import os
import random
import re
from pathlib import Path

import pytest
from tests.contract.test_parallel import everywhere
from tests.support.projects import Project

from dvc_runner.errors import ConfigurationError, DvcRunnerError, StageError
from dvc_runner.pipeline.plan import Plan
from dvc_runner.pipeline.registered import Registered
from dvc_runner.pipeline.request import Request
from dvc_runner.workspace.dvc_project import DvcProject

# pygtrie, which DVC walks its index with.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")
COUNT = int(os.environ.get("MUTATIONS", "150"))
SEED = os.environ.get("MUTATIONS_SEED", "1")
HANG_S = 60
DROPPED = 0.1
PLACE = re.compile(r": (line|character) \d+")
# Of these, DVC tells the file, and no entry of it.
OF_THE_WHOLE = re.compile(r"DVC cannot make sense|expected a dictionary, got|Unsupported value of type")
TOKENS = [
    *(
        ": ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        "&a ",
        "*a",
        "!!python/object:os.system ",
        "|",
        ">",
        "\t",
        "\0",
        "é",
        "${",
        "${n}",
    ),
    *("@", "#", "null", "2020-01-01", "1e400", "0x1f", "true", "~", "'", '"', "\n", "\n\n  ", "? ", "%YAML 9.9\n"),
    *("---\n", "...\n", "<<<<<<< HEAD\n", "=======\n", ">>>>>>> x\n", "../../etc", "/", "cmd:", "deps:", "outs:"),
    *("foreach:", "matrix:", "wdir: nowhere"),
]


def mutated(text: str, chance: random.Random) -> str:
    """Change a text in a few places."""
    for _ in range(chance.randint(1, 3)):
        start = chance.randrange(len(text) + 1)
        end = min(len(text), start + chance.randint(0, 12))
        before, cut, after = text[:start], text[start:end], text[end:]
        lines = text.splitlines(keepends=True)
        text = chance.choice(
            [
                before + chance.choice(TOKENS) + cut + after,
                before + chance.choice(TOKENS) + after,
                before + after,
                before,
                before + cut * 3 + after,
                "".join(chance.sample(lines, len(lines))),
                "".join(line for line in lines if chance.random() > DROPPED),
            ]
        )
    return text


def refusal(root: Path) -> DvcRunnerError | None:
    """Plan a project; give what was wrong with it, if anything was."""
    try:
        with contextlib.closing(DvcProject(root)) as project, project.session():
            Plan(project, Request(), Registered({})).make()
    except DvcRunnerError as error:
        return error
    return None


def test_mutilated_files_are_told(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    everywhere(project)
    project.params(n=1)
    project.run("run", "--all-pipelines").ended(0)
    monkeypatch.chdir(project.root)
    whole = {name: project.read(name) for name in ("dvc.yaml", "dvc.lock", "sub/dvc.yaml", "params.yaml")}
    ends = {"planned": 0, "refused": 0}
    for number in range(COUNT):
        chance = random.Random(f"{SEED}-{number}")
        name = chance.choice([*whole, "dvc.yaml"])
        text = mutated(whole[name], chance)
        (project.root / name).write_bytes(text.encode("utf-8", "surrogatepass"))
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        try:
            found = refusal(project.root)
        except Exception as error:
            raise AssertionError(f"mutation {number} of {name}:\n{text}") from error
        finally:
            faulthandler.cancel_dump_traceback_later()
            project.write(name, whole[name])
        ends["refused" if found else "planned"] += 1
        if found:
            assert isinstance(found, ConfigurationError | StageError), (number, text)
            assert str(found).strip(), (number, text)
            assert found.remedy, (number, text)
            assert name in str(found), (number, text, str(found))
            assert PLACE.search(str(found)) or OF_THE_WHOLE.search(str(found)), (number, text, str(found))
    assert all(ends.values()), ends
