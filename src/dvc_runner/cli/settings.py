"""Settings: the environment first, then ``.env``, then ``.env.auto``."""

import functools
import getpass
import io
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv.parser import parse_stream

from dvc_runner.cli.guard_image import GUARD_IMAGE
from dvc_runner.errors import ConfigurationError, UsageError
from dvc_runner.model import EngineSettings
from dvc_runner.workspace import secrets
from dvc_runner.workspace.secrets import CERTIFICATES, TRACKING_URI

FILES = (".env.auto", ".env")
NO = ("0", "false", "no", "off")
# What the project's own make up writes: the server to use while the configured one is away.
OFFLINE, OFFLINE_URI = "TRACKING_OFFLINE", "TRACKING_OFFLINE_URI"
SECRET = re.compile("TOKEN|PASSWORD|PASSWD|SECRET|CREDENTIAL|KEY")


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a person set; ``values`` are all variables, for secrets and tracking, ``in_files`` what .env files hold."""

    values: Mapping[str, str]
    in_files: tuple[str, ...] = ()

    @property
    def hidden(self) -> tuple[str, ...]:
        """Give the values that leave this machine in nothing: all of .env files, and what is named as secrets are."""
        named = (value for name, value in self.values.items() if SECRET.search(name))
        return (*self.in_files, *named)

    @property
    def executor(self) -> str | None:
        """DVC_RUNNER_EXECUTOR: docker or process."""
        return self.values.get("DVC_RUNNER_EXECUTOR") or None

    @property
    def engine_host(self) -> str | None:
        """DOCKER_HOST: the engine's address."""
        return self.values.get("DOCKER_HOST") or None

    @property
    def container(self) -> str | None:
        """DVC_RUNNER_CONTAINER: the name of the container that we run in, if whoever started it told."""
        return self.values.get("DVC_RUNNER_CONTAINER") or None

    @property
    def git_user(self) -> str | None:
        """DVC_RUNNER_GIT_USER: who would commit, if whoever started our container told."""
        return self.values.get("DVC_RUNNER_GIT_USER") or None

    @property
    def client(self) -> str | None:
        """DVC_RUNNER_CLIENT: a file of the project that whoever started our container keeps locked."""
        return self.values.get("DVC_RUNNER_CLIENT") or None

    @property
    def client_root(self) -> str | None:
        """DVC_RUNNER_CLIENT_ROOT: where the project lies for whoever started our container, if they told."""
        return self.values.get("DVC_RUNNER_CLIENT_ROOT") or None

    @property
    def host_root(self) -> str | None:
        """DVC_RUNNER_HOST_ROOT: where the project lies on the engine's host, if that is to be told."""
        return self.values.get("DVC_RUNNER_HOST_ROOT") or None

    @property
    def base_image(self) -> str | None:
        """BASE_IMAGE: what takes the place of the stages' base image."""
        return self.values.get("BASE_IMAGE") or None

    @property
    def guard_image(self) -> str:
        """Give the image that guards run in: any with a python3."""
        return self.base_image or GUARD_IMAGE

    @property
    def engine(self) -> EngineSettings:
        """Give where the engine is and what it builds with; DOCKER_BUILDKIT is docker's own variable."""
        buildkit = self.values.get("DOCKER_BUILDKIT")
        return EngineSettings(
            host=self.engine_host,
            guard_image=self.guard_image,
            base_image=self.base_image,
            host_root=self.host_root,
            buildkit=None if buildkit is None else buildkit not in NO,
        )

    @property
    def experiment(self) -> tuple[tuple[str, str], ...]:
        """Give the variables by which DVC tells a command which experiment it runs in."""
        names = ("DVC_EXP_BASELINE_REV", "DVC_EXP_NAME")
        return tuple((name, self.values[name]) for name in names if name in self.values)

    @property
    def cache(self) -> Path:
        """Give the folder for virtual environments, shared by projects."""
        home = self.values.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        return Path(home) / "dvc-runner"


