"""What there is to be known of an engine: its kind, its socket, its images, where it keeps them."""

import stat
from dataclasses import dataclass
from pathlib import Path
from pwd import getpwuid

import docker
from docker.errors import ImageNotFound

from dvc_runner.engine.client import DEFAULT_HOST, check_socket, group_name, is_rootless, told

MEGABYTE = 10**6


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineFacts:
    """An engine in its own words; ``data_root`` is a folder of its host's."""

    kind: str
    version: str
    api_version: str
    platform: str
    rootless: bool
    data_root: Path


def of_engine(client: docker.APIClient) -> EngineFacts:
    """Ask an engine what it is."""
    with told("say what it is"):
        version = client.version()
        info = client.info()
    components = [str(part.get("Name", "")) for part in version.get("Components") or []]
    podman = any("podman" in name.lower() for name in components)
    return EngineFacts(
        kind="Podman" if podman else "Docker Desktop" if "Desktop" in info["OperatingSystem"] else "Docker",
        version=version["Version"],
        api_version=version["ApiVersion"],
        platform=f"{version['Os']}/{version['Arch']}",
        rootless=is_rootless(client),
        data_root=Path(info.get("DockerRootDir") or "/"),
    )


def of_socket(host: str | None) -> str | None:
    """Say whose an engine's socket is and who may open it; None if it is no socket of this machine.

    Raises:
        EngineError: There is none, or it is not ours to open.
    """
    address = host or DEFAULT_HOST
    if not address.startswith("unix://"):
        return None
    path = Path(address.removeprefix("unix://"))
    check_socket(path)
    found = path.stat()
    try:
        owner = getpwuid(found.st_uid).pw_name
    except KeyError:
        owner = str(found.st_uid)
    whom = "everybody on this machine" if found.st_mode & stat.S_IWOTH else "you"
    return f"{path} is {stat.filemode(found.st_mode)} {owner}:{group_name(found.st_gid)}, open to {whom}"


def of_image(client: docker.APIClient, reference: str) -> str:
    """Say that an image is here, or that its registry has it.

    Raises:
        EngineError: Neither.
    """
    try:
        found = client.inspect_image(reference)
    except ImageNotFound:
        with told(f"find {reference} here or in its registry"):
            client.inspect_distribution(reference)
        return f"{reference} is not here yet; its registry has it, and the first run pulls it"
    return f"{reference} is here: {found['Id'][:19]}, {found['Size'] / MEGABYTE:.0f} MB"
