"""``dvc-runner gc``: what is ours, unneeded and long unused goes; nothing else does.

What is really removed here is what a test made: the engine may have images of other projects.
"""

import datetime as dt
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.support.cases import cases
from tests.support.engines import Engine, relay
from tests.support.projects import Project
from tests.support.trees import lay
from tests.support.values import a_stage

from dvc_runner.engine import client, images, pulls, unused
from dvc_runner.errors import EXIT_ENGINE, EXIT_USAGE, EngineError
from dvc_runner.executors.docker import DockerExecutor
from dvc_runner.executors.stores import ImageStore
from dvc_runner.model import Build, Container, EngineSettings, Stage

pytestmark = pytest.mark.engine
SOON = dt.timedelta(hours=1)
Built = Callable[..., str]


@pytest.fixture
def settings(containers: Engine) -> EngineSettings:
    base = os.environ.get("BASE_IMAGE")
    return EngineSettings(host=containers.address, guard_image=containers.base, base_image=base, buildkit=False)


def stage(root: Path, containers: Engine, code: str) -> Stage:
    """A stage whose image has a layer of a megabyte that all have, and one of ``code``."""
    lay(root, {"code": {"Dockerfile": f"{containers.dockerfile}", "code": code}})
    args = (("BASE_IMAGE", "given by the environment"),)
    return a_stage("kept", container=Container(build=Build(context="code", dockerfile="code/Dockerfile", args=args)))


@pytest.fixture
def built(containers: Engine, settings: EngineSettings, tmp_path: Path) -> Iterator[Built]:
    """Builds the image of some code; gives its name."""
    engine = client.connect(containers.address)
    executor = DockerExecutor(engine, tmp_path, settings)
    yield lambda code: executor.prepare(stage(tmp_path, containers, code), lambda _: None).reference
    engine.close()


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def found(containers: Engine, *needed: str, before: dt.datetime | None = None) -> set[str]:
    return {one.name for one in unused.find(containers.api, needed, before or now() + SOON)}


def test_what_is_ours_is_found_unless_it_is_needed_or_was_used_lately(containers: Engine, built: Built) -> None:
    old, new = built("old"), built("new")
    assert {old, new} <= found(containers)
    assert new not in found(containers, new)
    assert old in found(containers, new)
    assert not {old, new} & found(containers, before=now() - SOON)


def in_a_container(containers: Engine, name: str) -> Callable[[], None]:
    made = containers.api.create_container_from_config({"Image": name, "Cmd": ["true"]})["Id"]
    return lambda: containers.api.remove_container(made)


def with_a_name_of_somebodys(containers: Engine, name: str) -> Callable[[], None]:
    containers.api.tag(name, "somebody/thing", "1")
    return lambda: containers.api.remove_image("somebody/thing:1")


@cases("use", {"in a container": [in_a_container], "with a name of somebody's": [with_a_name_of_somebodys]})
def test_what_somebody_uses_is_left_alone(
    containers: Engine, built: Built, use: Callable[[Engine, str], Callable[[], None]]
) -> None:
    name = built("used")
    undo = use(containers, name)
    try:
        assert name not in found(containers)
    finally:
        undo()
    assert name in found(containers)


def test_what_somebody_built_upon_ours_is_not_ours(containers: Engine, built: Built) -> None:
    """It inherits our label; where ours goes, it stays whole."""
    name = built(os.urandom(8).hex())
    made = containers.api.create_container_from_config({"Image": name, "Cmd": ["true"]})["Id"]
    containers.api.commit(made, repository="somebody/built", tag="1")
    containers.api.remove_container(made)
    try:
        assert images.LABEL in containers.api.inspect_image("somebody/built:1")["Config"]["Labels"]
        assert "somebody/built:1" not in found(containers)
        assert unused.frees_bytes(containers.api, [name]) == 0
        unused.remove(containers.api, name)
        assert pulls.inspect(containers.api, "somebody/built:1")
    finally:
        containers.api.remove_image("somebody/built:1")


def test_images_of_others_are_not_found(containers: Engine) -> None:
    containers.api.tag(containers.base, "dvc-runner/theirs", "0123456789abcdef")
    try:
        names = found(containers)
        assert containers.base not in names
        assert "dvc-runner/theirs:0123456789abcdef" not in names
    finally:
        containers.api.remove_image("dvc-runner/theirs:0123456789abcdef")


