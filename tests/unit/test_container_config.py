"""``meta.container``: every key, and every way of getting it wrong."""

import math
from typing import Any

import pytest
from tests.support.cases import cases

from dvc_runner.errors import EXIT_CONFIGURATION, ConfigurationError
from dvc_runner.model import ALL_GPUS, Build, Container, Limits, Network
from dvc_runner.workspace.container_config import parse

IMAGE = "python:3.13-slim@sha256:" + "0" * 64


def of(**keys: Any) -> dict[str, Any]:
    return {"image": IMAGE, **keys}


@cases(
    "raw, expected",
    {
        "image": (of(), Container(image=IMAGE)),
        "network none": (of(network="none"), Container(image=IMAGE, network=Network.NONE)),
        "network tracking": (of(network="tracking"), Container(image=IMAGE, network=Network.TRACKING)),
        "network internet": (of(network="internet"), Container(image=IMAGE, network=Network.INTERNET)),
        "secrets": (of(secrets=["mlflow", "TOKEN"]), Container(image=IMAGE, secrets=("mlflow", "TOKEN"))),
        "cpus": (of(cpus=2), Container(image=IMAGE, limits=Limits(cpus=2.0))),
        "cpus in part": (of(cpus="0.5"), Container(image=IMAGE, limits=Limits(cpus=0.5))),
        "memory": (of(memory="2GiB"), Container(image=IMAGE, limits=Limits(memory_bytes=2 * 2**30))),
        "memory in bytes": (of(memory=10**9), Container(image=IMAGE, limits=Limits(memory_bytes=10**9))),
        "timeout": (of(timeout="30min"), Container(image=IMAGE, limits=Limits(timeout_s=1800))),
        "timeout in seconds": (of(timeout=90), Container(image=IMAGE, limits=Limits(timeout_s=90))),
        "shm": (of(shm="1GiB"), Container(image=IMAGE, limits=Limits(shm_bytes=2**30))),
        "shm as everywhere": (of(), Container(image=IMAGE, limits=Limits(shm_bytes=64 * 2**20))),
        "gpus, a number": (of(gpus=2), Container(image=IMAGE, limits=Limits(gpus=2))),
        "gpus, all": (of(gpus="all"), Container(image=IMAGE, limits=Limits(gpus=ALL_GPUS))),
        "retries": (of(retries=3), Container(image=IMAGE, retries=3)),
        "retries, none": (of(retries=0), Container(image=IMAGE)),
        "left empty": (
            of(cpus=None, memory=None, shm=None, gpus=None, timeout=None, retries=None),
            Container(image=IMAGE),
        ),
        "build, a folder": (
            {"build": "stages/train"},
            Container(build=Build(context="stages/train", dockerfile="stages/train/Dockerfile")),
        ),
        "build, a mapping": (
            {
                "build": {
                    "context": "stages",
                    "dockerfile": "train/Dockerfile",
                    "include": ["train", "tracking"],
                    "args": {"B": 2, "A": "x"},
                }
            },
            Container(
                build=Build(
                    context="stages",
                    dockerfile="stages/train/Dockerfile",
                    include=("train", "tracking"),
                    args=(("A", "x"), ("B", "2")),
                )
            ),
        ),
        "build, nothing but defaults": ({"build": {}}, Container(build=Build(context=".", dockerfile="Dockerfile"))),
    },
)
def test_accepted(raw: object, expected: Container) -> None:
    assert parse("train", ".", raw) == expected


@cases(
    "wdir, build, context, dockerfile",
    {
        "at the root": (".", "stages/a", "stages/a", "stages/a/Dockerfile"),
        "in a folder": ("sub", "stages/a", "sub/stages/a", "sub/stages/a/Dockerfile"),
        "one folder up": ("sub", "../stages/a", "stages/a", "stages/a/Dockerfile"),
        "itself": ("sub", ".", "sub", "sub/Dockerfile"),
        "slashes and dots": (".", "./stages//a/", "stages/a", "stages/a/Dockerfile"),
    },
)
def test_paths_are_relative_to_the_working_folder(wdir: str, build: str, context: str, dockerfile: str) -> None:
    assert parse("train", wdir, {"build": build}).build == Build(context=context, dockerfile=dockerfile)


