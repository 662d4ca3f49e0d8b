"""What the engine is asked for: the settings of a stage's container, and of the guard beside it.

Pure: a spec and a translation of paths in, the body of the API's create call out.
"""

import inspect
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dvc_runner.engine import guard_main, images
from dvc_runner.errors import ConfigurationError
from dvc_runner.model import WORKSPACE, ContainerSpec, Network, Server

GUARD_UID = 65533
HOME = "/home/stage"
CONTROL = "/run/dvc-runner"
LINEAGE = f"{CONTROL}/lineage.json"
TMP = "/tmp"  # noqa: S108
WRITABLE = (WORKSPACE, HOME, TMP, "/dev/shm")  # noqa: S108
_IN_FIGURES = re.compile(r"[0-9.]+|.*:.*")
_ON_LOOPBACK = re.compile(r"127\.\d+\.\d+\.\d+")


def guard(spec: ContainerSpec, image: str, on_host: Callable[[Path], str]) -> dict[str, Any]:
    """Give the guard's settings.

    Args:
        spec: The stage it stands beside.
        image: One with a python3.
        on_host: Gives a path as the engine's host has it.
    """
    host: dict[str, Any] = {
        **_locked_down(),
        "NetworkMode": "bridge" if spec.network is Network.INTERNET else "none",
        "Mounts": [_mount(on_host(spec.sandbox.control), CONTROL)],
    }
    command = ["python3", "-I", "-S", "-c", inspect.getsource(guard_main)]
    if spec.servers:
        inside = _addresses(spec.servers)
        command += [f"{inside[server.host]}:{server.port}" for server in spec.servers]
        names = [name for name in inside if not _IN_FIGURES.fullmatch(name)]
        host["ExtraHosts"] = [f"{name}:{inside[name]}" for name in names]
        host["Sysctls"] = {"net.ipv4.ip_unprivileged_port_start": "0"}
    return {
        "Image": image,
        "Entrypoint": [],
        "Cmd": command,
        "User": f"{GUARD_UID}:{GUARD_UID}",
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "StopSignal": "SIGKILL",
        "Labels": {f"{images.LABEL}.guard-of": spec.stage},
        "HostConfig": host,
    }


def stage(spec: ContainerSpec, guard_id: str, on_host: Callable[[Path], str]) -> dict[str, Any]:
    """Give the stage's settings, in the namespaces of the guard ``guard_id``."""
    sandbox = spec.sandbox
    mounts = [
        _mount(on_host(sandbox.workspace), WORKSPACE, read_only=False),
        _mount(on_host(sandbox.home), HOME, read_only=False),
        _mount(on_host(sandbox.etc / "passwd"), "/etc/passwd"),
        _mount(on_host(sandbox.etc / "group"), "/etc/group"),
        _mount(on_host(sandbox.lineage), LINEAGE),
        *(_mount(on_host(dep.source), f"{WORKSPACE}/{dep.target}") for dep in sandbox.deps),
    ]
    host: dict[str, Any] = {
        **_locked_down(),
        "NetworkMode": f"container:{guard_id}",
        "PidMode": f"container:{guard_id}",
        "Mounts": mounts,
        # The container's own; by its mode and not by its owner, since Podman knows no uid= there.
        "Tmpfs": {TMP: "rw,exec,nosuid,nodev,mode=1777"},
        "PidsLimit": spec.limits.pids,
        "ShmSize": spec.limits.shm_bytes,
        **_limits(spec),
    }
    env = {
        **{name: _as_inside(name, value, spec.servers) for name, value in spec.env},
        **{name: f"{HOME}/{path}" for name, path in spec.env_at_home},
        "HOME": HOME,
        "USER": "stage",
        "DVC_ROOT": WORKSPACE,
        "LINEAGE_FILE": LINEAGE,
    }
    return {
        "Image": spec.environment.id or spec.environment.reference,
        "Entrypoint": [],
        "Cmd": list(spec.argv),
        "Env": [f"{name}={value}" for name, value in env.items()],
        "WorkingDir": f"{WORKSPACE}/{spec.wdir}".removesuffix("/."),
        "User": f"{spec.user.uid}:{spec.user.gid}",
        "AttachStdout": True,
        "AttachStderr": True,
        "Labels": {f"{images.LABEL}.stage": spec.stage},
        "HostConfig": host,
    }


def _limits(spec: ContainerSpec) -> dict[str, Any]:
    limits = spec.limits
    found: dict[str, Any] = {}
    if limits.cpus:
        found["NanoCpus"] = int(limits.cpus * 10**9)
    if limits.memory_bytes:
        found["Memory"] = found["MemorySwap"] = limits.memory_bytes
    if limits.gpus:
        found["DeviceRequests"] = [{"Driver": "", "Count": limits.gpus, "Capabilities": [["gpu"]]}]
    return found


def _mount(source: str, target: str, *, read_only: bool = True) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": source,
        "Target": target,
        "ReadOnly": read_only,
        # Before engine 25 a mount below a read-only one stays writable.
        "BindOptions": {"NonRecursive": True},
    }


def _addresses(servers: Sequence[Server]) -> dict[str, str]:
    """Give each host the address that stands in for it on the stage's loopback.

    It is the same one, unless two of them have the same port: some servers accept no other.
    """
    found = {server.host: server.host for server in servers if _ON_LOOPBACK.fullmatch(server.host)}
    for server in servers:
        ports = {other.port for other in servers if other.host == server.host}
        taken = {found[other.host] for other in servers if other.host in found and other.port in ports}
        free = (f"127.0.0.{number}" for number in range(1, 255))
        found.setdefault(server.host, next(address for address in free if address not in taken))
    return found


def _as_inside(name: str, value: str, servers: Sequence[Server]) -> str:
    """Give a variable as a stage needs it: a server's address in figures becomes the one on its loopback.

    A name is led there by the hosts file.

    Raises:
        ConfigurationError: A certificate could not be checked against such an address.
    """
    parts = urlsplit(value) if "://" in value else urlsplit("")
    if parts.hostname not in {server.host for server in servers} or not _IN_FIGURES.fullmatch(parts.hostname):
        return value
    inside = _addresses(servers)[parts.hostname]
    if inside == parts.hostname:
        return value
    if parts.scheme == "https":
        raise ConfigurationError(
            f"{name} is {value}: a stage in a container reaches {parts.hostname} by another address, "
            "against which its certificate cannot be checked",
            remedy="write the server's name in place of its address",
        )
    return parts._replace(netloc=f"{inside}:{parts.port}" if parts.port else inside).geturl()


def _locked_down() -> dict[str, Any]:
    return {
        "AutoRemove": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "ReadonlyRootfs": True,
        "LogConfig": {"Type": "none"},
    }
