"""A DagsHub of this machine: dagshub-local, started for a test."""

import contextlib
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "dagshub-local" / "stand_in.py"
MISSING = 3


@dataclass(frozen=True, kw_only=True)
class DagsHub:
    """Where it is, and who may do what there."""

    url: str
    token: str
    read_only_token: str

    @property
    def env(self) -> dict[str, str]:
        """The variables that lead to it."""
        return {
            "DAGSHUB_URL": self.url,
            "DAGSHUB_USER_NAME": "ada",
            "DAGSHUB_TOKEN": self.token,
            "DAGSHUB_REPO": "ada/iris",
        }

    def ask(self, method: str, path: str, *, user: str = "ada", token: str = "", body: bytes | None = None) -> str:
        """Ask below ``/ada/iris`` with basic auth; give the status and what was said."""
        try:
            with self._opened(method, path, user, token or self.token, body) as answer:
                return f"{answer.status} {answer.read().decode()}"
        except urllib.error.HTTPError as error:
            with error:
                return f"{error.code} {error.read().decode()}"

    def read(self, path: str, body: bytes | None = None) -> bytes:
        """Get, or post a body to, what has to be there; give what was said."""
        with self._opened("GET" if body is None else "POST", path, "ada", self.token, body) as answer:
            content: bytes = answer.read()
        return content

    def s3(self, key: str = "", secret: str = "") -> Any:
        """Give a client of its storage."""
        # Not every environment that conftest.py is read in has it.
        from botocore.config import Config
        from botocore.session import Session

        return Session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=f"{self.url}/ada/iris.s3",
            aws_access_key_id=key or self.token,
            aws_secret_access_key=secret or key or self.token,
            config=Config(retries={"max_attempts": 1}),
        )

    def objects(self) -> list[str]:
        """Give the names of what its storage holds."""
        return [entry["Key"] for entry in self.s3().list_objects_v2(Bucket="dvc").get("Contents", [])]

    def _opened(self, method: str, path: str, user: str, token: str, body: bytes | None) -> Any:
        request = urllib.request.Request(f"{self.url}/ada/iris{path}", body, method=method)
        request.add_header("Authorization", f"Basic {b64encode(f'{user}:{token}'.encode()).decode()}")
        if body is not None:
            request.add_header("Content-Type", "application/json")
        return urllib.request.urlopen(request, timeout=30)


@contextlib.contextmanager
def running(*options: str) -> Iterator[DagsHub]:
    """Start one on a free port; without nginx the test is skipped, or fails where nothing may be skipped.

    It ends when its standard input does: also when the tests are killed.
    """
    command = [sys.executable, str(PROGRAM), "--json", "--port", "0", *options]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        line = process.stdout.readline()
        if not line:
            words = process.stderr.read()
            may_skip = process.wait() == MISSING and not os.environ.get("REQUIRE_ENGINE")
            (pytest.skip if may_skip else pytest.fail)(words)
        told = json.loads(line)
        try:
            yield DagsHub(url=told["DAGSHUB_URL"], token=told["DAGSHUB_TOKEN"], read_only_token=told["read_only_token"])
        finally:
            process.stdin.close()
            process.wait()
