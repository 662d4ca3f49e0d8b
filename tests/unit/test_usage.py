"""What a container took: the kernel's files of both kinds of control groups, and the engine's answers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.cases import cases
from tests.support.trees import lay

from dvc_runner.engine import cgroups
from dvc_runner.engine.usage import Samples, of_stats
from dvc_runner.model import Usage

PID = 7
ID = "c0ffee"
GROUPS_1 = f"4:memory:/docker/{ID}\n2:cpu,cpuacct:/docker/{ID}\n7:blkio:/docker/{ID}\n0::/\n"
FILES_1 = {
    "memory": {"docker": {ID: {"memory.max_usage_in_bytes": "1000\n"}}},
    "cpuacct": {"docker": {ID: {"cpuacct.usage": "2500000000\n"}}},
    "blkio": {"docker": {ID: {"blkio.throttle.io_service_bytes": "8:0 Read 5\n8:0 Write 6\n9:0 Read 7\nTotal 18\n"}}},
}
GROUPS_2 = f"0::/system.slice/docker-{ID}.scope\n"
CPU_2 = "usage_usec 1500000\nuser_usec 1\n"
IO_2 = "8:0 rbytes=5 wbytes=6 rios=1 wios=1\n9:0 rbytes=7 wbytes=0 rios=1 wios=0\n"


def files_2(**files: str) -> Mapping[str, Any]:
    return {"system.slice": {f"docker-{ID}.scope": {name.replace("__", "."): text for name, text in files.items()}}}


def read(folder: Path, groups: str, files: Mapping[str, Any], *, container: str = ID) -> Usage | None:
    """Read what a machine with these files shows."""
    lay(folder, {"proc": {str(PID): {"cgroup": groups}}, "cgroup": files})
    reader = cgroups.reader(PID, container, proc=folder / "proc", mount=folder / "cgroup")
    return reader() if reader else None


@cases(
    "groups, files, expected",
    {
        "version 1": (
            GROUPS_1,
            FILES_1,
            Usage(how=cgroups.HOW, peak_memory_bytes=1000, cpu_s=2.5, read_bytes=12, written_bytes=6),
        ),
        "version 1 without all controllers": (
            f"4:memory:/docker/{ID}\n",
            FILES_1,
            Usage(how=cgroups.HOW, peak_memory_bytes=1000),
        ),
        "version 2": (
            GROUPS_2,
            files_2(memory__current="9", memory__peak="1000", cpu__stat=CPU_2, io__stat=IO_2),
            Usage(how=cgroups.HOW, peak_memory_bytes=1000, cpu_s=1.5, read_bytes=12, written_bytes=6),
        ),
        "version 2 without a peak": (
            GROUPS_2,
            files_2(memory__current="900", memory__stat="anon 1\ninactive_file 300\n", cpu__stat=CPU_2),
            Usage(how=cgroups.HOW_WITHOUT_PEAK, peak_memory_bytes=600, cpu_s=1.5),
        ),
    },
)
def test_counts_of_the_kernel(tmp_path: Path, groups: str, files: Mapping[str, Any], expected: Usage) -> None:
    assert read(tmp_path, groups, files) == expected


def test_reads_and_writes_that_groups_do_not_count_are_the_processes(tmp_path: Path) -> None:
    group = {**FILES_1["memory"]["docker"][ID], "cgroup.procs": "7\n8\n9\n"}
    io = {
        pid: {"io": f"rchar: 99\nread_bytes: {pid}00\nwrite_bytes: {pid}\ncancelled_write_bytes: 5\n"} for pid in "78"
    }
    lay(tmp_path, {"proc": io})
    files = {
        **FILES_1,
        "memory": {"docker": {ID: group}},
        "blkio": {"docker": {ID: {"blkio.throttle.io_service_bytes": "Total 0\n"}}},
    }
    found = read(tmp_path, GROUPS_1, files)
    assert found
    assert (found.read_bytes, found.written_bytes) == (1500, 15)
    assert found.how == f"{cgroups.HOW}; {cgroups.OF_PROCESSES}"


@cases(
    "groups, container",
    {
        "another process of that number": (GROUPS_1.replace(ID, "other"), ID),
        "groups that are not to be seen here": (f"0::/../{ID}\n", ID),
        "no groups": ("", ID),
    },
)
def test_what_is_not_the_containers_is_not_read(tmp_path: Path, groups: str, container: str) -> None:
    assert read(tmp_path, groups, FILES_1, container=container) is None


def test_a_process_that_is_not_here(tmp_path: Path) -> None:
    assert cgroups.reader(PID, ID, proc=tmp_path, mount=tmp_path) is None


CPU = {"cpu_usage": {"total_usage": 2_500_000_000}}


@cases(
    "stats, expected",
    {
        "version 1": (
            {
                "memory_stats": {"usage": 900, "max_usage": 1000, "stats": {"inactive_file": 300}},
                "cpu_stats": CPU,
                "blkio_stats": {
                    "io_service_bytes_recursive": [
                        {"major": 8, "minor": 0, "op": "Read", "value": 5},
                        {"major": 8, "minor": 0, "op": "Write", "value": 6},
                    ]
                },
            },
            (1000, 2.5, 5, 6),
        ),
        "version 2": (
            {
                "memory_stats": {"usage": 900, "stats": {"inactive_file": 300}},
                "cpu_stats": CPU,
                "blkio_stats": {"io_service_bytes_recursive": [{"op": "read", "value": 5}, {"op": "read", "value": 2}]},
            },
            (600, 2.5, 7, None),
        ),
        "no disk": (
            {"memory_stats": {"usage": 900}, "cpu_stats": CPU, "blkio_stats": {"io_service_bytes_recursive": None}},
            (900, 2.5, None, None),
        ),
    },
)
def test_answers_of_the_engine(stats: dict[str, Any], expected: tuple[object, ...]) -> None:
    found = of_stats(stats)
    assert found
    assert (found.peak_memory_bytes, found.cpu_s, found.read_bytes, found.written_bytes) == expected


@cases(
    "memory",
    {"does not run": ({},), "is not counted": ({"usage": 5721853952, "limit": 25276502016},)},
)
def test_a_container_without_cpu_time_has_no_figures(memory: dict[str, int]) -> None:
    assert of_stats({"memory_stats": memory, "cpu_stats": {"cpu_usage": {"total_usage": 0}}}) is None


def of(cpu_s: float | None, peak: int | None, written: int | None = None) -> Usage:
    return Usage(how="counted", cpu_s=cpu_s, peak_memory_bytes=peak, written_bytes=written)


@cases(
    "samples, expected",
    {
        "none": ([], None),
        "only how it began": ([of(0.1, 5)], None),
        "the highest of each": ([of(0.1, 9), of(0.3, 5, 1), of(0.2, 7)], of(0.3, 9, 1)),
        "those that came too late": ([of(0.1, 9), of(0.2, 5), of(None, None), None], of(0.2, 9)),
        "too late for a second": ([of(0.1, 9), of(None, None)], None),
    },
)
def test_samples(samples: list[Usage | None], expected: Usage | None) -> None:
    found = Samples()
    for sample in samples:
        found.add(sample)
    assert found.now() == expected


@pytest.mark.parametrize("figure", ["cpu_s", "peak_memory_bytes"])
def test_a_last_look_is_taken(figure: str) -> None:
    found = Samples()
    found.add(of(0.1, 5))
    found.read = lambda: of(0.4, 8)
    assert getattr(found.now(), figure) == getattr(of(0.4, 8), figure)
