"""What a stage that is a process may touch, and what is said of its walls."""

from pathlib import Path

import landlockpy
import pytest
from tests.support.cases import cases

from dvc_runner.executors import reach, table, walls
from dvc_runner.model import (
    ALL_GPUS,
    Bind,
    ContainerSpec,
    EngineSettings,
    Environment,
    Limits,
    Network,
    Sandbox,
    Server,
    User,
)

SCRATCH = Path("/p/.dvc/tmp/one")


def a_spec(*, network: Network = Network.NONE, gpus: int = 0) -> ContainerSpec:
    """A stage with one dep in the project and one in the cache."""
    return ContainerSpec(
        stage="one",
        argv=("true",),
        wdir=".",
        environment=Environment(reference="/cache/environments/1", key="1"),
        sandbox=Sandbox(
            scratch=SCRATCH,
            workspace=SCRATCH / "workspace",
            home=SCRATCH / "home",
            etc=SCRATCH / "etc",
            control=SCRATCH / "control",
            lineage=SCRATCH / "lineage.json",
            deps=(Bind(source=Path("/p/a.csv"), target="a.csv"), Bind(source=Path("/c/ab/cd"), target="b.csv")),
        ),
        env=(),
        python_path=(),
        user=User(uid=1, gid=1),
        network=network,
        servers=(Server(host="h", port=5000),),
        limits=Limits(gpus=gpus),
    )


def test_a_stage_reads_its_deps_and_writes_its_folders() -> None:
    found = reach.of(a_spec())
    paths = {Path("/p/a.csv"), Path("/c/ab/cd"), Path("/cache/environments/1"), SCRATCH / "lineage.json"}
    assert paths <= set(found.reads)
    assert set(found.writes) == {SCRATCH / "workspace", SCRATCH / "home", Path("/dev/shm")}
    everything = {*found.system, *found.reads, *found.writes}
    assert everything.isdisjoint({Path("/"), Path("/p"), Path("/c"), SCRATCH, Path("/etc"), Path("/dev"), Path("/run")})


@cases(
    "network, ports",
    {"none": (Network.NONE, ()), "tracking": (Network.TRACKING, (5000,)), "internet": (Network.INTERNET, ())},
)
def test_ports(network: Network, ports: tuple[int, ...]) -> None:
    assert reach.of(a_spec(network=network)).ports == ports


@cases("gpus, there", {"none": (0, False), "one": (1, True), "all": (ALL_GPUS, True)})
def test_graphics_cards_are_for_who_asks(gpus: int, there: bool) -> None:  # noqa: FBT001
    assert (Path("/dev/nvidia0") in reach.of(a_spec(gpus=gpus)).devices) is there


@cases(
    "abi, files, tcp, missing",
    {
        "no Landlock": (0, False, False, 6),
        "the first": (1, True, False, 5),
        "with TCP": (4, True, True, 3),
        "with signals": (6, True, True, 2),
        "with UDP": (10, True, True, 0),
        "one to come": (99, True, True, 0),
    },
)
def test_walls_by_version(abi: int, files: bool, tcp: bool, missing: int) -> None:  # noqa: FBT001
    found = walls.of(abi)
    assert (found.files, found.tcp, len(found.missing)) == (files, tcp, missing)


@cases(
    "abi, sentence",
    {
        "none": (0, "absolute paths and the network are not walled off"),
        "some": (
            7,
            (
                "walled off by the kernel, except for sockets that are files (a container engine's too)"
                " · UDP (look-ups of names too) · Multipath TCP, TCP Fast Open"
                " · modes, times and attributes of files · shared memory"
            ),
        ),
        "all that it can": (
            10,
            (
                "walled off by the kernel, except for Multipath TCP, TCP Fast Open"
                " · modes, times and attributes of files · shared memory · UDP under network: tracking"
            ),
        ),
    },
)
def test_sentence(abi: int, sentence: str) -> None:
    assert walls.of(abi).sentence == sentence


def test_a_run_says_it_at_its_start(tmp_path: Path) -> None:
    _, why = table.choose("process", tmp_path, engine=EngineSettings(guard_image=""), cache=tmp_path / "cache")
    assert why == f"process, as asked; {walls.here().sentence}"


@pytest.mark.parametrize("error", [OSError(1, "not permitted"), OSError(38, "no such call")])
def test_a_kernel_that_does_not_answer_has_none(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def refuse() -> int:
        raise error

    monkeypatch.setattr(landlockpy, "abi_version", refuse)
    assert walls.here() == walls.of(0)
