"""Decide from the environment and .env which MLflow server and which DVC remote are used, and set them up.

configure.py             both; starts the local MLflow server when it is the one
configure.py --storage   the DVC remote alone
configure.py --browse    both, then opens MLflow in the browser

It writes .env.auto (read by dvc-runner after the environment and .env) and .dvc/config.local, both
for the owner's eyes only and never in git.
"""

import argparse
import difflib
import os
import re
import stat
import subprocess
import sys
import tempfile
import webbrowser
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import dagshub
import dvc_config
import env_file
from env_file import SettingsError

ROOT = Path(__file__).resolve().parent.parent
AUTO = ROOT / ".env.auto"
CONFIG_LOCAL = ROOT / ".dvc" / "config.local"
AUTO_HEAD = "# Written by scripts/configure.py from .env and the environment: edit .env instead.\n"
LAST_PORT = 65535
PRIVATE = stat.S_IRUSR | stat.S_IWUSR
URI, USER, PASSWORD = "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"


def tracking(settings: Mapping[str, str], repository: dagshub.Repository | None) -> dict[str, str] | None:
    """Return the MLflow variables that the settings lead to; None when the local server is meant.

    Raises:
        SettingsError: They are set in part, or the address is none that a server has.
    """
    uri, user, password = (settings.get(name) for name in (URI, USER, PASSWORD))
    if bool(user) != bool(password):
        one, other = (USER, PASSWORD) if user else (PASSWORD, USER)
        raise SettingsError(f"{one} is set without {other}", "set both in .env, or neither")
    if uri is None:
        if user:
            raise SettingsError(
                f"{USER} is set without {URI}",
                f"set {URI} in .env; DagsHub needs DAGSHUB_USER_NAME and DAGSHUB_TOKEN instead",
            )
        if repository is None:
            return None
        return {URI: repository.mlflow_uri, USER: repository.user, PASSWORD: repository.token}
    if re.match(r"https?://[^/]*@", uri):
        raise SettingsError(f"{URI} holds a user or a password", f"take it out of the URL; set {USER} and {PASSWORD}")
    if not re.match(r"https?://[^/]", uri):
        raise SettingsError(
            f"{URI} is {uri!r}", "write a server's address, http://… or https://…, or nothing for the local one"
        )
    if repository and not user and uri.startswith(repository.site):
        raise SettingsError(
            f"{URI} is on DagsHub and has no {USER}", f"remove {URI} from .env: the DAGSHUB_ variables suffice"
        )
    return {URI: uri} | ({USER: user, PASSWORD: password} if user and password else {})


def misspelt(names: list[str], known: list[str]) -> list[tuple[str, str]]:
    """Return each unknown name that is nearly a known one, with that one."""
    near = [(name, difflib.get_close_matches(name, known, n=1, cutoff=0.9)) for name in names if name not in known]
    return [(name, found[0]) for name, found in near if found]


def known_names() -> list[str]:
    """Return the variables that .env.example explains."""
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    return re.findall(r"^#? ?([A-Z][A-Z0-9_]+)=", text, re.MULTILINE)


def write_private(path: Path, text: str) -> None:
    """Make a file hold ``text``, for its owner alone, at once or not at all; without text, remove it."""
    if not text:
        path.unlink(missing_ok=True)
        return
    with suppress(FileNotFoundError):
        if path.read_text(encoding="utf-8") == text and stat.S_IMODE(path.stat().st_mode) == PRIVATE:
            return
    # mkstemp makes it with mode 600.
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def forget_tracking() -> None:
    """Let no server and no credentials stand where dvc-runner reads them; the next run finds its own."""
    write_private(AUTO, AUTO_HEAD)


def configure_storage(settings: Mapping[str, str], repository: dagshub.Repository | None) -> str:
    """Set up the DVC remote.

    Returns:
        Where it is.
    """
    wanted = dvc_config.remote(settings, repository, ROOT)
    try:
        before = CONFIG_LOCAL.read_text(encoding="utf-8")
    except FileNotFoundError:
        before = ""
    # DVC too looks for git upwards: the project may be a folder of a larger repository.
    has_git = any((folder / ".git").exists() for folder in (ROOT, *ROOT.parents))
    write_private(CONFIG_LOCAL, dvc_config.merge(before, wanted, has_git=has_git))
    if wanted and dvc_config.has_other_default(before):
        return f"the default that .dvc/config.local chose (the one from .env is its remote {dvc_config.REMOTE})"
    return wanted.get("endpointurl") or wanted.get("url") or "the default remote of .dvc/config"


def local_server(settings: Mapping[str, str]) -> dict[str, str]:
    """Start the local MLflow server if it does not run, and return the variable that leads to it.

    Raises:
        SettingsError: MLFLOW_PORT is no port.
    """
    command = [sys.executable, str(ROOT / "tracking-server" / "server.py"), "start"]
    if port := settings.get("MLFLOW_PORT"):
        if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > LAST_PORT:
            raise SettingsError(f"MLFLOW_PORT is {port!r}", f"write a number up to {LAST_PORT}, or nothing for 5000")
        command += ["--port", port]
    started = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if started.returncode:
        sys.exit(started.returncode)
    return {URI: started.stdout.strip()}


def configure() -> tuple[dict[str, str], str]:
    """Set up tracking and storage.

    Returns:
        The MLflow variables in use, and where the DVC remote is.
    """
    settings = env_file.settings(ROOT)
    for name, near in misspelt(list(env_file.read(ROOT / ".env")), known_names()):
        sys.stderr.write(f".env: nobody reads {name}; is {near} meant?\n")
    repository = dagshub.repository(settings, dagshub.git_remote_urls(ROOT))
    server = tracking(settings, repository)
    storage = configure_storage(settings, repository)
    offline = env_file.is_offline(settings)
    if offline and server:
        sys.stderr.write(f"{env_file.OFFLINE}: runs stay on this machine; make sync delivers them to {server[URI]}\n")
    if offline or server is None:
        server = local_server(settings)
    # What the environment or .env say themselves stays there: it is not copied to disk.
    auto = {env_file.OFFLINE_URI: server[URI]} if offline else {} if URI in settings else server
    write_private(AUTO, AUTO_HEAD + env_file.render(auto))
    return server, storage


def main() -> int:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--browse", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.storage:
        settings = env_file.settings(ROOT)
        configure_storage(settings, dagshub.repository(settings, dagshub.git_remote_urls(ROOT)))
        return 0
    server, storage = configure()
    sys.stdout.write(f"MLflow  {server[URI]}\ndata    {storage}\n")
    if options.browse:
        webbrowser.open(server[URI])
    return 0


def run_main() -> int:
    """Turn what a user can put right into one or two lines and exit code 3."""
    try:
        return main()
    except SettingsError as error:
        sys.stderr.write(f"configure: {error}\n")
    except OSError as error:
        sys.stderr.write(f"configure: {error.filename or ''}: {error.strerror}\n")
    except KeyboardInterrupt:
        return 130
    return 3


if __name__ == "__main__":
    sys.exit(run_main())
