"""Prove that a repository on DagsHub can be used: write to its MLflow and its storage, read it back, remove it.

DVC does not tell a wrong password from a missing file where it pulls over HTTP: so credentials are asked about first.
"""

import base64
import hashlib
import http.client
import json
import secrets
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

import dagshub
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session
from dagshub import Repository
from env_file import SettingsError

ANSWER_S = 20
OK, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, SERVER_ERROR = 200, 401, 403, 404, 500
API = "/api/2.0/mlflow"
BUCKET = "dvc"
# The same at every check: where a storage lets nothing be deleted, one object stays.
CONTENT = b"connection check\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a server said."""

    status: int
    body: bytes

    def json(self) -> dict[str, object]:
        """Give the object that it holds; an empty one where it holds none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


def require_access(repository: Repository) -> None:
    """Ask one small question, which a wrong user, token or repository cannot answer.

    Raises:
        SettingsError: They are wrong, or nobody is there.
    """
    address = repository.mlflow_uri
    answer = _ask(repository, "GET", f"{address}{API}/experiments/search?max_results=1")
    # That MLflow is out of order is no reason to keep data back.
    if answer.status < SERVER_ERROR:
        _require(repository, address, answer, writing=False)
        if answer.body.strip()[:1] != b"{":
            raise SettingsError(
                f"{address} answers with something else than MLflow's JSON", "correct DAGSHUB_URL in .env"
            )


def mlflow(repository: Repository) -> str:
    """Register a model's name, look it up and remove it; an experiment or a run could only be marked as deleted.

    Returns:
        What was done.

    Raises:
        SettingsError: It cannot be done.
    """
    address, name = repository.mlflow_uri, f"connection-check-{secrets.token_hex(6)}"
    models = f"{address}{API}/registered-models"
    made = _ask(repository, "POST", f"{models}/create", {"name": name})
    if made.status == NOT_FOUND:
        return f"{_run(repository)}; it has no model registry, which train needs"
    _require(repository, address, made, writing=True)
    try:
        found = _ask(repository, "GET", f"{models}/get?name={quote(name)}")
        _require(repository, address, found, writing=False)
        _value(address, found, "registered_model", "name")
    finally:
        removed = _ask(repository, "DELETE", f"{models}/delete", {"name": name})
    _require(repository, address, removed, writing=True)
    return "the name of a model was written, read and removed"


def _run(repository: Repository) -> str:
    address = repository.mlflow_uri
    now = {"experiment_id": "0", "start_time": int(time.time() * 1000), "run_name": "connection check"}
    made = _ask(repository, "POST", f"{address}{API}/runs/create", now)
    _require(repository, address, made, writing=True)
    run = _value(address, made, "run", "info", "run_id")
    found = _ask(repository, "GET", f"{address}{API}/runs/get?run_id={run}")
    removed = _ask(repository, "POST", f"{address}{API}/runs/delete", {"run_id": run})
    for answer in (found, removed):
        _require(repository, address, answer, writing=True)
    return "a run was written, read and deleted"


def _value(address: str, answer: Answer, *keys: str) -> object:
    """Give what MLflow's answer has there."""
    found: object = answer.json()
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    if not found:
        raise SettingsError(f"{address}: it answers without {keys[0]}, MLflow with it", "correct DAGSHUB_URL in .env")
    return found


def storage(repository: Repository) -> str:
    """Write an object, read it and remove it, by the way that DVC is going to use.

    Returns:
        What was done.

    Raises:
        SettingsError: It cannot be done.
    """
    return _over_http(repository) if repository.storage == dagshub.HTTP else _over_s3(repository)


def _over_http(repository: Repository) -> str:
    address, digest = repository.http_url, hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    # DVC's own layout: a storage may take nothing else.
    place = f"{address}/files/md5/{digest[:2]}/{digest[2:]}"
    _require(repository, address, _ask(repository, "POST", place, CONTENT), writing=True)
    found = _ask(repository, "GET", place)
    _require(repository, address, found, writing=False)
    _require_same(address, found.body)
    if _ask(repository, "DELETE", place).status // 100 == OK // 100:
        return "an object was written, read and removed"
    return f"an object was written and read; it stays as {digest} ({len(CONTENT)} bytes): this storage deletes nothing"


