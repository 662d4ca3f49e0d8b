"""What a container has taken, as the kernel's control groups on this machine count it."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from dvc_runner.model import Usage

MOUNT = Path("/sys/fs/cgroup")
HOW = "the kernel's own counts, read 4 times a second; memory with file cache"
OF_PROCESSES = "reads and writes of the processes seen"
HOW_WITHOUT_PEAK = "the kernel's own counts, read 4 times a second; memory sampled, without file cache"
NS_PER_S = 10**9
US_PER_S = 10**6
T = TypeVar("T")


def reader(pid: int, container: str, *, proc: Path = Path("/proc"), mount: Path = MOUNT) -> Callable[[], Usage] | None:
    """Give what reads a container's counts; None where this machine does not show them.

    Args:
        pid: Its first process, as the engine sees it; here the same number may be another process's.
        container: Its id, which has to be in the names of that process's groups.
        proc: Where the kernel shows processes.
        mount: Where it shows control groups.
    """
    try:
        lines = (proc / str(pid) / "cgroup").read_text("utf-8").splitlines()
    except OSError:
        return None
    groups = {name: path for _, names, path in (line.split(":", 2) for line in lines) for name in names.split(",")}
    if not any(container in path for path in groups.values()):
        return None
    folders = {name: mount / name / path.lstrip("/") for name, path in groups.items()}
    if (folders.get("memory", mount / "none") / "memory.max_usage_in_bytes").is_file():
        return lambda: _with_disk(_version_1(folders), folders["memory"], proc)
    whole = mount / groups.get("", "none").lstrip("/")
    return (lambda: _with_disk(_version_2(whole), whole, proc)) if (whole / "memory.current").is_file() else None


def _with_disk(usage: Usage, group: Path, proc: Path) -> Usage:
    """Where a group counts no reads and writes, as version 1 of newer kernels, add what its processes have.

    A process has those of its children that ended, too.
    """
    if usage.read_bytes is not None or usage.written_bytes is not None:
        return usage
    counts = [
        {words[0]: words[1] for words in _words(proc / pid / "io") if len(words) == 2}  # noqa: PLR2004
        for (pid,) in _words(group / "cgroup.procs")
    ]
    read = _sum(counts, lambda count: count.get("read_bytes:"))
    written = _sum(counts, lambda count: count.get("write_bytes:"))
    if read is None and written is None:
        return usage
    return dataclasses.replace(usage, read_bytes=read, written_bytes=written, how=f"{usage.how}; {OF_PROCESSES}")


def _version_1(folders: Mapping[str, Path]) -> Usage:
    cpu = _number(folders["cpuacct"] / "cpuacct.usage") if "cpuacct" in folders else None
    operations = _words(folders["blkio"] / "blkio.throttle.io_service_bytes") if "blkio" in folders else []
    return Usage(
        how=HOW,
        peak_memory_bytes=_number(folders["memory"] / "memory.max_usage_in_bytes"),
        cpu_s=None if cpu is None else cpu / NS_PER_S,
        read_bytes=_sum(operations, lambda words: words[2] if words[1:2] == ["Read"] else None),
        written_bytes=_sum(operations, lambda words: words[2] if words[1:2] == ["Write"] else None),
    )


def _version_2(folder: Path) -> Usage:
    peak = _number(folder / "memory.peak")  # Linux 5.19
    cpu = dict(words for words in _words(folder / "cpu.stat") if len(words) == 2).get("usage_usec")  # noqa: PLR2004
    devices = [dict(word.split("=", 1) for word in words[1:]) for words in _words(folder / "io.stat")]
    return Usage(
        how=HOW if peak is not None else HOW_WITHOUT_PEAK,
        peak_memory_bytes=peak if peak is not None else _working_set(folder),
        cpu_s=None if cpu is None else int(cpu) / US_PER_S,
        read_bytes=_sum(devices, lambda device: device.get("rbytes")),
        written_bytes=_sum(devices, lambda device: device.get("wbytes")),
    )


def _working_set(folder: Path) -> int | None:
    current = _number(folder / "memory.current")
    cached = dict(words for words in _words(folder / "memory.stat") if len(words) == 2).get("inactive_file")  # noqa: PLR2004
    return None if current is None else max(current - int(cached or 0), 0)


def _number(file: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int(file.read_text("utf-8"))
    return None


def _words(file: Path) -> list[list[str]]:
    with contextlib.suppress(OSError):
        return [line.split() for line in file.read_text("utf-8").splitlines()]
    return []


def _sum(rows: Iterable[T], figure: Callable[[T], str | None]) -> int | None:
    """Add up the figures that there are; None if there is none."""
    found = [int(text) for row in rows if (text := figure(row)) is not None]
    return sum(found) if found else None
