"""The DVC remote: whether it can be used, and sources fetched from it. A part of the DVC adapter."""

import contextlib
import hashlib
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvc.config import NoRemoteError
from dvc.exceptions import DvcException

from dvc_runner.errors import ConfigurationError

if TYPE_CHECKING:
    from dvc.data_cloud import Remote
    from dvc.repo import Repo
    from dvc.stage import Stage as DvcStage

CONTENT = b"dvc-runner doctor\n"
KEEPS = ("http", "https")


def prove(repo: "Repo") -> str | None:
    """Write a small object to the default remote by DVC's own means, read it, and delete it.

    Over HTTP nothing can be deleted: there it is an object that DVC itself would keep under that name.

    Returns:
        What was done; None if there is no default remote.

    Raises:
        ConfigurationError: It cannot be done; the message is the remote's.
    """
    name = None
    try:
        remote = repo.cloud.get_remote()
        name = remote.name
        return f"{name} ({_address(repo, name)}): {_write(remote)}"
    except NoRemoteError:
        return None
    except Exception as error:
        words = " ".join(str(error).split()) or type(error).__name__
        what = f"the DVC remote {name} ({_address(repo, name)})" if name else "the DVC remote"
        remedy = "see dvc remote list, its rights, and the credentials in .dvc/config.local or .env"
        kind = "" if isinstance(error, DvcException) else f"{type(error).__name__}: "
        raise ConfigurationError(f"{what} cannot be used: {kind}{words}", remedy=remedy) from error


def can_bring(stage: "DvcStage") -> bool:
    """Say whether a stage's outs are in the cache, or else at the default remote, without fetching them."""
    outs = [out for out in stage.outs if out.use_cache]
    if not all(out.hash_info for out in outs):
        return False
    lacking = [out for out in outs if out.changed_cache()]
    files = {one for out in lacking if out.hash_info.isdir for _, _, one in out.get_obj() or ()}
    try:
        return not lacking or not stage.repo.cloud.status(files | {out.hash_info for out in lacking}).missing
    except NoRemoteError:
        return False


def _write(remote: "Remote") -> str:
    fs: Any = remote.fs
    keeps = fs.protocol in KEEPS
    digest = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    place = (
        remote.odb.oid_to_path(digest) if keeps else fs.join(remote.path, f"dvc-runner-doctor-{secrets.token_hex(8)}")
    )
    is_new = not keeps and fs.protocol == "local" and not fs.exists(remote.path)
    with tempfile.NamedTemporaryFile() as file:
        file.write(CONTENT)
        file.flush()
        fs.put_file(file.name, place)
    try:
        if fs.cat_file(place) != CONTENT:
            raise ConfigurationError(f"what was written to {place} reads otherwise", remedy="see what stands before it")
    finally:
        if not keeps:
            fs.rm(place)
    if is_new:
        # The first push makes it anew.
        with contextlib.suppress(OSError):
            Path(remote.path).rmdir()
    size = f"an object of {len(CONTENT)} bytes was written and read"
    return f"{size}; HTTP cannot delete, so it stays as {digest}" if keeps else f"{size}, and deleted"


def _address(repo: "Repo", name: str | None) -> str:
    url = str(repo.config["remote"].get(name, {}).get("url", ""))
    scheme, separator, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if separator else url


def fetch_sources(repo: "Repo") -> None:
    """Bring what .dvc files name into the workspace: from the cache, or else from the default remote."""
    sources = [stage.addressing for stage in repo.index.stages if not stage.cmd]
    if sources:
        repo.pull(targets=sources)
