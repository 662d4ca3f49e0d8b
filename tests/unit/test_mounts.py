"""Mount points as the kernel tells them."""

from pathlib import Path

from tests.support.disks import another_disk

from dvc_runner.workspace import mounts


def test_points_of_any_name_are_found(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    names = [b"/", b"/a\\040b", b"/a\\040b/deep", "/é".encode(), b"/back\\134slash"]
    table.write_bytes(b"".join(b"1 2 0:3 / %s rw - tmpfs none rw\n" % name for name in names))
    found = mounts.points(table)
    assert found == {Path(name) for name in ("/", "/a b", "/a b/deep", "/é", "/back\\slash")}
    assert mounts.below(Path("/a b"), found) == (Path("/a b/deep"),)
    assert mounts.below(Path("/a"), found) == ()


def test_a_system_without_the_table_has_none(tmp_path: Path) -> None:
    assert mounts.points(tmp_path / "none") == frozenset()


def test_another_disk_is_told_apart(tmp_path: Path) -> None:
    with another_disk(tmp_path / "a disk"):
        found = mounts.points()
        here, there = (mounts.of(path.resolve(), found) for path in (tmp_path, tmp_path / "a disk"))
        assert here != there
