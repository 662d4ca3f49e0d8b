"""An executor at work on a project of a test."""

import dataclasses
import json
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.support.trees import Node, lay, tree
from tests.support.waiting import until

from dvc_runner.executors.base import Executor
from dvc_runner.model import (
    Build,
    Container,
    ContainerExit,
    ContainerSpec,
    Dep,
    Environment,
    Limits,
    Network,
    Out,
    ParamsFile,
    Sandbox,
    Server,
    Stage,
    User,
)
from dvc_runner.workspace import sandbox

LIMIT_S = 60
LOOKS = 5
BUILD = Build(
    context="stages/lab",
    dockerfile="stages/lab/Dockerfile",
    args=(("BASE_IMAGE", "given by the environment"),),
)
STAGE = Stage(
    address="lab",
    wdir=".",
    cmd="",
    argv=(),
    deps=(Dep(path="stages/lab"),),
    outs=(),
    params=(),
    container=Container(build=BUILD),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ran:
    """What came of a command; ``left`` is what its working folder then held."""

    ended: ContainerExit
    lines: list[str]
    left: dict[str, Node]

    @property
    def said(self) -> Any:
        """Its output, read as JSON; a long line comes in pieces."""
        return json.loads("".join(self.lines))


class Way:
    """Runs commands by one executor, in sandboxes of one project."""

    def __init__(self, executor: Executor, root: Path, env: Environment) -> None:
        """Use ``env`` of ``executor`` for the project at ``root``."""
        self.executor = executor
        self.name = executor.name
        self.root = root
        self.environment = env

    def python(self, code: str, **spec: Any) -> Ran:
        """Run a piece of Python."""
        return self.run(["python3", "-c", code], **spec)

    def run(
        self,
        argv: Sequence[str],
        *,
        on_line: Callable[[str, Sandbox], None] | None = None,
        deps: Sequence[str] = (),
        outs: Sequence[str] = (),
        params: Sequence[ParamsFile] = (),
        **spec: Any,
    ) -> Ran:
        """Run a command; ``spec`` takes the place of what a spec holds otherwise."""
        stage = dataclasses.replace(
            STAGE,
            wdir=spec.get("wdir", "."),
            deps=tuple(Dep(path=path) for path in ("stages/lab", *deps)),
            outs=tuple(Out(path=path) for path in outs),
            params=tuple(params),
        )
        user = self._user()
        lines: list[str] = []
        with sandbox.opened(
            (self.root, self.root / ".dvc/cache"), stage, user=user, secrets={}, links=self.executor.links_deps
        ) as scratch:
            sandbox.write_lineage(scratch, json.dumps({"stage": "lab"}))

            def take(line: str) -> None:
                lines.append(line)
                if on_line:
                    on_line(line, scratch)

            ended = self.executor.execute(self._spec(argv, scratch, user, spec), take)
            return Ran(ended=ended, lines=lines, left=tree(scratch.workspace))

    def _user(self) -> User:
        return sandbox.current_user() if self.executor.links_deps else sandbox.stage_user(self.root)

    def _spec(self, argv: Sequence[str], scratch: Sandbox, user: User, changed: dict[str, Any]) -> ContainerSpec:
        found: dict[str, Any] = {
            "stage": "lab",
            "argv": tuple(argv),
            "wdir": ".",
            "environment": self.environment,
            "sandbox": scratch,
            "env": (("DVC_STAGE", "lab"),),
            "python_path": ("stages/lab",),
            "user": user,
            "network": Network.NONE,
            "servers": (),
            "limits": Limits(timeout_s=LIMIT_S),
        }
        return ContainerSpec(**{**found, **changed})


def tracking(port: int, host: str = "127.0.0.1") -> dict[str, Any]:
    """What a spec holds for a tracking server at a port of this machine."""
    server = Server(host=host, port=port)
    env = (("MLFLOW_TRACKING_URI", f"http://{host}:{port}"),)
    return {"network": Network.TRACKING, "servers": (server,), "env": env}


def lay_out(root: Path, dockerfile: str) -> Path:
    """Make the folder of a project with a stage called lab."""
    lay(
        root,
        {
            "stages": {"lab": {"lab.py": "print('lab')", "Dockerfile": dockerfile, "requirements.txt": ""}},
            "data": {"raw.csv": "raw", "deep": {"x y.csv": "x"}},
            "undeclared.csv": "no",
            ".env": "TOKEN=1",
        },
    )
    return root


def with_mark(mark: str) -> list[int]:
    """Give the processes, of whatever namespace, that run with ``mark`` in their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid():
            try:
                if mark.encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


def all_gone(mark: str) -> bool:
    """Say whether no process with ``mark`` comes to be seen any more, also none that goes from parent to parent."""
    return until(lambda: not any(with_mark(mark) for _ in range(LOOKS)))


def once(line: str, act: Callable[[Sandbox], None]) -> Callable[[str, Sandbox], None]:
    """Give what calls ``act`` when ``line`` comes for the first time."""
    done = threading.Event()

    def on_line(found: str, scratch: Sandbox) -> None:
        if found == line and not done.is_set():
            done.set()
            act(scratch)

    return on_line
