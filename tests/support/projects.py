"""A DVC project of a test, and the commands a person types in it."""

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from tests.support.people import SOMEBODY
from tests.support.started import started
from tests.support.trees import files

from dvc_runner.workspace.places import SCRATCH

BIN = Path(sys.executable).parent
LIMIT_S = 120
OLD = 10**9
DOCKERFILE = """\
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
COPY . /app
ENV PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1
"""
MACHINERY = (".git", ".dvc/tmp", ".dvc/cache")


@dataclasses.dataclass(frozen=True)
class Finished:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """All that it printed."""
        return self.out + self.err

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON objects on its stdout; anything else there is an error."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def outcomes(self) -> dict[str, str]:
        """What became of each stage, by the events on its stdout."""
        return {event["stage"]: event["outcome"] for event in self.events if event["event"] == "stage_end"}

    def ended(self, code: int) -> "Finished":
        """Insist on an exit code, and on no traceback."""
        assert self.code == code, self.text
        assert "Traceback" not in self.text, self.text
        return self


@dataclasses.dataclass(frozen=True, kw_only=True)
class Project:
    """A folder with git and DVC in it.

    ``prefix`` is what its commands are started with, ``dockerfile`` what its stages are built by,
    ``owner`` whose its files are, where that is somebody else.
    """

    root: Path
    env: Mapping[str, str]
    prefix: tuple[str, ...] = ()
    dockerfile: str = DOCKERFILE
    owner: int | None = None

    def adopt(self) -> None:
        """Make every file its owner's."""
        if self.owner is not None:
            for path in [self.root, *self.root.rglob("*")]:
                os.chown(path, self.owner, self.owner, follow_symlinks=False)

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        if self.owner is not None:
            for made in [path, *path.relative_to(self.root).parents]:
                os.chown(self.root / made, self.owner, self.owner)
        return path

    def read(self, name: str) -> str:
        """Read a file of the project."""
        return (self.root / name).read_text(encoding="utf-8")

    def stages(self, **stages: Mapping[str, Any]) -> None:
        """Write dvc.yaml."""
        self.write("dvc.yaml", yaml.safe_dump({"stages": dict(stages)}, sort_keys=False, allow_unicode=True))

    def params(self, **values: Any) -> None:
        """Write params.yaml."""
        self.write("params.yaml", yaml.safe_dump(values, sort_keys=False))

    def stage(
        self,
        name: str,
        code: str,
        *,
        deps: Sequence[str] = (),
        outs: Sequence[Any] = (),
        params: Sequence[Any] = (),
        container: Mapping[str, Any] | None = None,
        **entries: Any,
    ) -> dict[str, Any]:
        """Write the folder of a stage of ours; give its entry of dvc.yaml."""
        self.write(f"stages/{name}/{name}.py", code)
        self.write(f"stages/{name}/Dockerfile", self.dockerfile)
        self.write(f"stages/{name}/requirements.txt", "")
        build = {"context": f"stages/{name}", "args": {"BASE_IMAGE": "given by the environment"}}
        entry: dict[str, Any] = {
            "cmd": f"dvc-runner exec python3 -m {name}",
            "deps": [f"stages/{name}", *deps],
            "params": list(params),
            "outs": list(outs),
            "meta": {"container": {"build": build, **(container or {})}},
            **entries,
        }
        return {key: value for key, value in entry.items() if value != []}

    def run(self, *arguments: str, env: Mapping[str, str] | None = None) -> Finished:
        """Start dvc-runner, and wait for its end."""
        return self._finish([str(BIN / "dvc-runner"), *arguments], env)

    def json(self, *arguments: str, env: Mapping[str, str] | None = None) -> Finished:
        """Start ``dvc-runner run --json``, and wait for its end."""
        return self.run("run", "--json", *arguments, env=env)

    def dvc(self, *arguments: str, env: Mapping[str, str] | None = None) -> Finished:
        """Start dvc, and wait for its end."""
        return self._finish([str(BIN / "dvc"), *arguments], env)

    def git(self, *arguments: str) -> str:
        """Start git; give what it says."""
        done = subprocess.run(["git", *arguments], cwd=self.root, env=self.env, capture_output=True, check=True)
        return done.stdout.decode()

    def started(self, program: str, *arguments: str) -> contextlib.AbstractContextManager["subprocess.Popen[str]"]:
        """Start dvc-runner or dvc as a terminal does; kill what is left of it in the end."""
        return started([*self.prefix, str(BIN / program), *arguments], self.root, self.env)

    def lock(self) -> dict[str, Any]:
        """Read the stages of dvc.lock."""
        found: dict[str, Any] = yaml.safe_load(self.read("dvc.lock"))["stages"]
        return found

    def files(self) -> dict[str, bytes]:
        """Give what a person sees in the project, by path; Python's bytecode comes and goes."""
        found = files(self.root, leave_out=MACHINERY)
        return {path: content for path, content in found.items() if "__pycache__" not in path}

    def cache(self) -> dict[str, bytes]:
        """Give what is in DVC's cache and run-cache, by path."""
        return files(self.root / ".dvc" / "cache")

    def records(self) -> list[list[dict[str, Any]]]:
        """Give the events of each run so far."""
        found = sorted(self.root.glob(".dvc/tmp/dvc-runner/runs/*/record.jsonl"), key=lambda path: path.stat().st_mtime)
        return [[json.loads(line) for line in path.read_text("utf-8").splitlines()] for path in found]

    def outcomes(self) -> dict[str, str]:
        """Give what became of each stage in the last run."""
        return {event["stage"]: event["outcome"] for event in self.records()[-1] if event["event"] == "stage_end"}

    def age_scratches(self) -> None:
        """Make the scratch folders that killed runners left so old that the next stage's start removes them."""
        for scratch in (self.root / SCRATCH).glob("*"):
            os.utime(scratch, (OLD, OLD))

    def with_env(self, **env: str) -> "Project":
        """Give the same project with other variables."""
        return dataclasses.replace(self, env={**self.env, **env})

    def twin(self, name: str = "twin") -> "Project":
        """Give a copy of the project, beside it."""
        root = self.root.with_name(f"{self.root.name} {name}")
        shutil.copytree(self.root, root, symlinks=True)
        found = dataclasses.replace(self, root=root)
        found.adopt()
        return found

    def _finish(self, command: Sequence[str], env: Mapping[str, str] | None) -> Finished:
        done = subprocess.run(
            [*self.prefix, *command],
            cwd=self.root,
            env={**self.env, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LIMIT_S,
            check=False,
        )
        out, err = (stream.decode("utf-8", "replace") for stream in (done.stdout, done.stderr))
        return Finished(done.returncode, out, err)


def environment(**variables: str) -> dict[str, str]:
    """The environment of a shell in which the project's virtual environment is active."""
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "SHELL": "/bin/sh", **variables}


def template(folder: Path) -> Path:
    """Make a project with git and DVC in it, to be copied."""
    env = environment()
    for command in (["git", "init", "--quiet", "-b", "main"], [str(BIN / "dvc"), "init", "--quiet"]):
        subprocess.run(command, cwd=folder, env=env, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return folder


def as_other_user(*groups: int) -> tuple[str, ...]:
    """What starts a command as a user who owns nothing; nothing where we are not root.

    The user may read everything, since root's Python may lie where others may not look.
    """
    if os.geteuid() != 0:
        return ()
    alone = "-all,+dac_read_search"
    return (
        *("setpriv", f"--reuid={SOMEBODY}", f"--regid={SOMEBODY}"),
        f"--groups={','.join(map(str, groups))}" if groups else "--clear-groups",
        *(f"--inh-caps={alone}", f"--ambient-caps={alone}", f"--bounding-set={alone}"),
    )
