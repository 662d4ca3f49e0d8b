"""Images of ours: named by the hash of what they are built from, built where missing."""

import contextlib
import dataclasses
import datetime as dt
import json
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import docker

from dvc_runner.engine import context as build_context
from dvc_runner.engine import pulls
from dvc_runner.engine.buildkit import TRACE, Trace
from dvc_runner.engine.cancellation import Cancellation
from dvc_runner.engine.client import answers, told
from dvc_runner.errors import BuildError
from dvc_runner.model import Build, Environment

LABEL = "io.github.dvc-runner"
OURS = "stage"
REPOSITORIES = "dvc-runner/"
BASE_IMAGE = "BASE_IMAGE"
TAIL = 15
NOTED_EVERY = dt.timedelta(days=1)
TURN_S = 0.2
_TURNS: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """An image before it is built: its name, and what is sent to the builder."""

    reference: str
    key: str
    context: build_context.Context


def platform(client: docker.APIClient) -> str:
    """Give what the engine's images are for, such as ``linux/amd64``."""
    with told("say what it is"):
        version = client.version()
    return f"{version['Os']}/{version['Arch']}"


def plan(root: Path, name: str, build: Build, for_platform: str) -> Plan:
    """Name the image of ``build``.

    Raises:
        ConfigurationError: What it is built from is not there.
    """
    context = build_context.read(root, build)
    key = context.key(for_platform)
    return Plan(reference=f"{REPOSITORIES}{name}:{key}", key=key, context=context)


def has_buildkit(client: docker.APIClient) -> bool:
    """Ask which builder the engine would have us use, as docker's own command does."""
    with told("say what it is"):
        return bool(client.get(f"{client.base_url}/_ping").headers.get("Builder-Version") == "2")


def ensure_built(
    client: docker.APIClient,
    wanted: Plan,
    on_line: Callable[[str], None],
    cancellation: Cancellation,
    *,
    buildkit: bool | None = None,
) -> Environment:
    """Give the image that ``wanted`` names, built now if it is missing.

    Args:
        client: The engine.
        wanted: The image.
        on_line: Takes the builder's words.
        cancellation: Ends it.
        buildkit: Which builder: BuildKit, the classic one, or None for the one that the engine names.

    Raises:
        BuildError: The build failed; the message holds its last lines.
        EngineError: What it is built from cannot be pulled.
        CancelledError: Somebody asked to end.
    """
    found = pulls.inspect(client, wanted.reference)
    if found is None:
        on_line(f"building {wanted.reference}")
        context = wanted.context
        buildkit = has_buildkit(client) if buildkit is None else buildkit
        for base in pulls.bases(context.folder / context.dockerfile, dict(context.args), frontend=buildkit):
            pulls.ensure(client, base, on_line, cancellation)
        with contextlib.nullcontext() if buildkit else _in_turn(wanted.context, cancellation):
            _build(client, wanted, on_line, cancellation, buildkit=buildkit)
        found = pulls.made(client, wanted.reference)
    else:
        _note_use(client, wanted.reference, found)
    return Environment(reference=wanted.reference, key=wanted.key, id=str(found["Id"]))


@contextlib.contextmanager
def _in_turn(context: build_context.Context, cancellation: Cancellation) -> Iterator[None]:
    """Wait for another build with the same largest file, a lock most likely, and so with the same layers of packages.

    At once, the classic builder would make these layers twice, where the second can take them from its cache.

    Raises:
        CancelledError: Somebody asked to end.
    """
    lock = _TURNS[context.largest_file()]
    while not lock.acquire(timeout=TURN_S):
        cancellation.check()
    try:
        yield
    finally:
        lock.release()


def with_base(build: Build, base_image: str | None) -> Build:
    """Give ``build`` with another base image, where it takes one and another is given."""
    args = dict(build.args)
    if base_image and BASE_IMAGE in args:
        args[BASE_IMAGE] = base_image
    return dataclasses.replace(build, args=tuple(sorted(args.items())))


def last_used(image: dict[str, Any]) -> dt.datetime:
    """Read from what the engine says of an image when it was built or last noted as used, to a day."""
    return max(_time((image.get("Metadata") or {}).get("LastTagTime")), _time(image["Created"]))


def _note_use(client: docker.APIClient, reference: str, image: dict[str, Any]) -> None:
    """Have the engine remember that an image is in use: it keeps the time when an image was last named.

    All projects and users of an engine share that memory, and ``gc`` goes by it.
    """
    if dt.datetime.now(dt.UTC) - last_used(image) > NOTED_EVERY:
        repository, _, key = reference.rpartition(":")
        with told(f"name the image {reference}"):
            client.tag(reference, repository, key)


def _time(text: object) -> dt.datetime:
    try:
        return dt.datetime.fromisoformat(str(text))
    except ValueError:
        return dt.datetime.min.replace(tzinfo=dt.UTC)


def _build(
    client: docker.APIClient,
    wanted: Plan,
    on_line: Callable[[str], None],
    cancellation: Cancellation,
    *,
    buildkit: bool,
) -> None:
    context = wanted.context
    archive = context.archive()
    params: dict[str, str | int | bool] = {
        "version": 2 if buildkit else 1,
        "dockerfile": context.dockerfile,
        "t": wanted.reference,
        "buildargs": json.dumps(dict(context.args)),
        "labels": json.dumps({LABEL: OURS}),
        # Without these the classic builder leaves its intermediate containers behind.
        "rm": True,
        "forcerm": True,
    }
    with told(f"build {wanted.reference}"):
        said = answers(
            client,
            "build",
            cancellation,
            params=params,
            data=archive,
            headers={"Content-Type": "application/x-tar"},
        )
        failed = _follow(said, on_line)
    if failed is not None:
        lines = "\n  ".join(failed)
        raise BuildError(
            f"the image {wanted.reference} could not be built; its last lines:\n  {lines}",
            remedy="correct the Dockerfile or the lock file that these lines name",
        )


def _follow(events: Iterable[dict[str, Any]], on_line: Callable[[str], None]) -> tuple[str, ...] | None:
    """Hand on what a builder says; give the last of it if the build failed, else None."""
    tail: deque[str] = deque(maxlen=TAIL)

    def say(line: str) -> None:
        if line.strip():
            tail.append(line.rstrip())
            on_line(line.rstrip())

    trace = Trace(say, tail=TAIL)
    failed = None
    for event in events:
        if event.get("id") == TRACE:
            trace.take(str(event.get("aux")))
        for line in str(event.get("stream") or "").splitlines():
            say(line)
        failed = event.get("error", failed)
    if failed is None:
        return None
    return (*(trace.failed or tail), str(failed).strip())
