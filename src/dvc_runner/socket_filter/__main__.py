"""Starts a filter.

    python -m dvc_runner.socket_filter --listen SOCKET --engine SOCKET --workspace FOLDER

It runs until it is ended; with it end the runner's stages, since their guards lose their streams.
"""

import argparse
import asyncio
import contextlib
import functools
import logging
import os
import signal
import socket
import stat
import sys
from pathlib import Path

from dvc_runner.errors import EXIT_INTERRUPTED, ConfigurationError, DvcRunnerError, EngineError
from dvc_runner.socket_filter.engine import CHUNK, Engine
from dvc_runner.socket_filter.gate import Gate
from dvc_runner.socket_filter.policy import Policy, user_of
from dvc_runner.socket_filter.server import serve

# Whoever may open the filter's socket is its group's business, and nobody else's.
RIGHTS = 0o660


def main(arguments: list[str] | None = None) -> int:
    """Filter until SIGTERM or SIGINT; give the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="socket-filter: %(message)s")
    try:
        asyncio.run(_run(options, _policy(options)))
    except DvcRunnerError as error:
        sys.stderr.write(f"socket-filter: {error}\n  {error.remedy}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dvc_runner.socket_filter", description=__doc__)
    parser.add_argument("--listen", type=Path, required=True, help="the socket that the runner gets")
    parser.add_argument("--engine", type=Path, required=True, help="the engine's socket")
    parser.add_argument(
        "--workspace", type=Path, required=True, help="the project's folder; here and on the engine's host the same"
    )
    parser.add_argument(
        "--read-only", type=Path, action="append", default=[], help="another folder that stages may read (a DVC cache)"
    )
    parser.add_argument("--allow-image", action="append", default=[], help="an image that passes by its name")
    parser.add_argument("--runner-container", help="the runner's container; default: whichever sees the workspace")
    parser.add_argument("--gpus", action="store_true", help="let stages have GPUs")
    return parser


def _policy(options: argparse.Namespace) -> Policy:
    for folder in (options.workspace, *options.read_only):
        if not folder.is_absolute() or not folder.is_dir() or folder != folder.resolve() or folder == Path("/"):
            raise ConfigurationError(
                f"{folder} is not the real path of a folder here",
                remedy="mount the project where the engine's host has it: "
                f"--mount type=bind,src={folder},dst={folder},readonly",
            )
    if options.engine.resolve().is_relative_to(options.workspace):
        raise ConfigurationError(
            f"the engine's socket {options.engine} lies in the workspace, where stages may be shown it",
            remedy="keep it elsewhere",
        )
    return Policy(
        workspace=options.workspace,
        also_readable=tuple(options.read_only),
        images=frozenset(options.allow_image),
        user=user_of(options.workspace),
        runner=options.runner_container,
        gpus=options.gpus,
    )


async def _run(options: argparse.Namespace, policy: Policy) -> None:
    gate = Gate(policy, Engine(options.engine))
    listening = _listening(options.listen)
    server = await asyncio.start_unix_server(functools.partial(serve, gate), sock=listening, limit=CHUNK)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    logging.getLogger("dvc_runner.socket_filter").info("listening at %s for %s", options.listen, policy.workspace)
    await ended.wait()
    # Not waited for: what is still connected ends with the loop.
    server.close()
    with contextlib.suppress(OSError):
        options.listen.unlink()


def _listening(path: Path) -> socket.socket:
    """Give a listening socket; a dead one of the same name is replaced."""
    server = socket.socket(socket.AF_UNIX)
    try:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(path.lstat().st_mode) and not _answers(path):
                path.unlink()
        before = os.umask(0o777 & ~RIGHTS)
        try:
            server.bind(str(path))
        finally:
            os.umask(before)
    except OSError as error:
        server.close()
        raise EngineError(
            f"cannot listen at {path}: {error.strerror or error}",
            remedy="give a path of at most 107 bytes in a folder that this user may write",
        ) from error
    return server


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


if __name__ == "__main__":
    sys.exit(main())