def _over_s3(repository: Repository) -> str:
    address, place = repository.s3_endpoint, {"Bucket": BUCKET, "Key": f"connection-check-{secrets.token_hex(6)}"}
    try:
        client = Session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=address,
            aws_access_key_id=repository.token,
            aws_secret_access_key=repository.token,
            config=Config(connect_timeout=ANSWER_S, read_timeout=ANSWER_S, retries={"max_attempts": 1}),
        )
        client.put_object(**place, Body=CONTENT)
        try:
            found = client.get_object(**place)["Body"].read()
        finally:
            client.delete_object(**place)
    except ClientError as error:
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        _require(repository, address, Answer(status=status, body=b""), writing=True)
        raise SettingsError(f"{address}: {error}", f"look at {repository.page}, then again") from None
    except BotoCoreError as error:
        words = " ".join(str(error).split())
        raise SettingsError(f"{address}: {words}", "see the network, DAGSHUB_URL, and AWS_ variables") from None
    _require_same(address, found)
    return "an object was written, read and removed"


def _require_same(address: str, found: bytes) -> None:
    if found != CONTENT:
        raise SettingsError(
            f"{address}: {len(CONTENT)} bytes were written, and {len(found)} others read", "see what stands before it"
        )


def _require(repository: Repository, address: str, answer: Answer, *, writing: bool) -> None:
    if answer.status // 100 == OK // 100:
        return
    whole, right = f"{repository.owner}/{repository.name}", "write to" if writing else "read"
    if answer.status == UNAUTHORIZED:
        raise SettingsError(
            f"{address}: 401, it does not know user {repository.user} with this token",
            f"correct DAGSHUB_USER_NAME or DAGSHUB_TOKEN in .env ({repository.site}/user/settings/tokens)",
        )
    if answer.status == FORBIDDEN:
        raise SettingsError(
            f"{address}: 403, user {repository.user} with this token may not {right} {whole}",
            "use a token that may (DAGSHUB_TOKEN in .env), or ask the repository's owner for the right to",
        )
    if answer.status == NOT_FOUND and not answer.json():
        raise SettingsError(
            f"{address}: 404, there is no repository {whole}, or user {repository.user} may not see it",
            "correct DAGSHUB_REPO in .env (where it is not set, a git remote says it)",
        )
    told = answer.json().get("message") or answer.json().get("error") or ""
    raise SettingsError(f"{address}: {answer.status} {told}".rstrip(), f"look at {repository.page}, then again")


def _ask(repository: Repository, method: str, url: str, body: Mapping[str, object] | bytes | None = None) -> Answer:
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, method=method)  # noqa: S310 - https, or http on loopback: dagshub.site
    if data is not None:
        request.add_header("Content-Type", "application/octet-stream" if data is body else "application/json")
    word = base64.b64encode(f"{repository.user}:{repository.token}".encode()).decode()
    # Not sent on to where an answer may lead.
    request.add_unredirected_header("Authorization", f"Basic {word}")
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:  # noqa: S310 - the same
            return Answer(status=answer.status, body=answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(status=error.code, body=error.read())
    except (OSError, http.client.HTTPException) as error:
        raise SettingsError(
            f"{repository.site}: {_why(error)}", "see the network, or correct DAGSHUB_URL in .env"
        ) from None


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    known: tuple[tuple[type[BaseException], str], ...] = (
        (socket.gaierror, "no host of that name"),
        (ConnectionRefusedError, "it refused the connection"),
        (ssl.SSLError, "TLS failed"),
        (TimeoutError, f"no answer in {ANSWER_S} s"),
    )
    words = next((words for kind, words in known if isinstance(reason, kind)), "")
    return words or f"it could not be asked ({reason or type(error).__name__})"
