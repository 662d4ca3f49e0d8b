"""The command line with stages in containers: results, images, owners, signals."""

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.support.cases import cases
from tests.support.engines import Engine
from tests.support.projects import Project
from tests.support.started import until_begun
from tests.support.trees import lay
from tests.support.ways import STAGE, Way

from dvc_runner.engine.images import LABEL
from dvc_runner.errors import EXIT_ENGINE, EXIT_INTERRUPTED, EXIT_STAGE_FAILED, EngineError
from dvc_runner.model import Build, Container
from dvc_runner.workspace.places import SCRATCH

pytestmark = pytest.mark.engine

MIB = 2**20
MEMORY, DISK, CPU_S = 200 * MIB, 20 * MIB, 1

SEE = """
import json, os, pathlib
seen = {}
for folder, _, names in os.walk('.', followlinks=True):
    for name in sorted(names):
        path = os.path.relpath(os.path.join(folder, name))
        seen[path] = open(path).read() if path.startswith(('data', 'params')) else ''
os.makedirs('models/deep é')
json.dump(seen, open('models/deep é/seen.json', 'w'), sort_keys=True)
open('models/empty', 'w').close()
lineage = json.load(open(os.environ['LINEAGE_FILE']))
json.dump({'stage': os.environ['DVC_STAGE'], 'params': lineage['params'], 'deps': sorted(lineage['deps'])},
    open('metrics.json', 'w'), sort_keys=True)
"""


def see(project: Project) -> None:
    """Two stages, one of which writes down all that it sees."""
    lay(project.root, {"data": {"a b:é.csv": "1\n", "deep": {"x.csv": "x\n"}, "other.csv": "no"}})
    project.params(train={"n": 1, "rate": 0.5}, other=2)
    train = project.stage("train", SEE, deps=["data/a b:é.csv", "data/deep"], outs=["models"], params=["train"])
    train["metrics"] = [{"metrics.json": {"cache": False}}]
    code = "import shutil; shutil.copy('../models/deep é/seen.json', 'copy.json')"
    use = project.stage("use", code, outs=["copy.json"], wdir="sub")
    use["deps"] = ["../stages/use", "../models"]
    use["meta"]["container"]["build"]["context"] = "../stages/use"
    project.stages(train=train, use=use)
    (project.root / "sub").mkdir()


def test_both_executors_and_plain_dvc_give_the_same(contained: Project) -> None:
    see(contained)
    contained.adopt()
    without = contained.twin("without").with_env(DVC_RUNNER_EXECUTOR="process")
    plain = contained.twin("plain")
    contained.json().ended(0)
    without.json().ended(0)
    # DVC itself needs a name for its user.
    plain.dvc("repro", env={"LOGNAME": "somebody"}).ended(0)
    assert contained.outcomes() == {"train": "ran", "use": "ran"}
    assert contained.files() == without.files()
    assert contained.files() == plain.files()
    assert contained.cache() == without.cache()
    seen = json.loads(contained.read("sub/copy.json"))
    assert "data/other.csv" not in seen
    assert seen["params.yaml"].split() == ["train:", "n:", "1", "rate:", "0.5"]
    owner = contained.root.stat().st_uid
    for project in (contained, without, plain):
        assert [path for path in project.root.rglob("*") if path.lstat().st_uid != owner] == []
    assert json.loads(contained.dvc("status", "--json", env={"LOGNAME": "somebody"}).ended(0).out) == {}


HELLO = "open('out.txt', 'w').write('{word}'); print('{word}')"


def test_edited_code_is_built_and_runs(contained: Project, containers: Engine) -> None:
    images = set()
    for word in ("first", "second"):
        contained.stages(one=contained.stage("one", HELLO.format(word=word), outs=["out.txt"]))
        contained.json().ended(0)
        assert contained.read("out.txt") == word
        (end,) = [event for event in contained.records()[-1] if event["event"] == "stage_end"]
        assert containers.api.inspect_image(end["image"])["Config"]["Labels"][LABEL]
        images.add(end["image"])
    assert len(images) == 2
    # What cannot change the image, and is no param either, runs nothing.
    contained.write("README.md", "x")
    assert contained.json().ended(0).outcomes == {"one": "skipped"}


