"""Pipelines and what happens to them, drawn at random: every kind of entry that a stage of a shell's can have."""

import dataclasses
import shutil
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st
from tests.support.projects import Project
from tests.support.trees import lay

SOURCES = ("raw/a.csv", "raw", "one.csv", "two words é.csv")
FAILS = "fails"


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """The entries of dvc.yaml, and of sub/dvc.yaml."""

    main: dict[str, Any]
    sub: dict[str, Any]

    def write(self, project: Project) -> None:
        """Write it, and what its stages read at first."""
        lay(
            project.root,
            {"raw": {"a.csv": "1", "b.csv": "2"}, "one.csv": "3", "two words é.csv": "4", "sub": {"in": "5"}},
        )
        project.params(n=1, deep={"x": [1, 2], "y": "text"}, names=["p", "q"])
        for name, stages in (("dvc.yaml", self.main), ("sub/dvc.yaml", self.sub)):
            if stages:
                text = yaml.safe_dump({"stages": stages}, sort_keys=False, allow_unicode=True)
                project.write(name, text)


@st.composite
def pipelines(draw: st.DrawFn) -> Pipeline:
    """Draw up to six stages, each of which reads sources, and what earlier ones write."""
    paths: list[str] = draw(st.lists(st.sampled_from(SOURCES), unique=True, min_size=1))
    main: dict[str, Any] = {}
    for number in range(draw(st.integers(1, 5))):
        name = f"s{number}"
        main[name], made = draw(stages(name, paths))
        paths = [*paths, *made]
    sub = {}
    if draw(st.booleans()):
        sub["below"], made = draw(stages("below", ["in"]))
        if draw(st.booleans()) and made:
            out = f"sub/{made[0]}"
            main["last"] = {"cmd": f"cat $(find '{out}' -type f | sort) > last", "deps": [out], "outs": ["last"]}
    return Pipeline(main, sub)


@st.composite
def stages(draw: st.DrawFn, name: str, paths: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Draw a stage that may read ``paths``; give it, and what it writes that others may read."""
    deps = draw(st.lists(st.sampled_from(paths), unique=True, max_size=3))
    if "raw" in deps and "raw/a.csv" in deps:
        deps.remove("raw/a.csv")
    read = "cat /dev/null " + " ".join(f"$(find '{path}' -type f | sort | tr ' ' '?')" for path in deps)
    guard = f"test ! -e {FAILS}-{name}"
    kind = draw(st.sampled_from(["file", "folder", "two", "foreach", "matrix", "metrics", "list", "nothing"]))
    entry: dict[str, Any] = {"deps": deps, "params": draw(st.sampled_from([[], ["n"], ["deep.x", "n"], ["deep"]]))}
    if kind in {"foreach", "matrix"}:
        each = {
            "cmd": f"{guard} && ({read}) > {name}-${{item}}.txt",
            "outs": [f"{name}-${{item}}.txt"],
            **_clean(entry),
        }
        if kind == "foreach":
            return {"foreach": ["u", "v"], "do": each}, [f"{name}-u.txt", f"{name}-v.txt"]
        each = yaml.safe_load(yaml.safe_dump(each).replace("${item}", "${item.k}"))
        return {"matrix": {"k": ["u", 2]}, **each}, [f"{name}-u.txt", f"{name}-2.txt"]
    out = f"{name}.txt"
    flags = draw(st.sampled_from([{}, {}, {}, {"cache": False}, {"persist": True}, {"desc": "what it is"}]))
    entry["outs"] = [{out: flags}] if flags else [out]
    entry["cmd"] = f"{guard} && ({read}) > {out}"
    if kind == "folder":
        entry["cmd"] = f"{guard} && mkdir -p {out}/in && ({read}) > {out}/in/f && echo x > {out}/g"
    elif kind == "two":
        entry["outs"].append(f"{name}/second")
        entry["cmd"] += f" && mkdir -p {name} && cp {out} {name}/second"
    elif kind == "metrics":
        entry["metrics"] = [{f"{name}.json": {"cache": False}}]
        entry["cmd"] += f" && echo '{{\"a\": 1}}' > {name}.json"
    elif kind == "list":
        entry["cmd"] = [guard, f"({read}) > {out}", "true"]
    elif kind == "nothing":
        entry = {"cmd": guard, "deps": deps}
    if draw(st.integers(0, 7)) == 0:
        entry["always_changed"] = True
    return _clean(entry), [] if kind == "nothing" else [out]


def _clean(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if value != []}


Edit = Callable[[Project], object]


def _written(name: str, text: str) -> Edit:
    return lambda project: project.write(name, text)


def _gone(name: str) -> Edit:
    def act(project: Project) -> None:
        path = project.root / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    return act


def _spoilt(name: str) -> Edit:
    def act(project: Project) -> None:
        path = project.root / name
        if path.is_file():
            path.unlink()  # a link to the cache is not written through
            path.write_text("spoilt")

    return act


def _replaced(old: str, new: str) -> Edit:
    def act(project: Project) -> None:
        project.write("dvc.yaml", project.read("dvc.yaml").replace(old, new))

    return act


def _frozen(project: Project) -> None:
    stages = yaml.safe_load(project.read("dvc.yaml"))["stages"]
    if "foreach" not in stages.get("s1", {"foreach": []}):
        stages["s1"]["frozen"] = True
        project.stages(**stages)


EDITS: dict[str, Edit] = {
    "nothing": lambda project: project,
    "a source": _written("one.csv", "edited"),
    "a source as it was": _written("one.csv", "3"),
    "a file in a folder": _written("raw/a.csv", "edited"),
    "a file more in a folder": _written("raw/c.csv", "new"),
    "a file less in a folder": _gone("raw/b.csv"),
    "a source below": _written("sub/in", "edited"),
    "an out is gone": _gone("s0.txt"),
    "another out is gone": _gone("s1.txt"),
    "an out is spoilt": _spoilt("s0.txt"),
    "an out of a group is gone": _gone("s1-u.txt"),
    "a param": lambda p: p.params(n=2, deep={"x": [1, 2], "y": "text"}, names=["p", "q"]),
    "a deep param": lambda p: p.params(n=1, deep={"x": [1, 3], "y": "text"}, names=["p", "q"]),
    "a command": _replaced("cat /dev/null ", "cat /dev/null  "),
    "a frozen stage": _frozen,
    "no dvc.lock": _gone("dvc.lock"),
    "no cache": lambda p: shutil.rmtree(p.root / ".dvc/cache/files", ignore_errors=True),
    "a failure": _written(f"{FAILS}-s0", ""),
    "a later failure": _written(f"{FAILS}-s2", ""),
    "no failure": lambda p: deque(map(Path.unlink, p.root.glob(f"{FAILS}-*"))),
}
