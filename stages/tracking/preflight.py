"""Say in one line what is wrong with the MLflow server: before a stage depends on it, and when it fails one later."""

import logging
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TypeVar
from urllib.parse import urlsplit

import requests
from contract import StageError, causes, one_line
from mlflow.exceptions import MlflowException, RestException
from mlflow.utils.credentials import get_default_host_creds, read_mlflow_creds
from mlflow.utils.rest_utils import http_request

# Every MLflow knows it, and answers when its store is ready. `/health` is true too early, and to hosts it then refuses.
QUESTION = "/api/2.0/mlflow/experiments/search"
DEADLINE_S = 6
WATCH_S = 5
Answer = TypeVar("Answer")
NO_MLFLOW = "correct MLFLOW_TRACKING_URI (DagsHub's ends in .mlflow)"
log = logging.getLogger("tracking")
OK, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, SERVER_ERROR = 200, 401, 403, 404, 500

OFFLINE = "`make up` starts the local one, TRACKING_OFFLINE=1 uses it in place of another until `make sync`"
# The first that is among an error's causes tells what happened.
NO_ANSWER: list[tuple[type[BaseException], str]] = [
    (socket.gaierror, f"no host of that name: correct MLFLOW_TRACKING_URI; without a network, {OFFLINE}"),
    (ConnectionRefusedError, f"refused the connection: correct MLFLOW_TRACKING_URI; {OFFLINE}"),
    (PermissionError, "this stage may not connect to it: give it `network: tracking` in dvc.yaml"),
    (ssl.SSLError, "TLS failed: is it http:// or https://? MLFLOW_TRACKING_SERVER_CERT_PATH names a CA's certificate"),
    (TimeoutError, f"timeout, no answer: look at its log, and for a firewall between; {OFFLINE}"),
    (requests.exceptions.RetryError, f"server errors (5xx), again and again: look at its log; {OFFLINE}"),
    (
        requests.RequestException,
        f"the connection broke: look at its log, or correct MLFLOW_TRACKING_URI; {OFFLINE}",
    ),
]


def require_server(deadline_s: float = DEADLINE_S) -> str:
    """Ask the configured server one small question.

    Returns:
        Its URI.

    Raises:
        StageError: None is configured, or it does not answer as MLflow does, in time.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri.startswith(("http://", "https://")):
        raise StageError(f"MLFLOW_TRACKING_URI is {uri!r}: set it to a server's http(s):// URL; `make up` starts one")
    try:
        problem = _in_time(deadline_s, lambda: _problem(uri, deadline_s))
    except TimeoutError as error:
        problem = explain(error)
    if problem:
        raise StageError(f"MLflow at {shown(uri)}: {problem}")
    return uri


def require_filled(value: object, call: str) -> None:
    """See that the answer to a call has a value that no MLflow leaves empty.

    Raises:
        StageError: It has not: MLflow's client takes an answer without a body, or of {}, for one with empty values.
    """
    if not value:
        uri = shown(os.environ["MLFLOW_TRACKING_URI"])
        raise StageError(f"MLflow at {uri}: it answers {call} with nothing: {NO_MLFLOW}, or look at its log")


@contextmanager
def watched(every_s: float = WATCH_S) -> Iterator[None]:
    """Say when the server stops to answer inside the block, and when it does again; who waits for it waits on."""
    ended = Event()

    def watch() -> None:
        told = None
        while not ended.wait(every_s):
            problem = None
            try:
                uri = require_server(every_s)
            except StageError as error:
                problem = str(error)
            if problem != told and not ended.is_set():
                log.warning("%s", f"{problem}; waiting for it" if problem else f"MLflow at {shown(uri)}: answers again")
            told = problem

    Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def explain(error: BaseException) -> str | None:
    """Say what an error of MLflow's client tells of the server, or None if it tells nothing of it."""
    chain = list(causes(error))
    for cause in chain:
        if isinstance(cause, requests.HTTPError) and cause.response is not None:
            return _status(cause.response.status_code)
    if isinstance(error, TimeoutError) or any(isinstance(cause, requests.RequestException) for cause in chain):
        return next(words for kind, words in NO_ANSWER if any(isinstance(cause, kind) for cause in chain))
    if isinstance(error, MlflowException) and (status := error.get_http_status_code()) in {UNAUTHORIZED, FORBIDDEN}:
        return _status(status)
    if isinstance(error, RestException) and "error_code" not in error.json:
        return f"it answers {error.json}, which MLflow would not: {NO_MLFLOW}, or it does not know this call"
    if isinstance(error, RestException):
        return f"it refused: {one_line(error)}"
    return None


def shown(uri: str) -> str:
    """Give the URI without the user and password it may hold."""
    scheme, _, rest = uri.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def _in_time(deadline_s: float, call: Callable[[], Answer]) -> Answer:
    """Limit the whole call: a socket's timeout limits neither the look-up of a name nor an answer that trickles."""
    results: SimpleQueue[Answer | Exception] = SimpleQueue()

    def work() -> None:
        try:
            results.put(call())
        except Exception as error:  # noqa: BLE001 - raised again below
            results.put(error)

    Thread(target=work, daemon=True).start()
    try:
        result = results.get(timeout=deadline_s)
    except Empty:
        raise TimeoutError from None
    if isinstance(result, Exception):
        raise result
    return result


def _problem(uri: str, deadline_s: float) -> str | None:
    try:
        answer = _ask(uri, deadline_s)
    except MlflowException as error:
        # Here and not where it is raised again: there, what is handled at that moment takes its cause's place.
        return explain(error) or one_line(error)
    if answer.status_code == FORBIDDEN and _ask(uri, deadline_s, Host="localhost").status_code == OK:
        host = urlsplit(uri).netloc.rpartition("@")[2]
        return f"403, it does not answer to the name {host}: start it with --allowed-hosts {host}, or use its address"
    if answer.status_code != OK:
        return _status(answer.status_code)
    try:
        if isinstance(answer.json(), dict):
            return None
    except requests.exceptions.JSONDecodeError:
        pass
    kind = answer.headers.get("Content-Type", "something unnamed") if answer.content else "nothing"
    return f"it answers with {kind}, MLflow with JSON: {NO_MLFLOW}"


def _ask(uri: str, timeout_s: float, **headers: str) -> requests.Response:
    answer: requests.Response = http_request(
        get_default_host_creds(uri),
        QUESTION,
        "GET",
        params={"max_results": 1},
        extra_headers=headers,
        max_retries=0,
        timeout=timeout_s,
        raise_on_status=False,
    )
    return answer


def _status(status: int) -> str:
    user = read_mlflow_creds().username
    sent = f"user {user}" if user else "a token" if "MLFLOW_TRACKING_TOKEN" in os.environ else "no user"
    if status == UNAUTHORIZED:
        return f"401, {sent} was sent: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to what it knows"
    if status == FORBIDDEN:
        return f"403, {sent} was sent, and may not do this: use a user or token that may write"
    if status == NOT_FOUND:
        return f"404, no MLflow at this address: {NO_MLFLOW}"
    if status >= SERVER_ERROR:
        return f"{status}, the server or what stands before it is broken: look at its log; {OFFLINE}"
    return f"{status} where 200 was due: correct MLFLOW_TRACKING_URI"
