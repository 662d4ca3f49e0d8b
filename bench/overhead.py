"""Time what each runner adds to trivial containers, side by side, and print ratios to `docker run`.

    python bench/overhead.py [--rounds 5] [--length 8] [--independent 50] [--jobs 1 2 4 8]

- chain: LENGTH stages, each copies one small file in a container of its own, one after the other;
- independent: as many copies that need nothing of each other, with 1, 2, 4 and 8 at once;
- edited: the image of a stage in whose code a line is another, by ``dvc-runner build`` and by ``docker build``.

Runners: ``dvc-runner run``, plain ``dvc repro`` (``dvc-runner exec`` for each stage), ``docker run --rm``
from a shell, the Docker SDK's ``containers.run``, miniwdl and cwltool. The last two are installed from
PyPI into a folder that is deleted at the end (``--peers FOLDER`` keeps and reuses it). All use the same image
and copy the same file. Per-stage figures are (wall of LENGTH stages - wall of one) / (LENGTH - 1), so that a
tool's own start is left out; that start is told beside it. Needs a container engine.
"""

import argparse
import dataclasses
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import docker
import uv
import yaml

BIN = Path(sys.executable).parent
BASE = os.environ.get("BASE_IMAGE", "python:3.13-slim")
REFERENCE, SDK_NAME = "docker run", "Docker SDK"
PEERS = ("miniwdl==1.16.0", "cwltool==3.3.20260925135507")
DOCKERFILE = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nCOPY . /app\n"

EDITED = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN sleep 10\nCOPY . /app\n"

SDK = """
import concurrent.futures, sys, docker, os
folder, image, jobs, names = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]
client = docker.from_env()
mount = docker.types.Mount("/workspace", folder, type="bind")
def copy(source, target):
    client.containers.run(image, ["cp", source, target], remove=True, mounts=[mount],
        working_dir="/workspace", user=f"{os.getuid()}:{os.getgid()}", network_mode="none")
with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
    list(pool.map(copy, names[::2], names[1::2]))
"""
WDL = """version 1.0
task copy {{
  input {{ File i }}
  command {{ cp ~{{i}} o }}
  output {{ File o = "o" }}
  runtime {{ docker: "{image}" }}
}}
workflow w {{
  input {{ File first }}
{calls}
}}
"""
CWL_TOOL = {
    "cwlVersion": "v1.2",
    "class": "CommandLineTool",
    "baseCommand": "cp",
    "arguments": ["$(inputs.i)", "o"],
    "inputs": {"i": "File"},
    "outputs": {"o": {"type": "File", "outputBinding": {"glob": "o"}}},
}


