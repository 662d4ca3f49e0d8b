"""An MLflow server, spoken to by the calls that every one since 2.7 knows; no MLflow is needed for it."""

import base64
import os
import re
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import IO, Any
from urllib.parse import quote, urlsplit

import requests
from env_file import SettingsError

from dvc_runner.tracking.server import Answered

API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
TIMEOUT_S = 20
ARTIFACT_TIMEOUT_S = 120
PAUSES_S = (0, 1, 3)
PAGE = 1000
CHUNK_BYTES = 1 << 20
OK, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, TOO_MANY, SERVER_ERROR = 200, 401, 403, 404, 429, 500
Json = dict[str, Any]


class ServerError(Exception):
    """The server does not do its part, and nothing more can be asked of it now: what, and the way out."""


class RefusedError(Exception):
    """The server refused this one call; ``code`` is MLflow's name for why."""

    def __init__(self, code: str, words: str) -> None:
        """Keep the code."""
        super().__init__(f"{code}: {words}" if words else code)
        self.code = code


class Server:
    """A server, and who asks it."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        """Take the variables that MLflow's own client reads; the credentials go into headers only."""
        self.uri = settings["MLFLOW_TRACKING_URI"].rstrip("/")
        self._session = requests.Session()
        user, password, token = (settings.get(f"MLFLOW_TRACKING_{name}") for name in ("USERNAME", "PASSWORD", "TOKEN"))
        self._user = user
        if user and password:
            word = base64.b64encode(f"{user}:{password}".encode()).decode()  # as text, requests sends Latin-1
            self._session.auth = partial(_authorize, f"Basic {word}")
        elif token:
            self._session.auth = partial(_authorize, f"Bearer {token}")
        if certificate := settings.get("MLFLOW_TRACKING_SERVER_CERT_PATH"):
            self._session.verify = certificate

    def get(self, path: str, /, **params: str | int) -> Json:
        """Ask for something."""
        return self._json(self._call("GET", f"{API}/{path}", params=params))

    def post(self, path: str, body: Json, *, repeatable: bool = True) -> Json:
        """Tell something; not ``repeatable`` is what would be there twice if it were told twice."""
        return self._json(self._call("POST", f"{API}/{path}", json=body, repeatable=repeatable))

    def pages(self, path: str, key: str, /, body: Json | None = None, **params: str | int) -> Iterator[Json]:
        """Give all of a list, page by page: by POST with a body, by GET without."""
        token = ""
        while True:
            more: Json = {"page_token": token} if token else {}
            answer = self.get(path, **params, **more) if body is None else self.post(path, body | more)
            yield from answer.get(key, [])
            token = answer.get("next_page_token", "")
            if not token:
                return

    def download(self, uri: str, path: str, into: IO[bytes]) -> None:
        """Write an artifact to a file.

        Args:
            uri: The root of a run's artifacts, see ``proxied``.
            path: Below it.
            into: The file.
        """
        with self._call("GET", _address(uri, path), stream=True, timeout=ARTIFACT_TIMEOUT_S) as answer:
            try:
                for chunk in answer.iter_content(CHUNK_BYTES):
                    into.write(chunk)
            except requests.RequestException as error:
                raise ServerError(self._no_answer(error)) from error

    def upload(self, uri: str, path: str, file: IO[bytes]) -> None:
        """Make an artifact of a file, in place of the one that is there."""
        empty = not file.seek(0, os.SEEK_END)  # such a file requests would send in chunks, and without an end
        self._call("PUT", _address(uri, path), data=b"" if empty else file, timeout=ARTIFACT_TIMEOUT_S)

    def _call(self, method: str, path: str, *, repeatable: bool = True, **what: Any) -> requests.Response:  # noqa: ANN401
        """Send a request; again, after a pause, where the server stumbles and a repeat does no harm.

        Raises:
            ServerError: It is away, broken, or lets nobody in.
            RefusedError: It does not do this.
        """
        for pause_s in PAUSES_S if repeatable else (0,):
            time.sleep(pause_s)
            if file := what.get("data"):
                file.seek(0)
            try:
                answer = self._session.request(
                    method, self.uri + path, **{"timeout": TIMEOUT_S, "allow_redirects": False} | what
                )
            except requests.RequestException as error:
                problem: Exception = ServerError(self._no_answer(error))
                if isinstance(error, requests.exceptions.SSLError | requests.exceptions.InvalidURL):
                    break
                continue
            if answer.status_code == OK:
                return answer
            problem = self._refusal(answer)
            if answer.status_code != TOO_MANY and answer.status_code < SERVER_ERROR:
                break
        raise problem

    def _json(self, answer: requests.Response) -> Json:
        try:
            found = answer.json()
        except requests.exceptions.JSONDecodeError:
            found = None
        if not isinstance(found, dict):
            kind = answer.headers.get("Content-Type", "something unnamed") if answer.content else "nothing"
            raise ServerError(f"MLflow at {self.uri}: it answers with {kind}, MLflow with JSON: correct its address")
        return Answered(found, self._lacks)

    def _lacks(self, key: str) -> ServerError:
        return ServerError(f"MLflow at {self.uri}: it answers without {key}, MLflow with it: correct its address")

    def _refusal(self, answer: requests.Response) -> Exception:
        status = answer.status_code
        at = f"MLflow at {self.uri}: {status}"
        who = f"user {self._user}" if self._user else "no user"
        if status == UNAUTHORIZED:
            return ServerError(f"{at}, {who} was sent: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD")
        if status == FORBIDDEN:
            return ServerError(f"{at}, {who} was sent, and may not do this: use a user or token that may write")
        if answer.is_redirect:
            return ServerError(f"{at}, it sends to {answer.headers['Location']}: set MLFLOW_TRACKING_URI accordingly")
        try:
            told = answer.json()
            return RefusedError(str(told["error_code"]), " ".join(str(told.get("message", "")).split())[:300])
        except (ValueError, KeyError, TypeError):
            pass
        if status >= SERVER_ERROR or status == TOO_MANY:
            return ServerError(f"{at}, again and again: look at its log, then run this again")
        return RefusedError(str(status), f"{urlsplit(answer.url).path} is nothing that this server knows")

    def _no_answer(self, error: requests.RequestException) -> str:
        if isinstance(error, requests.exceptions.SSLError):
            words = "TLS failed: is it http:// or https://? MLFLOW_TRACKING_SERVER_CERT_PATH names a CA's certificate"
        elif isinstance(error, requests.Timeout):
            words = "timeout, no answer: look at its log, then run this again"
        elif isinstance(error, requests.ConnectionError):
            words = "it does not answer (any more): look at its log, then run this again"
        else:
            words = f"it could not be asked ({type(error).__name__}): correct its address"
        return f"MLflow at {self.uri}: {words}"


def _authorize(word: str, request: requests.PreparedRequest) -> requests.PreparedRequest:
    request.headers["Authorization"] = word
    return request


def proxied(artifact_uri: str) -> str | None:
    """Give the path below the server's artifacts, or None if it does not hand them on itself."""
    parts = urlsplit(artifact_uri)
    if parts.scheme == "mlflow-artifacts":
        return parts.path.strip("/")
    if parts.scheme in {"http", "https"} and (found := re.search(rf"{ARTIFACTS}/(.+)", parts.path)):
        return found[1].strip("/")
    return None


def _address(uri: str, path: str) -> str:
    below = proxied(uri)
    if below is None:
        raise SettingsError(f"artifacts at {uri} are not handed on by the server", "start it with --serve-artifacts")
    return f"{ARTIFACTS}/{quote(below)}/{quote(path)}"
