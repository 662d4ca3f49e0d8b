"""Send the outs of earlier runs, without which their entries in DVC's run-cache are of no use to others.

`dvc push --run-cache` sends the entries, and of the files only those that dvc.lock tells of (DVC 3.67).
"""

import os
from pathlib import Path

import yaml
from dvc.config import RemoteConfigError
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc_data.hashfile.hash_info import HashInfo
from env_file import SettingsError


def outs(runs: Path) -> set[str]:
    """Return the MD5 of everything that the runs wrote; of a folder, that of its list, which ends in .dir."""
    found = set()
    for entry in runs.glob("??/*/*"):
        try:
            run = yaml.safe_load(entry.read_text(encoding="utf-8"))
            found |= {out["md5"] for out in run.get("outs", []) if out.get("hash") == "md5"}
        except (ValueError, AttributeError, KeyError, yaml.YAMLError):
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
            found = [HashInfo("md5", md5) for md5 in outs(Path(repo.cache.legacy.path) / "runs") if cache.exists(md5)]
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
