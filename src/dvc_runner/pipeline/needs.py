"""What a stage needs of its surroundings: its secrets' values, and the servers that it reaches."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from dvc_runner.errors import ConfigurationError
from dvc_runner.model import Network, Server, Stage
from dvc_runner.workspace import secrets
from dvc_runner.workspace.secrets import CERTIFICATES, TRACKING_URI

DEFAULT_PORTS = {"http": 80, "https": 443}
# Where MLflow's client puts artifacts itself, unless its server does that for it.
ARTIFACTS_URI = "MLFLOW_S3_ENDPOINT_URL"
FOLDER = ".certificates"
# What is shorter may be an ordinary word of a path.
SHORTEST_TOKEN = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """What a stage is given: contents of ``files`` by path in its home, ``addresses`` of servers by variable.

    ``certificates`` are those of ``files`` by which the servers' certificates are checked, by variable.
    """

    files: Mapping[str, str]
    addresses: Mapping[str, str]
    servers: tuple[Server, ...]
    certificates: Mapping[str, str] = field(default_factory=dict)


def needs_of(stage: Stage, settings: Mapping[str, str]) -> Needs:
    """Say what a stage needs.

    Raises:
        ConfigurationError: Something of it is missing, or cannot be used.
    """
    addresses = addresses_of(stage, settings)
    servers = [_server(stage.address, name, address) for name, address in addresses.items()]
    trusted = {}
    if any(address.startswith("https:") for address in addresses.values()):
        named = {name: settings[name] for name in CERTIFICATES if settings.get(name)}
        # A folder is full of other people's: a stage has its image's.
        trusted = {name: path for name, path in named.items() if not Path(path).is_dir()}
    certificates = {name: f"{FOLDER}/{name}.pem" for name in trusted}
    return Needs(
        files={
            **secrets.files(stage, settings),
            **{certificates[name]: _certificates(stage.address, name, path) for name, path in trusted.items()},
        },
        addresses=addresses,
        servers=tuple(dict.fromkeys(servers)),
        certificates=certificates,
    )


def addresses_of(stage: Stage, settings: Mapping[str, str]) -> dict[str, str]:
    """Give the addresses of the servers that a stage reaches, by variable.

    Raises:
        ConfigurationError: One holds a secret, which a stage's environment keeps from nobody.
    """
    if not stage.container or stage.container.network is not Network.TRACKING:
        return {}
    found = {TRACKING_URI: settings.get(TRACKING_URI, "")}
    if settings.get(ARTIFACTS_URI):
        found[ARTIFACTS_URI] = settings[ARTIFACTS_URI]
    hidden = [value for value in secrets.values(settings, stage.container.secrets) if len(value) >= SHORTEST_TOKEN]
    for name, address in found.items():
        # That a host's name is also a password tells nothing of the password.
        path = re.sub(r"^\w+://[^/?#]*", "", address)
        if any(value in form for value in hidden for form in (path, unquote(path))):
            raise ConfigurationError(
                f"{name} holds the value of a secret in its path, which whoever may use the engine could read",
                remedy=f"take it out of it: MLflow's credentials go into {secrets.USER} and {secrets.PASSWORD}, "
                f"and  secrets: [mlflow]  into meta.container of {stage.address}",
            )
    return found


def lacking(stages: Iterable[Stage], settings: Mapping[str, str]) -> dict[str, ConfigurationError]:
    """Say, by the address of each stage that does not have what it needs, what that is."""
    found: dict[str, ConfigurationError] = {}
    for stage in stages:
        try:
            needs_of(stage, settings)
        except ConfigurationError as error:
            found[stage.address] = error
    return found


def _certificates(stage: str, name: str, path: str) -> str:
    try:
        # What stands between certificates may be in any encoding.
        return Path(path).read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise ConfigurationError(
            f"stage {stage} needs the certificates of {name}, and {path} cannot be read: {error.strerror}",
            remedy=f"set {name} to a file of certificates that is seen here, such as one in the project, or unset it",
        ) from error


def _server(stage: str, name: str, address: str) -> Server:
    parts, port = _read(address)
    if port is None or not parts.hostname:
        what, way_out = {
            TRACKING_URI: ("an MLflow server", f"start the local one (make up), or set {name} in .env to http(s)://…"),
            ARTIFACTS_URI: ("its artifacts' server", f"set {name} in .env to http(s)://…"),
        }[name]
        raise ConfigurationError(f"stage {stage} needs {what}, and {name} is {address!r}", remedy=way_out)
    if parts.username or parts.password:
        raise ConfigurationError(
            f"{name} holds a user or a password, which whoever may use the engine could read",
            remedy="take them out of it: MLflow's go into MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
            f"and  secrets: [mlflow]  into meta.container of {stage}",
        )
    return Server(host=parts.hostname, port=port)


def _read(address: str) -> tuple[SplitResult, int | None]:
    try:
        parts = urlsplit(address)
        return parts, parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return urlsplit(""), None
