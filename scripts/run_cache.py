"""Send the outs of earlier runs, without which their entries in DVC's run-cache are of no use to others.

`dvc push --run-cache` sends the entries, and of the files only those that dvc.lock tells of (DVC 3.67).
"""

import os
from pathlib import Path
from typing import Any

import yaml
from dvc.config import RemoteConfigError
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc_data.hashfile.hash_info import HashInfo
from env_file import SettingsError

Entry = dict[str, Any]


def entries(repo: Repo) -> list[tuple[Entry, list[Entry]]]:
    """Return what each run was, and those of its outs that have an MD5; a folder's is that of its list, with .dir."""
    found = []
    for file in (Path(repo.cache.legacy.path) / "runs").glob("??/*/*"):
        try:
            run = yaml.safe_load(file.read_text(encoding="utf-8"))
            found.append((run, [out for out in run.get("outs", []) if out.get("hash") == "md5" and "md5" in out]))
        except (ValueError, AttributeError, TypeError, yaml.YAMLError):
            continue  # DVC passes over such entries too
    return found


def push(root: Path) -> int:
    """Send what this machine has of them to the default remote.

    Returns:
        How many were not there yet.

    Raises:
        SettingsError: Some could not be sent.
    """
    os.chdir(root)
    try:
        with Repo(str(root)) as repo:
            cache = repo.cache.local
            named = {out["md5"] for _, outs in entries(repo) for out in outs}
            found = [HashInfo("md5", md5) for md5 in named if cache.exists(md5)]
            # By itself DVC sends of a folder the list of its files alone.
            sent = repo.cloud.transfer(
                cache, repo.cloud.get_remote_odb(None, "push"), found, shallow=False, cache_odb=cache
            )
    except RemoteConfigError:
        return 0  # one that keeps versions by itself, which takes no run-cache either
    except (DvcException, OSError) as error:
        words = " ".join(str(error).split())
        raise SettingsError(f"the outs of earlier runs were not sent: {words}", "make push again") from error
    if sent.failed:
        raise SettingsError(f"{len(sent.failed)} outs of earlier runs were not sent", "make push again")
    return len(sent.transferred)
