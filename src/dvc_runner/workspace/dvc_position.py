"""Where in its files stands what DVC, or we, complain of. A part of the DVC adapter."""

import contextlib
import os
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from dvc.exceptions import OutputDuplicationError, OverlappingOutputPathsError
from dvc.parsing import DataResolver, EntryDefinition, ForeachDefinition, MatrixDefinition, TopDefinition
from dvc.repo.graph import check_acyclic
from dvc.stage import PipelineStage
from dvc.stage.loader import StageLoader
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from dvc_runner.errors import ConfigurationError

if TYPE_CHECKING:
    from dvc.stage import Stage as DvcStage

# A file, and the keys that lead to an entry of it.
Entry = tuple[str, tuple[object, ...]]
CONTAINER = ("meta", "container")
_DEFINITIONS = (EntryDefinition, ForeachDefinition, MatrixDefinition, TopDefinition)


@contextlib.contextmanager
def located(stage: "DvcStage", *keys: object) -> Iterator[None]:
    """Have what is wrong with an entry of a stage's say where that is."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"{of_stage(stage, *keys)}{error}", remedy=error.remedy) from error


def of_stage(stage: "DvcStage", *keys: object) -> str:
    """Give where an entry of a stage's is, to be put before a message; nothing for a stage that dvc.yaml has not."""
    return _told([_of(stage, *keys)]) if isinstance(stage, PipelineStage) else ""


def of_error(error: BaseException) -> str:
    """Give where that is which DVC complains of, to be put before the message; nothing if it does not tell."""
    stages: Iterable[DvcStage] = ()
    if isinstance(error, OutputDuplicationError):
        stages = error.stages
    elif isinstance(error, OverlappingOutputPathsError):
        stages = (error.parent.stage, error.overlapping_out.stage)
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in reversed(frames):
        if frame.f_code is check_acyclic.__code__:
            stages = frame.f_locals["stages"]
        entry = _read_in(frame)
        if entry and not stages:
            return _told([entry])
    return _told(_of(stage) for stage in stages if isinstance(stage, PipelineStage))


def line_of(text: str, keys: Sequence[object]) -> int:
    """Give the line of an entry of a YAML, or of the innermost one around it that there is."""
    return _line(_composed(text), keys) or 1


def _composed(text: str) -> Node | None:
    """Give the nodes of a YAML; nothing for what is none."""
    with contextlib.suppress(YAMLError):
        found: Node | None = YAML(typ="safe", pure=True).compose(text)
        return found
    return None


def _line(node: Node | None, keys: Sequence[object]) -> int:
    """Give the line of an entry, or of the innermost one around it that there is; 0 if there is none."""
    line = 0
    for key in keys:
        if isinstance(node, SequenceNode) and isinstance(key, int):
            node = node.value[key]
            line = node.start_mark.line + 1
            continue
        found = _in(node, key) or _in(_of_group(node), key) or _in(node, str(key).partition("@")[0])
        if not found:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return int(line)


def _in(node: Node | None, key: object) -> tuple[Node, Node] | None:
    """Give key and value of an entry of a mapping."""
    if not isinstance(node, MappingNode):
        return None
    return next((found for found in node.value if found[0].value == str(key)), None)


def _of_group(node: Node | None) -> Node | None:
    """Give what the stages of a foreach have in common."""
    found = _in(node, "do")
    return found[1] if found else None


def _of(stage: "DvcStage", *keys: object) -> Entry:
    return stage.path, ("stages", stage.name, *keys)


def _read_in(frame: FrameType) -> Entry | None:
    """Give what DVC reads in a frame, if it is an entry."""
    known = frame.f_locals
    if frame.f_code is StageLoader.load_stage.__code__:
        return known["dvcfile"].path, ("stages", known["name"])
    if frame.f_code is StageLoader.fill_from_lock.__code__:
        return str(Path(known["stage"].path).with_suffix(".lock")), ("stages", known["stage"].name)
    one = known.get("self")
    if frame.f_code is StageLoader.__getitem__.__code__ and isinstance(one, StageLoader) and "@" in known["name"]:
        # A member of a group that DVC does not find again, such as one with an @ of its own.
        return one.dvcfile.path, ("stages", known["name"])
    if isinstance(one, _DEFINITIONS):
        return one.relpath, (one.where, one.name, *filter(None, [known.get("key")]))
    return (one.relpath, ("vars",)) if isinstance(one, DataResolver) and "vars_" in known else None


def _told(entries: Iterable[Entry]) -> str:
    by_path: dict[str, list[tuple[object, ...]]] = {}
    for path, keys in entries:
        by_path.setdefault(os.path.relpath(path), []).append(keys)
    found = [path + _lines(path, keys) for path, keys in sorted(by_path.items())]
    return f"{'; '.join(found)}: " if found else ""


def _lines(path: str, keys: list[tuple[object, ...]]) -> str:
    try:
        whole = _composed(Path(path).read_text("utf-8"))
    except (OSError, ValueError):
        return ""
    lines = sorted({_line(whole, one) for one in keys} - {0})
    return ": " + ", ".join(f"line {line}" for line in lines) if lines else ""
