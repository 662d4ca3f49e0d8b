"""Time this pipeline three ways, side by side, and print a table of ratios.

    python bench/pipeline.py [--rounds 3]

Ways: ``make run-host`` (dvc-runner), plain ``dvc repro`` (dvc-runner exec for each stage), and one
``docker run`` per stage from a shell, on the same images. Needs a container engine. Scenarios:

- cold: no outs, no cache; images and environments are there;
- nothing to do: the same again (a shell does not know that, and runs everything);
- one parameter: ``train.n_estimators`` changed, so train and evaluate run (the shell: these two).

Times are whole-command wall seconds, medians; the order of the ways alternates from round to round.
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCENARIOS = ("cold", "nothing to do", "one parameter")
REFERENCE = "docker run"
OUTS = {"ingest": "data/raw", "preprocess": "data/processed", "train": "models", "evaluate": "metrics"}


class Bench:
    """A clone of the project, with everything built."""

    def __init__(self, folder: Path) -> None:
        """Clone, install, start MLflow, build."""
        self.folder = folder
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(folder)], check=True)
        drop = ("MAKE", "MFLAGS", "DVC_")
        env = {key: value for key, value in os.environ.items() if not key.startswith(drop)}
        self.env = {**env, "PATH": f"{folder / '.venv' / 'bin'}{os.pathsep}{env['PATH']}", "DVC_NO_ANALYTICS": "1"}
        self.shell("make setup-env up")
        built = self.shell("dvc-runner build --executor docker")
        self.images = dict(re.findall(r"^(\w+): (\S+)", built, re.MULTILINE))
        found = re.search(r"MLFLOW_TRACKING_URI=['\"]?([^'\"\s]+)", (folder / ".env.auto").read_text())
        self.tracking = found[1] if found else ""
        self.trees = 100

    def shell(self, command: str) -> str:
        """Run a command line in the clone; give its output."""
        done = subprocess.run(
            command, shell=True, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"{command}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def quietly(self, command: str) -> None:
        """Run a command line, and drop what it prints."""
        self.shell(command)

    def docker_run(self, stages: list[str]) -> None:
        """Run stages as a person would from a shell, the project mounted."""
        for stage in stages:
            (self.folder / OUTS[stage]).mkdir(parents=True, exist_ok=True)
            self.shell(
                f"docker run --rm --network host --user {os.getuid()}:{os.getgid()} --env HOME=/tmp "
                f"--env MLFLOW_TRACKING_URI={self.tracking} "
                f"--mount type=bind,source={self.folder},target=/workspace --workdir /workspace "
                f"{self.images[stage]} python -m {stage}"
            )

    def forget(self) -> None:
        """Leave nothing of earlier runs but images, environments and the registry."""
        for path in ("data", "models", ".dvc/cache", ".dvc/tmp"):
            shutil.rmtree(self.folder / path, ignore_errors=True)
        (self.folder / "dvc.lock").unlink(missing_ok=True)

    def change_parameter(self) -> None:
        """Give train another number of trees than any run had."""
        self.trees += 1
        params = self.folder / "params.yaml"
        text = re.sub(r"n_estimators: \d+", f"n_estimators: {self.trees}", params.read_text())
        params.write_text(text)


def ways(bench: Bench) -> dict[str, Callable[[str], None]]:
    """Give each way as a function of the scenario."""
    return {
        "make run-host": lambda _: bench.quietly("make run-host"),
        "dvc repro": lambda _: bench.quietly("dvc repro"),
        REFERENCE: lambda scenario: bench.docker_run(
            ["train", "evaluate"] if scenario == "one parameter" else list(OUTS)
        ),
    }


def measure(bench: Bench, rounds: int) -> dict[tuple[str, str], list[float]]:
    """Time every scenario by every way, ``rounds`` times each; seconds."""
    seconds: dict[tuple[str, str], list[float]] = {}
    ordered = list(ways(bench).items())
    for number in range(rounds):
        for name, way in ordered if number % 2 else reversed(ordered):
            for scenario in SCENARIOS:
                if scenario == "cold":
                    bench.forget()
                if scenario == "one parameter":
                    bench.change_parameter()
                began = time.perf_counter()
                way(scenario)
                seconds.setdefault((scenario, name), []).append(time.perf_counter() - began)
                print(f"  {number + 1}: {scenario}, {name}: {seconds[scenario, name][-1]:.1f} s", file=sys.stderr)
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        bench = Bench(Path(folder) / "clone")
        try:
            seconds = measure(bench, rounds)
        finally:
            bench.shell("make down")
    names = list(ways(bench))
    print("| scenario | " + " | ".join(names) + " |")
    print("|---|" + "---:|" * len(names))
    for scenario in SCENARIOS:
        medians = {name: statistics.median(seconds[scenario, name]) for name in names}
        cells = [f"{medians[n]:.1f} s ({medians[n] / medians[REFERENCE]:.2f})" for n in names]
        print(f"| {scenario} | " + " | ".join(cells) + " |")
    print(f"\nmedian of {rounds} rounds; in brackets the ratio to `{REFERENCE}`")


if __name__ == "__main__":
    main()