@cases(
    "raw, seen",
    {
        "nothing": (None, "None"),
        "a text": ("image", "'image'"),
        "a list": ([], "[]"),
        "neither build nor image": ({}, "neither"),
        "both build and image": (of(build="a"), "both"),
        "image without digest": ({"image": "python:3.13"}, "'python:3.13'"),
        "image empty": ({"image": " "}, "image"),
        "image a number": ({"image": 3}, "3"),
        "build empty": ({"build": None}, "None"),
        "build a list": ({"build": ["a"]}, "['a']"),
        "build.context a number": ({"build": {"context": 3}}, "build.context"),
        "build.dockerfile empty": ({"build": {"dockerfile": ""}}, "build.dockerfile"),
        "build.include a text": ({"build": {"include": "a"}}, "build.include"),
        "build.args a list": ({"build": {"args": ["A=1"]}}, "build.args"),
        "build.args without a value": ({"build": {"args": {"A": None}}}, "build.args"),
        "network of another name": (of(network="host"), "'host'"),
        "network left empty": (of(network=None), "network"),
        "secrets a text": (of(secrets="mlflow"), "'mlflow'"),
        "secrets with a number": (of(secrets=[1]), "secrets"),
        "secrets a mapping": (of(secrets={"A": "value"}), "secrets"),
        "cpus zero": (of(cpus=0), "cpus"),
        "cpus negative": (of(cpus=-1), "-1"),
        "cpus a word": (of(cpus="many"), "many"),
        "cpus true": (of(cpus=True), "cpus"),
        "cpus without end": (of(cpus=math.inf), "inf"),
        "cpus not a number": (of(cpus=math.nan), "nan"),
        "memory a word": (of(memory="plenty"), "'plenty'"),
        "memory true": (of(memory=True), "'True'"),
        "memory negative": (of(memory=-5), "'-5'"),
        "timeout a word": (of(timeout="soon"), "'soon'"),
        "timeout zero": (of(timeout=0), "'0'"),
        "shm zero": (of(shm=0), "'0'"),
        "gpus a word": (of(gpus="some"), "'some'"),
        "gpus negative": (of(gpus=-1), "-1"),
        "gpus in part": (of(gpus=0.5), "0.5"),
        "retries negative": (of(retries=-1), "-1"),
        "retries in part": (of(retries=1.5), "1.5"),
        "retries true": (of(retries=True), "True"),
        "retries a text": (of(retries="3"), "'3'"),
    },
)
def test_refused_with_stage_and_value(raw: object, seen: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse("train", ".", raw)
    assert "train" in str(raised.value)
    assert seen in str(raised.value)
    assert raised.value.remedy
    assert raised.value.exit_code == EXIT_CONFIGURATION


@cases(
    "raw, key, nearest",
    {
        "a letter less": (of(memry="2GiB"), "memry", "memory"),
        "another word": (of(time_out="2h"), "time_out", "timeout"),
        "another case": (of(Network="none"), "Network", "network"),
        "singular": (of(secret=["a"]), "secret", "secrets"),
        "in build": ({"build": {"contex": "a"}}, "contex", "context"),
        "in build, docker's word": ({"build": {"file": "a"}}, "file", "dockerfile"),
    },
)
def test_unknown_key_names_the_nearest(raw: object, key: str, nearest: str) -> None:
    with pytest.raises(ConfigurationError, match=key) as raised:
        parse("train", ".", raw)
    known = {"build", "image", "network", "secrets", "cpus", "memory", "timeout", "context", "dockerfile"}
    assert {word for word in known if word in raised.value.remedy} == {nearest}


def test_key_like_no_other_names_them_all() -> None:
    with pytest.raises(ConfigurationError, match="zzz") as raised:
        parse("train", ".", of(zzz=1))
    for known in ("build", "image", "network", "secrets", "cpus", "memory", "timeout"):
        assert known in raised.value.remedy


def test_key_that_is_no_text() -> None:
    with pytest.raises(ConfigurationError, match="7"):
        parse("train", ".", {"image": IMAGE, 7: 1})
