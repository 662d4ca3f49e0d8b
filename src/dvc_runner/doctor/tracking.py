"""Whether what answers at the tracking server's address is an MLflow that this project may use."""

import base64
import http.client
import json
import re
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from dvc_runner.errors import ConfigurationError
from dvc_runner.workspace import secrets

ANSWER_S = 8
# Every MLflow knows it, and answers when its store is ready.
QUESTION = "/api/2.0/mlflow/experiments/search?max_results=1"
OK, UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 200, 401, 403, 404
CREDENTIALS = (secrets.USER, secrets.PASSWORD)
LOCAL = "start the local one (make up)"
NO_ANSWER: tuple[tuple[type[BaseException], str, str], ...] = (
    (socket.gaierror, "no host of that name", "correct MLFLOW_TRACKING_URI"),
    (ConnectionRefusedError, "it refused the connection", f"{LOCAL}, or correct MLFLOW_TRACKING_URI"),
    (
        ssl.SSLError,
        "TLS failed",
        "is it http:// or https://? MLFLOW_TRACKING_SERVER_CERT_PATH names a CA's certificate",
    ),
    (TimeoutError, "no answer in time", "look at its log, and for a firewall between"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """An answer of a server's; ``kind`` is its content type."""

    status: int
    kind: str
    text: str


def prove(settings: Mapping[str, str]) -> str:
    """Ask the server of the settings for its version, and for an experiment.

    Raises:
        ConfigurationError: It does not answer as MLflow does; the message says how it does.
    """
    uri = settings["MLFLOW_TRACKING_URI"]
    if not uri.startswith(("http://", "https://")):
        raise ConfigurationError(f"MLFLOW_TRACKING_URI is {uri!r}", remedy=f"{LOCAL}, or give it an http(s):// address")
    answer = _ask(uri, QUESTION, settings)
    if answer.status == FORBIDDEN and "host" in answer.text.lower():
        raise _refusal(uri, "403, it does not answer to that name", "start it with --allowed-hosts, or use its address")
    if answer.status != OK:
        raise _refusal(uri, *_status(answer.status, settings))
    try:
        found = json.loads(answer.text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise _refusal(
            uri,
            f"it answers with {answer.kind}, MLflow with JSON",
            "correct MLFLOW_TRACKING_URI (DagsHub's ends in .mlflow)",
        )
    version = _ask(uri, "/version", settings)
    # DagsHub's answers with a page.
    known = version.status == OK and re.match(r"\s*(\d+\.\d\S*)\s*$", version.text)
    named = known[1] if known else "of a version untold"
    return f"{shown(uri)} answers as MLflow {named}, and lets experiments be read"


def shown(uri: str) -> str:
    """Give an address without the user and password in it."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _ask(uri: str, question: str, settings: Mapping[str, str]) -> Answer:
    address = shown(uri).rstrip("/") + question
    request = urllib.request.Request(address, headers=_credentials(uri, settings))  # noqa: S310 - http(s), seen above
    try:
        trusted = ssl.create_default_context(cafile=settings.get("MLFLOW_TRACKING_SERVER_CERT_PATH"))
        with urllib.request.urlopen(request, timeout=ANSWER_S, context=trusted) as answer:  # noqa: S310 - as above
            return Answer(
                status=answer.status,
                kind=answer.headers.get_content_type(),
                text=answer.read(10**6).decode("utf-8", "replace"),
            )
    except urllib.error.HTTPError as error:
        with error:
            text = error.read(10**4).decode("utf-8", "replace")
        return Answer(status=error.code, kind=error.headers.get_content_type(), text=text)
    except (OSError, ValueError) as error:
        raise _no_answer(uri, error) from error
    except http.client.HTTPException as error:
        raise _refusal(uri, f"it speaks no HTTP ({type(error).__name__})", "correct MLFLOW_TRACKING_URI") from error


def _credentials(uri: str, settings: Mapping[str, str]) -> dict[str, str]:
    parts = urlsplit(uri)
    user, password = (settings.get(name) for name in CREDENTIALS)
    if not user or not password:
        user, password = parts.username, parts.password
    if user and password:
        return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
    token = settings.get("MLFLOW_TRACKING_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _no_answer(uri: str, error: Exception) -> ConfigurationError:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    for kind, words, remedy in NO_ANSWER:
        if isinstance(reason, kind):
            return _refusal(uri, words, remedy)
    return _refusal(uri, f"it could not be asked: {reason}", "correct MLFLOW_TRACKING_URI")


def _status(status: int, settings: Mapping[str, str]) -> tuple[str, str]:
    user = settings.get(CREDENTIALS[0])
    sent = f"as user {user}" if user else "with a token" if settings.get("MLFLOW_TRACKING_TOKEN") else "without a user"
    told = {
        UNAUTHORIZED: (f"401, asked {sent}", f"set {' and '.join(CREDENTIALS)} to what it knows"),
        FORBIDDEN: (f"403, asked {sent}", "use a user or token that may use it"),
        NOT_FOUND: ("404, no MLflow at this address", "correct MLFLOW_TRACKING_URI (DagsHub's ends in .mlflow)"),
    }
    return told.get(status, (f"{status} where 200 was due", "look at its log, or correct MLFLOW_TRACKING_URI"))


def _refusal(uri: str, words: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"{shown(uri)}: {words}", remedy=remedy)
