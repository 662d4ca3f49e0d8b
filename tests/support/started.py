"""Programs started as a terminal starts them."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


@contextlib.contextmanager
def started(command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """Start a command in a process group of its own; what is left of the group is killed in the end."""
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def until_begun(process: "subprocess.Popen[str]", word: str = "begun") -> None:
    """Wait until a stage says that it has begun."""
    assert process.stdout
    seen = []
    for line in process.stdout:
        seen.append(line)
        if word in line:
            return
    raise AssertionError("".join(seen))
