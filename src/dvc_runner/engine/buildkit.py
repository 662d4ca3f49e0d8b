"""BuildKit's builder, asked over the engine's own API, without a session.

A session would bring a second protocol (gRPC over a hijacked connection), and is needed for what
our builds do not have: ``--secret``, ``--ssh``, and registries that want a token. Docker Hub is one, so the
base images are pulled beforehand (``pulls.py``); BuildKit takes those that are there.

Its progress comes as StatusResponse messages (github.com/moby/buildkit, api/services/control/control.proto),
of which a few fields are read here.
"""

import base64
import contextlib
from collections import defaultdict, deque
from collections.abc import Callable, Iterator

TRACE = "moby.buildkit.trace"
VERTICES, LOGS = 1, 3
STEP_DIGEST, STEP_NAME, STEP_CACHED, STEP_STARTED, STEP_ERROR = 1, 3, 4, 5, 7
LOG_STEP, LOG_MESSAGE = 1, 4
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


class Trace:
    """Turns BuildKit's progress into lines: each step as it begins, and what it says.

    ``failed`` are the last lines of the step that failed: others may have gone on talking beside it.
    """

    def __init__(self, on_line: Callable[[str], None], *, tail: int) -> None:
        """Hand the lines to ``on_line``; ``tail`` is how many of a failed step's are kept."""
        self._on_line = on_line
        self._begun: set[bytes] = set()
        self._said: dict[bytes, deque[str]] = defaultdict(lambda: deque(maxlen=tail))
        self.failed: tuple[str, ...] = ()

    def take(self, aux: str) -> None:
        """Take the ``aux`` value of one line of the engine's answer; what cannot be read is left out."""
        with contextlib.suppress(ValueError, IndexError):
            for number, value in fields(base64.b64decode(aux)):
                if number == VERTICES:
                    self._step(dict(fields(value)))
                elif number == LOGS:
                    self._log(dict(fields(value)))

    def _step(self, step: dict[int, bytes]) -> None:
        digest = step.get(STEP_DIGEST, b"")
        if STEP_STARTED in step and digest not in self._begun:
            self._begun.add(digest)
            name = step.get(STEP_NAME, b"").decode("utf-8", "replace")
            self._on_line(f"{name} (cached)" if STEP_CACHED in step else name)
        if STEP_ERROR in step:
            self.failed = tuple(self._said[digest])

    def _log(self, log: dict[int, bytes]) -> None:
        for line in log.get(LOG_MESSAGE, b"").decode("utf-8", "replace").splitlines():
            self._said[log.get(LOG_STEP, b"")].append(line)
            self._on_line(line)


def fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Give the fields of a protocol-buffers message: number and value; a number's value is its bytes.

    Source: https://protobuf.dev/programming-guides/encoding/
    """
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, kind = tag >> 3, tag & 7
        start = position
        if kind == VARINT:
            _, position = _varint(message, position)
        elif kind == LENGTH:
            length, start = _varint(message, position)
            position = start + length
        elif kind in (FIXED64, FIXED32):
            position += 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"a field of the unknown kind {kind}")
        yield number, message[start:position]


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while message[position] & 0x80:
        value |= (message[position] & 0x7F) << shift
        shift += 7
        position += 1
    return value | message[position] << shift, position + 1
