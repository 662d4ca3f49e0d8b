"""What results were made in, noted as each stage ends: dvc.lock tells only what they were made from."""

import contextlib
import hashlib
import json
import os
from pathlib import Path

from dvc_runner.model import Environment, Past
from dvc_runner.workspace.places import RAN_IN
from dvc_runner.workspace.stamps import keep_newest

# Notes beside one for each stage.
KEPT = 1000


def keep(root: Path, past: Past, environment: Environment) -> None:
    """Note what made the results of a stage; without room for it, it is not known, and nothing fails."""
    path = _note(root, past)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"key": environment.key, "id": environment.id}), encoding="utf-8")


def find(root: Path, past: Past) -> Environment | None:
    """Give what made the results that dvc.lock has of a stage; None if nobody noted it here."""
    note = _note(root, past)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads(note.read_text("utf-8"))
        with contextlib.suppress(OSError):
            note.touch()
        return Environment(reference="", key=found["key"], id=found["id"])
    return None


def sweep(root: Path, stages: int) -> None:
    """Remove the notes that are the longest out of use, so that one for each of ``stages`` is there, and some more."""
    notes = (Path(folder, name) for folder, _, names in os.walk(root / RAN_IN) for name in names)
    keep_newest(notes, stages + KEPT)


def _note(root: Path, past: Past) -> Path:
    deps, outs = (sorted((entry.path, entry.md5) for entry in entries) for entries in (past.deps, past.outs))
    made = json.dumps([past.cmd, deps, outs, json.loads(past.json_params)], sort_keys=True)
    name = hashlib.sha256(made.encode("utf-8", "surrogateescape")).hexdigest()
    return root / RAN_IN / name[:2] / name
