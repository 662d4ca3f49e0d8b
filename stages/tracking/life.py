"""Let no run stay RUNNING for ever: signs of life of the one under way, and an end for those that gave none."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import requests
from contract import one_line
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

ALIVE_AT = "alive_at"  # a run's tag: seconds since 1970, by the clock of who trains
BEAT_S = 20
SILENT_S = 300

log = logging.getLogger("tracking")


def now() -> str:
    """Give the value of a sign of life."""
    return str(int(time.time()))


@contextmanager
def beating(client: MlflowClient, run_id: str, every_s: float = BEAT_S) -> Iterator[None]:
    """Give signs of life inside the block, as long as this process lives."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(every_s):
            # A server that is away is told by the calls that matter.
            with suppress(MlflowException, requests.RequestException):
                client.set_tag(run_id, ALIVE_AT, now())

    threading.Thread(target=beat, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def end_silent(client: MlflowClient, experiment_id: str, silent_s: float = SILENT_S) -> None:
    """End the runs of an experiment whose training was killed, or lost its server at the end.

    One that is wrongly taken for dead (its machine slept, its clock is wrong) sets its status again when it ends.
    """
    try:
        for run in client.search_runs([experiment_id], "attributes.status = 'RUNNING'"):
            said = run.data.tags.get(ALIVE_AT, "")
            if said.isdecimal() and time.time() - int(said) > silent_s:
                log.warning("run %s gave no sign of life for %d s: it ends as FAILED", run.info.run_id, silent_s)
                client.set_terminated(run.info.run_id, "FAILED", end_time=int(said) * 1000)
    except MlflowException as error:
        log.warning("runs that were left RUNNING could not be ended: %s", one_line(error))
