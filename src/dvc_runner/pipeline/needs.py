"""What a stage needs of its surroundings: its secrets' values, and the servers that it reaches."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from dvc_runner.errors import ConfigurationError
from dvc_runner.model import Network, Server, Stage
from dvc_runner.workspace import secrets
from dvc_runner.workspace.secrets import TRACKING_URI

DEFAULT_PORTS = {"http": 80, "https": 443}
# Where MLflow's client puts artifacts itself, unless its server does that for it.
ARTIFACTS_URI = "MLFLOW_S3_ENDPOINT_URL"


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """``files`` are secrets' contents by path in its home, ``addresses`` the servers' by variable."""

    files: Mapping[str, str]
    addresses: Mapping[str, str]
    servers: tuple[Server, ...]


def needs_of(stage: Stage, settings: Mapping[str, str]) -> Needs:
    """Say what a stage needs.

    Raises:
        ConfigurationError: Something of it is missing, or cannot be used.
    """
    addresses = {}
    if stage.container and stage.container.network is Network.TRACKING:
        addresses[TRACKING_URI] = settings.get(TRACKING_URI, "")
        if settings.get(ARTIFACTS_URI):
            addresses[ARTIFACTS_URI] = settings[ARTIFACTS_URI]
    servers = [_server(stage.address, name, address) for name, address in addresses.items()]
    return Needs(
        files=secrets.files(stage, settings),
        addresses=addresses,
        servers=tuple(dict.fromkeys(servers)),
    )


def lacking(stages: Iterable[Stage], settings: Mapping[str, str]) -> dict[str, ConfigurationError]:
    """Say, by the address of each stage that does not have what it needs, what that is."""
    found: dict[str, ConfigurationError] = {}
    for stage in stages:
        try:
            needs_of(stage, settings)
        except ConfigurationError as error:
            found[stage.address] = error
    return found


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