def read(folder: Path) -> Settings:
    """Read the settings of the project at ``folder``.

    Raises:
        ConfigurationError: A file cannot be read.
    """
    values: dict[str, str] = {}
    files = [_file(folder / name) for name in FILES]
    for layer in (*files, {**_handed_over(folder), **os.environ}):
        if layer.get(TRACKING_URI):
            values = secrets.elsewhere(values)
        values |= {key: value for key, value in layer.items() if value}
    if values.get(OFFLINE, "0").lower() not in NO:
        values = _offline(values)
    # Whatever folder a stage, or a person, is in.
    values |= {name: str(folder / values[name]) for name in CERTIFICATES if name in values}
    return Settings(values=values, in_files=tuple(value for file in files for value in file.values() if value))


def _offline(values: Mapping[str, str]) -> dict[str, str]:
    """Put the local tracking server in the place of the one that is configured, whose credentials are not for it."""
    if OFFLINE_URI not in values:
        raise ConfigurationError(
            f"{OFFLINE} is set, and no local MLflow server was started for it",
            remedy=f"{OFFLINE}=1 make up, or take {OFFLINE} out of .env and the environment",
        )
    return secrets.elsewhere(values) | {TRACKING_URI: values[OFFLINE_URI]}


@functools.cache
def _handed_over(folder: Path) -> Mapping[str, str]:
    """Read the credentials that whoever started our container left in a file for us; delete it, and keep them in mind.

    DVC_RUNNER_HANDED_OVER names it, relative to the project. They are as if they stood in the environment.
    """
    name = os.environ.get("DVC_RUNNER_HANDED_OVER")
    if not name:
        return {}
    path = folder / name
    try:
        found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        path.unlink()
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{path}, where make run left the environment's credentials, cannot be read and deleted: {error}",
            remedy="start it again as the owner of the project, or put them into .env",
        ) from error
    return found


def _file(path: Path) -> Mapping[str, str]:
    try:
        if not path.is_file():
            return {}
        lines = list(parse_stream(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error}", remedy="see its rights, and that it is UTF-8"
        ) from error
    for line in lines:
        if line.error:
            raise ConfigurationError(
                f"{path.name} line {line.original.line} is not of the form NAME=value",
                remedy="mend the line, or put a # before it",
            )
    return {line.key: line.value for line in lines if line.key and line.value is not None}


def dvc_stage() -> tuple[str, Path | None]:
    """Give what DVC tells a stage's command: the stage's address, and where the project's settings are.

    In an experiment that runs in a folder of its own, the latter is the project it was made from.

    Raises:
        UsageError: DVC did not start us.
    """
    address = os.environ.get("DVC_STAGE")
    if not address:
        raise UsageError(
            "exec is a stage's command, and DVC_STAGE is not set",
            remedy="let DVC start it:  dvc repro  or  dvc-runner run",
        )
    root = os.environ.get("DVC_ROOT")
    return address, Path(root) if root else None


def again() -> str | None:
    """Give DVC_RUNNER_AGAIN: what whoever started us would type to go on after a failure."""
    return os.environ.get("DVC_RUNNER_AGAIN") or None


def that_dvc_reads() -> list[tuple[str, str]]:
    """Give the environment's variables by which DVC finds its settings, and what they are."""
    names = (name for name in os.environ if name.startswith(("DVC_", "XDG_")) or name == "HOME")
    return [(name, os.environ[name]) for name in sorted(names) if not name.startswith("DVC_RUNNER_")]


def prepare_for_dvc() -> None:
    """Keep DVC from two things: sending usage figures, and failing where the user has no name."""
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["LOGNAME"] = str(os.getuid())


def be_at_home(name: str, home: str) -> None:
    """Have the environment be that of the user whom we have become; a home that is open to them stays."""
    os.environ["USER"] = os.environ["LOGNAME"] = name
    if not os.access(os.environ.get("HOME", ""), os.W_OK):
        os.environ["HOME"] = home
