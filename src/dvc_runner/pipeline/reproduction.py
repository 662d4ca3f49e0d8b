"""Whether what made a model makes the same again."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from dvc_runner.errors import ConfigurationError
from dvc_runner.tracking import lineage
from dvc_runner.tracking.models import TrackedRun

RESULTS = ("out", "file", "metric")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What a version was made from; ``outs`` are hashes by path, ``images`` keys by stage.

    ``files`` are hashes by path of what was logged to its run, ``commits`` those that others who logged tell of.
    """

    stage: str
    commit: str
    diff: str | None
    outs: Mapping[str, str]
    images: Mapping[str, str]
    executor: str | None
    files: Mapping[str, str]
    commits: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """One thing then and now; None is not there. An image says what code ran in, and is no result."""

    kind: str
    name: str
    then: str | None
    now: str | None

    @property
    def is_same(self) -> bool:
        """Whether it came out the same."""
        return self.then == self.now


def recipe(found: Mapping[str, Any], logged: Mapping[str, str] = MappingProxyType({})) -> Recipe:
    """Read what a version was made from out of its lineage, and what was ``logged`` with it: texts by path.

    Raises:
        ConfigurationError: It does not say enough.
    """
    lacking = next((key for key in ("stage", "git_commit") if not found.get(key)), None)
    if lacking:
        raise ConfigurationError(
            f"the version's lineage has no {lacking}",
            remedy="only what was trained in a git repository can be made again",
        )
    if found.get("git_dirty") and not (found.get("git_diff") and found.get("git_diff_whole")):
        raise ConfigurationError(
            f"it was made from {str(found['git_commit'])[:8]} and changes that its lineage does not hold whole",
            remedy="commit before a run whose model matters",
        )
    before = found.get("upstream") or []
    stages = [*before, {"stage": found["stage"], "image": found.get("image")}]
    return Recipe(
        stage=str(found["stage"]),
        commit=str(found["git_commit"]),
        diff=found.get("git_diff") if found.get("git_dirty") else None,
        outs={path: md5 for one in before for path, md5 in one.get("outs", {}).items() if md5},
        images={one["stage"]: one["image"]["key"] for one in stages if one.get("image")},
        executor=found.get("executor"),
        files={
            path: hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
            for path, text in logged.items()
            if not path.endswith(f"/{lineage.FILE}")
        },
        commits=lineage.commits(logged),
    )


def compare(then: Recipe, run_then: TrackedRun, now: Recipe, run_now: TrackedRun) -> list[Compared]:
    """Set beside each other what was made then and now, in the order images, outs, files, params, metrics.

    An image that is not known of then is compared with none.
    """
    parts = (
        ("image", then.images, {name: key for name, key in now.images.items() if name in then.images}),
        ("out", then.outs, now.outs),
        ("file", then.files, now.files if then.files else {}),
        ("param", run_then.params, run_now.params),
        ("metric", _texts(run_then.metrics), _texts(run_now.metrics)),
    )
    return [
        Compared(kind=kind, name=name, then=old.get(name), now=new.get(name))
        for kind, old, new in parts
        for name in sorted({*old, *new})
    ]


def verdict(found: list[Compared], then: Recipe) -> tuple[bool, str]:
    """Say whether all results are the same, and in words what that means."""
    results = [one for one in found if one.kind in RESULTS]
    differing = [one for one in results if not one.is_same]
    if not results:
        return False, "nothing can be compared: neither outs nor metrics are known"
    images = _names([one for one in found if one.kind == "image" and not one.is_same])
    others = f"; in other images than then: {images}" if images else ""
    if not differing:
        return True, f"reproduced: {len(results)} outs, files and metrics came out the same{others}"
    later = "".join(f"; {path} is of commit {one[:8]}" for path, one in then.commits.items() if one != then.commit)
    words = f"not reproduced: {len(differing)} of {len(results)} outs, files and metrics differ: {_names(differing)}"
    return False, f"{words}{others}{later}"


def _names(found: list[Compared]) -> str:
    return ", ".join(one.name for one in found[:3]) + (", …" if len(found) > 3 else "")  # noqa: PLR2004


def _texts(metrics: Mapping[str, float]) -> dict[str, str]:
    return {name: repr(value) for name, value in metrics.items()}
