"""Images of stages: built by either builder from the same files, pulled from a registry, ended in the middle."""

import concurrent.futures
import contextlib
import dataclasses
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.cases import cases
from tests.support.engines import Engine
from tests.support.projects import Project
from tests.support.registry import Registry, wanting_a_token
from tests.support.trees import Node, lay
from tests.support.values import a_stage
from tests.support.waiting import until

from dvc_runner.engine import images, pulls
from dvc_runner.engine.cancellation import Cancellation
from dvc_runner.errors import EXIT_INTERRUPTED, BuildError, EngineError
from dvc_runner.executors import docker
from dvc_runner.executors.docker import DockerExecutor
from dvc_runner.model import Build, Container, EngineSettings, Environment, Stage

pytestmark = pytest.mark.engine
ARGS = (("BASE_IMAGE", "given by the environment"),)


@dataclasses.dataclass
class Builder:
    """An executor that builds by one builder, in a project of its own."""

    executor: DockerExecutor
    engine: Engine
    root: Path
    lines: list[str] = dataclasses.field(default_factory=list)

    def stage(self, files: dict[str, Node], dockerfile: str = "Dockerfile") -> Stage:
        """Lay out the build context of a stage."""
        lay(self.root, {"code": files})
        build = Build(context="code", dockerfile=f"code/{dockerfile}", args=ARGS)
        return a_stage("built", container=Container(build=build))

    def prepare(self, stage: Stage, cancellation: Cancellation | None = None) -> Environment:
        """Build; ``lines`` is what the builder says."""
        self.lines.clear()
        return self.executor.prepare(stage, self.lines.append, cancellation or Cancellation())

    def said(self, mark: str) -> list[str]:
        """Give what followed ``mark`` in the builder's lines."""
        return [line.removeprefix(mark) for line in self.lines if line.startswith(mark)]


@pytest.fixture(params=[False, True], ids=["classic", "BuildKit"])
def builder(request: pytest.FixtureRequest, containers: Engine, tmp_path: Path) -> Iterator[Builder]:
    base = os.environ.get("BASE_IMAGE")
    settings = EngineSettings(
        host=containers.address, guard_image=containers.base, base_image=base, buildkit=request.param
    )
    with docker.connect(tmp_path, settings).opened() as executor:
        yield Builder(executor, containers, tmp_path)


def test_the_engine_says_which_builder_it_has(containers: Engine) -> None:
    answer = containers.api.get(f"{containers.api.base_url}/_ping").headers.get("Builder-Version")
    assert images.has_buildkit(containers.api) == (answer == "2")


SHOW = "COPY . /app\nRUN cd /app && find . -type f | sort | sed 's/^/sent: /'\n"


@cases(
    "files, dockerfile, sent",
    {
        "no ignore file": ({"a.md": "", "b": {"c.py": ""}}, "Dockerfile", ["./Dockerfile", "./a.md", "./b/c.py"]),
        "an ignore file": (
            {"a.md": "", "b": {"c.py": "", "d.md": ""}, ".env": "", ".dockerignore": "**/*.md\n.env\n"},
            "Dockerfile",
            ["./Dockerfile", "./b/c.py"],
        ),
        "an exception": (
            {"a.md": "", "b.py": "", ".dockerignore": "*\n!b.py\n"},
            "Dockerfile",
            ["./Dockerfile", "./b.py"],
        ),
        "the Dockerfile and the ignore file ignored": (
            {"b.py": "", ".dockerignore": "Dockerfile\n.dockerignore\n"},
            "Dockerfile",
            ["./Dockerfile", "./b.py"],
        ),
        "an ignore file of the Dockerfile's own": (
            {"a.md": "", "b.py": "", "D.dockerignore": "*.md\n", ".dockerignore": "b.py\n"},
            "D",
            ["./D", "./b.py"],
        ),
    },
)
def test_both_builders_are_sent_the_same_files(
    builder: Builder, files: dict[str, Node], dockerfile: str, sent: list[str]
) -> None:
    text = f"{builder.engine.dockerfile.replace('COPY . /app', '')}{SHOW}# {os.urandom(4).hex()}\n"
    stage = builder.stage({**files, dockerfile: text}, dockerfile)
    builder.prepare(stage)
    assert builder.said("sent: ") == sent


MULTI_STAGE = """\
ARG BASE_IMAGE
FROM ${BASE_IMAGE} AS lock
COPY lock.txt /
FROM ${BASE_IMAGE} AS build
COPY --from=lock /lock.txt /tmp/
RUN mkdir /made && cp /tmp/lock.txt /made/ && head -c 9 /dev/urandom >/made/once
FROM ${BASE_IMAGE}
COPY --from=build /made /made
ENV PYTHONPATH=/app
COPY code.py /app/
USER 65532:65532
WORKDIR /workspace
CMD ["python3", "-m", "code"]
"""


