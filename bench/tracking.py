"""Time what tracking costs a training: train's own way beside plain `mlflow.sklearn.log_model`, on one server.

    python bench/tracking.py [--rounds 5]

Whole processes in train's own environment, with the project's local MLflow server behind a proxy that counts requests:

- nothing: read, fit, score; it has the imports of `train`, MLflow's among them.
- ours: `stages/train`, which logs params, metrics, the dataset, lineage and the model, and registers a version.
- log_model: the same fit, with `mlflow.sklearn.log_model` as MLflow's documentation shows it (requirements inferred),
  and the same params, metrics and dataset.

Medians, and the ratio of what tracking adds. Needs no container engine.
"""

import argparse
import http.client
import http.server
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dvc_runner.executors import environments

ROOT = Path(__file__).resolve().parent.parent
SERVER = [sys.executable, str(ROOT / "tracking-server" / "server.py")]
WAYS = {
    "nothing": """
from train import *
params = read_params("train", Params)
samples, labels = read_samples(TRAIN, params.target)
forest = fit(samples, labels, params)
forest.score(samples, labels)
""",
    "ours": "import train\ntrain.main()",
    "log_model": """
from train import *
import mlflow
params = read_params("train", Params)
samples, labels = read_samples(TRAIN, params.target)
mlflow.set_experiment(params.experiment)
with mlflow.start_run():
    mlflow.log_params(params.model_dump())
    mlflow.log_input(mlflow.data.from_pandas(samples.join(labels), targets=params.target), context="training")
    forest = fit(samples, labels, params)
    mlflow.log_metrics({"train_accuracy": forest.score(samples, labels), "oob_accuracy": forest.oob_score_})
    mlflow.sklearn.log_model(
        forest, name="model", input_example=samples.head(3), registered_model_name="plain",
        skops_trusted_types=["sklearn.tree._tree.Tree"],
    )
""",
}


class Counting(http.server.BaseHTTPRequestHandler):
    """Hands requests on to the server, and counts them."""

    protocol_version = "HTTP/1.1"
    port = 0
    count = 0

    def _hand_on(self) -> None:
        Counting.count += 1
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        behind = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        behind.request(self.command, self.path, body, headers)
        answer = behind.getresponse()
        text = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
        behind.close()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _hand_on  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Start an MLflow server; give its address."""
    started = subprocess.run(
        [*SERVER, "start", "--dir", folder, "--port", "0"], stdout=subprocess.PIPE, text=True, check=True
    )
    try:
        yield started.stdout.strip()
    finally:
        subprocess.run([*SERVER, "stop", "--dir", folder], check=True)


@contextmanager
def counted(uri: str) -> Iterator[str]:
    """Stand before a server of this machine; give the address."""
    Counting.port = int(uri.rpartition(":")[2])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Counting) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{proxy.server_port}"
        proxy.shutdown()


def lay_out(folder: Path) -> dict[str, str]:
    """Make a stage's working folder; give the environment of its process, without a server."""
    table = [f"{n % 7},{n % 5},{n % 3},{'abc'[n % 3]}" for n in range(105)]
    (folder / "data" / "processed").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "data" / "processed" / "train.csv").write_text("\n".join(["x,y,z,species", *table]) + "\n")
    shutil.copy(ROOT / "params.yaml", folder)
    lineage = {"schema_version": 1, "stage": "train", "git_commit": "0" * 40, "deps": {}, "params": {}, "upstream": []}
    (folder / "lineage-file.json").write_text(json.dumps(lineage))
    path = os.pathsep.join(str(ROOT / "stages" / name) for name in ("train", "tracking", "contract"))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PYTHON"))}
    return {**kept, "PYTHONPATH": path, "LINEAGE_FILE": str(folder / "lineage-file.json")}


def measured(cache: Path, folder: Path, uri: str, rounds: int) -> dict[str, list[tuple[float, int]]]:
    """Train each way so many times; give the seconds and requests of each.

    Args:
        cache: Holds train's environment, which is made if missing.
        folder: To work in.
        uri: The server's.
        rounds: How many times.
    """
    python = Path(
        environments.ensure(cache, ROOT / "stages" / "train" / "requirements.txt", print).reference, "bin/python"
    )
    environment = lay_out(folder)
    found: dict[str, list[tuple[float, int]]] = {way: [] for way in WAYS}
    with counted(uri) as front:
        for _ in range(rounds):
            for way, code in WAYS.items():
                before, began = Counting.count, time.monotonic()
                subprocess.run(
                    [python, "-c", code],
                    cwd=folder,
                    env={**environment, "MLFLOW_TRACKING_URI": front},
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    check=True,
                )
                found[way].append((time.monotonic() - began, Counting.count - before))
    return found


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name, served(Path(name) / "mlflow") as uri:
        # The first time makes experiment, model and caches.
        found = measured(Path(name), Path(name) / "work", uri, rounds + 1)
    seconds = {way: [one for one, _ in several[1:]] for way, several in found.items()}
    requests = {way: [one for _, one in several[1:]] for way, several in found.items()}
    median = {way: statistics.median(found) for way, found in seconds.items()}
    base = median["nothing"]
    for way in WAYS:
        spread = f"{min(seconds[way]):.2f} to {max(seconds[way]):.2f}"
        print(
            f"{way:<10} {median[way]:6.2f} s ({spread})  tracking {median[way] - base:6.2f} s"
            f"  {statistics.median(requests[way]):3.0f} requests"
        )
    added = {way: median[way] - base for way in ("ours", "log_model")}
    print(f"ours / log_model: {added['ours'] / added['log_model']:.2f}")


if __name__ == "__main__":
    main()
