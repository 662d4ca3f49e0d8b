"""Send data, run-cache and code, or fetch data and run-cache.

share.py push    data and run-cache to the DVC remote; then code to git's, as git-sync does (M="message")
share.py pull    data and run-cache from the DVC remote
"""

import os
import subprocess
import sys
from pathlib import Path

import configure
import dagshub
import dagshub_check
import dvc_config
import env_file
import git_sync
import run_cache
from env_file import SettingsError

ROOT = configure.ROOT
DVC = Path(sys.executable).with_name("dvc")


def prepare() -> tuple[str, bool]:
    """Set up the DVC remote, and see that its credentials are good.

    Returns:
        Where it is, and whether DVC's run-cache can travel there.

    Raises:
        SettingsError: They are not, or the settings lead nowhere.
    """
    settings = env_file.settings(ROOT)
    repository = dagshub.repository(settings, dagshub.git_remote_urls(ROOT))
    place = configure.configure_storage(settings, repository)
    wanted = dvc_config.remote(settings, repository, ROOT)
    if repository and "DVC_REMOTE_URL" not in settings:
        dagshub_check.require_access(repository)
    return place, not wanted.get("url", "").startswith(("http://", "https://"))


def dvc(*words: str) -> int:
    """Run DVC; its own words and progress are for the person."""
    environment = os.environ | {"PATH": f"{DVC.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    return subprocess.run([DVC, *words], cwd=ROOT, env=environment, check=False).returncode


def push(place: str, *, with_run_cache: bool) -> int:
    """Send data first: a commit is never to name what nobody can fetch."""
    if code := dvc("push", "--run-cache"):
        return code
    if with_run_cache:
        run_cache.push(ROOT)
    what = "data and run-cache" if with_run_cache else "data (a run-cache does not travel over HTTP)"
    sys.stdout.write(f"{what}: at {place}\n")
    sys.stdout.flush()
    if why := code_waits():
        sys.stdout.write(f"code: not sent, since {why}\n")
        return 0
    return git_sync.main()


def code_waits() -> str | None:
    """Say why git-sync is not for now; None where it finds a message, somebody to ask for one, or nothing to commit."""
    try:
        changes = git_sync.git("status", "--porcelain", "--", ".")
    except (git_sync.GitError, FileNotFoundError):
        return "this folder is no git repository"
    if not changes or os.environ.get("GIT_SYNC_MESSAGE", "").strip() or sys.stdin.isatty():
        return None
    return 'there are changes and no message: make git-sync M="what changed"'


def pull(place: str) -> int:
    """Fetch what dvc.lock names, and what earlier runs left."""
    code = dvc("pull", "--run-cache")
    if code:
        sys.stderr.write(
            f"pull: not all that dvc.lock names came from {place}; DVC says above what did not\n"
            "make run computes what is missing; whoever has it can send it with make push\n"
        )
    return code


def main() -> int:
    """Do what the argument says."""
    word = sys.argv[1]
    try:
        place, with_run_cache = prepare()
        return pull(place) if word == "pull" else push(place, with_run_cache=with_run_cache)
    except SettingsError as error:
        sys.stderr.write(f"{word}: {error}\n")
    except OSError as error:
        sys.stderr.write(f"{word}: {error.filename or ''}: {error.strerror}\n")
    except KeyboardInterrupt:
        return 130
    return 3


if __name__ == "__main__":
    sys.exit(main())