def test_an_edited_line_of_code_makes_the_last_layer_anew_and_no_other(builder: Builder) -> None:
    files: dict[str, Node] = {
        "Dockerfile": f"{MULTI_STAGE}LABEL {builder.engine.label}\n",
        "lock.txt": os.urandom(4).hex(),
        "code.py": "1",
    }
    first = builder.prepare(builder.stage(files))
    second = builder.prepare(builder.stage({**files, "code.py": "2"}))
    assert first.key != second.key
    layers = [builder.engine.api.inspect_image(one.reference)["RootFS"]["Layers"] for one in (first, second)]
    # The base, and what was made in another stage; then the code, and what comes after it.
    assert layers[0][:2] == layers[1][:2]
    assert layers[0][2] != layers[1][2]
    assert builder.engine.api.inspect_image(second.reference)["Config"]["Labels"][images.LABEL] == images.OURS


@cases(
    "step, last",
    {
        "a step that says why": (
            "RUN for n in $(seq 40); do echo line $n; done; echo the reason >&2; exit 3",
            ["line 40", "the reason"],
        ),
        "a step that is none": ("RNU x", ["RNU"]),
        "a file that is not there": ("COPY no-such-file /x", ["no-such-file"]),
    },
)
def test_a_build_that_fails_says_its_last_lines(builder: Builder, step: str, last: list[str]) -> None:
    stage = builder.stage({"Dockerfile": f"ARG BASE_IMAGE\nFROM ${{BASE_IMAGE}}\n{step}\n"})
    with pytest.raises((BuildError, EngineError)) as raised:
        builder.prepare(stage)
    for words in last:
        assert words in str(raised.value)
    assert "line 1\n" not in str(raised.value)
    assert raised.value.remedy
    assert pulls.inspect(builder.engine.api, builder.executor.named(stage)) is None


