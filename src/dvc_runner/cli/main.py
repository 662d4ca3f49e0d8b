"""The entry point: reads arguments, and turns every error of ours into words and an exit code."""

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

from dvc_runner.cli import model_options, options, owner, quick, settings
from dvc_runner.cli.printing import err, print_anything
from dvc_runner.errors import EXIT_INTERRUPTED, DvcRunnerError, of_os_error
from dvc_runner.interrupts import INTERRUPTS

READ_BY_OTHERS = ("plan", "show", "models", "doctor", "gc")
# As a shell tells it of a program that ended so.
EXIT_PIPE = 141
EXIT_CODES = """exit codes:
  0 done · 1 a stage failed · 2 usage · 3 configuration · 4 container engine
  5 host path · 6 workspace busy · 130 interrupted
  run ends with 1 whatever made a stage fail; exec with the code of the cause"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; give its exit code."""
    INTERRUPTS.listen()
    parsed = None
    try:
        print_anything()
        parsed = _parser().parse_args(arguments)
        return _dispatch(parsed)
    except KeyboardInterrupt:
        err("interrupted: nothing of ours is left running")
        return EXIT_INTERRUPTED
    except DvcRunnerError as error:
        return _told(error)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and parsed and parsed.command in READ_BY_OTHERS:
            # Whoever reads us, such as head, has enough.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return EXIT_PIPE
        return _told(of_os_error(error))


def _dispatch(parsed: argparse.Namespace) -> int:
    if parsed.command != "exec":  # DVC, which started that, has made files of its own already
        owner.become(Path.cwd())
    settings.prepare_for_dvc()
    if parsed.command == "run" and not parsed.dry:
        return quick.run(parsed)
    # DVC takes most of a second to import, and --help does not need it; exec is started once per stage.
    from dvc_runner.cli import commands  # noqa: PLC0415

    if parsed.command == "exec":
        return commands.execute(parsed.argv, parsed.executor)
    from dvc_runner.cli import doctor, gc, models, plan, show  # noqa: PLC0415

    done: dict[str, Callable[[], int]] = {
        "run": lambda: plan.plan(options.request(parsed), as_json=parsed.json, as_run=True),
        "plan": lambda: plan.plan(options.request(parsed), as_json=parsed.json, as_run=False),
        "build": lambda: commands.build(tuple(parsed.targets), parsed.executor),
        "models": lambda: models.run(parsed),
        "show": lambda: show.show(parsed.stage, parsed.executor, as_json=parsed.json),
        "doctor": lambda: doctor.doctor(parsed.executor, as_json=parsed.json),
        "gc": lambda: gc.collect(
            parsed.executor, older_than=parsed.older_than, force=parsed.force, as_json=parsed.json
        ),
    }
    return done[parsed.command]()


def _told(error: DvcRunnerError) -> int:
    err(f"error: {error}\n  {error.remedy}")
    return error.exit_code


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        # Looking for it takes as long as looking at ten thousand files.
        from importlib.metadata import version  # noqa: PLC0415

        print(f"dvc-runner {version('dvc-runner')}")  # noqa: T201
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dvc-runner",
        description="Run the stages of a dvc.yaml, each in a container of its own.",
        epilog=f"example:\n  dvc-runner run\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version, and end")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = _command(commands, "run", "bring stages up to date", "dvc-runner run train --executor docker")
    options.add_selection(run)
    options.add_running(run)
    run.add_argument("--json", action="store_true", help="events on stdout, one JSON object a line")
    plan = _command(commands, "plan", "say what a run would do with each stage, and why", "dvc-runner plan train")
    options.add_selection(plan)
    plan.add_argument("--json", action="store_true", help="one JSON object on stdout")
    plan.set_defaults(jobs=None, keep_going=False, fail_fast=False, no_commit=False)
    build = _command(commands, "build", "make the stages' images", "dvc-runner build train")
    build.add_argument("targets", nargs="*", metavar="TARGET", help="stages; all, if none is named")
    show = _command(commands, "show", "print the docker run command that a stage amounts to", "dvc-runner show train")
    show.add_argument("stage", metavar="STAGE", help="the stage")
    show.add_argument("--json", action="store_true", help="one JSON object on stdout")
    models = _command(commands, "models", "what the model registry holds", "dvc-runner models list")
    models.add_argument("--model", metavar="NAME", help="the model (default: the one that the project registers)")
    actions = models.add_subparsers(dest="action", required=True, metavar="ACTION")
    model_options.add(partial(_described, actions))
    doctor = _command(commands, "doctor", "prove what runs depend on, and say what is wrong", "dvc-runner doctor")
    doctor.add_argument("--json", action="store_true", help="one JSON object on stdout")
    gc = _command(commands, "gc", "remove images and environments that nobody uses", "dvc-runner gc --older-than 7d -f")
    gc.add_argument("-f", "--force", action="store_true", help="remove them; without it, only say what would go")
    gc.add_argument(
        "--older-than", default="30d", metavar="TIME", help="how long they are unused, in any project (default: 30d)"
    )
    gc.add_argument("--json", action="store_true", help="one JSON object on stdout")
    execute = _command(
        commands,
        "exec",
        "what a stage's cmd begins with",
        "cmd: dvc-runner exec python -m train     (in dvc.yaml)",
    )
    execute.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND")
    return parser


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    summary: str,
    example: str,
) -> argparse.ArgumentParser:
    command = _described(commands, name, summary, example)
    command.add_argument(
        "--executor",
        metavar="NAME",
        help="docker or process (default: DVC_RUNNER_EXECUTOR, else what answers)",
    )
    return command


def _described(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    summary: str,
    example: str,
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


if __name__ == "__main__":
    sys.exit(main())
