"""Time what a stage's guard costs: one trivial container with it, without it, and by ``docker run``.

    python bench/guard.py [--rounds 20]

All have the same walls (no network, no capabilities, read-only root, limits). Needs a container
engine (DOCKER_HOST) and an image with a python3 (BASE_IMAGE, else the project's). Times are wall
seconds from create to removed, medians with the quartiles; the order of the ways alternates.
"""

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dvc_runner.cli.guard_image import GUARD_IMAGE
from dvc_runner.engine import client, containers
from dvc_runner.executors import docker, docker_bodies
from dvc_runner.model import ContainerSpec, EngineSettings, Environment, Limits, Network, Sandbox, Stage
from dvc_runner.workspace import sandbox

REFERENCE = "without a guard"
STAGE = Stage(address="bench", wdir=".", cmd="", argv=("true",), deps=(), outs=(), params=(), container=None)


def spec(scratch: Sandbox, image: str, root: Path) -> ContainerSpec:
    """Describe a stage that does nothing."""
    return ContainerSpec(
        stage=STAGE.address,
        argv=("true",),
        wdir=".",
        environment=Environment(reference=image, key=""),
        sandbox=scratch,
        env=(),
        python_path=(),
        user=sandbox.stage_user(root),
        network=Network.NONE,
        servers=(),
        limits=Limits(memory_bytes=2**28),
    )


def ways(root: Path, host: str | None, image: str) -> dict[str, Callable[[ContainerSpec], None]]:
    """Give each way of running a spec."""
    engine = client.connect(host)
    executor = docker.connect(root, EngineSettings(host=host, guard_image=image))

    def alone(found: ContainerSpec) -> None:
        body = docker_bodies.stage(found, "none", str)
        body["HostConfig"] |= {"NetworkMode": "none", "PidMode": ""}
        with containers.created(engine, body) as stage:
            containers.start(engine, stage.id)
            containers.lines(stage, print)
            containers.exit_code(stage)

    def shell(found: ContainerSpec) -> None:
        user = f"{found.user.uid}:{found.user.gid}"
        walls = ["--network=none", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--read-only", "--memory=256m"]
        subprocess.run(["docker", "run", "--rm", "--user", user, *walls, image, *found.argv], check=True)

    def guarded(found: ContainerSpec) -> None:
        executor.execute(found, print)

    return {"with its guard": guarded, REFERENCE: alone, "docker run": shell}


def measure(root: Path, image: str, rounds: int) -> dict[str, list[float]]:
    """Time every way ``rounds`` times, after one round that does not count; seconds."""
    seconds: dict[str, list[float]] = {}
    ordered = list(ways(root, os.environ.get("DOCKER_HOST"), image).items())
    for number in range(rounds + 1):
        for name, way in ordered if number % 2 else reversed(ordered):
            user = sandbox.stage_user(root)
            with sandbox.opened((root, root), STAGE, user=user, secrets={}, links=False) as scratch:
                sandbox.write_lineage(scratch, "{}")
                began = time.perf_counter()
                way(spec(scratch, image, root))
                if number:
                    seconds.setdefault(name, []).append(time.perf_counter() - began)
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    image = os.environ.get("BASE_IMAGE") or GUARD_IMAGE
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        seconds = measure(Path(folder), image, rounds)
    whole = statistics.median(seconds[REFERENCE])
    print("| one trivial container | median (quartiles) | ratio |\n|---|---:|---:|")
    for name, found in seconds.items():
        low, middle, high = statistics.quantiles(found, n=4)
        print(f"| {name} | {middle:.3f} s ({low:.3f} to {high:.3f}) | {middle / whole:.2f} |")
    print(f"\n{rounds} rounds")


if __name__ == "__main__":
    main()
