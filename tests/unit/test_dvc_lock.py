"""A file put in the place of another: whole, or not at all."""

import errno
import os
import stat
from pathlib import Path

import pytest

from dvc_runner.workspace import dvc_lock


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "tmp"
    found.mkdir()
    return found


def test_the_old_text_stays_where_the_new_one_cannot_be_written(tmp_path: Path, folder: Path) -> None:
    lock = tmp_path / "dvc.lock"
    lock.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        dvc_lock.replace(lock, "new \ud800", folder)
    assert lock.read_text() == "old"
    assert list(folder.iterdir()) == []


def test_a_reader_of_the_old_file_never_sees_half(tmp_path: Path, folder: Path) -> None:
    lock = tmp_path / "dvc.lock"
    lock.write_text("old")
    with lock.open() as reader:
        dvc_lock.replace(lock, "new", folder)
        assert reader.read() == "old"
    assert lock.read_text() == "new"
    assert list(folder.iterdir()) == []


@pytest.fixture
def two_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every folder is on a disk of its own."""
    within = os.replace

    def replace(source: Path, target: Path) -> None:
        if Path(source).parent != Path(target).parent:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        within(source, target)

    monkeypatch.setattr(os, "replace", replace)


@pytest.mark.usefixtures("two_disks")
def test_nor_where_the_draft_is_on_another_disk(tmp_path: Path, folder: Path) -> None:
    test_a_reader_of_the_old_file_never_sees_half(tmp_path, folder)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "dvc.lock", folder]


@pytest.mark.usefixtures("two_disks")
def test_rights_and_owner_stay_there_too(tmp_path: Path, folder: Path) -> None:
    test_rights_and_owner_stay(tmp_path, folder)


def test_rights_and_owner_stay(tmp_path: Path, folder: Path) -> None:
    lock = tmp_path / "dvc.lock"
    lock.write_text("old")
    lock.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(lock, 1234, 1234)
    owner = lock.stat().st_uid
    dvc_lock.replace(lock, "new", folder)
    assert (stat.S_IMODE(lock.stat().st_mode), lock.stat().st_uid) == (0o640, owner)


def test_a_first_one_is_the_folders_owners(tmp_path: Path, folder: Path) -> None:
    dvc_lock.replace(tmp_path / "dvc.lock", "new", folder)
    assert (tmp_path / "dvc.lock").read_text() == "new"
    assert (tmp_path / "dvc.lock").stat().st_uid == tmp_path.stat().st_uid
