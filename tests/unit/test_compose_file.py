"""docker-compose.yml as words for docker run."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.cases import cases

sys.path.append(str(Path(__file__).parents[2] / "scripts"))

import compose_file
from env_file import SettingsError

ROOT = Path("/the project")


def service(tmp_path: Path, variables: dict[str, str], **keys: Any) -> dict[str, Any]:
    """Read a service that was written down."""
    (tmp_path / "docker-compose.yml").write_text(yaml.safe_dump({"services": {"one": keys}}))
    return compose_file.service(tmp_path, "one", variables)


@cases(
    "keys, expected",
    {
        "a flag": ({"init": True}, ["--init"]),
        "a flag that is off": ({"read_only": False}, []),
        "an option": ({"user": "1:2"}, ["--user", "1:2"]),
        "the network": ({"network_mode": "host"}, ["--network", "host"]),
        "a list": ({"cap_add": ["A", "B"]}, ["--cap-add", "A", "--cap-add", "B"]),
        "a variable": ({"environment": {"A": "b c"}}, ["--env", "A=b c"]),
        "a variable that is handed on": ({"environment": {"A": None}}, ["--env", "A"]),
        "a folder of the project": (
            {"volumes": [{"type": "bind", "source": ".", "target": "/w"}]},
            ["--mount", 'type=bind,"source=/the project",target=/w'],
        ),
        "another folder": (
            {"volumes": [{"type": "bind", "source": '/a,"b', "target": "/w", "bind": {"create_host_path": False}}]},
            ["--mount", 'type=bind,"source=/a,""b",target=/w'],
        ),
        "nothing of the image": ({"image": "i", "build": {"context": "."}}, []),
    },
)
def test_translated(tmp_path: Path, keys: dict[str, Any], expected: list[str]) -> None:
    assert compose_file.run_options(service(tmp_path, {}, **keys), ROOT) == expected


@cases(
    "keys, told",
    {
        "a key": ({"privileged": True}, "privileged"),
        "a key of a volume": ({"volumes": [{"type": "bind", "read_only": True}]}, "read_only"),
        "a volume in one word": ({"volumes": ["./a:/b"]}, "./a:/b"),
        "a volume that compose makes with its host path": (
            {"volumes": [{"type": "bind", "source": ".", "target": "/w", "bind": {"create_host_path": True}}]},
            "create_host_path",
        ),
        "variables as a list": ({"environment": ["A=b"]}, "environment"),
    },
)
def test_what_is_not_translated_is_an_error(tmp_path: Path, keys: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        compose_file.run_options(service(tmp_path, {}, **keys), ROOT)


@cases(
    "text, expected",
    {
        "set": ("${A}", "a b"),
        "in the middle": ("x-${A}-y", "x-a b-y"),
        "set, with a default": ("${A:-d}", "a b"),
        "not set, with a default": ("${NONE:-/d/e}", "/d/e"),
        "empty, with a default": ("${EMPTY:-d}", "d"),
        "not set": ("${NONE}", ""),
        "needed and set": ("${A:?why}", "a b"),
        "a dollar": ("$${A}", "${A}"),
    },
)
def test_variables(tmp_path: Path, text: str, expected: str) -> None:
    assert service(tmp_path, {"A": "a b", "EMPTY": ""}, user=text)["user"] == expected


def test_a_variable_that_is_needed_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="NONE"):
        service(tmp_path, {}, user="${NONE:?is not set}")


@cases("text", {"no YAML": ["a: ["], "no services": ["{}"], "another service": ["services: {two: {}}"]})
def test_a_file_that_cannot_be_used_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "docker-compose.yml").write_text(text)
    with pytest.raises(SettingsError, match="has no service one"):
        compose_file.service(tmp_path, "one", {})


def test_what_an_image_is_built_from(tmp_path: Path) -> None:
    build = {"context": ".", "dockerfile": "D", "args": {"BASE": "${A:-b}"}}
    words = compose_file.build_options(service(tmp_path, {}, image="i:1", build=build), ROOT)
    assert words == ["--file", "/the project/D", "--tag", "i:1", "--build-arg", "BASE=b", "/the project"]
