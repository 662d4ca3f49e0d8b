"""Time what the socket filter adds to the engine's calls and to a stage, side by side, and print ratios.

    python -m bench.socket_filter [--rounds 5] [--length 8] [--calls 100] [--megabytes 100]

- calls: single requests, each on a connection of its own;
- stage: ``dvc-runner run`` of a chain of LENGTH trivial stages, less that of one;
- output: a stage that prints so many megabytes, less one that prints nothing.

Each is done with the engine's socket and with the filter's, in turn, the order turned round every
other time. Needs a container engine.
"""

import argparse
import contextlib
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml
from bench.overhead import BASE, DOCKERFILE, Bench, built

ENGINE = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
PRINT = "import sys; [sys.stdout.write('x' * 99 + '\\n') for _ in range({lines})]; open('out', 'w').close()"


class Connection(http.client.HTTPConnection):
    """A connection to a unix socket."""

    def __init__(self, path: str) -> None:
        """Connect to ``path`` when something is asked."""
        super().__init__("docker")
        self._path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


def ask(path: str, method: str, target: str, body: object = None) -> bytes:
    """Ask the engine behind a socket."""
    with contextlib.closing(Connection(path)) as connection:
        data = None if body is None else json.dumps(body)
        connection.request(method, target, data, {"Content-Type": "application/json"} if data else {})
        answer = connection.getresponse()
        found = answer.read()
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            sys.exit(f"{method} {target}: {answer.status} {found.decode()}")
        return found


@contextlib.contextmanager
def filtering(folder: Path) -> Iterator[str]:
    """Start a filter for the project ``folder``; give its socket."""
    place = folder.with_name(f"{folder.name}.sock")
    words = ["--listen", str(place), "--engine", ENGINE, "--workspace", str(folder)]
    words += ["--allow-image", BASE]
    with subprocess.Popen([sys.executable, "-m", "dvc_runner.socket_filter", *words]) as process:
        try:
            while not place.is_socket() and process.poll() is None:
                time.sleep(0.05)
            yield str(place)
        finally:
            process.terminate()


def turned(rounds: int, through: str, act: Callable[[str], float]) -> tuple[list[float], list[float]]:
    """Do something with either socket, in turn; give what each took."""
    times: dict[str, list[float]] = {ENGINE: [], through: []}
    for number in range(rounds + 1):
        for path in (ENGINE, through) if number % 2 else (through, ENGINE):
            took = act(path)
            if number:  # the first round warms up
                times[path].append(took)
    return times[ENGINE], times[through]


def told(name: str, times: tuple[list[float], list[float]]) -> None:
    """Print a line of the table."""
    direct, filtered = times
    ratios = sorted(b / a for a, b in zip(direct, filtered, strict=True))
    added = 1000 * (statistics.median(filtered) - statistics.median(direct))
    print(
        f"| {name} | {1000 * statistics.median(direct):.1f} | {1000 * statistics.median(filtered):.1f} | {added:+.1f} "
        f"| {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |",
        flush=True,
    )


def calls(rounds: int, through: str, folder: Path) -> None:
    """Time single requests."""
    host = {"AutoRemove": True, "CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges"], "ReadonlyRootfs": True}
    mount = {"Type": "bind", "Source": str(folder), "Target": "/run/dvc-runner", "ReadOnly": True}
    mounts = [{**mount, "BindOptions": {"NonRecursive": True}}]
    # A guard's, since it needs no other container.
    body: dict[str, object] = {
        "Image": BASE,
        "Entrypoint": [],
        "Cmd": ["python3", "-I", "-S", "-c", ""],
        "User": "65533:65533",
    }
    body |= dict.fromkeys(["AttachStdin", "AttachStdout", "AttachStderr", "OpenStdin", "StdinOnce"], True)
    body |= {"StopSignal": "SIGKILL", "Labels": {"io.github.dvc-runner": "run", "io.github.dvc-runner.guard-of": "x"}}
    body |= {"HostConfig": {**host, "LogConfig": {"Type": "none"}, "NetworkMode": "none", "Mounts": mounts}}

    def timed(path: str, method: str, target: str, sent: object = None) -> tuple[float, bytes]:
        began = time.perf_counter()
        found = ask(path, method, target, sent)
        return time.perf_counter() - began, found

    def create(path: str) -> float:
        took, found = timed(path, "POST", "/containers/create", body)
        ask(path, "DELETE", f"/containers/{json.loads(found)['Id']}")
        return took

    told("GET /version", turned(rounds, through, lambda path: timed(path, "GET", "/version")[0]))
    told("GET /images/…/json", turned(rounds, through, lambda path: timed(path, "GET", f"/images/{BASE}/json")[0]))
    told("POST /containers/create", turned(rounds, through, create))


def stages(bench: Bench, rounds: int, length: int) -> None:
    """Time a chain of stages, a stage."""
    projects = [bench.project(1), bench.project(length)]
    with filtering(projects[0]) as one, filtering(projects[1]) as all_of_them:

        def chain(path: str) -> float:
            took = []
            for number, through in ((1, one), (length, all_of_them)):
                project = bench.project(number)
                os.environ["DOCKER_HOST"] = f"unix://{ENGINE if path == ENGINE else through}"
                began = time.perf_counter()
                bench.shell("dvc-runner run", project)
                took.append(time.perf_counter() - began)
            return (took[1] - took[0]) / (length - 1)

        told("a trivial stage", turned(rounds, "the filter", chain))


def output(bench: Bench, rounds: int, megabytes: int) -> None:
    """Time what a stage prints."""
    project = bench.folder / "output"
    (project / "stages/print").mkdir(parents=True)
    (project / "stages/print/Dockerfile").write_text(DOCKERFILE)
    container = {"build": {"context": "stages/print", "args": {"BASE_IMAGE": "given"}}}

    def printing(path: str) -> float:
        os.environ["DOCKER_HOST"] = f"unix://{path}"
        took = []
        for lines in (0, megabytes * 10_000):
            command = f'dvc-runner exec python3 -c "{PRINT.format(lines=lines)}"'
            entry = {"cmd": command, "deps": ["stages/print"], "outs": ["out"], "meta": {"container": container}}
            (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"print": entry}}, width=1000))
            began = time.perf_counter()
            bench.shell("dvc-runner run --force >/dev/null 2>&1", project)
            took.append(time.perf_counter() - began)
        return took[1] - took[0]

    bench.shell("git init -q && dvc init -q", project)
    with filtering(project) as through:
        told(f"{megabytes} MB of output", turned(rounds, through, printing))


def main() -> None:
    """Time, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--length", type=int, default=8)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--megabytes", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place).resolve() / "projects"
        folder.mkdir()
        bench = Bench(folder=folder, image=built(), peers=folder)
        print("| | engine, ms | through the filter, ms | added, ms | ratio: median (least to most) |")
        print("|---|---:|---:|---:|---:|")
        with filtering(folder) as through:
            calls(options.calls, through, folder)
        stages(bench, options.rounds, options.length)
        output(bench, options.rounds, options.megabytes)


if __name__ == "__main__":
    main()
