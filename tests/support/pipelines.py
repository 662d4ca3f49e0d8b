"""Pipelines and what happens to them, drawn at random: every kind of entry that a stage of a shell's can have."""

import contextlib
import dataclasses
import os
import posixpath
import shutil
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from dvc.cli import main as dvc
from hypothesis import strategies as st
from tests.support.projects import Project
from tests.support.trees import Node, lay

SOURCES = ("raw/a.csv", "raw", "one.csv", "two words é.csv")
TRACKED = ("tracked.csv", "tracked", "tracked/a.csv")
WDIR = "w dir"
SUB = "sub"
# Beside these, a dvc.yaml has what stands in params.yaml.
VARS = ["vars.yaml", {"v": {"a": 1, "name": "named"}}]
WORDS = ["", "", "${v.a}", "${x} ${deep.y}", "${names[1]} ${deep}"]
FAILS = "fails"
OLD_NS = 10**18


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """The entries of dvc.yaml, and of sub/dvc.yaml."""

    main: dict[str, Any]
    sub: dict[str, Any]

    def write(self, project: Project) -> None:
        """Write it, and what its stages read at first."""
        sources: dict[str, Node] = {"raw": {"a.csv": "1", "b.csv": "2"}, "one.csv": "3", "two words é.csv": "4"}
        lay(project.root, {**sources, SUB: {"in": "5"}, WDIR: {}, "vars.yaml": "x: 6\n"})
        project.params(n=1, deep={"x": [1, 2], "y": "text"}, names=["p", "q"])
        main = yaml.safe_dump({"vars": VARS, "stages": self.main}, sort_keys=False, allow_unicode=True)
        project.write("dvc.yaml", main)
        if self.sub:
            sub = yaml.safe_dump({"stages": self.sub}, sort_keys=False, allow_unicode=True)
            project.write(f"{SUB}/dvc.yaml", sub)
        if "tracked" in main:
            lay(project.root, {"tracked.csv": "7", "tracked": {"a.csv": "8", "b.csv": "9"}})
            _added(project)


@st.composite
def pipelines(draw: st.DrawFn) -> Pipeline:
    """Draw up to six stages, each of which reads sources, and what earlier ones write."""
    sources = st.sampled_from([*SOURCES, *(TRACKED if draw(st.integers(0, 2)) else ())])
    paths: list[str] = draw(st.lists(sources, unique=True, min_size=1))
    main: dict[str, Any] = {}
    for number in range(draw(st.integers(1, 5))):
        name = f"s{number}"
        main[name], made = draw(stages(name, paths, draw(st.sampled_from([".", ".", WDIR]))))
        paths = [*paths, *made]
    sub = {}
    if draw(st.booleans()):
        sub["below"], made = draw(stages("below", [f"{SUB}/in"], SUB))
        # It is where that dvc.yaml lies.
        sub["below"].get("do", sub["below"]).pop("wdir", None)
        if draw(st.booleans()) and made:
            main["last"] = {
                "cmd": f"cat $(find '{made[0]}' -type f | sort) > last",
                "deps": [made[0]],
                "outs": ["last"],
            }
    return Pipeline(main, sub)