@dataclasses.dataclass(frozen=True)
class Bench:
    """A folder to work in, the image all use, and where the peers are installed."""

    folder: Path
    image: str
    peers: Path

    def shell(self, command: str, folder: Path) -> None:
        """Run a command line; end with its words if it fails."""
        drop = ("DVC_",)
        env = {key: value for key, value in os.environ.items() if not key.startswith(drop)}
        env |= {"PATH": f"{BIN}{os.pathsep}{self.peers / 'bin'}{os.pathsep}{env['PATH']}", "DVC_NO_ANALYTICS": "1"}
        env |= {"BASE_IMAGE": BASE, "DVC_RUNNER_EXECUTOR": "docker"}
        done = subprocess.run(command, shell=True, cwd=folder, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{command}\nended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")

    def project(self, length: int, *, chained: bool = True) -> Path:
        """Give a DVC project of so many copies, one of the other or all of the first, never run with this input."""
        folder = self.folder / f"{'chain' if chained else 'independent'}-{length}"
        if not folder.exists():
            code = folder / "stages/copy"
            code.mkdir(parents=True)
            (code / "Dockerfile").write_text(DOCKERFILE)
            (folder / "data").mkdir()
            stages = {f"s{n}": _entry(n if chained else 0, n + 1) for n in range(length)}
            (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
            self.shell("git init -q && dvc init -q && dvc-runner build", folder)
        (folder / "data/0").write_text(f"{time.time_ns()}")
        return folder


def _entry(source: int, target: int) -> dict[str, object]:
    return {
        "cmd": f"dvc-runner exec cp data/{source} data/{target}",
        "deps": ["stages/copy", f"data/{source}"],
        "outs": [f"data/{target}"],
        "meta": {"container": {"build": {"context": "stages/copy", "args": {"BASE_IMAGE": "given"}}}},
    }


def built() -> str:
    """Build the image that all runners use; give its name."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Dockerfile").write_text(DOCKERFILE)
        client = docker.from_env()
        client.images.build(path=folder, tag="dvc-runner-bench:overhead", buildargs={"BASE_IMAGE": BASE}, rm=True)
    return "dvc-runner-bench:overhead"


def by_sdk(bench: Bench, folder: Path, pairs: list[tuple[str, str]], *, jobs: int) -> None:
    """Copy by the Docker SDK, each pair in a container of its own."""
    words = [str(BIN / "python"), "-c", SDK, str(folder), bench.image, str(jobs)]
    bench.shell(shlex.join([*words, *(name for pair in pairs for name in pair)]), folder)


def docker_run(bench: Bench, folder: Path, source: str, target: str) -> str:
    """Give the command line that copies a file."""
    mount = shlex.quote(f"type=bind,source={folder},target=/workspace")
    user = f"{os.getuid()}:{os.getgid()}"
    return (
        f"docker run --rm --network none --user {user} --mount {mount} --workdir /workspace "
        f"{bench.image} cp {source} {target}"
    )


def chain_ways(bench: Bench) -> dict[str, Callable[[int], None]]:
    """Give each runner as a function that runs a chain of a length."""

    def pairs(length: int) -> list[tuple[str, str]]:
        return [(f"data/{n}", f"data/{n + 1}") for n in range(length)]

    def by_shell(length: int) -> None:
        folder = bench.project(length)
        bench.shell("\n".join(["set -e", *(docker_run(bench, folder, *pair) for pair in pairs(length))]), folder)

    return {
        "dvc-runner run": lambda length: bench.shell("dvc-runner run", bench.project(length)),
        "dvc repro": lambda length: bench.shell("dvc repro", bench.project(length)),
        REFERENCE: by_shell,
        SDK_NAME: lambda length: by_sdk(bench, bench.project(length), pairs(length), jobs=1),
        "miniwdl": lambda length: by_miniwdl(bench, [*range(length)], jobs=1, chained=True),
        "cwltool": lambda length: by_cwltool(bench, [*range(length)], jobs=1, chained=True),
    }


def by_miniwdl(bench: Bench, numbers: list[int], *, jobs: int, chained: bool) -> None:
    """Copy by miniwdl: a chain, or each from the first file."""
    folder = bench.folder / "wdl"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "first").write_text(f"{time.time_ns()}")
    calls = [
        f"  call copy as c{n} {{ input: i = {'c' + str(n - 1) + '.o' if chained and n else 'first'} }}" for n in numbers
    ]
    (folder / "w.wdl").write_text(WDL.format(image=bench.image, calls="\n".join(calls)))
    config = f"[scheduler]\ncall_concurrency = {jobs}\n[call_cache]\nget = false\nput = false\n"
    (folder / "miniwdl.cfg").write_text(config + "[task_runtime]\nas_user = false\n")
    bench.shell("miniwdl run --cfg miniwdl.cfg --dir runs w.wdl first=first", folder)


def by_cwltool(bench: Bench, numbers: list[int], *, jobs: int, chained: bool) -> None:
    """Copy by cwltool: a chain, or each from the first file."""
    folder = bench.folder / "cwl"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "first").write_text(f"{time.time_ns()}")
    tool = {**CWL_TOOL, "requirements": {"DockerRequirement": {"dockerPull": bench.image}}}
    steps = {
        f"c{n}": {"run": tool, "in": {"i": f"c{n - 1}/o" if chained and n else "first"}, "out": ["o"]} for n in numbers
    }
    flow = {"cwlVersion": "v1.2", "class": "Workflow", "inputs": {"first": "File"}, "outputs": {}, "steps": steps}
    (folder / "w.cwl").write_text(json.dumps(flow))
    # With --parallel it runs as many at once as there are cores.
    parallel = "--parallel" if jobs > 1 else ""
    bench.shell(f"cwltool --quiet --disable-pull {parallel} --outdir out w.cwl --first first", folder)


def independent_ways(bench: Bench, count: int) -> dict[str, Callable[[int], None]]:
    """Give each runner as a function that makes ``count`` independent copies with so many jobs."""
    folder = bench.project(count, chained=False)
    pairs = [("data/0", f"data/i{n}") for n in range(count)]

    def by_shell(jobs: int) -> None:
        lines = "\n".join(docker_run(bench, folder, *pair) for pair in pairs)
        bench.shell(f"xargs -P {jobs} -d '\\n' -I LINE sh -c LINE <<'END'\n{lines}\nEND", folder)

    return {
        "dvc-runner run": lambda jobs: bench.shell(
            f"dvc-runner run --jobs {jobs}", bench.project(count, chained=False)
        ),
        REFERENCE: by_shell,
        SDK_NAME: lambda jobs: by_sdk(bench, folder, pairs, jobs=jobs),
        "miniwdl": lambda jobs: by_miniwdl(bench, [*range(count)], jobs=jobs, chained=False),
        "cwltool": lambda jobs: by_cwltool(bench, [*range(count)], jobs=jobs, chained=False),
    }


def timed(act: Callable[[int], None], argument: int) -> float:
    """Give the wall seconds of one call."""
    began = time.perf_counter()
    act(argument)
    return time.perf_counter() - began


def compared(mine: list[float], theirs: list[float]) -> str:
    """Give the median ratio of what was timed in the same rounds, with the least and the most."""
    ratios = [one / other for one, other in zip(mine, theirs, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def chain(bench: Bench, rounds: int, length: int) -> None:
    """Time the chain by every runner, the order turned round every other round; print the table."""
    ordered = list(chain_ways(bench).items())
    each: dict[str, list[float]] = {}
    start: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for name, way in ordered if number % 2 else reversed(ordered):
            one, all_of_them = timed(way, 1), timed(way, length)
            per_stage = (all_of_them - one) / (length - 1)
            if number:  # the first round warms up
                each.setdefault(name, []).append(per_stage)
                start.setdefault(name, []).append(one - per_stage)
            print(f"  {number}: {name}: {per_stage:.3f} s a stage, start {one - per_stage:.2f} s", file=sys.stderr)
    print(f"\nchain of {length}, ratio to `{REFERENCE}`\n")
    print("| runner | s a stage | ratio: median (least to most) | own start, s |\n|---|---:|---:|---:|")
    for name, _ in ordered:
        ratio = compared(each[name], each[REFERENCE])
        print(f"| {name} | {statistics.median(each[name]):.3f} | {ratio} | {statistics.median(start[name]):.2f} |")


def independent(bench: Bench, rounds: int, count: int, jobs: list[int]) -> None:
    """Time the independent copies by every runner and number of jobs; print the table."""
    ordered = list(independent_ways(bench, count).items())
    seconds: dict[tuple[str, int], list[float]] = {}
    for number in range(rounds):
        for name, way in ordered if number % 2 else reversed(ordered):
            for many in jobs:
                seconds.setdefault((name, many), []).append(timed(way, many))
                print(f"  {name}, {many} jobs: {seconds[name, many][-1]:.1f} s", file=sys.stderr)
    print(f"\n{count} independent, s in all (ratio to `{REFERENCE}` with as many jobs, least to most)\n")
    print("| runner | " + " | ".join(f"{many} jobs" for many in jobs) + " |\n|---|" + "---:|" * len(jobs))
    for name, _ in ordered:
        ratios = {m: compared(seconds[name, m], seconds[REFERENCE, m]) for m in jobs}
        cells = (f"{statistics.median(seconds[name, m]):.1f}: {ratio}" for m, ratio in ratios.items())
        print(f"| {name} | " + " | ".join(cells) + " |")


def edited(bench: Bench, rounds: int) -> None:
    """Time how long an image takes whose code has one other line; print the table."""
    folder = bench.folder / "edited"
    code = folder / "stages/copy"
    code.mkdir(parents=True)
    (code / "Dockerfile").write_text(EDITED)
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"s0": _entry(0, 1)}}))
    bench.shell("git init -q && dvc init -q", folder)
    by_hand = f"docker build --quiet --tag dvc-runner-bench:edited --build-arg BASE_IMAGE={BASE} stages/copy"
    ways = {"dvc-runner build": "dvc-runner build", "docker build": by_hand}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, command in ways.items() if number % 2 else reversed(ways.items()):
            (code / "copy.py").write_text(f"print({time.time_ns()})\n")
            began = time.perf_counter()
            bench.shell(command, folder)
            if number:  # the first round builds all of it
                seconds[name].append(time.perf_counter() - began)
    print("\nan edited line of code, the image anew, ratio to `docker build`\n")
    print("| | s | ratio: median (least to most) |\n|---|---:|---:|")
    for name, mine in seconds.items():
        print(f"| {name} | {statistics.median(mine):.2f} | {compared(mine, seconds['docker build'])} |")


def install(peers: Path) -> None:
    """Install miniwdl and cwltool into a virtual environment, if they are not there."""
    if not (peers / "bin/cwltool").exists():
        program = uv.find_uv_bin()
        subprocess.run([program, "venv", "--quiet", "--python", sys.executable, str(peers)], check=True)
        command = [program, "pip", "install", "--quiet", "--python", str(peers / "bin/python"), *PEERS]
        subprocess.run(command, check=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--length", type=int, default=8)
    parser.add_argument("--independent", type=int, default=50)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--peers", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        peers = (given.peers or Path(folder) / "peers").absolute()
        install(peers)
        bench = Bench(Path(folder), built(), peers)
        swarm = docker.from_env().swarm.attrs.get("ID") is not None if _in_swarm() else False
        try:
            edited(bench, given.rounds)
            chain(bench, given.rounds, given.length)
            independent(bench, max(1, given.rounds // 2), given.independent, given.jobs)
        finally:
            if not swarm and _in_swarm():
                docker.from_env().swarm.leave(force=True)  # miniwdl joined one


def _in_swarm() -> bool:
    return str(docker.from_env().info()["Swarm"]["LocalNodeState"]) == "active"


if __name__ == "__main__":
    main()
