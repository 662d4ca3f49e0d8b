"""Every error a user can meet: what is wrong, the way out, and the exit code it ends with."""

import errno
from typing import ClassVar

EXIT_STAGE_FAILED = 1
EXIT_USAGE = 2
EXIT_CONFIGURATION = 3
EXIT_ENGINE = 4
EXIT_HOST_PATH = 5
EXIT_BUSY = 6
EXIT_INTERRUPTED = 130


class DvcRunnerError(Exception):
    """A mistake or a mishap that is told in a line or two, never as a traceback."""

    exit_code: ClassVar[int] = EXIT_STAGE_FAILED

    def __init__(self, message: str, *, remedy: str) -> None:
        """Say what is wrong in ``message`` (name and value seen) and what to do in ``remedy``."""
        super().__init__(message)
        self.remedy = remedy


class StageError(DvcRunnerError):
    """A stage could not do its work: it failed, was ended, or left an out unwritten."""


class UsageError(DvcRunnerError):
    """A command line that makes no sense."""

    exit_code = EXIT_USAGE


class ConfigurationError(DvcRunnerError):
    """dvc.yaml, params.yaml, .env or the environment holds something that cannot be used."""

    exit_code = EXIT_CONFIGURATION


class NotThereError(ConfigurationError):
    """The tracking server was asked for something that it does not have."""


class EngineError(DvcRunnerError):
    """The container engine, or what stands in for it, cannot do what is asked."""

    exit_code = EXIT_ENGINE


class EnginePermissionError(EngineError):
    """There is an engine, and its socket is not ours to open."""


class BuildError(EngineError):
    """An image or a virtual environment could not be made."""


class HostPathError(DvcRunnerError):
    """A path of this container could not be found on the engine's host."""

    exit_code = EXIT_HOST_PATH


class WorkspaceBusyError(DvcRunnerError):
    """Another run holds the workspace."""

    exit_code = EXIT_BUSY


def of_os_error(error: OSError) -> DvcRunnerError:
    """Give our error for what the operating system refused: no room, no right, or else its own words."""
    what = error.filename or "a file"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StageError(
            f"the disk is full, or its quota for this user: {what} could not be written",
            remedy="make room (df -h shows where; dvc gc frees old data), then run again",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ConfigurationError(
            f"{what}: {error.strerror}",
            remedy="run as the owner of the project, or in a copy of your own",
        )
    if error.errno == errno.EBUSY:
        return StageError(
            f"{what} is a mount point, so nothing can be put in its place",
            remedy="mount the folder around it, or make its content the out",
        )
    return StageError(f"{what}: {error.strerror or error}", remedy="mend that, then run again")
