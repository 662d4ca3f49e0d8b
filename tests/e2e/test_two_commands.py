"""What a stranger does in the first five minutes, with a container engine and without one."""

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.e2e.conftest import NO_ENGINE, Clone, interrupt

ALL = ("ingest", "preprocess", "train", "evaluate")
TARGETS = """
setup-env build run run-host plan doctor run-ingest run-preprocess run-train run-evaluate
status dag push pull git-sync connect-dagshub disconnect-dagshub dagshub-local ui up down sync clean test lint help
"""


@pytest.fixture(scope="module")
def process_run(clone_factory: Callable[[str, str], Clone]) -> tuple[Clone, str]:
    """A clone after its first `make run`, with no engine."""
    clone = clone_factory("process", NO_ENGINE)
    return clone, clone.make("run")


@pytest.fixture(scope="module")
def docker_run(clone_factory: Callable[[str, str], Clone], engine_host: str) -> tuple[Clone, str]:
    """A clone after its first `make run`, with an engine."""
    clone = clone_factory("docker", engine_host)
    return clone, clone.make("run")


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.engine)])
def ran(request: pytest.FixtureRequest) -> tuple[Clone, str]:
    """Each of the two."""
    found: tuple[Clone, str] = request.getfixturevalue(f"{request.param}_run")
    return found


def test_run_runs_every_stage_and_sums_up(ran: tuple[Clone, str]) -> None:
    clone, printed = ran
    assert clone.outcomes(printed) == dict.fromkeys(ALL, "ran")
    accuracy = json.loads((clone.folder / "metrics/metrics.json").read_text())["accuracy"]
    for told in (f"{accuracy:.3f}"[:4], "iris-classifier", "production", clone.tracking_uri()):
        assert told in printed


def test_a_second_run_runs_nothing(ran: tuple[Clone, str]) -> None:
    clone, _ = ran
    assert clone.outcomes(clone.make("run")) == dict.fromkeys(ALL, "skipped")
    assert "up to date" in clone.dvc("status")


def test_what_git_sees_is_the_lock_and_metrics(ran: tuple[Clone, str]) -> None:
    clone, _ = ran
    changed = clone.run(["git", "status", "--porcelain", "-uall"]).splitlines()
    assert {line[3:] for line in changed} <= {"dvc.lock", "metrics/metrics.json", "metrics/confusion_matrix.csv"}


def test_the_committed_lock_is_that_of_the_code(ran: tuple[Clone, str]) -> None:
    clone, _ = ran
    committed = clone.locked(clone.run(["git", "show", "HEAD:dvc.lock"]))
    made = clone.locked((clone.folder / "dvc.lock").read_text())
    for lock in (committed, made):
        for key in [key for key in lock if key[1] == "models/model_metadata.json"]:
            del lock[key]  # it names a run, and every training is a run of its own
    assert made == committed, "run the pipeline, and commit dvc.lock and metrics with the code"
    assert clone.run(["git", "diff", "--stat", "metrics"]) == ""


def test_every_file_is_the_owners(ran: tuple[Clone, str]) -> None:
    clone, _ = ran
    owner = clone.folder.stat().st_uid
    foreign = [path for path in clone.folder.rglob("*") if path.lstat().st_uid != owner]
    assert foreign == []


@pytest.mark.engine
def test_both_ways_give_the_same_data(process_run: tuple[Clone, str], docker_run: tuple[Clone, str]) -> None:
    assert process_run[0].hashes() == docker_run[0].hashes()
    assert len(docker_run[0].hashes()) >= 3


def test_registered_version_leads_to_its_run(ran: tuple[Clone, str]) -> None:
    clone, _ = ran
    metadata = clone.metadata()
    assert set(metadata) == {"model_name", "model_version", "model_uri", "run_id"}
    alias = f"registered-models/alias?name={metadata['model_name']}&alias=production"
    version = clone.ask(alias)["model_version"]
    assert version["version"] == metadata["model_version"]
    assert version["run_id"] == metadata["run_id"]
    run = clone.ask(f"runs/get?run_id={metadata['run_id']}")["run"]
    assert run["info"]["status"] == "FINISHED"
    logged = {metric["key"] for metric in run["data"]["metrics"]}
    assert any("accuracy" in name for name in logged)
    tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
    assert tags["lineage.git_commit"] == clone.run(["git", "rev-parse", "HEAD"]).strip()


