"""The frozen values that travel between the floors."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

ALL_GPUS = -1
# The working folder that a stage sees in a container.
WORKSPACE = "/workspace"


class Network(StrEnum):
    """What a stage reaches."""

    NONE = "none"
    TRACKING = "tracking"
    INTERNET = "internet"


class Kind(StrEnum):
    """Who runs a stage: an executor of ours, a shell, or DVC itself, where there is no command to run."""

    OURS = "ours"
    SHELL = "shell"
    DVC = "dvc"


class Outcome(StrEnum):
    """How a stage came out of a run."""

    RAN = "ran"
    RESTORED = "restored"
    SKIPPED = "skipped"
    FAILED = "failed"
    BLOCKED = "blocked"
    CANCELLED = "cancelled"
    WOULD_RUN = "would_run"
    WOULD_RESTORE = "would_restore"


class Decision(StrEnum):
    """What a run is going to do with a stage."""

    RUN = "run"
    RESTORE = "restore"
    SKIP = "skip"
    BLOCKED = "blocked"


class Ending(StrEnum):
    """How a command ended, as far as its exit code does not say."""

    EXITED = "exited"
    OUT_OF_MEMORY = "out of memory"
    TIMED_OUT = "timed out"
    KILLED = "killed"
    VANISHED = "vanished"


class ReasonKind(StrEnum):
    """Why a stage runs."""

    NEW = "new"
    DEP = "dep"
    PARAM = "param"
    OUT = "out"
    COMMAND = "command"
    FORCED = "forced"
    ALWAYS_CHANGED = "always_changed"
    UPSTREAM = "upstream"
    REGISTRY = "registry"


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """One thing that makes a stage run; ``old`` and ``new`` are short texts, or None.

    ``files`` are the first that differ in a folder, with ``added``, ``changed`` or ``removed``, as far as that is
    known; ``more_files`` do too.
    """

    kind: ReasonKind
    name: str = ""
    old: str | None = None
    new: str | None = None
    files: tuple[tuple[str, str], ...] = ()
    more_files: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which stages a command is about, with the meanings that ``dvc repro`` gives these words."""

    targets: tuple[str, ...] = ()
    single_item: bool = False
    recursive: bool = False
    glob: bool = False
    pipeline: bool = False
    all_pipelines: bool = False
    downstream: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Handling:
    """How stages are brought up to date, with the meanings that ``dvc repro`` gives these words."""

    force: bool = False
    force_downstream: bool = False
    pull: bool = False
    allow_missing: bool = False
    run_cache: bool = True
    commit: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Build:
    """What an image is built from; paths are POSIX and relative to the project's root.

    With ``include``, only those folders of the context are sent, each under its own name.
    """

    context: str
    dockerfile: str
    include: tuple[str, ...] = ()
    args: tuple[tuple[str, str], ...] = ()

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders whose content is in the image."""
        if not self.include:
            return (self.context,)
        prefix = "" if self.context == "." else f"{self.context}/"
        return tuple(f"{prefix}{name}" for name in self.include)


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a stage may take, None for no limit; ``gpus`` is a number of them, or ``ALL_GPUS``."""

    cpus: float | None = None
    memory_bytes: int | None = None
    shm_bytes: int = 2**26
    gpus: int = 0
    pids: int = 4096
    timeout_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Container:
    """``meta.container`` of a stage, checked; exactly one of ``build`` and ``image`` is set.

    ``retries`` is how often a failure that a repeat can mend is met with one. ``registers`` is the out, POSIX and
    relative to the root, that names a version in the model registry.
    """

    build: Build | None = None
    image: str | None = None
    network: Network = Network.NONE
    secrets: tuple[str, ...] = ()
    limits: Limits = Limits()
    retries: int = 0
    registers: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Dep:
    """A file or folder that a stage reads; ``path`` is POSIX and relative to the root."""

    path: str
    md5: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Out:
    """A file or folder that a stage writes; ``path`` is POSIX and relative to the root."""

    path: str
    persist: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ParamsFile:
    """A parameters file cut down to what the stage declares, as the stage will find it."""

    path: str
    text: str
    json_values: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A stage of dvc.yaml, resolved.

    ``argv`` is what follows ``dvc-runner exec``; None where the command is for a shell to run.
    ``before`` are the stages that its deps come from, back to the first, nearest first; None is unknown.
    """

    address: str
    wdir: str
    cmd: str
    argv: tuple[str, ...] | None
    deps: tuple[Dep, ...]
    outs: tuple[Out, ...]
    params: tuple[ParamsFile, ...]
    container: Container | None
    before: "Before | None" = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Past:
    """A stage that is done, with the hashes that dvc.lock has of it; ``stage`` is None where a shell or DVC runs it."""

    address: str
    cmd: str
    deps: tuple[Dep, ...]
    outs: tuple[Dep, ...]
    json_params: str
    stage: Stage | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Before:
    """The stages before one, and whether they are all of them."""

    stages: tuple[Past, ...] = ()
    is_whole: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Revision:
    """What git says of a project, None where it does not.

    ``user`` is who would commit; ``diff`` how tracked files differ from the commit, and None where nothing
    differs; ``is_diff_whole`` says whether it makes the same files again; ``untracked`` are files that git neither
    has nor ignores, and folders of nothing else, relative to the project.
    """

    commit: str | None = None
    branch: str | None = None
    dirty: bool | None = None
    user: str | None = None
    diff: str | None = None
    is_diff_whole: bool = True
    untracked: tuple[str, ...] = ()


def file_name(address: str) -> str:
    """Give a stage's address as a file or folder may be called."""
    return address.replace("/", "-").replace(":", "-")


