"""Doing things as another user."""

import os
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

SOMEBODY = 1234


def give(folder: Path) -> None:
    """Make a folder and all in it somebody's; where we are not root, it stays ours."""
    if os.geteuid() == 0:
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, SOMEBODY, SOMEBODY, follow_symlinks=False)


def as_somebody(act: Callable[[], None]) -> None:
    """Call ``act`` in a process of a user who owns nothing; where we are not root, as ourselves."""
    if os.geteuid() != 0:
        act()
        return
    with warnings.catch_warnings():
        # What other threads hold is of no concern to what the child does.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setgroups([])
            os.setresgid(SOMEBODY, SOMEBODY, SOMEBODY)
            os.setresuid(SOMEBODY, SOMEBODY, SOMEBODY)
            act()
            code = 0
        except BaseException:  # noqa: BLE001 - nothing of pytest's may run in the child
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, "see the child's traceback above"