@st.composite
def stages(draw: st.DrawFn, name: str, paths: list[str], wdir: str) -> tuple[dict[str, Any], list[str]]:
    """Draw a stage that may read ``paths``; give it, and what it writes that others may read."""
    drawn = draw(st.lists(st.sampled_from(paths), unique=True, max_size=3))
    deps = [posixpath.relpath(path, wdir) for path in drawn if posixpath.dirname(path) not in drawn]
    read = "cat /dev/null " + " ".join(f"$(find '{path}' -type f | sort | tr ' ' '?')" for path in deps)
    words = draw(st.sampled_from(WORDS)) if wdir != SUB else ""
    read += f" && echo {words}" if words else ""
    guard = f"test ! -e {posixpath.relpath(FAILS, wdir)}-{name}"
    kinds = ["file", "folder", "two", "foreach", "matrix", "metrics", "plots", "list", "nothing"]
    kind = draw(st.sampled_from(kinds if wdir == SUB else [*kinds, "named"]))
    params: list[Any] = draw(st.sampled_from([[], ["n"], ["deep.x", "n"], ["deep"]]))
    if wdir != "." and params:
        params = [{"../params.yaml": params}]
    entry: dict[str, Any] = {"wdir": wdir, "deps": deps, "params": params}
    if kind in {"foreach", "matrix"}:
        each = {
            "cmd": f"{guard} && ({read}) > {name}-${{item}}.txt",
            "outs": [f"{name}-${{item}}.txt"],
            **_clean(entry),
        }
        if kind == "foreach":
            return {"foreach": ["u", "v"], "do": each}, _in(wdir, f"{name}-u.txt", f"{name}-v.txt")
        each = yaml.safe_load(yaml.safe_dump(each).replace("${item}", "${item.k}"))
        return {"matrix": {"k": ["u", 2]}, **each}, _in(wdir, f"{name}-u.txt", f"{name}-2.txt")
    flags = draw(st.sampled_from([{}, {}, {}, {"cache": False}, {"persist": True}, {"desc": "what it is"}]))
    made = _shape(entry, kind, name, guard, read)
    if kind == "nothing":
        entry.pop("params")
    elif flags:
        entry["outs"][0] = {entry["outs"][0]: flags}
    if draw(st.integers(0, 7)) == 0:
        entry["always_changed"] = True
    return _clean(entry), _in(wdir, *made)


def _shape(entry: dict[str, Any], kind: str, name: str, guard: str, read: str) -> list[str]:
    """Put command and outs of a kind into a stage's entry; give what others may read."""
    out = f"{name}.txt"
    made = [out]
    entry["outs"] = [out]
    entry["cmd"] = f"{guard} && ({read}) > {out}"
    if kind == "folder":
        entry["cmd"] = f"{guard} && mkdir -p {out}/in && ({read}) > {out}/in/f && echo x > {out}/g"
        made = [out, f"{out}/g"]
    elif kind == "two":
        entry["outs"].append(f"{name}/second")
        entry["cmd"] += f" && mkdir -p {name} && cp {out} {name}/second"
    elif kind == "metrics":
        entry["metrics"] = [{f"{name}.json": {"cache": False}}]
        entry["cmd"] += f" && echo '{{\"a\": 1}}' > {name}.json"
    elif kind == "plots":
        entry["plots"] = [{f"{name}.csv": {"x": "x", "y": "y"}}, {f"{name}.tsv": {"cache": False}}]
        entry["cmd"] += f" && echo x,y > {name}.csv && cp {name}.csv {name}.tsv"
    elif kind == "named":
        entry["vars"] = [{"here": name}]
        entry["outs"].append("${v.name}-${here}.txt")
        entry["cmd"] += f" && cp {out} ${{v.name}}-${{here}}.txt"
        made = [out, f"named-{name}.txt"]
    elif kind == "list":
        entry["cmd"] = [guard, f"({read}) > {out}", "true"]
    elif kind == "nothing":
        entry["cmd"], entry["outs"], made = guard, [], []
    return made


def _clean(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if value not in ([], ".")}


def _in(folder: str, *names: str) -> list[str]:
    return [posixpath.normpath(posixpath.join(folder, name)) for name in names]


Edit = Callable[[Project], object]


def _written(name: str, text: str) -> Edit:
    return lambda project: project.write(name, text)


def _found(project: Project, name: str) -> Path:
    """Give the path of what a stage wrote, wherever it works."""
    return next((path for path in (project.root / name, project.root / WDIR / name) if path.exists()), Path("/nowhere"))


def _gone(name: str) -> Edit:
    def act(project: Project) -> None:
        path = _found(project, name)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    return act


def _spoilt(name: str, text: str = "spoilt") -> Edit:
    """Give other content to a file that is there, and may be a link to the cache."""

    def act(project: Project) -> None:
        path = _found(project, name)
        if path.is_file():
            path.unlink()
            path.write_text(text)

    return act


