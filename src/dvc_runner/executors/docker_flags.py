"""A container's settings as flags of ``docker run``, each with its reason.

Derived from what the engine is asked for (``docker_bodies.stage``). A setting that has no flag here
is an error: what is shown is never less than what runs.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from dvc_runner.errors import EngineError
from dvc_runner.executors.docker_bodies import HOME, LINEAGE
from dvc_runner.model import ALL_GPUS, WORKSPACE, Flag, Network

Body: TypeAlias = Mapping[str, Any]
Row: TypeAlias = Callable[[Any], list[Flag]]
RECURSION_API = (1, 44)
NANO = 10**9
NETWORKS = {
    Network.NONE: ("none", "network: none, so it reaches nothing, names included"),
    Network.INTERNET: ("bridge", "network: internet, so it reaches the world"),
    Network.TRACKING: (
        "host",
        "network: tracking; MORE OPEN THAN A RUN, whose guard leads to the MLflow server and its artifacts' alone",
    ),
}
MOUNTS = {
    WORKSPACE: "its working folder: room for its outs, beside its deps and params",
    HOME: "a home folder of its own, with the secrets that it names",
    "/etc/passwd": "its user has a name, as getpass and others expect",
    "/etc/group": "and its group too",
    LINEAGE: "where its inputs come from: LINEAGE_FILE",
}
VARIABLES = {
    "DVC_STAGE": "as DVC tells a command",
    "DVC_ROOT": "as DVC tells a command; the project, as far as the stage sees it",
    "HOME": "where libraries keep what they cache",
    "USER": "a name for its user",
    "LINEAGE_FILE": "a JSON file: commit, image, hashes of deps, params",
    "MLFLOW_TRACKING_URI": "the MLflow server in use",
    "MLFLOW_S3_ENDPOINT_URL": "where its artifacts are",
    "MLFLOW_TRACKING_SERVER_CERT_PATH": "whose certificate its server's is checked against",
    "REQUESTS_CA_BUNDLE": "whose certificates are trusted",
    **dict.fromkeys(
        [f"MLFLOW_HTTP_REQUEST_{name}" for name in ("BACKOFF_FACTOR", "MAX_RETRIES", "TIMEOUT")],
        "a server that is gone is given up after seconds, not minutes",
    ),
}
OTHER_VARIABLE = "as a run hands it over"


def flags(body: Body, *, network: Network, api_version: str) -> tuple[Flag, ...]:
    """Give the flags of ``docker run`` that make a container of ``body``; its image and command are no flags.

    Args:
        body: A stage's, for the API's create call.
        network: What the stage asked for; its container joins another's network, which no flag says by itself.
        api_version: The engine's; older clients write one option of a mount in another way.

    Raises:
        EngineError: The body has a setting that no flag is known for.
    """
    settings = {key: value for key, value in body.items() if key not in ("HostConfig", "Image", "Cmd")}
    settings |= body["HostConfig"]
    mounts: Row = lambda found: [_mount(mount, api_version) for mount in found]  # noqa: E731
    rows: dict[str, Row] = {**ROWS, "NetworkMode": lambda _: [_network(network)], "Mounts": mounts}
    unknown = sorted(set(settings) - set(rows))
    if unknown:
        raise EngineError(
            f"a stage's container has the setting {unknown[0]}, which no flag of docker run is known for",
            remedy="this is a fault of dvc-runner show: please report it",
        )
    return tuple(flag for key, row in rows.items() if key in settings for flag in row(settings[key]))


def _one(flag: str, reason: str) -> Row:
    """Give a row for a setting that is a flag with its value, or without one where that is True."""
    return lambda value: [Flag(flag=flag, value=None if value is True else str(value), reason=reason)]


def _each(flag: str, reason: str) -> Row:
    return lambda values: [Flag(flag=flag, value=value, reason=reason) for value in values]


def _network(network: Network) -> Flag:
    value, reason = NETWORKS[network]
    return Flag(flag="--network", value=value, reason=reason)


def _mount(mount: Body, api_version: str) -> Flag:
    options = dict(mount.get("BindOptions", {}))
    recent = tuple(int(part) for part in re.findall("[0-9]+", api_version)) >= RECURSION_API
    flat = options.pop("NonRecursive", False)
    unknown = [*options, *(set(mount) - {"Type", "Source", "Target", "ReadOnly", "BindOptions"})]
    if unknown:
        raise EngineError(
            f"a stage's mount has the setting {unknown[0]}, which no option of docker run --mount is known for",
            remedy="this is a fault of dvc-runner show: please report it",
        )
    fields = [f"type={mount['Type']}", f"source={mount['Source']}", f"target={mount['Target']}"]
    fields += ["readonly"] if mount["ReadOnly"] else []
    fields += [] if not flat else ["bind-recursive=disabled"] if recent else ["bind-nonrecursive"]
    reason = MOUNTS.get(mount["Target"], f"its dep {mount['Target'].removeprefix(WORKSPACE + '/')}, to read only")
    return Flag(flag="--mount", value=",".join(map(_csv, fields)), reason=reason)


def _csv(field: str) -> str:
    """Write a field of the line of CSV that --mount takes."""
    return '"{}"'.format(field.replace('"', '""')) if re.search('[,"\n]', field) else field


def _env(variables: list[str]) -> list[Flag]:
    found = []
    for variable in variables:
        name = variable.partition("=")[0]
        found.append(Flag(flag="--env", value=variable, reason=VARIABLES.get(name, OTHER_VARIABLE)))
    return found


def _tmpfs(folders: Mapping[str, str]) -> list[Flag]:
    reason = "temporary files, in memory"
    return [Flag(flag="--tmpfs", value=f"{path}:{options}", reason=reason) for path, options in folders.items()]


def _labels(labels: Mapping[str, str]) -> list[Flag]:
    return [
        Flag(flag="--label", value=f"{name}={value}", reason="docker ps --filter label=… finds it")
        for name, value in labels.items()
    ]


def _gpus(requests: list[Body]) -> list[Flag]:
    counts = [request["Count"] for request in requests]
    return [Flag(flag="--gpus", value="all" if n == ALL_GPUS else str(n), reason="its gpus") for n in counts]


def _cpus(nano: int) -> list[Flag]:
    return [Flag(flag="--cpus", value=f"{nano / NANO:g}", reason="its cpus")]


def _entrypoint(words: list[str]) -> list[Flag]:
    if words:
        raise EngineError("a stage's container has an entry point", remedy="report this fault of dvc-runner show")
    return [Flag(flag="--entrypoint", value="", reason="the image's own, if any, is not asked")]


def _user(ids: str) -> list[Flag]:
    is_root = ids.startswith("0:")
    reason = (
        "in a rootless engine's containers that is you" if is_root else "the project's owner; nobody if that is root"
    )
    return [Flag(flag="--user", value=ids, reason=reason)]


def _init(mode: str) -> list[Flag]:
    del mode
    return [Flag(flag="--init", value=None, reason="reaps zombies, as a run's guard does")]


# In the order that they are shown in.
ROWS: dict[str, Row] = {
    "AutoRemove": _one("--rm", "nothing stays of it"),
    "PidMode": _init,
    "AttachStdout": lambda _: [Flag(flag="--attach", value="stdout", reason="its words come here")],
    "AttachStderr": lambda _: [Flag(flag="--attach", value="stderr", reason="the loud ones too")],
    "LogConfig": lambda config: [
        Flag(flag="--log-driver", value=config["Type"], reason="and fill no file on the engine's disk")
    ],
    "Labels": _labels,
    "Entrypoint": _entrypoint,
    "User": _user,
    "CapDrop": _each("--cap-drop", "no rights beyond a plain user's"),
    "SecurityOpt": _each("--security-opt", "nor any to be had by a set-uid program"),
    "ReadonlyRootfs": _one("--read-only", "the image cannot be written to"),
    "NetworkMode": _one("--network", ""),
    "PidsLimit": _one("--pids-limit", "a fork bomb ends itself"),
    "ShmSize": _one("--shm-size", "bytes of shared memory (shm)"),
    "NanoCpus": _cpus,
    "Memory": _one("--memory", "its memory, in bytes"),
    "MemorySwap": _one("--memory-swap", "and no swap beside it"),
    "DeviceRequests": _gpus,
    "Tmpfs": _tmpfs,
    "Mounts": lambda _: [],
    "WorkingDir": _one("--workdir", "where DVC would start its command (wdir)"),
    "Env": _env,
}
