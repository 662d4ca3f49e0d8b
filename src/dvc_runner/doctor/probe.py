"""What runs as a stage of the doctor's: it tries what a stage should and should not be able to do.

It is handed to a stage's Python as text, so it imports the standard library only. Its argument is a JSON
object: ``declared``, ``undeclared`` (paths), ``port`` (of this machine's loopback), ``names`` (to look up).
It prints a JSON object of what it could do: for each thing an empty text, or how it failed.
"""

import json
import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

PATIENCE_S = 5


def attempt(act: Callable[[], object]) -> str:
    """Do something; give an empty text, or the error."""
    try:
        act()
    except OSError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def write(path: str) -> None:
    """Open a file for writing, and leave it as it is."""
    with Path(path).open("a"):
        pass


def connect(port: int) -> None:
    """Connect to a port of this machine."""
    socket.create_connection(("127.0.0.1", port), PATIENCE_S).close()


def ask(uri: str) -> None:
    """Send a request; any answer will do."""
    try:
        urllib.request.urlopen(uri, timeout=PATIENCE_S).close()  # noqa: S310 - the tracking server's address
    except urllib.error.HTTPError as error:
        error.close()


def main() -> None:
    """Try everything, and tell."""
    asked = json.loads(sys.argv[1])
    tracking = os.environ.get("MLFLOW_TRACKING_URI")  # noqa: TID251 - the stage's own
    found = {
        "declared": attempt(lambda: Path(asked["declared"]).read_bytes()),
        "declared_write": attempt(lambda: write(asked["declared"])),
        "undeclared": attempt(lambda: Path(asked["undeclared"]).read_bytes()),
        "port": attempt(lambda: connect(asked["port"])),
        "names": attempt(lambda: socket.getaddrinfo(asked["name"], 443)),
        "tracking": attempt(lambda: ask(tracking)) if tracking else "not asked",
    }
    Path("out.txt").write_text("written", encoding="utf-8")
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