def _more(name: str) -> Edit:
    """Put a file more into a folder that is there."""

    def act(project: Project) -> None:
        path = _found(project, name)
        if path.is_dir():
            (path / "more").write_text("more")

    return act


def _touched(name: str) -> Edit:
    def act(project: Project) -> None:
        path = _found(project, name)
        if path.is_file():
            os.utime(path, ns=(OLD_NS, OLD_NS))

    return act


def _exchanged(project: Project) -> None:
    """Put a file of the same size and time in a source's place."""
    path, other = project.root / "one.csv", project.root / "other"
    state = path.stat()
    other.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
    os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
    other.replace(path)


def _replaced(old: str, new: str) -> Edit:
    def act(project: Project) -> None:
        project.write("dvc.yaml", project.read("dvc.yaml").replace(old, new))

    return act


def _frozen(project: Project) -> None:
    whole = yaml.safe_load(project.read("dvc.yaml"))
    if "foreach" not in whole["stages"].get("s1", {"foreach": []}):
        whole["stages"]["s1"]["frozen"] = True
        project.write("dvc.yaml", yaml.safe_dump(whole, sort_keys=False, allow_unicode=True))


def _added(project: Project) -> None:
    """Let DVC track what is there of what it is to track."""
    there = [name for name in ("tracked.csv", "tracked") if (project.root / name).exists()]
    if there:
        with contextlib.chdir(project.root):
            assert dvc(["add", "-q", *there]) == 0


EDITS: dict[str, Edit] = {
    "nothing": lambda project: project,
    "a source": _written("one.csv", "edited"),
    "a source as it was": _written("one.csv", "3"),
    "a file in a folder": _written("raw/a.csv", "edited"),
    "a file more in a folder": _written("raw/c.csv", "new"),
    "a file less in a folder": _gone("raw/b.csv"),
    "a source is touched": _touched("one.csv"),
    "a source, by another of its size and time": _exchanged,
    "a source below": _written("sub/in", "edited"),
    "an out is gone": _gone("s0.txt"),
    "another out is gone": _gone("s1.txt"),
    "an out is spoilt": _spoilt("s0.txt"),
    "an out is touched": _touched("s0.txt"),
    "a file of an out is gone": _gone("s0.txt/g"),
    "a file of an out is spoilt": _spoilt("s0.txt/in/f"),
    "a file more in an out": _more("s0.txt"),
    "an out of plots is gone": _gone("s0.csv"),
    "an out of a group is gone": _gone("s1-u.txt"),
    "a param": lambda p: p.params(n=2, deep={"x": [1, 2], "y": "text"}, names=["p", "q"]),
    "a param as it was": lambda p: p.params(n=1, deep={"x": [1, 2], "y": "text"}, names=["p", "q"]),
    "a deep param": lambda p: p.params(n=1, deep={"x": [1, 3], "y": "text"}, names=["p", "q"]),
    "a variable": _replaced("a: 1", "a: 2"),
    "a variable of a file": _written("vars.yaml", "x: 7\n"),
    "a name": _replaced("name: named", "name: other"),
    "a tracked file": _spoilt("tracked.csv"),
    "a tracked file as it was": _spoilt("tracked.csv", "7"),
    "a tracked file is gone": _gone("tracked.csv"),
    "a file in a tracked folder": _spoilt("tracked/a.csv"),
    "a file more in a tracked folder": _more("tracked"),
    "what is tracked is added": _added,
    "a command": _replaced("cat /dev/null ", "cat /dev/null  "),
    "a frozen stage": _frozen,
    "no dvc.lock": _gone("dvc.lock"),
    "no cache": lambda p: shutil.rmtree(p.root / ".dvc/cache/files", ignore_errors=True),
    "no run-cache": lambda p: shutil.rmtree(p.root / ".dvc/cache/runs", ignore_errors=True),
    "a failure": _written(f"{FAILS}-s0", ""),
    "a later failure": _written(f"{FAILS}-s2", ""),
    "no failure": lambda p: deque(map(Path.unlink, p.root.glob(f"{FAILS}-*"))),
}