def test_a_build_that_fails_says_why_and_keeps_its_log(contained: Project) -> None:
    one = contained.stage("one", "pass", outs=["out.txt"])
    contained.write("stages/one/Dockerfile", f"{contained.dockerfile}RUN echo the last $((40 + 2)) words; exit 3\n")
    contained.stages(one=one)
    done = contained.json().ended(EXIT_STAGE_FAILED)
    assert done.outcomes == {"one": "failed"}
    (end,) = [event for event in done.events if event["event"] == "stage_end"]
    assert "the last 42 words" in end["error"]
    assert "the last 42 words" in contained.read(end["log"])
    assert end["log"] in done.err
    build = contained.run("build").ended(EXIT_ENGINE)
    assert "the last 42 words" in build.err


@cases(
    "address",
    {
        "begins with a sign": ["_one"],
        "ends with one": ["one-"],
        "two signs": ["a--b__c"],
        "accents": ["évalue"],
        "nothing but accents": ["日本"],
        "capitals": ["Train"],
        "of a foreach": ["train@a b"],
        "of another file": ["sub/dvc.yaml:train"],
    },
)
def test_stages_of_any_name_can_be_built(lab: Way, address: str) -> None:
    found = lab.executor.prepare(
        type(STAGE)(**{**{name: getattr(STAGE, name) for name in STAGE.__slots__}, "address": address}), print
    )
    assert found.key == lab.environment.key
    assert found.id == lab.environment.id


@cases(
    "container, named",
    {
        "an image that nobody has": (Container(image="127.0.0.1:1/none@sha256:" + "0" * 64), "127.0.0.1:1/none"),
        "a base image that nobody has": (
            Container(build=Build(context="broken", dockerfile="broken/Dockerfile")),
            "127.0.0.1:1/none",
        ),
    },
)
def test_images_that_cannot_be_had_are_named(lab: Way, container: Container, named: str) -> None:
    lay(lab.root, {"broken": {"Dockerfile": "FROM 127.0.0.1:1/none:1\n"}})
    stage = type(STAGE)(**{**{name: getattr(STAGE, name) for name in STAGE.__slots__}, "container": container})
    with pytest.raises(EngineError, match=named):
        lab.executor.prepare(stage, print)


def test_memory_that_runs_out_is_told_with_the_limit(contained: Project) -> None:
    # Slow enough to be looked at twice.
    code = "import time\nx = []\nwhile True:\n    x.append(bytearray(2**20))\n    time.sleep(0.02)"
    contained.stages(one=contained.stage("one", code, outs=["out.txt"], container={"memory": "64MiB"}))
    done = contained.json().ended(EXIT_STAGE_FAILED)
    (end,) = [event for event in done.events if event["event"] == "stage_end"]
    assert "memory" in end["error"]
    told = re.search(r"\(limit: 64 MiB, peak seen: ([\d.]+) MiB\)", end["error"])
    assert told, end["error"]
    assert 32 < float(told[1]) <= 64
    assert "meta.container.memory" in end["remedy"]


# The pause is for an engine's figures, which are read now and then.
TAKE = f"""
import os, time
while time.process_time() < {CPU_S}:
    pass
held = b'x' * {MEMORY}
with open('out.bin', 'w+b') as file:
    file.write(held[:{DISK}])
    file.flush()
    os.fsync(file.fileno())
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    file.seek(0)
    file.read()
time.sleep(0.5)
"""


