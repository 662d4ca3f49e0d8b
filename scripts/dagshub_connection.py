"""Use DagsHub's MLflow and storage, or stop using them.

dagshub_connection.py                prove that both can be written to, then use them
dagshub_connection.py --disconnect   put the DAGSHUB_ lines of .env aside, and use what its other lines say

What is used stands in .env alone: both change its DAGSHUB_ lines, and let configure.py do the rest.
"""

import argparse
import os
import shutil
import subprocess
import sys

import configure
import dagshub
import dagshub_check
import dvc_config
import env_file
import env_lines
from dagshub import Repository
from env_file import SettingsError

ROOT = configure.ROOT
ENV = ROOT / ".env"
NAMES = (*dagshub.NAMES, *dagshub.CHOICES)
HAVE_CREDENTIALS = (ENV, configure.AUTO, configure.CONFIG_LOCAL)


def connect() -> list[str]:
    """Prove both, then use them.

    Returns:
        What to tell.

    Raises:
        SettingsError: It cannot be done; then nothing was changed.
    """
    text = env_lines.take_back(_read(), NAMES)
    # What only this shell says is kept: the next make, from another one, is to find it.
    said = {name: value for name in NAMES if (value := os.environ.get(name))}
    kept = env_file.parse(text)
    text = env_lines.assign(text, {name: value for name, value in said.items() if kept.get(name) != value})
    settings = env_file.settings(ROOT, text)
    repository = dagshub.repository(settings, dagshub.git_remote_urls(ROOT))
    if repository is None:
        raise SettingsError(
            "DAGSHUB_USER_NAME and DAGSHUB_TOKEN are not set",
            f"put them into .env (cp .env.example .env), a token from {dagshub.site(settings)}/user/settings/tokens",
        )
    # What these refuse is to be told before anything is written.
    configure.tracking(settings, repository)
    dvc_config.merge("", dvc_config.remote(settings, repository, ROOT), has_git=True)
    _require_ignored()
    dagshub_check.require_access(repository)
    told = [
        f"MLflow   {repository.mlflow_uri}: {dagshub_check.mlflow(repository)}",
        f"storage  {_storage(repository)}: {dagshub_check.storage(repository)}",
    ]
    configure.write_private(ENV.resolve(), text)
    server, data = configure.configure()
    if server[configure.URI] != repository.mlflow_uri:
        told.append(f"used     {server[configure.URI]}, since {configure.URI} is set, which counts more")
    if data != _storage(repository):
        told.append(f"used     {data}, which counts more than DagsHub's storage")
    told.append(f"token    in {', '.join(_written())}: readable by you alone, ignored by git")
    return told


def disconnect() -> list[str]:
    """Stop using DagsHub.

    Returns:
        What to tell.

    Raises:
        SettingsError: This shell's own variables would connect again.
    """
    before = _read()
    text = env_lines.put_aside(before, NAMES)
    if text != before:
        configure.write_private(ENV.resolve(), text)
    settings = {name: value for name, value in env_file.settings(ROOT, text).items() if name not in NAMES}
    server = configure.tracking(settings, None)
    configure.forget_tracking()
    data = configure.configure_storage(settings, None)
    if held := [name for name in dagshub.NAMES if os.environ.get(name)]:
        raise SettingsError(
            f"disconnected, and the next run connects again: {', '.join(held)} set in this shell",
            f"unset {' '.join(held)}",
        )
    aside = "its DAGSHUB_ lines are comments now" if text != before else "it had no DAGSHUB_ lines"
    return [
        f"MLflow   {server[configure.URI] if server else 'the local server, which make run or make up starts'}",
        f"storage  {data}",
        f".env     {aside}; make connect-dagshub takes back what was put aside",
    ]


def _read() -> str:
    # Its faults are told by the reader that all share.
    env_file.read(ENV)
    return ENV.read_bytes().decode("utf-8") if ENV.exists() else ""


def _storage(repository: Repository) -> str:
    return repository.http_url if repository.storage == dagshub.HTTP else repository.s3_endpoint


def _written() -> list[str]:
    return [str(path.relative_to(ROOT)) for path in HAVE_CREDENTIALS if path.exists()]


def _require_ignored() -> None:
    git = shutil.which("git")
    if git is None or not any((folder / ".git").exists() for folder in (ROOT, *ROOT.parents)):
        return
    for path in HAVE_CREDENTIALS:
        asked = subprocess.run([git, "-C", str(ROOT), "check-ignore", "--quiet", str(path)], check=False)
        if asked.returncode == 1:
            name = path.relative_to(ROOT)
            raise SettingsError(
                f"git does not ignore {name}, where the token would stand", f"add /{name} to .gitignore"
            )


def main() -> int:
    """Do what the arguments say, and tell it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--disconnect", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    who = "disconnect-dagshub" if options.disconnect else "connect-dagshub"
    try:
        told = disconnect() if options.disconnect else connect()
    except SettingsError as error:
        sys.stderr.write(f"{who}: {error}\n")
        return 3
    except OSError as error:
        sys.stderr.write(f"{who}: {error.filename or ''}: {error.strerror}\n")
        return 3
    except KeyboardInterrupt:
        return 130
    sys.stdout.write("".join(f"{line}\n" for line in told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
