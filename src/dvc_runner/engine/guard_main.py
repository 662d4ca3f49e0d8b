"""What runs in a stage's guard, as PID 1 of the namespaces that the two share.

It is handed to the guard's Python as text, so it imports the standard library only. It ends, and
the stage with it, when its standard input closes: the engine closes it as soon as the runner is
gone, however the runner went. An engine that was restarted meanwhile does not, so it ends as well
when the runner's lock on a file is let go. Until then it reaps zombies, and carries what the stage
sends to each ADDRESS:PORT given as an argument to the socket of that number that the runner listens on.
"""

import contextlib
import fcntl
import os
import select
import signal
import socket
import sys
import threading

SOCKET = "/run/dvc-runner/server-{}.sock"
LINK = "/run/dvc-runner/runner"


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Carry bytes one way until the source ends."""
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, sink):
            # close() alone leaves the other way's thread waiting in recv(), and so the connection open.
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def carry(inside: socket.socket, number: int) -> None:
    """Join one connection of the stage's with the runner's forwarder."""
    outside = socket.socket(socket.AF_UNIX)
    try:
        outside.connect(SOCKET.format(number))
    except OSError:
        inside.close()
        return
    threading.Thread(target=pump, args=(inside, outside), daemon=True).start()
    pump(outside, inside)


def serve(server: socket.socket, number: int) -> None:
    """Stand in for a server on the stage's loopback."""
    while True:
        inside, _ = server.accept()
        threading.Thread(target=carry, args=(inside, number), daemon=True).start()


def open_link() -> int | None:
    """Open the file that the runner holds locked; None where its lock cannot be seen from here.

    Between an engine in a virtual machine and a runner outside of it, it cannot.
    """
    with contextlib.suppress(OSError):
        link = os.open(LINK, os.O_RDONLY)
        try:
            fcntl.flock(link, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return link
        os.close(link)
    return None


def end_with(link: int) -> None:
    """End as soon as the runner's lock is gone."""
    with contextlib.suppress(OSError):
        fcntl.flock(link, fcntl.LOCK_SH)
        os._exit(0)


def reap(*_: object) -> None:
    """Take the exit status of whatever the stage left behind."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def main() -> None:
    """Guard until standard input ends."""
    signal.signal(signal.SIGCHLD, reap)
    link = open_link()
    if link is not None:
        threading.Thread(target=end_with, args=(link,), daemon=True).start()
    for number, place in enumerate(sys.argv[1:]):
        address, _, port = place.rpartition(":")
        server = socket.create_server((address, int(port)))
        threading.Thread(target=serve, args=(server, number), daemon=True).start()
    os.write(1, b"ready\n")
    while True:
        ready, _, _ = select.select([0], [], [])
        if ready and not os.read(0, 4096):
            os._exit(0)


if __name__ == "__main__":
    main()