@pytest.mark.parametrize("executor", ["docker", "process"])
def test_the_record_tells_what_a_stage_took(contained: Project, executor: str) -> None:
    contained.stages(one=contained.stage("one", TAKE, outs=["out.bin"]))
    contained.with_env(DVC_RUNNER_EXECUTOR=executor).json().ended(0)
    (end,) = [event for event in contained.records()[-1] if event["event"] == "stage_end"]
    took = end["usage"]
    assert MEMORY <= took["peak_memory_bytes"] < 1.5 * MEMORY
    assert CPU_S <= took["cpu_s"] < 3 * CPU_S
    if is_on_a_disk(contained.root):
        assert DISK <= took["read_bytes"] < 3 * DISK
        assert DISK <= took["written_bytes"] < 3 * DISK
    assert took["how"].startswith("exact" if executor == "process" else "the kernel's own counts")


def is_on_a_disk(path: Path) -> bool:
    """Say whether what is written there goes to a disk whose reads and writes the kernel counts."""
    device = path.stat().st_dev
    return Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").exists()


# Ended in the middle.


@cases(
    "number, to_group, code",
    {
        "Ctrl-C": (signal.SIGINT, True, EXIT_INTERRUPTED),
        "SIGTERM": (signal.SIGTERM, False, EXIT_INTERRUPTED),
        "SIGHUP": (signal.SIGHUP, False, EXIT_INTERRUPTED),
        "SIGKILL": (signal.SIGKILL, False, -signal.SIGKILL),
    },
)
def test_a_run_that_is_ended_leaves_nothing(
    waiting: Project,
    containers: Engine,
    number: signal.Signals,
    to_group: bool,  # noqa: FBT001
    code: int,
) -> None:
    before = waiting.files()
    with waiting.started("dvc-runner", "run") as process:
        until_begun(process)
        assert len(containers.ours()) == 2
        if to_group:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        printed, _ = process.communicate(timeout=60)
    assert process.returncode == code, printed
    assert containers.none_left()
    assert waiting.files() == before
    if number == signal.SIGKILL:
        next_run_sweeps(waiting)
    else:
        assert waiting.outcomes() == {"one": "cancelled"}
        assert waiting.records()[-1][-1]["exit_code"] == EXIT_INTERRUPTED
        assert "Traceback" not in printed


def next_run_sweeps(project: Project) -> None:
    """What a killed runner could not delete, the next run does."""
    (scratch,) = (project.root / SCRATCH).iterdir()
    project.age_scratches()
    project.write("data/wait", "no")
    assert project.json("--force").ended(0).outcomes == {"one": "ran"}
    assert not scratch.exists()


@cases(
    "number, to_group",
    {
        "Ctrl-C": (signal.SIGINT, True),
        "SIGTERM": (signal.SIGTERM, False),
        "SIGHUP, as a terminal that closes": (signal.SIGHUP, True),
        "SIGKILL": (signal.SIGKILL, False),
    },
)
def test_dvc_repro_that_is_ended_leaves_nothing(
    waiting: Project,
    containers: Engine,
    number: signal.Signals,
    to_group: bool,  # noqa: FBT001
) -> None:
    # DVC deletes outs before it starts a command, and needs a name for its user.
    before = {name: content for name, content in waiting.files().items() if name != "out.txt"}
    with waiting.with_env(LOGNAME="somebody").started("dvc", "repro") as process:
        until_begun(process)
        assert len(containers.ours()) == 2
        if to_group:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        # What DVC started ends as well: it has the same output.
        printed, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert containers.none_left()
    assert waiting.files() == before
    assert "dvc_runner/" not in printed


def test_a_secret_is_nowhere_to_be_inspected(waiting: Project, containers: Engine) -> None:
    with waiting.started("dvc-runner", "run") as process:
        until_begun(process)
        seen: list[Any] = [containers.api.inspect_container(one["Id"]) for one in containers.ours()]
        command = Path(f"/proc/{process.pid}/cmdline").read_text()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert len(seen) == 2
    assert "tok-1234" not in json.dumps(seen) + command
    assert "tok-1234" not in waiting.read("dvc.lock")