@pytest.mark.engine
def test_a_version_is_made_again_in_containers(docker_run: tuple[Clone, str]) -> None:
    clone, _ = docker_run
    program = str(clone.folder / ".venv/bin/dvc-runner")
    lineage = json.loads(clone.run([program, "models", "lineage", "production", "--json"]))
    images = {one["stage"]: one["image"]["id"] for one in (lineage, *lineage["upstream"])}
    assert images.keys() == {"ingest", "preprocess", "train"}
    assert len(json.loads(clone.run(["docker", "image", "inspect", *images.values()]))) == len(images)

    before = clone.ask("registered-models/get?name=iris-classifier")
    printed = clone.make("reproduce")
    rows = [line.split() for line in printed.splitlines()]
    assert {row[1] for row in rows if row[:1] == ["image"]} == images.keys()
    same = {row[1] for row in rows if row[:1] in (["out"], ["file"], ["metric"])}
    assert same >= {"data/raw/iris.csv", "data/processed/train.csv", "evaluate/confusion_matrix.csv", "accuracy"}
    # Processes would be said to be other images.
    assert f"reproduced: {len(same)} outs, files and metrics came out the same\n" in printed
    assert not containers_of(clone)
    assert len(clone.run(["git", "worktree", "list"]).splitlines()) == 1
    assert not list((clone.folder / ".local").glob("reproduce-*/"))
    assert not list((clone.folder / ".dvc/tmp/dvc-runner").glob("reproduce-*"))
    assert clone.ask("registered-models/get?name=iris-classifier") == before


def test_one_parameter_runs_what_it_concerns(ran: tuple[Clone, str]) -> None:
    clone, _ = ran
    params = clone.folder / "params.yaml"
    before = params.read_text()
    params.write_text(re.sub(r"n_estimators: \d+", "n_estimators: 7", before))
    printed = clone.make("run")
    assert clone.outcomes(printed) == {
        "ingest": "skipped",
        "preprocess": "skipped",
        "train": "ran",
        "evaluate": "ran",
    }
    assert "train.n_estimators" in printed
    params.write_text(before)
    assert clone.outcomes(clone.make("run"))["train"] == "restored"


def test_edited_code_is_what_runs(ran: tuple[Clone, str]) -> None:
    clone, _ = ran
    code = clone.folder / "stages/ingest/ingest.py"
    before = code.read_text()
    code.write_text(before.replace("def main() -> None:", 'def main() -> None:\n    log.info("edited just now")', 1))
    printed = clone.make("run")
    assert "edited just now" in printed
    assert clone.outcomes(printed) == {"ingest": "ran", **dict.fromkeys(ALL[1:], "skipped")}
    code.write_text(before)


def test_plain_dvc_runs_the_same(ran: tuple[Clone, str]) -> None:
    clone, _ = ran
    clone.make("run")
    before = clone.hashes()
    clone.dvc("repro", "-f")
    assert clone.hashes() == before
    assert "up to date" in clone.dvc("status")
    assert clone.outcomes(clone.make("run")) == dict.fromkeys(ALL, "skipped")


def test_push_and_pull(ran: tuple[Clone, str]) -> None:
    clone, _ = ran
    clone.make("push")
    for name in ("data/raw/iris.csv", "models/model_metadata.json"):
        (clone.folder / name).unlink()
    clone.make("pull")
    assert clone.outcomes(clone.make("run")) == dict.fromkeys(ALL, "skipped")


