"""Every error: its exit code, and what the operating system refused in our words."""

import errno
import os

from tests.support.cases import cases

from dvc_runner import errors
from dvc_runner.errors import ConfigurationError, DvcRunnerError, StageError, of_os_error


@cases(
    "kind, code",
    {
        "usage": (errors.UsageError, 2),
        "configuration": (errors.ConfigurationError, 3),
        "engine": (errors.EngineError, 4),
        "an engine that is not ours": (errors.EnginePermissionError, 4),
        "build": (errors.BuildError, 4),
        "host path": (errors.HostPathError, 5),
        "busy": (errors.WorkspaceBusyError, 6),
        "stage": (errors.StageError, 1),
    },
)
def test_exit_codes_are_the_documented_ones(kind: type[DvcRunnerError], code: int) -> None:
    error = kind("what is wrong", remedy="what to do")
    assert (error.exit_code, str(error), error.remedy) == (code, "what is wrong", "what to do")


@cases(
    "number, kind",
    {
        "a full disk": (errno.ENOSPC, StageError),
        "a full quota": (errno.EDQUOT, StageError),
        "no right": (errno.EACCES, ConfigurationError),
        "not permitted": (errno.EPERM, ConfigurationError),
        "a read-only disk": (errno.EROFS, ConfigurationError),
        "anything else": (errno.EIO, StageError),
    },
)
def test_what_the_system_refuses_names_the_file(number: int, kind: type[DvcRunnerError]) -> None:
    error = of_os_error(OSError(number, os.strerror(number), "/some/file"))
    assert type(error) is kind
    assert "/some/file" in str(error)
    assert error.remedy


def test_what_the_system_refuses_without_a_file_has_its_words() -> None:
    assert os.strerror(errno.EIO) in str(of_os_error(OSError(errno.EIO, os.strerror(errno.EIO))))
    assert "words" in str(of_os_error(OSError("words")))
