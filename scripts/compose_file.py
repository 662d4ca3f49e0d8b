"""A service of docker-compose.yml as words for `docker run` and `docker build`: one place says how it runs."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from env_file import SettingsError

NAME = "docker-compose.yml"
VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?::([-?])([^}]*))?\})")
FLAGS = {"init": "--init", "read_only": "--read-only"}
OPTIONS = {"user": "--user", "network_mode": "--network"}
LISTS = {
    "group_add": "--group-add",
    "tmpfs": "--tmpfs",
    "cap_drop": "--cap-drop",
    "cap_add": "--cap-add",
    "security_opt": "--security-opt",
}
MISSING_IS_AN_ERROR = {"create_host_path": False}
TRANSLATED_ELSEWHERE = ("image", "build", "environment", "volumes")


def service(root: Path, name: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """Read a service, its variables filled in.

    Raises:
        SettingsError: The file or a variable in it cannot be used.
    """
    try:
        found = yaml.safe_load((root / NAME).read_text(encoding="utf-8"))["services"][name]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise SettingsError(
            f"{NAME} has no service {name} that can be read: {' '.join(str(error).split())}",
            f"mend it, or get it back: git checkout {NAME}",
        ) from None
    filled: dict[str, Any] = _filled(found, variables)
    return filled


def run_options(service: Mapping[str, Any], root: Path) -> list[str]:
    """Translate all that a service says of its container, but for the image.

    Raises:
        SettingsError: It says something that is not translated.
    """
    _check(service, {*FLAGS, *OPTIONS, *LISTS, *TRANSLATED_ELSEWHERE})
    words = [flag for key, flag in FLAGS.items() if service.get(key)]
    for key, option in OPTIONS.items():
        words += [option, str(service[key])] if key in service else []
    for key, option in LISTS.items():
        words += [word for value in service.get(key, []) for word in (option, str(value))]
    for name, value in _mapping(service.get("environment", {}), "environment").items():
        words += ["--env", name if value is None else f"{name}={value}"]
    for volume in service.get("volumes", []):
        words += ["--mount", _mount(volume, root)]
    return words


def build_options(service: Mapping[str, Any], root: Path) -> list[str]:
    """Translate what a service's image is built from; the context is the last word."""
    build = service["build"]
    words = ["--file", str(root / build["dockerfile"]), "--tag", service["image"]]
    for name, value in build["args"].items():
        words += ["--build-arg", f"{name}={value}"]
    return [*words, str(root / build["context"])]


def _filled(value: Any, variables: Mapping[str, str]) -> Any:  # noqa: ANN401 - whatever YAML holds
    if isinstance(value, dict):
        return {key: _filled(entry, variables) for key, entry in value.items()}
    if isinstance(value, list):
        return [_filled(entry, variables) for entry in value]
    return VARIABLE.sub(lambda found: _variable(found, variables), value) if isinstance(value, str) else value


def _variable(found: re.Match[str], variables: Mapping[str, str]) -> str:
    dollar, name, kind, words = found.groups()
    if dollar:
        return "$"
    value = variables.get(name, "")
    if not value and kind == "?":
        raise SettingsError(f"{NAME} needs {name}, which {words}", 'eval "$(scripts/python scripts/engine.py)"')
    return value or (words if kind == "-" else "")


def _mount(volume: object, root: Path) -> str:
    found = _mapping(volume, str(volume))
    _check(found, {"type", "source", "target", "bind"})
    if found.get("bind", MISSING_IS_AN_ERROR) != MISSING_IS_AN_ERROR:
        raise SettingsError(f"{NAME}: bind of {found['target']} is {found['bind']}", f"write {MISSING_IS_AN_ERROR}")
    # A line of CSV: a path may hold a comma or a quote.
    source = str(root / found["source"]).replace('"', '""')
    return f'type={found["type"]},"source={source}",target={found["target"]}'


def _mapping(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise SettingsError(f"{NAME}: make run cannot read {name}", "write it as NAME: VALUE, one a line")
    return value


def _check(keys: Mapping[str, Any], known: set[str]) -> None:
    for key in keys:
        if key not in known:
            raise SettingsError(
                f"{NAME}: make run does not know the key {key}",
                f"use one of {', '.join(sorted(known))}, or run it with docker compose",
            )
