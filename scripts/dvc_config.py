"""The part of .dvc/config.local that the settings make; every other line in it stays as it is."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import dagshub
from dagshub import Repository
from env_file import SettingsError

REMOTE = "from-env"
HEADER = f"['remote \"{REMOTE}\"']"
USE_REMOTE = f"    remote = {REMOTE}"
# Without git, DVC refuses to work unless told so.
NO_GIT = "    no_scm = true # there is no git repository here"

# What each kind of remote can be told beside its URL: DVC's key, by the end of the variable's name.
PREFIX = "DVC_REMOTE_"
S3 = {
    "ENDPOINT_URL": "endpointurl",
    "ACCESS_KEY_ID": "access_key_id",
    "SECRET_ACCESS_KEY": "secret_access_key",
    "SESSION_TOKEN": "session_token",
    "REGION": "region",
    "PROFILE": "profile",
}
HTTP = {"USER": "user", "PASSWORD": "password"}
KEYS = {"s3": S3, "http": HTTP, "https": HTTP}
PAIRS = [("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"), ("USER", "PASSWORD")]


def remote(settings: Mapping[str, str], repository: Repository | None, root: Path) -> dict[str, str]:
    """Return what DVC needs to know of the remote in the settings; nothing when they name none.

    Raises:
        SettingsError: They name one in part, or tell it what it does not know.
    """
    given = {name.removeprefix(PREFIX): value for name, value in settings.items() if name in _names()}
    url = given.pop("URL", None)
    if url is None and given:
        raise SettingsError(
            f"{PREFIX}{min(given)} is set without DVC_REMOTE_URL",
            "set DVC_REMOTE_URL in .env, or none of the DVC_REMOTE_ variables",
        )
    if url is None:
        return _dagshub(repository) if repository else {}
    scheme = url.split("://")[0] if "://" in url else ""
    if not scheme:
        url = _path_seen_from_config(url, root)
    known = KEYS.get(scheme, {})
    if strange := [name for name in given if name not in known]:
        raise SettingsError(
            f"{PREFIX}{min(strange)} means nothing to a remote at {scheme or 'a folder'}",
            "remove it from .env, or correct DVC_REMOTE_URL",
        )
    for one, other in (*PAIRS, PAIRS[0][::-1], PAIRS[1][::-1]):
        if one in given and other not in given:
            raise SettingsError(f"{PREFIX}{one} is set without {PREFIX}{other}", "set both in .env, or neither")
    if re.match(r"https?://[^/]*@", url):
        raise SettingsError(
            "DVC_REMOTE_URL holds a user or a password",
            "take it out of the URL; set DVC_REMOTE_USER and DVC_REMOTE_PASSWORD",
        )
    basic = {"auth": "basic"} if "USER" in given else {}
    return {"url": url} | {known[name]: value for name, value in given.items()} | basic


def _names() -> set[str]:
    return {f"{PREFIX}{name}" for name in ("URL", *S3, *HTTP)}


def _dagshub(repository: Repository) -> dict[str, str]:
    if repository.storage == dagshub.HTTP:
        credentials = {"user": repository.user, "password": repository.token}
        return {"url": repository.http_url, "auth": "basic"} | credentials
    keys = {"access_key_id": repository.token, "secret_access_key": repository.token}
    return {"url": "s3://dvc", "endpointurl": repository.s3_endpoint} | keys


def _path_seen_from_config(path: str, root: Path) -> str:
    """Turn a path seen from the project, as people write it in .env, into one seen from .dvc."""
    full = Path(path).expanduser()
    return str(full) if full.is_absolute() else os.path.relpath(root / full, root / ".dvc")


def merge(text: str, wanted: Mapping[str, str], *, has_git: bool) -> str:
    """Return ``text``, which is what config.local holds, with our part made new.

    A default remote that somebody chose in it stays the default.
    """
    kept = _without_ours(text)
    core_at = next((at for at, line in enumerate(kept) if line.strip() == "[core]"), None)
    core = _section(kept, core_at)
    ours = [USE_REMOTE] if wanted and not _has_key(core, "remote") else []
    ours += [NO_GIT] if not has_git and not _has_key(core, "no_scm") else []
    if ours and core_at is None:
        kept = ["[core]", *kept]
        core_at = 0
    if core_at is not None:
        kept[core_at + 1 : core_at + 1] = ours
    if wanted:
        kept += [HEADER, *(f"    {key} = {_quoted(key, value)}" for key, value in wanted.items())]
    if not any(line.strip() not in {"", "[core]"} for line in kept):
        return ""
    return "\n".join(kept) + "\n"


def has_other_default(text: str) -> bool:
    """Say whether somebody chose another default remote in config.local."""
    kept = _without_ours(text)
    core_at = next((at for at, line in enumerate(kept) if line.strip() == "[core]"), None)
    return _has_key(_section(kept, core_at), "remote")


def _without_ours(text: str) -> list[str]:
    kept = []
    in_ours = False
    for line in text.splitlines():
        if line.lstrip().startswith("["):
            in_ours = line.strip() == HEADER
        if not in_ours and line.strip() not in {USE_REMOTE.strip(), NO_GIT.strip()}:
            kept.append(line)
    return kept


def _section(lines: list[str], header_at: int | None) -> list[str]:
    if header_at is None:
        return []
    rest = lines[header_at + 1 :]
    end = next((at for at, line in enumerate(rest) if line.lstrip().startswith("[")), len(rest))
    return rest[:end]


def _has_key(lines: list[str], key: str) -> bool:
    return any(re.match(rf"\s*{key}\s*=", line) for line in lines)


def _quoted(key: str, value: str) -> str:
    # DVC's reader of this file ends a value at its quote, splits it at a line and expands %(name)s.
    quote = next((mark for mark in "\"'" if mark not in value), None)
    if quote is None or "\n" in value or "%(" in value:
        raise SettingsError(
            f"the value of {key} of the DVC remote cannot be written to .dvc/config.local",
            "it holds both kinds of quotes, a line break or '%('; choose one without",
        )
    return f"{quote}{value}{quote}"