def test_what_it_frees_is_what_the_engine_then_has_less(
    containers: Engine, settings: EngineSettings, built: Built, tmp_path: Path
) -> None:
    kept = built("k" * 10**5)
    gone = [built(letter * 10**6 + os.urandom(8).hex()) for letter in "ab"]
    store = ImageStore(containers.api, tmp_path, settings)
    stages = [stage(tmp_path, containers, "k" * 10**5)]
    listed = [one for one in store.unused(stages, now() + SOON) if one.name in {kept, *gone}]
    assert sorted(one.name for one in listed) == sorted(gone)
    frees = store.frees_bytes(listed)
    before = containers.api.df()["LayersSize"]
    for one in listed:
        store.remove(one)
    assert before - containers.api.df()["LayersSize"] == frees > 2 * 10**6
    assert all(one.size_bytes > frees for one in listed)
    assert pulls.inspect(containers.api, kept)
    # Gone already is fine.
    store.remove(listed[0])


def test_an_image_that_has_come_into_use_stays_and_is_told(
    containers: Engine, settings: EngineSettings, built: Built, tmp_path: Path
) -> None:
    name = built("used meanwhile")
    store = ImageStore(containers.api, tmp_path, settings)
    (one,) = [each for each in store.unused([], now() + SOON) if each.name == name]
    undo = in_a_container(containers, name)
    try:
        with pytest.raises(EngineError, match=name):
            store.remove(one)
    finally:
        undo()
    assert pulls.inspect(containers.api, name)


def test_a_use_is_noted_by_the_engine_once_a_day(containers: Engine, built: Built) -> None:
    name = built("noted")
    known = containers.api.inspect_image(name)
    images._note_use(containers.api, name, known)
    assert containers.api.inspect_image(name)["Metadata"] == known["Metadata"]
    long_ago = {"Created": "2020-01-01T00:00:00Z", "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"}}
    images._note_use(containers.api, name, long_ago)
    assert images.last_used(containers.api.inspect_image(name)) > images.last_used(known)


def test_by_default_it_only_says_what_would_go(contained: Project, containers: Engine) -> None:
    for word in ("first", "second"):
        contained.stages(one=contained.stage("one", f"# {word} {os.urandom(4).hex()}", outs=["out.txt"]))
        contained.run("build").ended(0)
    needed = contained.run("build").ended(0).out.split()[1]
    old = found(containers, needed) & {
        str(tag) for one in containers.api.images("dvc-runner/one") for tag in one["RepoTags"]
    }
    done = contained.run("gc", "--older-than", "0.01s").ended(0)
    assert needed not in done.out
    assert all(name in done.out for name in old)
    assert "nothing was removed" in done.out
    told = json.loads(contained.run("gc", "--older-than", "0.01s", "--json").ended(0).out)
    assert told["dry_run"] is True
    assert {one["name"] for one in told["unused"]} >= old
    assert not any(one["removed"] for one in told["unused"])
    assert set(told["unused"][0]) == {"kind", "name", "last_used", "size_bytes", "removed", "error"}
    assert all(pulls.inspect(containers.api, name) for name in old)
    # What was used a moment ago, in whatever project, is not old.
    lately = contained.run("gc").ended(0)
    assert not [name for name in old if name in lately.out]


def test_forced_it_removes_what_it_said(contained: Project, containers: Engine) -> None:
    """By a way to the engine that lists the images of this test's stage alone."""
    names = []
    for word in ("first", "second"):
        contained.stages(forced=contained.stage("forced", f"# {word} {os.urandom(4).hex()}", outs=["out.txt"]))
        names += [contained.run("build").ended(0).out.split()[1]]
    whole = quote(f'"{images.LABEL}={images.OURS}"]', safe="").encode()
    narrow = whole + quote(', "reference": ["dvc-runner/forced"]', safe="").encode()
    with relay(containers.address, rewrite=lambda data: data.replace(whole, narrow)) as (address, _):
        done = contained.run("gc", "--force", "--older-than", "0.01s", "--json", env={"DOCKER_HOST": address}).ended(0)
    told = json.loads(done.out)
    assert told["dry_run"] is False
    removed = [one["name"] for one in told["unused"] if one["kind"] == "image" and one["removed"]]
    assert [name in removed for name in names] == [True, False]
    assert [pulls.inspect(containers.api, name) is None for name in names] == [True, False]


def test_without_an_engine_it_says_so_and_goes_on(contained: Project) -> None:
    nowhere = {"DOCKER_HOST": "unix:///nowhere"}
    env = {**nowhere, "DVC_RUNNER_EXECUTOR": ""}
    assert "images are left alone" in contained.run("gc", env=env).ended(0).err
    contained.run("gc", "--executor", "docker", env=env).ended(EXIT_ENGINE)
    contained.run("gc", "--older-than", "soon").ended(EXIT_USAGE)
