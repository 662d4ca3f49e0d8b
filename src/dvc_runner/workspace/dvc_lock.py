"""dvc.lock, written whole or not at all; DVC truncates it first. A part of the DVC adapter."""

import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvc.stage import PipelineStage
from dvc.stage.serialize import to_lockfile
from dvc.utils.serialize import dumps_yaml
from dvc.utils.serialize._yaml import parse_yaml_for_update

if TYPE_CHECKING:
    from dvc.stage import Stage as DvcStage


def dump(stage: "DvcStage") -> None:
    """Write a stage's entry of dvc.lock, with the bytes that DVC would write."""
    if not isinstance(stage, PipelineStage):
        stage.dump(update_pipeline=False)
        return
    lock = stage.dvcfile._lockfile  # noqa: SLF001 - DVC 3.67 has no other name for it
    path = Path(lock.path)
    before = path.read_text("utf-8") if path.is_file() else ""
    data: dict[str, Any] = parse_yaml_for_update(before, path) if before else {"schema": "2.0"}
    data["stages"] = data.get("stages", {})
    data["stages"].update(to_lockfile(stage))
    after = dumps_yaml(data)
    if after != before:
        replace(path.resolve(), after, Path(stage.repo.tmp_dir))
        stage.repo.scm_context.track_file(lock.relpath)


def replace(path: Path, text: str, folder: Path) -> None:
    """Put a file in the place of ``path`` at once; it is written in ``folder`` first, and on its disk."""
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}-", dir=folder)
    written = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        _like(path, written)
        try:
            written.replace(path)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            shutil.copyfile(written, path)
    finally:
        written.unlink(missing_ok=True)


def _like(path: Path, other: Path) -> None:
    """Give ``other`` the rights and, where we may, the owner that a file at ``path`` has or would have."""
    model = path.stat() if path.exists() else path.parent.stat()
    other.chmod(model.st_mode & 0o666)
    if os.geteuid() == 0:
        os.chown(other, model.st_uid, model.st_gid)
