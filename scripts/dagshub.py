"""DagsHub's addresses and credentials, from the variables that say which repository it is."""

import ipaddress
import re
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from env_file import SettingsError

SITE = "https://dagshub.com"
NAMES = ("DAGSHUB_USER_NAME", "DAGSHUB_TOKEN", "DAGSHUB_REPO")
CHOICES = ("DAGSHUB_URL", "DAGSHUB_STORAGE")
S3, HTTP = "s3", "http"
IN_URL = r"(?:https?://|ssh://|git@)(?:[^/@]+@)?{host}[/:]([\w.-]+)/([\w.-]+?)(?:\.git|\.mlflow|\.s3|\.dvc)?/?"
OWNER_AND_NAME = re.compile(r"(?:([\w.-]+)/)?([\w.-]+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Repository:
    """A repository on DagsHub, and who speaks to it."""

    owner: str
    name: str
    user: str
    token: str = field(repr=False)
    site: str = SITE
    storage: str = S3

    @property
    def page(self) -> str:
        """Where people look at it."""
        return f"{self.site}/{self.owner}/{self.name}"

    @property
    def mlflow_uri(self) -> str:
        """Its MLflow server."""
        return f"{self.page}.mlflow"

    @property
    def s3_endpoint(self) -> str:
        """Its storage, as S3: DVC's run-cache does not travel over the HTTP one."""
        return f"{self.page}.s3"

    @property
    def http_url(self) -> str:
        """Its storage, over HTTP."""
        return f"{self.page}.dvc"


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
    user, address = settings["DAGSHUB_USER_NAME"], site(settings)
    owner, name = _owner_and_name(settings, user, remote_urls, address)
    token, storage = settings["DAGSHUB_TOKEN"], settings.get("DAGSHUB_STORAGE", S3)
    if storage not in {S3, HTTP}:
        raise SettingsError(f"DAGSHUB_STORAGE is {storage!r}", f"write {S3} or {HTTP} in .env, or nothing for {S3}")
    return Repository(owner=owner, name=name, user=user, token=token, site=address, storage=storage)


def site(settings: Mapping[str, str]) -> str:
    """Return the address of the site that the settings name.

    Raises:
        SettingsError: It is none, or a token would travel to it unencrypted.
    """
    said = settings.get("DAGSHUB_URL", SITE).rstrip("/")
    found = re.fullmatch(r"(https?)://(?:\[[0-9a-f:]+\]|[\w.-]+)(?::\d{1,5})?", said)
    if found is None:
        shown = re.sub(r"//[^/]*@", "//…@", said)
        raise SettingsError(f"DAGSHUB_URL is {shown!r}", f"write https://HOST in .env, or nothing for {SITE}")
    if found[1] == "http" and not _is_loopback(urlsplit(said).hostname or ""):
        raise SettingsError(
            f"DAGSHUB_URL is {said!r}: the token would go there unencrypted",
            "write https:// in .env; plain http:// is for this machine only",
        )
    return said


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _owner_and_name(settings: Mapping[str, str], user: str, remote_urls: list[str], address: str) -> tuple[str, str]:
    said = settings.get("DAGSHUB_REPO")
    in_url = re.compile(IN_URL.format(host=re.escape(address.partition("://")[2])))
    for url in [said] if said else remote_urls:
        if found := in_url.fullmatch(url):
            return found[1], found[2]
    if not said:
        raise SettingsError(
            "DAGSHUB_TOKEN is set, and neither DAGSHUB_REPO nor a git remote says which repository is meant",
            "set DAGSHUB_REPO=OWNER/NAME in .env",
        )
    found = OWNER_AND_NAME.fullmatch(said)
    if found is None:
        raise SettingsError(f"DAGSHUB_REPO is {said!r}", f"write OWNER/NAME, as in {address}/OWNER/NAME")
    return found[1] or user, found[2]


def git_remote_urls(root: Path) -> list[str]:
    """Return the URLs of all remotes; none where there is no git repository."""
    command = ["git", "-C", str(root), "config", "--get-regexp", r"^remote\..*\.url$"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return [line.split(" ", 1)[1] for line in shown.splitlines()]
