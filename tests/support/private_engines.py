"""Container engines that a test may restart and kill: each has its own data, network and processes."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.waiting import runs, until

PATIENCE_S = 60


class PrivateEngine:
    """A dockerd of our own; only root can have one."""

    def __init__(self, data: Path, run: Path) -> None:
        """Keep its data in ``data``, and its sockets in ``run``, whose path has to be short."""
        self._data = data
        self._run = run
        self._daemon: subprocess.Popen[bytes] | None = None
        self.address = f"unix://{run}/docker.sock"

    def start(self, *flags: str) -> None:
        """Start it, again if it runs already, and wait until it answers."""
        self.end()
        (self._run / "daemon.json").write_text("{}")
        # Both daemons refuse to start while a pid file names any live process.
        for name in ("docker.pid", "exec/containerd/containerd.pid"):
            (self._run / name).unlink(missing_ok=True)
        space = self._run.name
        with (self._run / "log").open("ab") as log:
            # Even without a bridge it would delete that of the engine beside it: hence a network of its own.
            self._daemon = subprocess.Popen(
                [
                    *("unshare", "--net", "dockerd", f"--host={self.address}", f"--data-root={self._data}"),
                    *(f"--exec-root={self._run}/exec", f"--pidfile={self._run}/docker.pid", "--bridge=none"),
                    *(f"--config-file={self._run}/daemon.json", "--iptables=false", "--shutdown-timeout=3"),
                    *(f"--containerd-namespace={space}", f"--containerd-plugins-namespace={space}-plugins"),
                    *flags,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                # What it starts outlives a test, and is to have no mark of one.
                env={"PATH": os.environ["PATH"]},
            )
        assert until(self._answers, PATIENCE_S), (self._run / "log").read_text()[-2000:]

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it, and wait until it has."""
        if self._daemon:
            self._daemon.send_signal(number)
            self._daemon.wait(PATIENCE_S)
            self._daemon = None

    def clear(self) -> None:
        """End what is left of it."""
        for pid in self._processes():
            os.kill(pid, signal.SIGKILL)
        assert until(lambda: not self._processes())
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            place = line.split()[4]
            # A dockerd mounts its data's folder upon itself, and leaves it so.
            if f"{place}/".startswith((f"{self._run}/", f"{self._data}/")):
                subprocess.run(["umount", place], check=False)

    def _answers(self) -> bool:
        assert self._daemon
        assert self._daemon.poll() is None, (self._run / "log").read_text()[-2000:]
        # The SDK leaves sockets open that it could not connect.
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
            probe.settimeout(PATIENCE_S)
            probe.connect(self.address.removeprefix("unix://"))
            probe.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in probe.recv(4096)
        return False

    def _processes(self) -> list[int]:
        found = []
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if folder.name.isdecimal() and f"{self._run}/".encode() in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
        return [pid for pid in found if runs(pid)]


@contextlib.contextmanager
def private_engine(data: Path, image_from: str, image: str) -> Iterator[PrivateEngine]:
    """An engine of a test's own, which has an image of another one."""
    run = Path(tempfile.mkdtemp(prefix="dr-engine-", dir="/run"))
    run.chmod(0o755)
    engine = PrivateEngine(data, run)
    try:
        engine.start()
        save = ["docker", "--host", image_from, "save", image]
        load = ["docker", "--host", engine.address, "load", "--quiet"]
        with subprocess.Popen(save, stdout=subprocess.PIPE) as saving:
            subprocess.run(load, stdin=saving.stdout, stdout=subprocess.DEVNULL, check=True)
        yield engine
    finally:
        engine.end()
        engine.clear()
        shutil.rmtree(run)
