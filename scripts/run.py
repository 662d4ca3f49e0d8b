"""Run the pipeline where it runs best, and sum up what came out.

    run.py [STAGE…]            in dvc-runner's container if an engine answers, else on this machine
    run.py --host [STAGE…]     dvc-runner on this machine; it still runs stages in containers if it can
    run.py --build             build the images (or environments) of all stages, run nothing
    run.py --plan              say what a run would do
    run.py --doctor            prove what a run depends on, where the first of these would run

It ends with dvc-runner's exit code.
"""

import argparse
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import configure
import engine
import env_file
import offline
import summary

ROOT = Path(__file__).resolve().parent.parent
IN_CONTAINER = ROOT / "scripts" / "in_container.py"
ON_HOST = Path(sys.executable).with_name("dvc-runner")


def place(settings: dict[str, str], *, host: bool) -> tuple[Path, str | None]:
    """Choose where dvc-runner runs.

    Returns:
        The program to start, and why it is not in the container although an engine answers.

    Raises:
        engine.EnginePermissionError: There is an engine whose socket this user may not open.
    """
    if host or settings.get("DVC_RUNNER_EXECUTOR") == "process":
        return ON_HOST, None
    try:
        if not engine.shares_network(engine.find(settings)):
            return ON_HOST, "a rootless Docker's containers do not reach a server on this machine's loopback"
    except engine.EnginePermissionError:
        raise
    except engine.NoEngineError:
        # dvc-runner says so itself, when it chooses how stages run.
        return ON_HOST, None
    except engine.EngineError as error:
        return ON_HOST, str(error)
    git = ROOT / ".git"
    if git.is_file() or (not git.exists() and any((folder / ".git").exists() for folder in ROOT.parents)):
        return ON_HOST, "git keeps this project's history outside its folder, where a container does not see it"
    return IN_CONTAINER, None


def place_of_doctor(settings: dict[str, str]) -> tuple[Path, str | None]:
    """Choose where a run would be; what keeps one from the engine, the doctor tells from here."""
    try:
        return place(settings, host=False)
    except engine.EngineError:
        return ON_HOST, None


def again(stages: list[str], *, host: bool) -> str:
    """Give the words that begin this once more; what make has no target for goes without it."""
    if len(stages) + host > 1:
        return shlex.join(["scripts/python", "scripts/run.py", *(["--host"] if host else []), *stages])
    return "-".join(["make run", *(["host"] if host else []), *stages])


def run(command: list[str | Path]) -> int:
    """Run a program to its end, handing on the signals that only this process got.

    Ctrl-C reaches every process of the terminal by itself: the program decides how it ends.
    """
    early: list[int] = []
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: early.append(received))
    with subprocess.Popen(command, cwd=ROOT) as program:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda received, _: program.send_signal(received))
        for received in early:
            program.send_signal(received)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        code = program.wait()
    # A program ended by a signal is told as the shell tells it.
    return code if code >= 0 else 128 - code


def main() -> int:
    """Configure, run, sum up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--build", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--plan", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--doctor", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("stages", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plan:
        # It has to know the server that a run would use.
        configure.configure()
        return run([ON_HOST, "plan"])
    settings = env_file.settings(ROOT)
    program, reason = place_of_doctor(settings) if options.doctor else place(settings, host=options.host)
    # Else a run that fails ends with a command of an environment that is not active.
    os.environ["DVC_RUNNER_AGAIN"] = again(options.stages, host=options.host)
    command = "build" if options.build else "doctor" if options.doctor else "run"
    if not options.build:
        server, _ = configure.configure()
        if command == "run" and sys.stdin.isatty() and offline.is_wanted(server):
            os.environ[env_file.OFFLINE] = "1"
            configure.configure()
    if reason:
        sys.stderr.write(f"dvc-runner runs on this machine: {reason}\n")
    if "DOCKER_HOST" not in settings and not engine.DEFAULT_SOCKET.exists():
        os.environ["DOCKER_HOST"] = engine.address(settings)
    code = run([*([sys.executable] if program == IN_CONTAINER else []), program, command, *options.stages])
    if code == 0 and command == "run":
        summary.show()
    return code


def run_main() -> int:
    """Turn what a user can put right into one or two lines and its exit code."""
    try:
        return main()
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
