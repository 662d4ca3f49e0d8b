"""Run dvc-runner in its own container; it starts the stages beside it, over the engine's socket.

in_container.py run [STAGE…]
in_container.py build
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path

import compose_file
import engine
import env_file
import handing_over

ROOT = Path(__file__).resolve().parent.parent
LOG = ROOT / ".local" / "logs" / "runner-image.log"
CLIENTS = Path(".local/clients")
NEW_S = 60


class ImageError(engine.EngineError):
    """The image of dvc-runner cannot be made."""


def main(words: list[str]) -> int:
    """Become the `docker run` that runs dvc-runner with ``words``."""
    settings = env_file.settings(ROOT)
    found = engine.variables(settings)
    # So that a second run can say who holds the workspace.
    name = f"dvc-runner-{os.getpid()}-{secrets.token_hex(4)}"
    environment = {**os.environ, **found, "DVC_RUNNER_CONTAINER": name, "DVC_RUNNER_CLIENT_ROOT": str(ROOT)}
    if user := git_user():
        environment["DVC_RUNNER_GIT_USER"] = user
    service = compose_file.service(ROOT, "dvc-runner", environment)
    options = compose_file.run_options(service, ROOT)
    build_missing(service, found["DVC_RUNNER_BASE_IMAGE"], environment)
    if engine.shares_kernel(Path(found["ENGINE_SOCKET"])):
        environment["DVC_RUNNER_CLIENT"] = str(lock_for_life(name))
    if handed := handing_over.write(clients() / f"{name}.json", ROOT, os.environ):
        environment["DVC_RUNNER_HANDED_OVER"] = str(handed.relative_to(ROOT))
    # Ctrl-C at a terminal goes through it, so only a real one is handed in.
    terminal = ["--interactive", "--tty"] if sys.stdin.isatty() and sys.stdout.isatty() else []
    command = ["docker", "run", "--rm", "--name", name, *options, *terminal, service["image"], *words]
    os.execvpe(command[0], command, environment)  # noqa: S606 - no shell is what is wanted


def git_user() -> str:
    """Return who would commit; git in the container would know this repository's settings alone."""
    git = shutil.which("git")
    if git is None:
        return ""
    asked = subprocess.run([git, "-C", ROOT, "config", "user.name"], capture_output=True, text=True, check=False)
    return asked.stdout.strip()


def build_missing(service: dict[str, str], base: str, environment: dict[str, str]) -> None:
    """Build the runner's image, unless the engine has it: named by its content, it is never stale.

    Raises:
        ImageError: It cannot be built.
    """
    image = service["image"]
    inspect = ["docker", "image", "inspect", image]
    if subprocess.run(inspect, env=environment, capture_output=True, check=False).returncode == 0:
        return
    LOG.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.write(f"building the image {image} (a minute or two, once)\n")
    command = ["docker", "build", "--force-rm", *compose_file.build_options(service, ROOT)]
    with LOG.open("wb") as log:
        built = subprocess.run(command, env=environment, stdout=log, stderr=log, check=False)
    if built.returncode:
        last = "\n".join(LOG.read_text(errors="replace").splitlines()[-5:])
        raise ImageError(
            f"{last}\nthe image of dvc-runner could not be built from {base}\n"
            f"see {LOG.relative_to(ROOT)}; where the image registry cannot be reached, set BASE_IMAGE to an image "
            "that is here"
        )


def lock_for_life(name: str) -> Path:
    """Lock a file as long as this process, or what it becomes, lives; give its path in the project.

    The runner in the container waits for that lock, and so knows when nobody wants it any more.
    """
    # The runner may be another user: to wait for a lock it has to read.
    descriptor = os.open(clients() / name, os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.set_inheritable(descriptor, True)
    return CLIENTS / name


def clients() -> Path:
    """Give the folder of what clients share with their runners, without what is left of clients that are gone."""
    folder = ROOT / CLIENTS
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if time.time() - path.stat().st_mtime > NEW_S:
            remove_unless_held(path)
    return folder


def remove_unless_held(path: Path) -> None:
    """Remove the file of a client that is gone."""
    with contextlib.suppress(OSError), path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()


def run_main() -> int:
    """Turn what a user can put right into one or two lines and its exit code."""
    try:
        return main(sys.argv[1:])
    except engine.EngineError as error:
        sys.stderr.write(f"{error}\n")
        return engine.ENGINE_EXIT_CODE
    except env_file.SettingsError as error:
        sys.stderr.write(f"{error}\n")
    except OSError as error:
        sys.stderr.write(f"{error.strerror}: {error.filename or ''}\n")
    except KeyboardInterrupt:
        return 130
    return 3


if __name__ == "__main__":
    sys.exit(run_main())
