"""Make a version of the model again, with an MLflow server of its own so that no alias moves: reproduce.py VERSION."""

import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import configure
import env_file
from run import run

from dvc_runner.workspace.holding import is_taken

ROOT = Path(__file__).resolve().parent.parent
LOCK, PREFIX = ROOT / ".local" / "reproduce.lock", "reproduce-"
EXIT_BUSY = 6
SERVER = [sys.executable, str(ROOT / "tracking-server" / "server.py")]


def main(version: str) -> int:
    """Start a server, reproduce, end the server and remove what it kept; give dvc-runner's exit code."""
    configure.configure()
    program = Path(sys.executable).with_name("dvc-runner")
    # A version that is not there is told before a server is started for it.
    if code := subprocess.run(
        [program, "models", "show", version], cwd=ROOT, stdout=subprocess.DEVNULL, check=False
    ).returncode:
        return code
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("w") as lock:
        if not is_taken(lock.fileno()):
            sys.stderr.write("reproduce: another one is at work in this clone\nwait for its end\n")
            return EXIT_BUSY
        for left in LOCK.parent.glob(f"{PREFIX}*/"):
            end(left)
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=LOCK.parent))
        try:
            command = [*SERVER, "start", "--dir", str(folder), "--port", "0"]
            started = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
            if started.returncode:
                return started.returncode
            return run([program, "models", "reproduce", version, "--tracking-uri", started.stdout.strip()])
        finally:
            end(folder)


def end(folder: Path) -> None:
    """End the server of a folder, and remove the folder."""
    subprocess.run([*SERVER, "stop", "--dir", str(folder)], stderr=subprocess.DEVNULL, check=False)
    shutil.rmtree(folder, ignore_errors=True)


def run_main() -> int:
    """Turn what a user can put right into one or two lines and exit code 3."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    try:
        return main(*(sys.argv[1:] or ["production"]))
    except env_file.SettingsError as error:
        sys.stderr.write(f"reproduce: {error}\n")
    except OSError as error:
        sys.stderr.write(f"reproduce: {error.filename or ''}: {error.strerror}\n")
    except KeyboardInterrupt:
        return 130
    return 3


if __name__ == "__main__":
    sys.exit(run_main())
