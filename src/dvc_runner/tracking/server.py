"""A tracking server, asked over HTTP; what it does not answer is told in words."""

import base64
import http.client
import json
import queue
import socket
import ssl
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from dvc_runner.errors import ConfigurationError, NotThereError
from dvc_runner.workspace import secrets
from dvc_runner.workspace.secrets import CERTIFICATE, CERTIFICATES, TRACKING_URI

API = "/api/2.0/mlflow/"
# Until the next part of an answer comes, and until all of it is there.
SILENCE_S, ANSWER_S = 8.0, 20.0
LONGEST = 10**7
OK, UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 200, 401, 403, 404
CREDENTIALS = (secrets.USER, secrets.PASSWORD)
LOCAL = "start the local one (make up)"
NO_MLFLOW = f"correct {TRACKING_URI} (DagsHub's ends in .mlflow)"
NO_ANSWER: tuple[tuple[type[BaseException], str, str], ...] = (
    (socket.gaierror, "no host of that name", f"correct {TRACKING_URI}"),
    (ConnectionRefusedError, "it refused the connection", f"{LOCAL}, or correct {TRACKING_URI}"),
    (ssl.SSLError, "TLS failed", f"is it http:// or https://? {CERTIFICATE} names a CA's certificate"),
    (TimeoutError, "no answer in time", "look at its log, and for a firewall between"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """An answer of a server's; ``kind`` is its content type."""

    status: int
    kind: str
    text: str


def json_object(text: str) -> dict[str, Any] | None:
    """Read a JSON object; None for what is none."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


class Answered(dict[str, Any]):
    """What a server answered; a key that is not there is one that MLflow's answer has."""

    def __init__(self, found: Mapping[str, Any], lacks: Callable[[str], Exception]) -> None:
        """Keep what it answered, and the error of a key that is not there."""
        super().__init__(found)
        self._lacks = lacks

    def __missing__(self, key: str) -> NoReturn:
        """Say that it is not there.

        Raises:
            Exception: Always, the one that was given.
        """
        raise self._lacks(key)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer: followed, it would take the password along, wherever it leads."""

    def redirect_request(self, *_: object) -> None:
        return None


class TrackingServer:
    """The server that settings lead to."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        """Ask nothing yet.

        Args:
            settings: Variables, with MLflow's names.

        Raises:
            ConfigurationError: They name no server.
        """
        address = settings.get(TRACKING_URI, "")
        if not address.startswith(("http://", "https://")):
            raise ConfigurationError(
                f"{TRACKING_URI} is {address!r}", remedy=f"{LOCAL}, or give it an http(s):// address"
            )
        self._settings = settings
        self._parts = urlsplit(address)
        self.uri = self._parts._replace(netloc=self._parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
        named = next((name for name in CERTIFICATES if settings.get(name)), CERTIFICATE)
        place = settings.get(named)
        try:
            folder = place if place and Path(place).is_dir() else None
            trusted = ssl.create_default_context(cafile=None if folder else place, capath=folder)
        except OSError as error:
            raise ConfigurationError(
                f"{named} is {place}: {error.strerror or error}",
                remedy="name the file of a CA's certificate there, or unset it",
            ) from error
        self._opener = urllib.request.build_opener(_NoRedirects, urllib.request.HTTPSHandler(context=trusted))

    def call(self, route: str, *, method: str = "GET", **values: object) -> dict[str, Any]:
        """Use one of MLflow's REST routes, and give what it answers.

        Raises:
            NotThereError: The server says that it does not have what was asked for.
            ConfigurationError: It did not answer, or not as MLflow does; the message says how it did.
        """
        if method == "GET":
            answer = self.ask(f"{API}{route}?{urllib.parse.urlencode(values, doseq=True)}")
        else:
            answer = self.ask(f"{API}{route}", method=method, body=values)
        found = json_object(answer.text)
        if answer.status == OK and found is not None:
            return Answered(found, lambda key: self.refusal(f"it answers {route} without {key}", NO_MLFLOW))
        if found is not None and found.get("error_code") == "RESOURCE_DOES_NOT_EXIST":
            raise NotThereError(
                f"{self.uri}: {found.get('message') or 'not there'}",
                remedy="dvc-runner models list  says what is there; make run trains what is not",
            )
        if found is not None and found.get("error_code") and answer.status not in (UNAUTHORIZED, FORBIDDEN):
            raise self.refusal(f"it refused: {found.get('message') or found['error_code']}", "see what it says")
        raise self.of_status(answer)

    def of_status(self, answer: Answer) -> ConfigurationError:
        """Give the error for an answer that MLflow does not give."""
        if answer.status == FORBIDDEN and "host" in answer.text.lower():
            return self.refusal(
                "403, it does not answer to that name", "start it with --allowed-hosts, or use its address"
            )
        if answer.status != OK:
            return self.refusal(*self._status(answer.status))
        kind = answer.kind if answer.text else "nothing"
        return self.refusal(f"it answers with {kind}, MLflow with JSON", NO_MLFLOW)

    def refusal(self, words: str, remedy: str) -> ConfigurationError:
        """Give the error that says something of this server."""
        return ConfigurationError(f"{self.uri}: {words}", remedy=remedy)

    def ask(self, path: str, *, method: str = "GET", body: Mapping[str, object] | None = None) -> Answer:
        """Send one request.

        Raises:
            ConfigurationError: No answer came, or not all of it in time.
        """
        found: queue.SimpleQueue[Answer | Exception] = queue.SimpleQueue()

        def work() -> None:
            try:
                found.put(self._ask(path, method, body))
            except Exception as error:  # noqa: BLE001 - raised again below
                found.put(error)

        # A socket's timeout limits neither the look-up of a name nor an answer that trickles.
        threading.Thread(target=work, daemon=True).start()
        try:
            answer = found.get(timeout=ANSWER_S)
        except queue.Empty:
            raise self._no_answer(TimeoutError()) from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _ask(self, path: str, method: str, body: Mapping[str, object] | None) -> Answer:
        data = None if body is None else json.dumps(body).encode()
        headers = {**self._credentials(), **({"Content-Type": "application/json"} if data else {})}
        request = urllib.request.Request(self.uri + path, data=data, headers=headers, method=method)  # noqa: S310 - http(s), seen above
        try:
            try:
                answer = self._opener.open(request, timeout=SILENCE_S)
            except urllib.error.HTTPError as error:
                answer = error
            with answer:
                return Answer(
                    status=answer.status,
                    kind=answer.headers.get_content_type(),
                    text=answer.read(LONGEST).decode("utf-8", "replace"),
                )
        except (OSError, ValueError) as error:
            raise self._no_answer(error) from error
        except http.client.HTTPException as error:
            raise self.refusal(f"it speaks no HTTP ({type(error).__name__})", f"correct {TRACKING_URI}") from error

    def _credentials(self) -> dict[str, str]:
        user, password = (self._settings.get(name) for name in CREDENTIALS)
        if not user or not password:
            user, password = self._parts.username, self._parts.password
        if user and password:
            return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
        token = self._settings.get(secrets.TOKEN)
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _no_answer(self, error: Exception) -> ConfigurationError:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        for kind, words, remedy in NO_ANSWER:
            if isinstance(reason, kind):
                return self.refusal(words, remedy)
        return self.refusal(f"it could not be asked: {reason}", f"correct {TRACKING_URI}")

    def _status(self, status: int) -> tuple[str, str]:
        user = self._settings.get(secrets.USER)
        sent = f"as user {user}" if user else "with a token" if self._settings.get(secrets.TOKEN) else "without a user"
        told = {
            UNAUTHORIZED: (f"401, asked {sent}", f"set {' and '.join(CREDENTIALS)} to what it knows"),
            FORBIDDEN: (f"403, asked {sent}", "use a user or token that may use it"),
            NOT_FOUND: ("404, no MLflow at this address", NO_MLFLOW),
        }
        return told.get(status, (f"{status} where 200 was due", f"look at its log, or correct {TRACKING_URI}"))
