"""What dvc.lock says of the stages before one, back to the first. A part of the DVC adapter."""

import json
import os
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dvc.dependency import ParamsDependency
from dvc.stage import PipelineStage

from dvc_runner.model import Before, Dep, Kind, Past
from dvc_runner.workspace import dvc_stage

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.stage import Stage as DvcStage

# Each of n stages in a row tells of those before it: without a bound that is n² of them.
FURTHEST = 250


class Graph(Protocol):
    """DVC's graph of stages; its edges lead upstream."""

    def __contains__(self, stage: object) -> bool:
        """Say whether it has a stage."""
        ...

    def successors(self, stage: "DvcStage") -> "Iterable[DvcStage]":
        """Give the stages whose outs a stage reads."""
        ...


def before(graph: Graph, stage: "DvcStage", root: Path, known: dict[str, Past]) -> Before:
    """Give the stages that a stage's deps come from, nearest first.

    Args:
        graph: Of all stages.
        stage: The stage.
        root: The project's.
        known: What was read before; is added to.
    """
    found: list[Past] = []
    for one in _upstream(graph, stage):
        if len(found) == FURTHEST:
            return Before(stages=tuple(found), is_whole=False)
        address = str(one.addressing)
        if address not in known:
            known[address] = _read(one, root)
        found.append(known[address])
    return Before(stages=tuple(found))


def _upstream(graph: Graph, stage: "DvcStage") -> "Iterator[DvcStage]":
    waiting = deque([stage])
    seen = {stage}
    while waiting:
        one = waiting.popleft()
        for other in graph.successors(one) if one in graph else ():
            if other not in seen:
                seen.add(other)
                waiting.append(other)
                yield other


def _read(stage: "DvcStage", root: Path) -> Past:
    deps = [dep for dep in stage.deps if not isinstance(dep, ParamsDependency)]
    params = {
        os.path.relpath(dep.fs_path, root).replace(os.sep, "/"): dep.hash_info.value if dep.hash_info else None
        for dep in stage.deps
        if isinstance(dep, ParamsDependency)
    }
    is_ours = isinstance(stage, PipelineStage) and dvc_stage.kind(stage) is Kind.OURS
    return Past(
        address=str(stage.addressing),
        cmd=stage.cmd if isinstance(stage.cmd, str) else "\n".join(stage.cmd or []),
        deps=tuple(_hashed(dep, root) for dep in deps),
        outs=tuple(_hashed(out, root) for out in stage.outs),
        json_params=json.dumps(params, default=str),
        stage=dvc_stage.read(stage, root) if is_ours else None,
    )


def _hashed(entry: "Output", root: Path) -> Dep:
    here = entry.protocol == "local"
    path = os.path.relpath(entry.fs_path, root).replace(os.sep, "/") if here else str(entry)
    return Dep(path=path, md5=str(entry.hash_info.value) if entry.hash_info else None)
