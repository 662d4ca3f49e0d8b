"""Where this process's paths lie on the engine's host, when it runs in a container itself."""

import contextlib
import re
import secrets
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import docker
from docker.errors import APIError

from dvc_runner.engine.client import told
from dvc_runner.engine.images import LABEL
from dvc_runner.errors import HostPathError

_ID = re.compile(r"/containers/([0-9a-f]{64})/")


@dataclass(frozen=True, kw_only=True, slots=True)
class HostPaths:
    """Translates this process's paths to the engine's host. Without mounts, they are the same."""

    mounts: tuple[tuple[PurePosixPath, PurePosixPath], ...] | None

    def translate(self, path: Path) -> str:
        """Give ``path`` as the engine's host has it; the deepest mount wins.

        Raises:
            HostPathError: It exists only inside this container.
        """
        if self.mounts is None:
            return str(path)
        here = PurePosixPath(path)
        fitting = [mount for mount in self.mounts if here.is_relative_to(mount[0])]
        if not fitting:
            raise HostPathError(
                f"{path} exists only inside this container",
                remedy=f"mount its host folder: --mount type=bind,src=HOST_DIR,dst={path}",
            )
        inside, outside = max(fitting, key=lambda mount: len(mount[0].parts))
        return str(outside / here.relative_to(inside))


def find(client: docker.APIClient, workspace: Path, image: str) -> HostPaths:
    """Find the translation for ``workspace`` and what lies below it, and prove it.

    The proof is a file made for it: the engine has to see it, through the container that this
    process runs in, or else on its own host.

    Args:
        client: The engine.
        workspace: A folder whose ``.dvc/tmp`` can be written.
        image: Any image that the engine has.

    Raises:
        HostPathError: The engine sees the file neither way.
    """
    folder = workspace / ".dvc" / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    proof = folder / f"host-path-{secrets.token_hex(8)}"
    proof.touch()
    try:
        own = _own_container(client, proof)
        if own is not None:
            return HostPaths(mounts=_mounts(client, own))
        if _on_host(client, image, proof):
            return HostPaths(mounts=None)
    finally:
        proof.unlink()
    raise HostPathError(
        f"the engine does not see {workspace}, neither on its host nor in a container of its own",
        remedy="use an engine of this machine; for a runner in a container, mount the project: "
        f"--mount type=bind,src=HOST_DIR,dst={workspace}",
    )


def _own_container(client: docker.APIClient, proof: Path) -> str | None:
    """Give the id of the container in which a file made here shows up."""
    guesses = list(dict.fromkeys(_ID.findall(Path("/proc/self/mountinfo").read_text("utf-8"))))
    with told("list containers"):
        others = [c["Id"] for c in client.containers() if c["Id"] not in guesses]
    return next((found for found in [*guesses, *others] if _sees(client, found, proof)), None)


def _sees(client: docker.APIClient, container: str, path: Path) -> bool:
    with contextlib.suppress(APIError):
        stream, _ = client.get_archive(container, str(path))
        for _ in stream:
            pass
        return True
    return False


def _on_host(client: docker.APIClient, image: str, path: Path) -> bool:
    """Say whether the engine would mount ``path``; the container for it is never started."""
    mount = {"Type": "bind", "Source": str(path), "Target": "/proof", "ReadOnly": True}
    body = {"Image": image, "Cmd": ["true"], "Labels": {LABEL: "proof"}, "HostConfig": {"Mounts": [mount]}}
    try:
        made = client.create_container_from_config(body)
    except APIError as error:
        if error.is_client_error():
            return False
        raise
    client.remove_container(made["Id"])
    return True


def _mounts(client: docker.APIClient, container: str) -> tuple[tuple[PurePosixPath, PurePosixPath], ...]:
    with told("inspect the runner's container"):
        mounts = client.inspect_container(container)["Mounts"]
    return tuple(
        (PurePosixPath(mount["Destination"]), PurePosixPath(mount["Source"])) for mount in mounts if mount.get("Source")
    )