@dataclass(frozen=True, kw_only=True, slots=True)
class ShellCommands:
    """What DVC has a shell run for a stage, one command after the other.

    They are ``is_bare`` where the stage has a meta.container that none of them uses.
    """

    commands: tuple[tuple[str, ...], ...]
    folder: Path
    env: Mapping[str, str]
    is_bare: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """What a stage's code runs in: an image, or a virtual environment.

    ``reference`` is how the executor names it, ``key`` the hash of what it is made from, ``id``
    what the engine calls it (None for a virtual environment).
    """

    reference: str
    key: str
    id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineSettings:
    """Where the container engine is, and what it builds with.

    ``host`` is as DOCKER_HOST has it, None for the default socket; ``guard_image`` any with Python; ``base_image``
    takes the place of every BASE_IMAGE build argument, if given; ``buildkit`` chooses the builder, None leaves it to
    the engine; ``host_root`` is where the engine's host has the project, if that is not to be found out.
    """

    guard_image: str
    host: str | None = None
    base_image: str | None = None
    host_root: str | None = None
    buildkit: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Unused:
    """An image or an environment of ours that may go; ``name`` is a reference, or a path."""

    kind: str
    name: str
    last_used: dt.datetime
    size_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class User:
    """Whom a stage runs as."""

    uid: int
    gid: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Bind:
    """A file or folder shown to a stage, read-only.

    ``target`` is relative to the stage's working folder's root.
    """

    source: Path
    target: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Sandbox:
    """The scratch folder of one stage.

    ``workspace`` becomes the stage's ``/workspace``, ``home`` its home folder, ``etc`` holds
    ``passwd`` and ``group``, ``control`` what the runner and the stage's guard share.
    """

    scratch: Path
    workspace: Path
    home: Path
    etc: Path
    control: Path
    lineage: Path
    deps: tuple[Bind, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """A server that ``network: tracking`` reaches: MLflow's, or where its artifacts lie."""

    host: str
    port: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ContainerSpec:
    """All that an executor needs to know to run one stage; ``env_at_home`` are variables with paths below its home."""

    stage: str
    argv: tuple[str, ...]
    wdir: str
    environment: Environment
    sandbox: Sandbox
    env: tuple[tuple[str, str], ...]
    env_at_home: tuple[tuple[str, str], ...] = ()
    python_path: tuple[str, ...]
    user: User
    network: Network
    servers: tuple[Server, ...]
    limits: Limits


@dataclass(frozen=True, kw_only=True, slots=True)
class Flag:
    """A flag of ``docker run``, with its value if it takes one, and why it is there."""

    flag: str
    value: str | None
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DockerRun:
    """A ``docker run`` command: what it is told of the container, its image, its command."""

    flags: tuple[Flag, ...]
    image: str
    argv: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What a command took, as far as the system tells; ``how`` says how it was measured.

    None is unknown, never zero.
    """

    how: str
    peak_memory_bytes: int | None = None
    cpu_s: float | None = None
    read_bytes: int | None = None
    written_bytes: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ContainerExit:
    """How a stage's command ended, and what it took."""

    code: int
    ending: Ending
    seconds: float
    usage: Usage | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedStage:
    """What a run is going to do with one stage, why, and how long its command took the last time."""

    stage: str
    decision: Decision
    reasons: tuple[Reason, ...] = ()
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StageResult:
    """What became of one stage in one run; ``log`` is relative to the root."""

    stage: str
    outcome: Outcome
    reasons: tuple[Reason, ...] = ()
    seconds: float = 0.0
    image: str | None = None
    log: str | None = None
    usage: Usage | None = None
    undeclared_writes: tuple[str, ...] = ()
    error: str | None = None
    remedy: str | None = None
