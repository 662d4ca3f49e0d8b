"""One check: it proves something, fails with a way out, or does not apply; in limited time."""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from dvc_runner.errors import EXIT_CONFIGURATION, DvcRunnerError, of_os_error

PATIENCE_S = 20
FAREWELL_S = 10
Value = TypeVar("Value")


class State(StrEnum):
    """How a check came out."""

    OK = "ok"
    FAILED = "failed"
    NOT_APPLICABLE = "not_applicable"


class NotApplicableError(Exception):
    """There is nothing to be proved here, for the reason given."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """``prove`` gives what it proved, or raises; ``exit_code`` is for an error that has none of its own."""

    name: str
    prove: Callable[[], str]
    limit_s: float = PATIENCE_S
    exit_code: int = EXIT_CONFIGURATION


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What came of a check; ``told`` is what it proved, or what is wrong."""

    check: str
    state: State
    told: str
    remedy: str | None = None
    exit_code: int = 0
    seconds: float = 0.0


def examine(check: Check) -> Finding:
    """Make a check. It is never waited for longer than its limit, and no crash of its own gets out."""
    began = time.monotonic()
    results: queue.SimpleQueue[Finding] = queue.SimpleQueue()
    work = threading.Thread(target=lambda: results.put(_made(check, began)), daemon=True)
    work.start()
    try:
        return results.get(timeout=check.limit_s)
    except queue.Empty:
        return Finding(
            check=check.name,
            state=State.FAILED,
            told=f"no answer within {check.limit_s:g} s",
            remedy="see whether what it asks is overloaded or hangs, then try again",
            exit_code=check.exit_code,
            seconds=time.monotonic() - began,
        )
    except KeyboardInterrupt:
        # What it started, it also ends.
        work.join(FAREWELL_S)
        raise


def _made(check: Check, began: float) -> Finding:
    state, remedy, code = State.FAILED, None, 0
    try:
        told, state = check.prove(), State.OK
    except NotApplicableError as reason:
        told, state = str(reason), State.NOT_APPLICABLE
    except DvcRunnerError as error:
        told, remedy, code = str(error), error.remedy, error.exit_code
    except OSError as error:
        ours = of_os_error(error)
        told, remedy, code = str(ours), ours.remedy, check.exit_code
    except Exception as error:  # noqa: BLE001 - a check that crashes has failed, and the others go on
        told = f"the check itself broke: {type(error).__name__}: {error}"
        remedy, code = "this is a fault of dvc-runner doctor: please report it", check.exit_code
    return Finding(
        check=check.name,
        state=state,
        told=" ".join(told.split()),
        remedy=remedy,
        exit_code=code,
        seconds=time.monotonic() - began,
    )


class Once(Generic[Value]):
    """Makes something the first time it is asked for; what several checks need fails in the first of them alone."""

    def __init__(self, name: str, make: Callable[[], Value]) -> None:
        """Call it ``name`` where it is missed."""
        self._name = name
        self._make = make
        self._made: list[Value] = []
        self._asked = False

    def __call__(self) -> Value:
        """Give it.

        Raises:
            NotApplicableError: It could not be made when another check asked.
        """
        if not self._made:
            if self._asked:
                raise NotApplicableError(f"not tried, without {self._name}")
            self._asked = True
            self._made.append(self._make())
        return self._made[0]
