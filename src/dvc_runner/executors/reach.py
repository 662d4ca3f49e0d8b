"""What a stage that is a process may touch: decided here, held by the kernel."""

import sys
from dataclasses import dataclass
from pathlib import Path

from dvc_runner.model import ContainerSpec, Network

_SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store"),
    # Counting processors, and memory; what belongs to other processes in /proc the kernel keeps back itself.
    *("/proc", "/sys/devices/system", "/sys/fs/cgroup", "/sys/kernel/mm"),
)
_ETC = (
    *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "ld.so.preload", "alternatives", "os-release"),
    *("python3", f"python{sys.version_info.major}.{sys.version_info.minor}"),
    *("passwd", "group", "nsswitch.conf", "localtime", "timezone", "locale.alias", "mime.types", "fonts"),
    *("hosts", "host.conf", "resolv.conf", "gai.conf", "services", "protocols"),
    # Certificates, and not the keys beside them.
    *("ssl/certs", "ssl/cert.pem", "ssl/openssl.cnf", "ca-certificates", "crypto-policies"),
    *("pki/tls/certs", "pki/tls/cert.pem", "pki/tls/openssl.cnf", "pki/ca-trust/extracted"),
)
_GPU_SYSTEM = ("/sys", "/opt/rocm", "/etc/OpenCL", "/etc/vulkan")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_GPU_DEVICES = (
    *("/dev/dri", "/dev/kfd", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-caps"),
    *(f"/dev/nvidia{number}" for number in range(16)),
)
# Without it joblib runs one job at a time, and multiprocessing has no locks.
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - that is its name


@dataclass(frozen=True, kw_only=True, slots=True)
class Reach:
    """Real paths; of ``system`` and ``devices`` a machine may lack some. ``ports`` are TCP's, to connect to."""

    system: tuple[Path, ...]
    reads: tuple[Path, ...]
    writes: tuple[Path, ...]
    devices: tuple[Path, ...]
    network: Network
    ports: tuple[int, ...]


def of(spec: ContainerSpec) -> Reach:
    """Give what the stage of ``spec`` may touch."""
    sandbox = spec.sandbox
    system = [*_SYSTEM, *(f"/etc/{name}" for name in _ETC), *(_GPU_SYSTEM if spec.limits.gpus else ())]
    devices = [*_DEVICES, *(_GPU_DEVICES if spec.limits.gpus else ())]
    # The interpreter behind a virtual environment.
    interpreter = {Path(sys.base_prefix), Path(sys.base_exec_prefix)}
    return Reach(
        system=tuple(Path(path) for path in system),
        reads=(
            *sorted(interpreter),
            Path(spec.environment.reference),
            sandbox.lineage,
            *(dep.source for dep in sandbox.deps),
        ),
        writes=(sandbox.workspace, sandbox.home, Path(_SHARED_MEMORY)),
        devices=tuple(Path(path) for path in devices),
        network=spec.network,
        ports=tuple(server.port for server in spec.servers) if spec.network is Network.TRACKING else (),
    )
