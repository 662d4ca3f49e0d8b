"""Where the runner keeps what is its own, below the project's root."""

from pathlib import Path

FOLDER = Path(".dvc/tmp/dvc-runner")
SCRATCH = FOLDER / "scratch"
ASIDE = FOLDER / "aside"
BUILDS = FOLDER / "builds"
RAN_IN = FOLDER / "ran-in"
LISTS = FOLDER / "folders"
NOTE = "copies"
