"""What the kernel says of mounts, read."""

from pathlib import PurePosixPath

from tests.support.cases import cases

from dvc_runner.engine import mountinfo

ID = "7ae9454cc67342e416e83287bf441356ef560cd8a973891f1a6196bc6c379019"
OTHER = "d04002caec288d1b25679aaf77b87cb3751e152716ef825ebc8dae8a1e845b6a"


def line(source: str, point: str, *, kind: str = "ext4") -> str:
    return f"101 97 254:0 {source} {point} rw,relatime shared:1 master:2 - {kind} /dev/vda rw,discard"


@cases(
    "lines, expected",
    {
        "docker's": ([line(f"/var/lib/docker/containers/{ID}/hostname", "/etc/hostname")], (ID,)),
        "podman's": ([line(f"/containers/storage/overlay-containers/{ID}/userdata/hosts", "/etc/hosts")], (ID,)),
        "each once": ([line(f"/containers/{ID}/{name}", f"/etc/{name}") for name in ("hosts", "hostname")], (ID,)),
        "another's memory, on the host": ([line(f"/containers/{OTHER}/mounts/shm", "/var/shm")], ()),
        "none": ([line("/", "/")], ()),
    },
)
def test_the_container_that_we_may_be_in(lines: list[str], expected: tuple[str, ...]) -> None:
    assert mountinfo.container_ids(mountinfo.parsed("\n".join(lines))) == expected


@cases(
    "path, expected",
    {
        "the root": ["/x", "overlay"],
        "a mount": ["/work space/x", "ext4"],
        "a deeper one": ["/work space/data/x", "tmpfs"],
        "a name that begins like a mount's": ["/work space2", "overlay"],
        "one that hides another": ["/twice/x", "second"],
    },
)
def test_what_a_path_lies_on(path: str, expected: str) -> None:
    lines = [
        line("/", "/", kind="overlay"),
        line("/p", "/work\\040space"),
        line("/", "/work\\040space/data", kind="tmpfs"),
        line("/", "/twice", kind="first"),
        line("/", "/twice", kind="second"),
    ]
    found = mountinfo.at(mountinfo.parsed("\n".join(lines)), PurePosixPath(path))
    assert found
    assert found.kind == expected