def commands(mark: str) -> list[str]:
    """Give the processes of this machine, the builders' too, with ``mark`` in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes().decode("utf-8", "replace"))
    return [line for line in found if mark in line and "pytest" not in line]


def slow(mark: str) -> str:
    return f"RUN echo begun; sleep {mark}\n"


def test_a_build_that_is_cancelled_ends_and_leaves_nothing(builder: Builder) -> None:
    mark = str(10**8 + int.from_bytes(os.urandom(3)))
    stage = builder.stage({"Dockerfile": builder.engine.dockerfile + slow(mark)})
    cancellation = Cancellation()
    before = {one["Id"] for one in builder.engine.api.containers(all=True)}
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        building = pool.submit(builder.prepare, stage, cancellation)
        assert until(lambda: "begun" in builder.lines, 60)
        assert commands(mark)
        cancellation.request()
        with pytest.raises(concurrent.futures.CancelledError):
            building.result(30)
    assert until(lambda: not commands(mark), 30)
    assert until(lambda: {one["Id"] for one in builder.engine.api.containers(all=True)} <= before, 30)
    assert pulls.inspect(builder.engine.api, builder.executor.named(stage)) is None


@cases("buildkit", {"classic": ["0"], "BuildKit": ["1"]})
@cases("command", {"run": [["run"]], "build": [["build"]]})
def test_a_command_that_is_interrupted_in_a_build_leaves_nothing(
    contained: Project, containers: Engine, command: list[str], buildkit: str
) -> None:
    mark = str(10**8 + int.from_bytes(os.urandom(3)))
    one = contained.stage("one", "pass", outs=["out.txt"])
    contained.write("stages/one/Dockerfile", containers.dockerfile + slow(mark))
    contained.stages(one=one)
    before = {each["Id"] for each in containers.api.containers(all=True)}
    images_before = {each["Id"] for each in containers.api.images("dvc-runner/one")}
    with contained.with_env(DOCKER_BUILDKIT=buildkit).started("dvc-runner", *command) as process:
        assert until(lambda: bool(commands(mark)), 60)
        os.killpg(process.pid, signal.SIGINT)
        printed, _ = process.communicate(timeout=60)
    assert process.returncode == EXIT_INTERRUPTED, printed
    assert "Traceback" not in printed
    assert until(lambda: not commands(mark), 30)
    assert until(lambda: {each["Id"] for each in containers.api.containers(all=True)} <= before, 30)
    assert {each["Id"] for each in containers.api.images("dvc-runner/one")} == images_before
    (log,) = contained.root.glob(".dvc/tmp/dvc-runner/**/one.build.log")
    assert "begun" in log.read_text()


def test_a_run_with_nothing_to_do_builds_nothing(contained: Project, containers: Engine) -> None:
    contained.stages(one=contained.stage("one", f"open('out.txt', 'w') # {os.urandom(4).hex()}", outs=["out.txt"]))
    (end,) = [event for event in contained.json().ended(0).events if event["event"] == "stage_end"]
    containers.api.remove_image(end["image"])
    done = contained.run("run").ended(0)
    assert contained.outcomes() == {"one": "skipped"}
    assert "building" not in done.text
    assert pulls.inspect(containers.api, end["image"]) is None


def test_build_makes_several_and_tells_of_each_that_fails(contained: Project, containers: Engine) -> None:
    names = ["one", "two", "three"]
    stages = {name: contained.stage(name, os.urandom(4).hex(), outs=[f"{name}.txt"]) for name in names}
    contained.write("stages/two/Dockerfile", f"{containers.dockerfile}RUN echo the $((6 * 7)) words; exit 3\n")
    contained.stages(**stages)
    done = contained.run("build").ended(4)
    assert [line.split(":")[0] for line in done.out.splitlines()] == ["one", "three"]
    assert "the 42 words" in done.err
    assert done.err.count("error:") == 1
    log = ".dvc/tmp/dvc-runner/builds/two.build.log"
    assert log in done.err
    assert "the 42 words" in contained.read(log)
    # What is there is built no second time, and nothing is said of it.
    again = contained.run("build", "one").ended(0)
    assert again.out == done.out.splitlines(keepends=True)[0]
    assert "building" not in again.err


# Pulled.


@pytest.fixture
def pulled(containers: Engine) -> Iterator[Callable[[str], str]]:
    """Takes the names of images that a test pulls; they are removed in the end."""
    names: list[str] = []

    def note(name: str) -> str:
        names.append(name)
        return name

    yield note
    for name in names:
        with contextlib.suppress(Exception):
            containers.api.remove_image(name, force=True)


def by_image(name: str) -> Stage:
    return a_stage("pulled", container=Container(image=name))


def test_an_image_by_digest_is_pulled_when_missing(
    builder: Builder, registry: Registry, pulled: Callable[[str], str]
) -> None:
    digest = registry.push("some/thing", {"file": os.urandom(2**20)})
    name = pulled(f"{registry.address}/some/thing:1@{digest}")
    found = builder.prepare(by_image(name))
    assert found == Environment(reference=name, key=digest, id=builder.engine.api.inspect_image(name)["Id"])
    assert builder.lines[0] == f"pulling {name}"
    assert builder.prepare(by_image(name)) == found
    assert builder.lines == []


@cases(
    "name, says",
    {
        "no such digest": ("{registry}/thing@sha256:" + "0" * 64, "manifest"),
        "no such image": ("{registry}/nothing@sha256:" + "0" * 64, "nothing"),
        "no registry there": ("127.0.0.1:1/thing@sha256:" + "0" * 64, "refused"),
    },
)
def test_an_image_that_cannot_be_pulled_is_told_in_a_line(
    builder: Builder, registry: Registry, name: str, says: str
) -> None:
    registry.push("thing", {"file": b""})
    name = name.format(registry=registry.address)
    with pytest.raises(EngineError, match=says) as raised:
        builder.prepare(by_image(name))
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "docker login" in raised.value.remedy


def test_base_images_come_also_from_a_registry_that_wants_a_token(
    builder: Builder, registry: Registry, pulled: Callable[[str], str]
) -> None:
    """Docker Hub is one; BuildKit itself asks for a token by a session only, and we have none."""
    name = f"base-{os.urandom(4).hex()}"
    registry.push(name, {"file": os.urandom(9)})
    with wanting_a_token(registry.address) as front:
        base = pulled(f"{front}/{name}:1")
        text = f"ARG REGISTRY={front}\nFROM ${{REGISTRY}}/{name}:1\nLABEL {builder.engine.label}\nCOPY . /app\n"
        builder.prepare(builder.stage({"Dockerfile": text}))
    assert f"pulling {base}" in builder.lines


LOCKED = """\
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
LABEL %s
COPY requirements.txt /
RUN sleep 1; date +%%s%%N >/made
COPY . /app
"""


def test_two_with_one_lock_share_its_layers(contained: Project, containers: Engine) -> None:
    lock = f"# {os.urandom(4).hex()}\n" + "a==1\n" * 1000
    names = ("one", "two")
    contained.stages(**{name: contained.stage(name, f"# {name}", outs=[f"{name}.txt"]) for name in names})
    for name in names:
        contained.write(f"stages/{name}/requirements.txt", lock)
        contained.write(f"stages/{name}/Dockerfile", LOCKED % containers.label)
    built = contained.with_env(DOCKER_BUILDKIT="0").run("build").ended(0).out
    images_made = [
        line.split()[1] for line in built.splitlines() if line.startswith(tuple(f"{name}:" for name in names))
    ]
    first, second = (containers.api.inspect_image(name)["RootFS"]["Layers"] for name in images_made)
    assert first != second
    assert first[:-1] == second[:-1]
