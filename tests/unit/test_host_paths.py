"""A path of the runner's, as the engine's host has it."""

from pathlib import Path, PurePosixPath

import pytest
from tests.support.cases import cases

from dvc_runner.engine.host_paths import HostPaths
from dvc_runner.errors import EXIT_HOST_PATH, HostPathError

MOUNTS = {
    "/workspace": "/home/me/my proj:éct",
    "/workspace/data": "/srv/data",
    "/workspace/data/raw": "/mnt/disk 2/raw",
    "/var/lib/volume": "/var/lib/docker/volumes/abc/_data",
}


@cases(
    "path, expected",
    {
        "the mount itself": ("/workspace", "/home/me/my proj:éct"),
        "below it": ("/workspace/a/b.csv", "/home/me/my proj:éct/a/b.csv"),
        "the deeper mount wins": ("/workspace/data/x.csv", "/srv/data/x.csv"),
        "the deepest mount wins": ("/workspace/data/raw/x.csv", "/mnt/disk 2/raw/x.csv"),
        "a name that begins like a mount's": ("/workspace/data2/x.csv", "/home/me/my proj:éct/data2/x.csv"),
        "spaces, colons, accents": ("/workspace/ü b:c", "/home/me/my proj:éct/ü b:c"),
        "a named volume": ("/var/lib/volume/x", "/var/lib/docker/volumes/abc/_data/x"),
    },
)
def test_translated(path: str, expected: str) -> None:
    for order in (1, -1):
        mounts = [(PurePosixPath(inside), PurePosixPath(outside)) for inside, outside in MOUNTS.items()][::order]
        assert HostPaths(mounts=tuple(mounts)).translate(Path(path)) == expected


def test_a_mount_of_the_root() -> None:
    mounts = ((PurePosixPath("/"), PurePosixPath("/host")),)
    assert HostPaths(mounts=mounts).translate(Path("/a/b")) == "/host/a/b"


@cases(
    "path",
    {
        "elsewhere": ["/tmp/x"],
        "above a mount": ["/var/lib"],
        "a name that begins like a mount's": ["/workspace2/x"],
    },
)
def test_what_no_mount_holds_is_an_error_that_names_it(path: str) -> None:
    mounts = tuple((PurePosixPath(inside), PurePosixPath(outside)) for inside, outside in MOUNTS.items())
    with pytest.raises(HostPathError, match=path) as raised:
        HostPaths(mounts=mounts).translate(Path(path))
    assert raised.value.exit_code == EXIT_HOST_PATH
    assert path in raised.value.remedy


def test_no_mounts_at_all_is_not_the_host() -> None:
    with pytest.raises(HostPathError):
        HostPaths(mounts=()).translate(Path("/workspace"))


def test_on_the_host_a_path_is_itself() -> None:
    assert HostPaths(mounts=None).translate(Path("/any thing/é")) == "/any thing/é"
