"""Mount points as the kernel tells them."""

from pathlib import Path

from tests.support.disks import another_disk

from dvc_runner.workspace import mounts


def test_those_below_a_folder() -> None:
    found = [Path(name) for name in ("/", "/a b", "/a b/deep", "/a b/deep/er", "/a")]
    assert mounts.below(Path("/a b"), found) == (Path("/a b/deep"), Path("/a b/deep/er"))
    assert mounts.below(Path("/a"), found) == ()


def test_another_disk_is_told_apart(tmp_path: Path) -> None:
    with another_disk(tmp_path / "a disk"):
        found = mounts.points()
        here, there = (mounts.of(path.resolve(), found) for path in (tmp_path, tmp_path / "a disk"))
        assert here != there
