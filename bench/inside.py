"""Time `make run` (dvc-runner in its container) against `make run-host`, and print the difference.

    python bench/inside.py [--rounds 5]

Needs a container engine. Scenarios: nothing to do; and one stage, made to run by removing its out and
forgetting its cache. Times are whole-command wall seconds, medians; the order of the two alternates
from round to round. Bytecode is compiled first, as it is in the image.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
WAYS = {"make run": "make run-ingest", "make run-host": "scripts/python scripts/run.py --host ingest"}
SCENARIOS = ("nothing to do", "one stage")


def shell(command: str, folder: Path) -> None:
    """Run a command line in the clone, and drop what it prints."""
    drop = ("MAKE", "MFLAGS", "DVC_")
    env = {key: value for key, value in os.environ.items() if not key.startswith(drop)}
    done = subprocess.run(command, shell=True, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")


def forget(folder: Path) -> None:
    """Leave nothing of what the stage made."""
    for path in ("data/raw", ".dvc/cache"):
        shutil.rmtree(folder / path, ignore_errors=True)


def measure(folder: Path, rounds: int) -> dict[tuple[str, str], list[float]]:
    """Time every scenario by both ways, ``rounds`` times each; seconds."""
    seconds: dict[tuple[str, str], list[float]] = {}
    ordered = list(WAYS.items())
    for number in range(rounds):
        for scenario in SCENARIOS:
            for name, command in ordered if number % 2 else reversed(ordered):
                if scenario == "one stage":
                    forget(folder)
                began = time.perf_counter()
                shell(command, folder)
                seconds.setdefault((scenario, name), []).append(time.perf_counter() - began)
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        folder = Path(place) / "clone"
        shell(f"git clone --quiet --no-hardlinks '{ROOT}' '{folder}'", ROOT)
        shell("make setup-env up && .venv/bin/python -m compileall -q .venv src", folder)
        try:
            for command in WAYS.values():
                shell(command, folder)
            seconds = measure(folder, rounds)
        finally:
            shell("make down", folder)
    print("| scenario | make run | make run-host | difference |")
    print("|---|---:|---:|---:|")
    for scenario in SCENARIOS:
        inside, host = (seconds[scenario, name] for name in WAYS)
        gaps = sorted(one - other for one, other in zip(inside, host, strict=True))
        medians = f"{statistics.median(inside):.2f} s | {statistics.median(host):.2f} s"
        print(f"| {scenario} | {medians} | {statistics.median(gaps):+.2f} s ({gaps[0]:+.2f} to {gaps[-1]:+.2f}) |")
    print(f"\nmedian of {rounds} rounds; the difference is that of each round's pair, with its smallest and largest")


if __name__ == "__main__":
    main()
