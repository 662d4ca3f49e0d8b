"""Commit code, dvc.lock and metrics, and push them where git has a remote.

make git-sync M="what changed", or without M, and it asks.

Nothing is committed that git ignores, that holds a secret of .env, or that no repository should hold.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import env_file
from env_file import SettingsError

GIT = shutil.which("git") or "git"
ROOT = Path(__file__).resolve().parent.parent
OURS = ("MLFLOW_", "DAGSHUB_", "DVC_", "AWS_")
SECRET_NAME = re.compile(r"TOKEN|PASSWORD|SECRET|ACCESS_KEY")
# .gitignore keeps these out; this is for the day that somebody changes it.
NEVER = re.compile(
    r"(^|/)\.env(\.(?!example$)[^/]*)?$|^\.local/|^\.venv/|^data/|^models/|^\.dvc/(config\.local$|tmp/|cache/)"
)
LARGE_BYTES = 10 * 1024**2
SECRET_MIN_LENGTH = 8


class MessageError(SettingsError):
    """Nobody said what the commit is about."""


class GitError(Exception):
    """Git refused: what it said."""


def git(*words: str) -> str:
    """Run git in the project and return what it wrote.

    Raises:
        GitError: It failed.
    """
    done = subprocess.run([GIT, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise GitError(done.stderr.strip() or done.stdout.strip())
    return done.stdout


def changed() -> list[str]:
    """Return the paths that a commit of everything would add or change."""
    return sorted({path for path in git("ls-files", "-z", "-mo", "--exclude-standard").split("\0") if path} | staged())


def staged() -> set[str]:
    """Return the paths that are in the index and differ from the last commit."""
    return {path for path in git("diff", "--cached", "--name-only", "--relative", "-z").split("\0") if path}


def secrets() -> dict[str, bytes]:
    """Return the values that must not be committed, by name: those of .env and of our variables elsewhere."""
    values = {name: value for name, value in os.environ.items() if name.startswith(OURS)}
    values |= env_file.read(ROOT / ".env.auto") | env_file.read(ROOT / ".env")
    return {
        name: value.encode()
        for name, value in values.items()
        if SECRET_NAME.search(name) and len(value) >= SECRET_MIN_LENGTH
    }


def objection(path: str, hidden: dict[str, bytes]) -> str | None:
    """Say why a file should not be committed; None when nothing speaks against it."""
    file = ROOT / path
    if file.is_symlink() or not file.is_file():
        return None
    if NEVER.search(path):
        return f"is never committed: git rm --cached {path}, and add it to .gitignore"
    size = file.stat().st_size
    if size > LARGE_BYTES:
        return f"has {size // 1024**2} MiB: keep it with DVC (dvc add), or add it to .gitignore"
    content = file.read_bytes()
    found = next((name for name, value in hidden.items() if value in content), None)
    return f"holds the value of {found}: take it out, and read it from the environment" if found else None


def message() -> str:
    """Return the commit's message: M's, or the answer of whoever sits there.

    Raises:
        MessageError: There is neither.
    """
    text = os.environ.get("GIT_SYNC_MESSAGE", "").strip()
    if not text and sys.stdin.isatty():
        text = input("commit message: ").strip()
    if not text:
        raise MessageError("there is no commit message", 'make git-sync M="what changed"')
    return text


def commit() -> bool:
    """Commit what changed.

    Returns:
        Whether there was anything.

    Raises:
        SettingsError: A file should not be committed, or there is no message.
        GitError: Git refused.
    """
    hidden = secrets()
    objections = [f"{path} {why}" for path in changed() if (why := objection(path, hidden))]
    if objections:
        raise SettingsError("nothing was committed", "\n".join(objections))
    if not git("status", "--porcelain", "--", "."):
        return False
    text = message()
    git("add", "--all", "--", ".")
    git("commit", "--quiet", "--message", text)
    sys.stdout.write(git("log", "-1", "--format=committed %h %s", "--shortstat"))
    return True


def push() -> None:
    """Push the branch to where it belongs.

    Raises:
        SettingsError: It cannot be told where that is.
        GitError: Git refused.
    """
    remotes = git("remote").split()
    if not remotes:
        sys.stdout.write("not pushed: there is no git remote (git remote add origin URL)\n")
        return
    branch = git("branch", "--show-current").strip()
    if not branch:
        raise SettingsError("not pushed: no branch is checked out", "git switch --create NAME, then again")
    words = ["push"]
    if not git("for-each-ref", "--format=%(upstream)", f"refs/heads/{branch}").strip():
        if "origin" not in remotes and len(remotes) > 1:
            choices = ", ".join(remotes)
            raise SettingsError(
                f"not pushed: {branch} has no upstream, and the remotes are {choices}", f"git push -u REMOTE {branch}"
            )
        words += ["--set-upstream", "origin" if "origin" in remotes else remotes[0], branch]
    # Its own words and questions (progress, a password) are for the person.
    if subprocess.run([GIT, *words], cwd=ROOT, check=False).returncode:
        raise SettingsError(
            "not pushed: see git's own words above; the commit is kept",
            "if the remote is ahead: git pull --rebase, then make git-sync again",
        )


def main() -> int:
    """Commit and push."""
    try:
        git("rev-parse", "--is-inside-work-tree")
    except GitError:
        sys.stderr.write("git-sync: this folder is no git repository\ngit init, or clone the project with git\n")
        return 3
    try:
        if not commit():
            sys.stdout.write("nothing to commit\n")
        push()
    except SettingsError as error:
        sys.stderr.write(f"git-sync: {error}\n")
        return 2 if isinstance(error, MessageError) else 3
    except GitError as error:
        sys.stderr.write(f"git-sync: git refused: {error}\n")
        return 3
    except (KeyboardInterrupt, EOFError):
        sys.stderr.write("\ngit-sync: nothing was committed\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
