"""The containers that the runner makes, as a table: a key that is not here, or a value, does not pass."""

from dvc_runner.socket_filter.checks import Check, each, exactly, fields, integer, text
from dvc_runner.socket_filter.policy import GUARD_LABEL, GUARD_USER, LABEL, STAGE_LABEL
from dvc_runner.socket_filter.strict_json import Json

ID = "[0-9a-f]{64}"
_PART = "[a-z0-9][a-z0-9._-]*"
IMAGE = rf"{_PART}(:[0-9]+)?(/{_PART})*(:[A-Za-z0-9_][A-Za-z0-9._-]*)?(@sha256:{ID})?"
NONCE = r"(?s:/.+)/\.dvc/tmp/host-path-[0-9a-f]{16,64}"
PROOF_TARGET = "/proof"
TRUE = exactly(True)
ABSOLUTE = text(r"(?s:/.+)", meaning="an absolute path")
# 16 TiB: what is larger is a mistake, or meant to overflow something.
BYTES = integer(0, 2**44)

MOUNT_FIELDS = {
    "Type": exactly("bind"),
    "Source": ABSOLUTE,
    "Target": ABSOLUTE,
    "ReadOnly": exactly(True, False),
    "BindOptions": exactly({"NonRecursive": True}),
}
GPU = fields({"Driver": exactly(""), "Count": integer(-1, 64), "Capabilities": exactly([["gpu"]])})
HOST = {
    "AutoRemove": TRUE,
    "CapDrop": exactly(["ALL"]),
    "SecurityOpt": exactly(["no-new-privileges"]),
    "ReadonlyRootfs": TRUE,
    "LogConfig": exactly({"Type": "none"}),
}
CONTAINER = {
    "Image": text(IMAGE, meaning="an image's name"),
    "Entrypoint": exactly([]),
    "AttachStdout": TRUE,
    "AttachStderr": TRUE,
}
RUN = exactly("run")
ANOTHERS = text(f"container:{ID}", meaning="container:ID")
GUARD_HOST = {
    **HOST,
    "NetworkMode": exactly("none", "bridge"),
    "Mounts": each(fields({**MOUNT_FIELDS, "Target": exactly("/run/dvc-runner"), "ReadOnly": TRUE}), least=1, most=1),
}
GUARD_HOST_OPTIONAL = {
    "ExtraHosts": each(text(r"[A-Za-z0-9._-]+:127\.0\.0\.\d{1,3}", meaning="NAME:127.0.0.x")),
    "Sysctls": exactly({"net.ipv4.ip_unprivileged_port_start": "0"}),
}
GUARD = fields(
    {
        **CONTAINER,
        "Cmd": each(text(), least=5),
        "User": exactly(GUARD_USER),
        "OpenStdin": TRUE,
        "StdinOnce": TRUE,
        "AttachStdin": TRUE,
        "StopSignal": exactly("SIGKILL"),
        "Labels": fields({LABEL: RUN, GUARD_LABEL: text()}),
        "HostConfig": fields(GUARD_HOST, GUARD_HOST_OPTIONAL),
    }
)
STAGE_HOST = {
    **HOST,
    "NetworkMode": ANOTHERS,
    "PidMode": ANOTHERS,
    "Mounts": each(fields(MOUNT_FIELDS)),
    "Tmpfs": exactly({"/tmp": "rw,exec,nosuid,nodev,mode=1777"}),  # noqa: S108 - the container's own
    "PidsLimit": integer(1, 2**22),
    "ShmSize": BYTES,
}
STAGE_HOST_OPTIONAL = {
    "NanoCpus": integer(0, 2**44),
    "Memory": BYTES,
    "MemorySwap": BYTES,
}
STAGE = {
    **CONTAINER,
    "Cmd": each(text()),
    "Env": each(text(r"(?s:[^=]+=.*)", meaning="NAME=value")),
    "WorkingDir": text("(?s:/workspace(/.+)?)", meaning="a folder of /workspace"),
    "Labels": fields({LABEL: RUN, STAGE_LABEL: text()}),
}
PROOF_MOUNT = fields(
    {
        "Type": exactly("bind"),
        "Source": text(NONCE, meaning="the folder by which the runner finds out where its paths lie"),
        "Target": exactly(PROOF_TARGET),
        "ReadOnly": TRUE,
    }
)
# What the runner makes, and never starts, to learn whether its paths are the engine's.
PROOF = fields(
    {
        "Image": text(IMAGE, meaning="an image's name"),
        "Cmd": exactly(["true"]),
        "Labels": exactly({LABEL: "proof"}),
        "HostConfig": fields({"Mounts": each(PROOF_MOUNT, least=1, most=1)}),
    }
)


def stage(user: str, *, gpus: bool) -> Check:
    """Give the check of a stage's body."""
    host = fields(STAGE_HOST, {**STAGE_HOST_OPTIONAL, **({"DeviceRequests": each(GPU, most=1)} if gpus else {})})
    return fields({**STAGE, "User": exactly(user), "HostConfig": host})


def of(body: Json, user: str, *, gpus: bool) -> Check:
    """Give the one of the three that a body is to be held against, by what its labels say it is."""
    labels = body.get("Labels") if isinstance(body, dict) else None
    if labels == {LABEL: "proof"}:
        return PROOF
    return GUARD if isinstance(labels, dict) and GUARD_LABEL in labels else stage(user, gpus=gpus)
