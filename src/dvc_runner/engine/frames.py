"""What a container says, as the engine sends it: frames with a header each, cut anywhere."""

import select
import socket
from collections.abc import Iterator
from typing import TypeAlias

CHUNK = 2**18
HEADER = 8
SIZE_AT = 4
# The SDK gives a SocketIO, and for TLS a socket.
Stream: TypeAlias = socket.SocketIO | socket.socket


class Frames:
    """Takes the headers out of a stream; a frame may come in pieces, and be of any size."""

    def __init__(self) -> None:
        """Begin at the beginning of a stream."""
        self._rest = b""
        self._left = 0

    def payload(self, data: bytes) -> bytes:
        """Give what the next bytes of the stream hold beside headers."""
        data = self._rest + data
        parts = []
        at = 0
        while True:
            part = data[at : at + self._left]
            parts.append(part)
            at += len(part)
            self._left -= len(part)
            if self._left or len(data) - at < HEADER:
                self._rest = data[at:]
                return b"".join(parts)
            self._left = int.from_bytes(data[at + SIZE_AT : at + HEADER])
            at += HEADER


def payloads(stream: Stream, wake: int | None = None) -> Iterator[bytes | None]:
    """Give what an attached stream holds, as it comes; None each time that ``wake`` can be read instead.

    Args:
        stream: The socket that the SDK gives.
        wake: A file descriptor.
    """
    frames = Frames()
    poll = select.poll()
    poll.register(stream, select.POLLIN)
    if wake is not None:
        poll.register(wake, select.POLLIN)
    while True:
        if any(descriptor == wake for descriptor, _ in poll.poll()):
            yield None
        elif data := _read(stream):
            yield frames.payload(data)
        else:
            return


def _read(stream: Stream) -> bytes:
    return stream.recv(CHUNK) if isinstance(stream, socket.socket) else stream.read(CHUNK) or b""
