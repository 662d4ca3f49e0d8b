"""Time `dvc-runner run` beside `dvc repro` on pipelines of shell stages, and print ratios.

    python bench/run.py [--rounds 3] [--nothing 4 100 1000 10000] [--project FOLDER] [--trivial 100 300 1000]
        [--limit 300]

- nothing to do: whole commands on pipelines that are up to date; `dvc status` beside them. FOLDER is a project that is
  up to date as well: a clone of this one after `make run`.
- trivial: N stages that write one small file each, from nothing: wall and CPU seconds, children's included.
- wide: 200 independent stages that sleep 0.2 s, 8 at once; the ideal is 200 x 0.2 / 8 = 5 s.
- chain and diamond: 20 stages one after the other; one, then 18 at once, then one. Each sleeps 0.1 s.

Medians; a command that takes longer than --limit seconds is ended, and shown as such. Needs no container engine.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml

BIN = Path(sys.executable).parent
OURS = "dvc-runner run"
DVC = "dvc repro"
STATUS = "dvc status"
COMMANDS = {
    OURS: ["dvc-runner", "run", "--executor", "process"],
    DVC: ["dvc", "repro", "-q"],
    STATUS: ["dvc", "status", "-q"],
}
Pipeline = dict[str, dict[str, Any]]


def trivial(count: int) -> Pipeline:
    """Stages that read one file, and write one each."""
    return {f"s{n}": {"cmd": f"echo {n} > {n}.txt", "deps": ["in.txt"], "outs": [f"{n}.txt"]} for n in range(count)}


def wide(count: int) -> Pipeline:
    """Stages that need nothing of each other."""
    return {f"s{n}": {"cmd": f"sleep 0.2; echo {n} > {n}.txt", "outs": [f"{n}.txt"]} for n in range(count)}


def chain(count: int) -> Pipeline:
    """Stages that each read what the one before wrote."""
    found: Pipeline = {}
    for n in range(count):
        found[f"s{n}"] = {"cmd": f"sleep 0.1; echo {n} > {n}.txt", "outs": [f"{n}.txt"]}
        if n:
            found[f"s{n}"]["deps"] = [f"{n - 1}.txt"]
    return found


def diamond(count: int) -> Pipeline:
    """One stage, then all but two beside each other, then one."""
    last = count - 1
    found = chain(count)
    for n in range(1, last):
        found[f"s{n}"]["deps"] = ["0.txt"]
    found[f"s{last}"]["deps"] = [f"{n}.txt" for n in range(1, last)]
    return found


class Lab:
    """Makes projects, and times commands in them."""

    def __init__(self, folder: Path, limit: float) -> None:
        """Work in a folder; end what takes longer than the limit."""
        self._folder = folder
        self._limit = limit
        # Without bytecode every command would compile DVC anew.
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self._env = {**kept, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}

    def project(self, name: str, pipeline: Pipeline) -> Path:
        """Make a project with a pipeline that never ran."""
        root = self._folder / name
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        for command in (["git", "init", "-q"], ["dvc", "init", "-q"]):
            subprocess.run(command, cwd=root, env=self._env, check=True)
        (root / "in.txt").write_text("in")
        (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": pipeline}, sort_keys=False))
        return root

    def time(self, name: str, root: Path, *more: str) -> tuple[float, float] | None:
        """Give a command's wall and CPU seconds; None if it was ended."""
        before, began = os.times(), time.monotonic()
        try:
            done = subprocess.run(
                [*COMMANDS[name], *more], cwd=root, env=self._env, capture_output=True, timeout=self._limit, check=False
            )
        except subprocess.TimeoutExpired:
            return None
        wall, after = time.monotonic() - began, os.times()
        if done.returncode:
            sys.exit(f"{name} in {root} ended with {done.returncode}:\n{done.stdout.decode()}{done.stderr.decode()}")
        cpu = (after.children_user + after.children_system) - (before.children_user + before.children_system)
        return wall, cpu

    def anew(self, name: str, pipeline: Pipeline, more: tuple[str, ...]) -> tuple[float, float] | None:
        """Time a command in a project that never ran."""
        return self.time(name, self.project("all", pipeline), *more)


def middle(rounds: int, measure: Callable[[], tuple[float, float] | None]) -> tuple[float, float] | None:
    """Give the medians of some rounds; None as soon as one was ended."""
    found = []
    for _ in range(rounds):
        one = measure()
        if one is None:
            return None
        found.append(one)
    return statistics.median(wall for wall, _ in found), statistics.median(cpu for _, cpu in found)


def cells(found: Mapping[str, tuple[float, float] | None], reference: str, *, cpu: bool) -> str:
    """Give one cell a command: seconds, and their ratio to the reference's."""
    told = []
    base = found.get(reference)
    for one in found.values():
        if one is None:
            told.append("ended at the limit")
            continue
        text = f"{one[0]:.2f} s" + (f", {one[1]:.1f} s CPU" if cpu else "")
        told.append(text + (f" ({one[0] / base[0]:.2f})" if base else ""))
    return " | ".join(told)


def nothing(lab: Lab, sizes: list[int], project: Path | None, rounds: int) -> None:
    """Print what commands take that have nothing to do."""
    print(f"\n| nothing to do | {OURS} | {DVC} | {STATUS} |\n|---|---:|---:|---:|")
    labels: dict[str, int | Path] = {f"{size} stages": size for size in sizes}
    if project:
        labels[project.resolve().name] = project
    for label, what in labels.items():
        root = what if isinstance(what, Path) else lab.project("nothing", trivial(what))
        if lab.time(OURS, root) is None:
            print(f"| {label} | could not be made ready within the limit |")
            continue
        found = {name: middle(rounds, partial(lab.time, name, root)) for name in COMMANDS}
        print(f"| {label} | {cells(found, DVC, cpu=False)} |", flush=True)


def from_nothing(lab: Lab, cases: Mapping[str, tuple[Pipeline, tuple[str, ...]]], rounds: int, *, cpu: bool) -> None:
    """Print what commands take that have everything to do."""
    print(f"\n| everything to do | {OURS} | {DVC} |\n|---|---:|---:|")
    for label, (pipeline, more) in cases.items():
        found = {
            name: middle(rounds, partial(lab.anew, name, pipeline, extra)) for name, extra in ((OURS, more), (DVC, ()))
        }
        print(f"| {label} | {cells(found, DVC, cpu=cpu)} |", flush=True)


def main() -> None:
    """Measure, and print tables in Markdown; in brackets the ratio to dvc repro."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nothing", type=int, nargs="*", default=[4, 100, 1000])
    parser.add_argument("--project", type=Path)
    parser.add_argument("--trivial", type=int, nargs="*", default=[100, 300])
    parser.add_argument("--limit", type=float, default=300)
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder), parsed.limit)
        nothing(lab, parsed.nothing, parsed.project, parsed.rounds)
        shapes = {
            "wide: 200 x 0.2 s, 8 jobs": (wide(200), ("--jobs", "8")),
            "chain: 20 x 0.1 s": (chain(20), ()),
            "diamond: 20 x 0.1 s": (diamond(20), ()),
        }
        from_nothing(lab, shapes, parsed.rounds, cpu=False)
        counts: dict[str, tuple[Pipeline, tuple[str, ...]]] = {f"{n} trivial": (trivial(n), ()) for n in parsed.trivial}
        from_nothing(lab, counts, 1, cpu=True)


if __name__ == "__main__":
    main()
