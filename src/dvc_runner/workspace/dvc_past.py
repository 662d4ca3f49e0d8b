"""What dvc.lock says of the stages before one, back to the first. A part of the DVC adapter."""

import json
import os
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dvc.dependency import ParamsDependency
from dvc.stage import PipelineStage

from dvc_runner.model import Before, Dep, Kind, Past
from dvc_runner.workspace import dvc_stage

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.stage import Stage as DvcStage

# Each of n stages in a row tells of those before it: without a bound that is n² of them.
FURTHEST = 250


class Makers:
    """Says which stages make what a stage reads.

    DVC's own graph says so too, and takes seconds for a thousand stages: too long for one that is run alone.
    """

    def __init__(self, stages: "Mapping[str, DvcStage]") -> None:
        """Look at the outs of all stages, by address."""
        self.stages = stages
        self._made = {out.fs_path: address for address, stage in stages.items() for out in stage.outs}
        self._paths = sorted(self._made)
        self._known: dict[str, tuple[str, ...]] = {}

    def of(self, address: str) -> tuple[str, ...]:
        """Give the addresses of the stages that a stage's deps come from."""
        if address not in self._known:
            found = [one for dep in self.stages[address].deps for one in self._behind(dep.fs_path)]
            self._known[address] = tuple(dict.fromkeys(found))
        return self._known[address]

    def _behind(self, path: str) -> "Iterator[str]":
        """Give who makes a path, a folder around it, or what is in it."""
        inside = path + os.sep
        for index in range(bisect_left(self._paths, inside), len(self._paths)):
            if not self._paths[index].startswith(inside):
                break
            yield self._made[self._paths[index]]
        while path not in self._made and path != os.path.dirname(path):  # noqa: PTH120 - a path as DVC has it
            path = os.path.dirname(path)  # noqa: PTH120
        if path in self._made:
            yield self._made[path]


def before(makers: Makers, address: str, root: Path, known: dict[str, Past]) -> Before:
    """Give the stages that a stage's deps come from, nearest first.

    Args:
        makers: Of the project.
        address: The stage.
        root: The project's.
        known: What was read before; is added to.
    """
    found: list[Past] = []
    for one in _upstream(makers, address):
        if len(found) == FURTHEST:
            return Before(stages=tuple(found), is_whole=False)
        if one not in known:
            known[one] = read(makers.stages[one], root)
        found.append(known[one])
    return Before(stages=tuple(found))


def _upstream(makers: Makers, address: str) -> "Iterator[str]":
    waiting = deque([address])
    seen = {address}
    while waiting:
        for other in makers.of(waiting.popleft()):
            if other not in seen:
                seen.add(other)
                waiting.append(other)
                yield other


def read(stage: "DvcStage", root: Path) -> Past:
    """Give what dvc.lock says of one stage."""
    deps = [dep for dep in stage.deps if not isinstance(dep, ParamsDependency)]
    params = {
        os.path.relpath(dep.fs_path, root).replace(os.sep, "/"): dep.hash_info.value if dep.hash_info else None
        for dep in stage.deps
        if isinstance(dep, ParamsDependency)
    }
    is_ours = isinstance(stage, PipelineStage) and dvc_stage.kind(stage) is Kind.OURS
    return Past(
        address=str(stage.addressing),
        cmd=dvc_stage.command(stage),
        deps=tuple(_hashed(dep, root) for dep in deps),
        outs=tuple(_hashed(out, root) for out in stage.outs),
        json_params=json.dumps(params, default=str),
        stage=dvc_stage.read(stage, root) if is_ours else None,
    )


def _hashed(entry: "Output", root: Path) -> Dep:
    here = entry.protocol == "local"
    path = os.path.relpath(entry.fs_path, root).replace(os.sep, "/") if here else str(entry)
    return Dep(path=path, md5=str(entry.hash_info.value) if entry.hash_info else None)
