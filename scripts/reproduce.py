"""Make a version of the model again, with an MLflow server of its own so that no alias moves: reproduce.py VERSION."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import configure
import env_file
from run import run

ROOT = Path(__file__).resolve().parent.parent
SERVER = [sys.executable, str(ROOT / "tracking-server" / "server.py")]


def main(version: str) -> int:
    """Start a server, reproduce, end the server and remove what it kept; give dvc-runner's exit code."""
    configure.configure()
    (ROOT / ".local").mkdir(exist_ok=True)
    folder = tempfile.mkdtemp(prefix="reproduce-", dir=ROOT / ".local")
    place = ["--dir", folder]
    try:
        command = [*SERVER, "start", *place, "--port", "0"]
        started = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if started.returncode:
            return started.returncode
        program = Path(sys.executable).with_name("dvc-runner")
        return run([program, "models", "reproduce", version, "--tracking-uri", started.stdout.strip()])
    finally:
        subprocess.run([*SERVER, "stop", *place], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(folder, ignore_errors=True)


def run_main() -> int:
    """Turn what a user can put right into one or two lines and exit code 3."""
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