def containers_of(clone: Clone) -> set[str]:
    """Give the containers that see the clone's folder, and those whose network they are in."""
    if clone.env["DOCKER_HOST"] == NO_ENGINE:
        return set()
    every = clone.run(["docker", "ps", "--all", "--quiet", "--no-trunc"]).split()
    form = "{{.Id}} {{.HostConfig.NetworkMode}} {{json .Mounts}}"
    # Another test's may end in between.
    seen = clone.run(["sh", "-c", 'docker inspect --format "$0" "$@" 2>/dev/null || true', form, *every])
    found = {tuple(line.split(" ", 2)[:2]) for line in seen.splitlines() if f'"{clone.folder}' in line}
    return {one for one, _ in found} | {mode.removeprefix("container:") for _, mode in found if ":" in mode}


def test_ctrl_c_in_train_leaves_nothing(ran: tuple[Clone, str]) -> None:
    clone, _ = ran
    params = clone.folder / "params.yaml"
    before = params.read_text()
    pointer = clone.metadata()
    params.write_text(re.sub(r"n_estimators: \d+", "n_estimators: 100000", before))
    with clone.started(["make", "run"]) as process:
        run_id = clone.running()
        at_work = containers_of(clone)
        printed = interrupt(process)
    assert process.returncode in {2, -signal.SIGINT}, printed
    assert "cancelled" in printed
    assert clone.metadata() == pointer
    assert clone.status_of(run_id) == "FAILED"
    assert list((clone.folder / ".dvc/tmp/dvc-runner/scratch").iterdir()) == []
    params.write_text(before)
    if clone.env["DOCKER_HOST"] != NO_ENGINE:
        assert len(at_work) >= 3  # the runner's, the stage's and its guard
        assert not containers_of(clone)
        assert not at_work & set(clone.run(["docker", "ps", "--all", "--quiet", "--no-trunc"]).split())
    assert clone.outcomes(clone.make("run")) == dict.fromkeys(ALL, "skipped")


def test_git_sync_commits_what_belongs_together(ran: tuple[Clone, str]) -> None:
    clone, _ = ran
    clone.run(["git", "remote", "set-url", "--push", "origin", str(clone.folder.parent / "pushed.git")])
    clone.run(["git", "init", "--bare", "--quiet", str(clone.folder.parent / "pushed.git")])
    (clone.folder / ".env").write_text("# mine\n")
    clone.make("git-sync", "M=Train once more")
    assert clone.run(["git", "log", "-1", "--format=%s"]).strip() == "Train once more"
    assert clone.run(["git", "status", "--porcelain"]) == ""
    committed = clone.run(["git", "ls-files"]).splitlines()
    private = (".env", "data/", "models/", ".local/")
    assert [name for name in committed if name.startswith(private)] == [".env.example"]


@pytest.mark.parametrize("target", ["help", "status", "dag"])
def test_looking_changes_nothing(ran: tuple[Clone, str], target: str) -> None:
    clone, _ = ran
    before = clone.run(["git", "status", "--porcelain"])
    clone.make(target)
    assert clone.run(["git", "status", "--porcelain"]) == before


def test_help_names_every_target(process_run: tuple[Clone, str]) -> None:
    printed = process_run[0].make("help")
    for target in TARGETS.split():
        assert re.search(rf"make {target} ", printed), target


def test_ui_opens_mlflow(process_run: tuple[Clone, str], tmp_path: Path) -> None:
    clone, _ = process_run
    browser = tmp_path / "browser"
    browser.write_text('#!/bin/sh\ncurl --silent --fail --output "$0.page" "$1" && echo "$1" > "$0.opened"\n')
    browser.chmod(0o755)
    printed = Clone(clone.folder, {**clone.env, "BROWSER": f"{browser} %s"}).make("ui")
    assert f"MLflow  {clone.tracking_uri()}\n" in printed
    assert (tmp_path / "browser.opened").read_text().strip() == clone.tracking_uri()
    assert "<html" in (tmp_path / "browser.page").read_text()


def test_mlflow_that_is_away_is_told_within_seconds(process_run: tuple[Clone, str]) -> None:
    clone, _ = process_run
    away = Clone(clone.folder, {**clone.env, "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"})
    printed = away.run([str(clone.folder / ".venv/bin/dvc-runner"), "run", "-f", "-s", "train"], code=1)
    assert "http://127.0.0.1:9" in printed
    assert "Traceback" not in printed
