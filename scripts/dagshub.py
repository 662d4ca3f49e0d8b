"""DagsHub's addresses and credentials, from the four variables that say which repository it is."""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from env_file import SettingsError

SITE = "https://dagshub.com"
NAMES = ("DAGSHUB_USER_NAME", "DAGSHUB_TOKEN", "DAGSHUB_REPO")
IN_URL = re.compile(r"(?:https?://|ssh://|git@)(?:[^/@]+@)?dagshub\.com[/:]([\w.-]+)/([\w.-]+?)(?:\.git|\.mlflow)?/?")
OWNER_AND_NAME = re.compile(r"(?:([\w.-]+)/)?([\w.-]+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Repository:
    """A repository on DagsHub, and who speaks to it."""

    owner: str
    name: str
    user: str
    token: str = field(repr=False)

    @property
    def mlflow_uri(self) -> str:
        """Its MLflow server."""
        return f"{SITE}/{self.owner}/{self.name}.mlflow"

    @property
    def s3_endpoint(self) -> str:
        """Its storage, as S3: DVC's run-cache does not travel over the HTTP one."""
        return f"{SITE}/{self.owner}/{self.name}.s3"


def repository(settings: Mapping[str, str], remote_urls: list[str]) -> Repository | None:
    """Return the repository that the settings name, None when they name none.

    Args:
        settings: Environment and .env; DAGSHUB_REPO is NAME, OWNER/NAME or a URL.
        remote_urls: The URLs of git's remotes, asked when DAGSHUB_REPO is not set.

    Raises:
        SettingsError: Some of the variables are set and do not suffice.
    """
    given = [name for name in NAMES if settings.get(name)]
    if not given:
        return None
    missing = [name for name in NAMES[:2] if name not in given]
    if missing:
        raise SettingsError(
            f"{' and '.join(given)} set without {' and '.join(missing)}",
            "set what is missing in .env (https://dagshub.com/user/settings/tokens), or none of them",
        )
    user = settings["DAGSHUB_USER_NAME"]
    owner, name = _owner_and_name(settings, user, remote_urls)
    return Repository(owner=owner, name=name, user=user, token=settings["DAGSHUB_TOKEN"])


def _owner_and_name(settings: Mapping[str, str], user: str, remote_urls: list[str]) -> tuple[str, str]:
    said = settings.get("DAGSHUB_REPO")
    for url in [said] if said else remote_urls:
        if found := IN_URL.fullmatch(url):
            return found[1], found[2]
    if not said:
        raise SettingsError(
            "DAGSHUB_TOKEN is set, and neither DAGSHUB_REPO nor a git remote says which repository is meant",
            "set DAGSHUB_REPO=OWNER/NAME in .env",
        )
    found = OWNER_AND_NAME.fullmatch(said)
    if found is None:
        raise SettingsError(f"DAGSHUB_REPO is {said!r}", "write OWNER/NAME, as in https://dagshub.com/OWNER/NAME")
    return found[1] or user, found[2]


def git_remote_urls(root: Path) -> list[str]:
    """Return the URLs of all remotes; none where there is no git repository."""
    command = ["git", "-C", str(root), "config", "--get-regexp", r"^remote\..*\.url$"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return [line.split(" ", 1)[1] for line in shown.splitlines()]
