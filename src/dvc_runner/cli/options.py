"""The options of ``run`` and ``plan``, which are those of ``dvc repro``, and what they come to."""

import argparse
import math
import os
import re
import shlex
from typing import NoReturn

from dvc_runner.errors import UsageError
from dvc_runner.model import Handling, Selection
from dvc_runner.pipeline.request import Request, Room
from dvc_runner.workspace import quantities

BEGINNING_ANEW = {"force", "force_downstream"}
NO_OPTIONS = {"command", "targets"}
# What dvc repro knows and we do not, and why.
REFUSED = {
    ("-i", "--interactive"): "look at  dvc-runner plan  first, and name the stages to run",
    ("--ignore-errors",): "use --keep-going, which runs all that does not depend on what failed",
}


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add what says which stages, and when they have to run."""
    parser.add_argument(
        "targets",
        nargs="*",
        metavar="TARGET",
        help="stages (train, sub/dvc.yaml:train, train@a, or a group train) or files of stages (default: dvc.yaml)",
    )
    for flags, help_text in (
        (("-f", "--force"), "run also what did not change"),
        (("-s", "--single-item"), "leave out what the targets depend on"),
        (("-p", "--pipeline"), "the whole pipelines that the targets belong to"),
        (("-P", "--all-pipelines"), "all pipelines of the project"),
        (("-R", "--recursive"), "targets are folders: all stages below them"),
        (("--downstream",), "the targets and what depends on them"),
        (("--force-downstream",), "run also what depends on a stage that ran"),
        (("--glob",), "targets may hold * and ?"),
        (("--pull",), "fetch what is missing from the DVC remote"),
        (("--allow-missing",), "what is missing, and unchanged otherwise, is no reason to run"),
        (("--no-run-cache",), "take nothing from the run-cache"),
    ):
        parser.add_argument(*flags, action="store_true", help=help_text)
    for names, instead in REFUSED.items():
        parser.add_argument(*names, nargs=0, action=_Refused, help=argparse.SUPPRESS, metavar=instead)


def add_running(parser: argparse.ArgumentParser) -> None:
    """Add what says how stages run."""
    parser.add_argument("-j", "--jobs", type=_jobs, metavar="N", help="how many stages at once (default: one per core)")
    parser.add_argument("-k", "--keep-going", action="store_true", help="after a failure, finish what can be")
    parser.add_argument("--fail-fast", action="store_true", help="at a failure, end what runs")
    parser.add_argument("--no-commit", action="store_true", help="put nothing into the cache")
    parser.add_argument("--dry", action="store_true", help="only say what would be done, as plan does")
    parser.add_argument(
        "--wait",
        nargs="?",
        type=_seconds,
        const=float("inf"),
        default=0.0,
        metavar="TIME",
        help="if another run is at work, wait for its end (for TIME, such as 90s or 5m, if given)",
    )


def request(parsed: argparse.Namespace) -> Request:
    """Give what the arguments of ``run`` or ``plan`` ask for.

    Raises:
        UsageError: They contradict each other.
    """
    if parsed.fail_fast and parsed.keep_going:
        raise UsageError("--fail-fast and --keep-going contradict each other", remedy="leave one of them out")
    return Request(
        selection=Selection(
            targets=tuple(parsed.targets),
            single_item=parsed.single_item,
            recursive=parsed.recursive,
            glob=parsed.glob,
            pipeline=parsed.pipeline,
            all_pipelines=parsed.all_pipelines,
            downstream=parsed.downstream,
        ),
        handling=Handling(
            force=parsed.force,
            force_downstream=parsed.force_downstream,
            pull=parsed.pull,
            allow_missing=parsed.allow_missing,
            run_cache=not parsed.no_run_cache,
            commit=not parsed.no_commit,
        ),
        room=room(parsed.jobs),
        keep_going=parsed.keep_going,
        fail_fast=parsed.fail_fast,
    )


def again(parsed: argparse.Namespace) -> str:
    """Give the command by which a failed ``run`` of these arguments goes on, for a shell."""
    words: list[str] = []
    for name, value in vars(parsed).items():
        if name not in BEGINNING_ANEW | NO_OPTIONS and value:
            words.append(f"--{name.replace('_', '-')}")
            is_bare = value is True or value == math.inf
            words += [] if is_bare else [f"{value:.12g}s" if isinstance(value, float) else str(value)]
    # --wait takes a word after it for its time.
    is_unclear = words[-1:] == ["--wait"] or any(target.startswith("-") for target in parsed.targets)
    return shlex.join(
        ["dvc-runner", "run", *words, *(["--"] if is_unclear and parsed.targets else []), *parsed.targets]
    )


class _Refused(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        name = max(self.option_strings, key=len)
        parser.error(f"{name} is an option of dvc repro that dvc-runner does not have: {self.metavar}")


def room(jobs: int | None) -> Room:
    """Give how many stages may run at once (one per core, if that is not said), on this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Room(jobs=jobs or cores, cpus=cores, memory_bytes=memory)


def _jobs(text: str) -> int:
    if not re.fullmatch("[0-9]+", text) or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of jobs: give 1 or more")
    return int(text)


def _seconds(text: str) -> float:
    try:
        return quantities.time_s(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
