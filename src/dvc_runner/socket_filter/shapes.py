"""The containers that the runner makes, as a table: a key that is not here, or a value, does not pass."""

from dvc_runner.socket_filter.checks import Check, each, exactly, fields, integer, mapping, text
from dvc_runner.socket_filter.policy import FILTERED_LABEL, LABEL
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

MOUNT = fields(
    {
        "Type": exactly("bind"),
        "Source": ABSOLUTE,
        "Target": ABSOLUTE,
        "ReadOnly": exactly(True, False),
        "BindOptions": exactly({"NonRecursive": True}),
    }
)
GPU = fields({"Driver": exactly(""), "Count": integer(-1, 64), "Capabilities": exactly([["gpu"]])})
HOST = {
    "AutoRemove": TRUE,
    "CapDrop": exactly(["ALL"]),
    "SecurityOpt": exactly(["no-new-privileges"]),
    "ReadonlyRootfs": TRUE,
    "LogConfig": exactly({"Type": "none"}),
    "NetworkMode": text(f"none|bridge|container:{ID}", meaning="none, bridge or container:ID"),
    "Mounts": each(MOUNT),
}
HOST_OPTIONAL = {
    "PidMode": text(f"container:{ID}", meaning="container:ID"),
    "Tmpfs": mapping(
        "/tmp",  # noqa: S108 - the container's own
        text(r"(rw|exec|nosuid|nodev|mode=[0-7]{3,4}|uid=\d+|gid=\d+|size=\d+[kmg]?|,)+", meaning="options of a tmpfs"),
    ),
    "PidsLimit": integer(1, 2**22),
    "ShmSize": BYTES,
    "NanoCpus": integer(0, 2**44),
    "Memory": BYTES,
    "MemorySwap": BYTES,
    "ExtraHosts": each(text(r"[A-Za-z0-9._-]+:127\.0\.0\.\d{1,3}", meaning="NAME:127.0.0.x")),
    "Sysctls": exactly({"net.ipv4.ip_unprivileged_port_start": "0"}),
}
CONTAINER = {
    "Image": text(IMAGE, meaning="an image's name"),
    "Entrypoint": exactly([]),
    "Cmd": each(text()),
    "AttachStdout": TRUE,
    "AttachStderr": TRUE,
    "Labels": mapping(rf"{LABEL}(\.[a-z-]+)?(?<!{FILTERED_LABEL})", text()),
}
CONTAINER_OPTIONAL = {
    "Env": each(text(r"(?s:[^=]+=.*)", meaning="NAME=value")),
    "WorkingDir": ABSOLUTE,
    "AttachStdin": TRUE,
    "OpenStdin": TRUE,
    "StdinOnce": TRUE,
    "StopSignal": exactly("SIGKILL"),
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


def container(users: frozenset[str], *, gpus: bool) -> Check:
    """Give the check of a stage's or a guard's body."""
    host = fields(HOST, {**HOST_OPTIONAL, **({"DeviceRequests": each(GPU)} if gpus else {})})
    return fields({**CONTAINER, "User": exactly(*sorted(users)), "HostConfig": host}, CONTAINER_OPTIONAL)


def is_proof(body: Json) -> bool:
    """Say which of the two tables a body is to be held against."""
    return isinstance(body, dict) and body.get("Labels") == {LABEL: "proof"}
