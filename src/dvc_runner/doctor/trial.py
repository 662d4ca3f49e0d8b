"""What a stage can reach: a real one is started, by a real executor, in a sandbox of the project."""

import contextlib
import inspect
import json
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from dvc_runner.doctor import probe
from dvc_runner.errors import EngineError
from dvc_runner.executors.base import Executor
from dvc_runner.model import Build, Container, Dep, Limits, Network, Out, Stage
from dvc_runner.pipeline.stage_run import Surroundings, attempt_of
from dvc_runner.workspace.places import FOLDER

STAGE = "doctor"
TIMEOUT_S = 40
LIMIT_S = 90
NAME = "example.com"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """How a stage fared: for each thing an empty text if it could, else how it failed.

    ``uid`` is whose the file is that it wrote, ``wanted_uid`` whose it should be.
    """

    declared: str
    declared_write: str
    undeclared: str
    port: str
    names: str
    tracking: str
    uid: int
    wanted_uid: int


def try_out(executor: Executor, around: Surroundings, network: Network, *, image: str | None) -> Tried:
    """Start a stage that tries what it can reach; nothing stays of it.

    Args:
        executor: What starts it.
        around: The project.
        network: What the stage asks for.
        image: What it runs in; None is an environment of the executor's with nothing installed.

    Raises:
        EngineError: It could not be started, or did not end well.
    """
    parent = around.root / FOLDER
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="doctor-", dir=parent))
    try:
        with _listening() as port:
            return _tried(executor, around, _stage(folder, around.root, network, image), folder, port)
    finally:
        shutil.rmtree(folder)


def _stage(folder: Path, root: Path, network: Network, image: str | None) -> Stage:
    declared = folder / "declared"
    declared.mkdir()
    for name in ("Dockerfile", "requirements.txt", "table.csv"):
        (declared / name).touch()
    (folder / "undeclared.csv").touch()
    place = declared.relative_to(root).as_posix()
    build = None if image else Build(context=place, dockerfile=f"{place}/Dockerfile")
    return Stage(
        address=STAGE,
        wdir=".",
        cmd=STAGE,
        argv=("python3", "-c", inspect.getsource(probe)),
        deps=(Dep(path=place),),
        outs=(Out(path="out.txt"),),
        params=(),
        container=Container(build=build, image=image, network=network, limits=Limits(timeout_s=TIMEOUT_S)),
    )


def _tried(executor: Executor, around: Surroundings, stage: Stage, folder: Path, port: int) -> Tried:
    attempt = attempt_of(stage, around, confirm=lambda: None)
    lines: list[str] = []
    asked = {
        "declared": f"{stage.deps[0].path}/table.csv",
        "undeclared": str(folder / "undeclared.csv"),
        "port": port,
        "name": NAME,
    }
    environment = executor.prepare(stage, lines.append)
    with attempt.laid_out(environment) as spec:
        lines.clear()
        ended = executor.execute(replace(spec, argv=(*spec.argv, json.dumps(asked))), lines.append)
        if ended.code:
            said = "; ".join(lines[-3:])
            raise EngineError(
                f"a stage that only tries what it can reach ended with {ended.code} ({ended.ending}): {said}",
                remedy="its own words say why",
            )
        uid = (spec.sandbox.workspace / "out.txt").stat().st_uid
    # An executor may have words of its own to say beside the stage's.
    told = next(line for line in reversed(lines) if line.startswith("{"))
    return Tried(**json.loads(told), uid=uid, wanted_uid=spec.user.uid)


@contextlib.contextmanager
def _listening() -> Iterator[int]:
    """A port of this machine's loopback that is none of a stage's concern."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        yield port
