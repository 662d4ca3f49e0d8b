"""A stage's build context has to be among its deps."""

from dataclasses import replace

import pytest
from tests.support.cases import cases
from tests.support.values import a_stage

from dvc_runner.errors import ConfigurationError
from dvc_runner.model import Build, Container
from dvc_runner.pipeline.check import check


def build(context: str, dockerfile: str | None = None, include: tuple[str, ...] = ()) -> Container:
    return Container(build=Build(context=context, dockerfile=dockerfile or f"{context}/Dockerfile", include=include))


@cases(
    "container, deps",
    {
        "an image": (Container(image="a@sha256:0"), []),
        "the context is a dep": (build("stages/a"), ["data", "stages/a"]),
        "a folder above it is a dep": (build("stages/a"), ["stages"]),
        "everything is a dep": (build("stages/a"), ["."]),
        "the root is context and dep": (build(".", "Dockerfile"), ["."]),
        "each included folder is a dep": (build("stages", "stages/a/Dockerfile", ("a", "b")), ["stages/a", "stages/b"]),
        "included folders of the root": (build(".", "a/Dockerfile", ("a", "b")), ["a", "b"]),
    },
)
def test_fine(container: Container, deps: list[str]) -> None:
    check(a_stage("train", deps=deps, container=container))


@cases(
    "container, deps, missing",
    {
        "no deps": (build("stages/a"), [], "stages/a"),
        "a folder beside it": (build("stages/a"), ["stages/b"], "stages/a"),
        "a folder whose name begins alike": (build("stages/ab"), ["stages/a"], "stages/ab"),
        "a part of it only": (build("stages/a"), ["stages/a/src"], "stages/a"),
        "one included folder is not": (build("stages", "stages/a/Dockerfile", ("a", "b")), ["stages/a"], "stages/b"),
        "the Dockerfile is elsewhere": (build("stages/a", "docker/Dockerfile"), ["stages/a"], "docker/Dockerfile"),
        "the context is above the project": (build(".."), ["."], ".."),
    },
)
def test_what_is_missing_is_named(container: Container, deps: list[str], missing: str) -> None:
    with pytest.raises(ConfigurationError, match="train") as raised:
        check(a_stage("train", deps=deps, container=container))
    assert str(raised.value).startswith(f"{missing} ")
    assert missing in raised.value.remedy


def test_a_shells_command_needs_no_container() -> None:
    check(replace(a_stage("train"), argv=None))


def test_ours_needs_one() -> None:
    with pytest.raises(ConfigurationError, match=r"train.*meta\.container"):
        check(a_stage("train"))
