"""Where this process's paths lie on the engine's host, when it runs in a container itself."""

import contextlib
import os
import secrets
import shlex
import shutil
import tarfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import docker
from docker.errors import APIError, NotFound

from dvc_runner.engine import mountinfo
from dvc_runner.engine.client import told
from dvc_runner.engine.images import LABEL
from dvc_runner.errors import EngineError, HostPathError

_PLACE = "/proof"
_PREFIX = "host-path-"
# Older ones are of a process that was killed: a proof takes seconds.
_LEFT_S = 600


@dataclass(frozen=True, kw_only=True, slots=True)
class HostPaths:
    """Translates this process's paths to the engine's host.

    ``mounts`` are pairs of a real path here and its place there, None for what is in memory; without
    any, the two are one system.
    """

    mounts: tuple[tuple[PurePosixPath, PurePosixPath | None], ...] | None

    def translate(self, path: Path) -> str:
        """Give ``path`` as the engine's host has it; the deepest mount wins, links are followed.

        Raises:
            HostPathError: It exists only inside this container.
        """
        if self.mounts is None:
            return str(path)
        here = PurePosixPath(os.path.realpath(path))
        fitting = [mount for mount in self.mounts if here.is_relative_to(mount[0])]
        if not fitting:
            raise HostPathError(
                f"{path} exists only inside this container",
                remedy=f"start the container with: docker run {mount_flag(here)}",
            )
        inside, outside = max(fitting, key=lambda mount: len(mount[0].parts))
        if outside is None:
            raise HostPathError(
                f"{path} lies in the memory of this container (a tmpfs at {inside})",
                remedy=f"start the container with: docker run {mount_flag(inside)}  in place of the tmpfs",
            )
        return str(outside / here.relative_to(inside))


def mount_flag(path: PurePosixPath) -> str:
    """Give the flag of ``docker run`` that mounts a folder of the host at ``path``, ready to paste but for HOST_DIR."""
    target = f"target={path}"
    if {",", '"'} & set(target):
        # It is a line of CSV.
        target = '"{}"'.format(target.replace('"', '""'))
    return shlex.join(["--mount", f"type=bind,source=HOST_DIR,{target}"])


def find(client: docker.APIClient, workspace: Path, image: str, told_root: str | None = None) -> HostPaths:
    """Find the translation for ``workspace`` and what lies below it, and prove it.

    The proof is a file made for it, with words that nobody can guess: a container that mounts the
    place where it should lie on the host has to hold those words. That container is never started.

    Args:
        client: The engine.
        workspace: A folder whose ``.dvc/tmp`` can be written.
        image: Any image that the engine has.
        told_root: Where the workspace lies on the host, if that was told; it is proved all the same.

    Raises:
        HostPathError: No translation could be proved.
    """
    with _proof(workspace) as proof:
        tried = _told(workspace, told_root) if told_root else _guessed(client)
        for paths in tried:
            with contextlib.suppress(HostPathError):
                if _holds(client, image, paths.translate(proof.parent), proof):
                    return paths
    raise _unproved(workspace, told_root)


@contextlib.contextmanager
def _proof(workspace: Path) -> Iterator[Path]:
    words = secrets.token_hex(16)
    folder = workspace / ".dvc" / "tmp"
    # Alone in a folder: Podman reads no mounted file of a container that never ran.
    path = folder / f"{_PREFIX}{words}" / words
    for left in folder.glob(f"{_PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > _LEFT_S:
                shutil.rmtree(left)
    path.parent.mkdir(parents=True)
    try:
        path.write_text(words)
        yield path
    finally:
        shutil.rmtree(path.parent)


def _told(workspace: Path, root: str) -> Iterator[HostPaths]:
    yield HostPaths(mounts=((_real(workspace), PurePosixPath(root)),))


def _guessed(client: docker.APIClient) -> Iterator[HostPaths]:
    """Give what is likely first: the mounts of our own container, or none at all; then those of any other."""
    here = mountinfo.own()
    ids = mountinfo.container_ids(here)
    own = [paths for paths in (_mounts_of(client, container) for container in ids) if paths]
    # Where we are in a container of this engine, our paths are not the host's; and where the engine
    # makes a missing source, as Podman does, a wrong guess would leave a folder there.
    yield from own or [HostPaths(mounts=None)]
    # In the network of another container, the files that tell our id are that one's.
    with told("list containers"):
        others = [found["Id"] for found in client.containers() if found["Id"] not in ids]
    points = {mount.point for mount in here}
    for paths in (_mounts_of(client, container) for container in others):
        if paths and paths.mounts and all(inside in points for inside, _ in paths.mounts):
            yield paths


def _mounts_of(client: docker.APIClient, container: str) -> HostPaths | None:
    """Give a container's mounts; None where the engine has no such container."""
    try:
        found: Mapping[str, Any] = client.inspect_container(container)
    except APIError:
        return None
    in_memory = found["HostConfig"].get("Tmpfs") or {}
    mounts = [(mount["Destination"], mount.get("Source") or None) for mount in found["Mounts"]]
    return HostPaths(
        mounts=tuple(
            (_real(inside), PurePosixPath(outside) if outside else None)
            for inside, outside in [*mounts, *((inside, None) for inside in in_memory)]
        )
    )


def _real(path: str | Path) -> PurePosixPath:
    return PurePosixPath(os.path.realpath(path))


def _holds(client: docker.APIClient, image: str, folder: str, proof: Path) -> bool:
    """Say whether the engine's host has the proof in ``folder``."""
    mount = {"Type": "bind", "Source": folder, "Target": _PLACE, "ReadOnly": True}
    body = {"Image": image, "Cmd": ["true"], "Labels": {LABEL: "proof"}, "HostConfig": {"Mounts": [mount]}}
    try:
        made = client.create_container_from_config(body)
    except NotFound as error:
        raise EngineError(f"the engine has no image {image}", remedy="see BASE_IMAGE in .env.example") from error
    except APIError:
        return False
    try:
        stream, _ = client.get_archive(made["Id"], f"{_PLACE}/{proof.name}")
        with tarfile.open(fileobj=BytesIO(b"".join(stream))) as archive:
            file = archive.extractfile(proof.name)
            return file is not None and file.read() == proof.read_bytes()
    except (APIError, tarfile.TarError, KeyError):
        return False
    finally:
        client.remove_container(made["Id"])


def _unproved(workspace: Path, told_root: str | None) -> HostPathError:
    if told_root:
        return HostPathError(
            f"DVC_RUNNER_HOST_ROOT is {told_root}, and there the engine does not see what is in {workspace}",
            remedy="name the folder of the engine's host that the project lies in, or leave the variable unset",
        )
    mounts = mountinfo.own()
    if not mountinfo.container_ids(mounts):
        return HostPathError(
            f"the engine does not see {workspace}: it runs on another machine, or in a virtual one without this folder",
            remedy="use an engine of this machine, or set DVC_RUNNER_HOST_ROOT to where the engine has the folder",
        )
    place = _real(workspace)
    mount = mountinfo.at(mounts, place)
    where = "where the engine does not see it"
    if mount and mount.kind == "tmpfs":
        where = f"in the memory of this container (a tmpfs at {mount.point})"
    elif mount and mount.kind == "overlay":
        where = "only inside this container"
    return HostPathError(
        f"{workspace} is {where}",
        remedy=f"start the container with: docker run {mount_flag(place)}"
        "  or set DVC_RUNNER_HOST_ROOT to where the engine's host has the folder",
    )
