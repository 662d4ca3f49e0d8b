"""The entry point: reads arguments, and turns every error of ours into words and an exit code."""

import argparse
import sys

from dvc_runner import __version__
from dvc_runner.cli import settings
from dvc_runner.cli.printing import err, print_anything
from dvc_runner.errors import EXIT_INTERRUPTED, DvcRunnerError, of_os_error
from dvc_runner.interrupts import INTERRUPTS

EXIT_CODES = """exit codes:
  0 done · 1 a stage failed · 2 usage · 3 configuration · 4 container engine
  5 host path · 6 workspace busy · 130 interrupted"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; give its exit code."""
    print_anything()
    parsed = _parser().parse_args(arguments)
    INTERRUPTS.listen()
    try:
        return _dispatch(parsed)
    except KeyboardInterrupt:
        err("interrupted: nothing of ours is left running")
        return EXIT_INTERRUPTED
    except DvcRunnerError as error:
        return _told(error)
    except OSError as error:
        return _told(of_os_error(error))


def _dispatch(parsed: argparse.Namespace) -> int:
    # DVC takes most of a second to import, and --help does not need it.
    settings.prepare_for_dvc()
    from dvc_runner.cli import commands  # noqa: PLC0415
    from dvc_runner.pipeline.run import Request  # noqa: PLC0415

    if parsed.command == "exec":
        return commands.execute(parsed.argv, parsed.executor)
    if parsed.command == "build":
        return commands.build(tuple(parsed.targets), parsed.executor)
    if parsed.command == "show":
        from dvc_runner.cli.show import show  # noqa: PLC0415

        return show(parsed.stage, parsed.executor, as_json=parsed.json)
    if parsed.command == "doctor":
        from dvc_runner.cli.doctor import doctor  # noqa: PLC0415

        return doctor(parsed.executor, as_json=parsed.json)
    if parsed.command == "gc":
        from dvc_runner.cli import gc  # noqa: PLC0415

        return gc.collect(parsed.executor, older_than=parsed.older_than, force=parsed.force, as_json=parsed.json)
    request = Request(
        targets=tuple(parsed.targets),
        force=parsed.force,
        single_item=parsed.single_item,
        keep_going=parsed.keep_going,
    )
    return commands.run(request, parsed.executor, as_json=parsed.json)


def _told(error: DvcRunnerError) -> int:
    err(f"error: {error}\n  {error.remedy}")
    return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dvc-runner",
        description="Run the stages of a dvc.yaml, each in a container of its own.",
        epilog=f"example:\n  dvc-runner run\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"dvc-runner {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = _command(commands, "run", "bring stages up to date", "dvc-runner run train --executor docker")
    run.add_argument("targets", nargs="*", metavar="TARGET", help="stages; all, if none is named")
    run.add_argument("-f", "--force", action="store_true", help="run also what did not change")
    run.add_argument("-s", "--single-item", action="store_true", help="leave out what the targets depend on")
    run.add_argument("-k", "--keep-going", action="store_true", help="after a failure, finish what can be")
    run.add_argument("--json", action="store_true", help="events on stdout, one JSON object a line")
    build = _command(commands, "build", "make the stages' images", "dvc-runner build train")
    build.add_argument("targets", nargs="*", metavar="TARGET", help="stages; all, if none is named")
    show = _command(commands, "show", "print the docker run command that a stage amounts to", "dvc-runner show train")
    show.add_argument("stage", metavar="STAGE", help="the stage")
    show.add_argument("--json", action="store_true", help="one JSON object on stdout")
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
    command = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "--executor",
        metavar="NAME",
        help="docker or process (default: DVC_RUNNER_EXECUTOR, else what answers)",
    )
    return command


if __name__ == "__main__":
    sys.exit(main())
