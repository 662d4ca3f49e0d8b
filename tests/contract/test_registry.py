"""The cache does not hide what the model registry lacks: that is a reason to run, and is made anew."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.support.cases import cases
from tests.support.mlflows import REGISTERS, MlflowServer, mlflow_server
from tests.support.projects import Project
from tests.support.servers import BLANK, EMPTY, Told, web

from dvc_runner.errors import EXIT_CONFIGURATION

URI = "MLFLOW_TRACKING_URI"
TRAIN = f"{REGISTERS}register('iris')\n"
EVALUATE = "import json; open('score.txt', 'w').write(json.load(open('model.json'))['run_id'])"
WORDS = "is not at"
DENIED = json.dumps({"error_code": "PERMISSION_DENIED", "message": "not yours"})
BROKEN = json.dumps({"error_code": "INTERNAL_ERROR", "message": "it broke"})


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory, surroundings: None
) -> Iterator[tuple[MlflowServer, MlflowServer]]:
    """Two servers that know nothing of each other."""
    del surroundings
    one, other = (tmp_path_factory.mktemp(name) for name in ("one", "other"))
    with mlflow_server(one) as first, mlflow_server(other) as second:
        # So that the first version at one is not the first at the other.
        second.ask("registered-models/create", method="POST", name="elsewhere")
        yield first, second


def at(project: Project, server: MlflowServer) -> Project:
    return project.with_env(**{URI: server.uri})


@pytest.fixture
def trained(project: Project, servers: tuple[MlflowServer, MlflowServer]) -> Project:
    """A pipeline that registered a model at the first server."""
    project.write("rows.csv", "1\n")
    project.params(n=1)
    reaches = {"network": "tracking"}
    train = project.stage(
        "train",
        TRAIN,
        deps=["rows.csv"],
        params=["n"],
        outs=["model.json"],
        container={**reaches, "registers": "model.json"},
    )
    evaluate = project.stage("evaluate", EVALUATE, deps=["model.json"], outs=["score.txt"])
    project.stages(train=train, evaluate=evaluate)
    found = at(project, servers[0])
    found.run("run").ended(0)
    assert found.outcomes() == {"train": "ran", "evaluate": "ran"}
    return found


def run_id(project: Project) -> str:
    return str(json.loads(project.read("model.json"))["run_id"])


def planned(project: Project) -> dict[str, tuple[str, ...]]:
    """Give each stage's decision, with the kinds of its reasons."""
    stages = json.loads(project.run("plan", "--json").ended(0).out)["stages"]
    return {one["stage"]: (one["decision"], *(reason["kind"] for reason in one["reasons"])) for one in stages}


def nothing_is_to_do(project: Project) -> None:
    for _ in range(2):
        assert set(planned(project).values()) == {("skip",)}
        project.run("run").ended(0)
        assert set(project.outcomes().values()) == {"skipped"}


def test_what_is_held_is_not_made_again(trained: Project) -> None:
    nothing_is_to_do(trained)
    assert trained.records()[-1][0]["executor"] is None


def test_another_server_gets_what_it_lacks(trained: Project, servers: tuple[MlflowServer, MlflowServer]) -> None:
    nothing_is_to_do(trained)
    moved = at(trained, servers[1])
    assert planned(moved) == {"train": ("run", "registry"), "evaluate": ("run", "upstream")}
    assert WORDS in moved.run("plan").ended(0).out
    before = run_id(trained)
    moved.run("run").ended(0)
    assert moved.outcomes() == {"train": "ran", "evaluate": "ran"}
    assert run_id(moved) != before
    version = json.loads(moved.read("model.json"))
    found = servers[1].ask("model-versions/get", name="iris", version=version["model_version"])
    assert found["model_version"]["run_id"] == run_id(moved)
    nothing_is_to_do(moved)


def test_switching_back_runs_nothing(trained: Project, servers: tuple[MlflowServer, MlflowServer]) -> None:
    first = run_id(trained)
    moved = at(trained, servers[1])
    moved.run("run").ended(0)
    second = run_id(moved)
    for project, expected in ((trained, first), (moved, second), (trained, first)):
        assert planned(project) == {"train": ("restore", "registry"), "evaluate": ("restore", "dep")}
        project.run("run").ended(0)
        assert project.outcomes() == {"train": "restored", "evaluate": "restored"}
        assert run_id(project) == project.read("score.txt") == expected
        nothing_is_to_do(project)
    assert "up to date" in trained.dvc("status").ended(0).text


def test_an_older_result_comes_back_only_where_the_registry_has_it(
    trained: Project, servers: tuple[MlflowServer, MlflowServer]
) -> None:
    first = run_id(trained)
    trained.params(n=2)
    trained.run("run").ended(0)
    trained.params(n=1)
    moved = at(trained, servers[1])
    assert planned(moved)["train"] == ("run", "param")
    moved.run("run").ended(0)
    assert moved.outcomes()["train"] == "ran"
    trained.params(n=2)
    trained.run("run").ended(0)
    trained.params(n=1)
    # The newest entry of the run-cache is the other server's.
    assert planned(trained)["train"] == ("restore", "param")
    trained.run("run").ended(0)
    assert trained.outcomes()["train"] == "restored"
    assert run_id(trained) == first


@cases(
    "route, method, keys",
    {
        "the version": ["model-versions/delete", "DELETE", ("name", "version")],
        "the model": ["registered-models/delete", "DELETE", ("name",)],
        "the run": ["runs/delete", "POST", ("run_id",)],
    },
)
def test_what_was_deleted_is_made_again(
    trained: Project, servers: tuple[MlflowServer, MlflowServer], route: str, method: str, keys: tuple[str, ...]
) -> None:
    nothing_is_to_do(trained)
    pointer = json.loads(trained.read("model.json"))
    values = {"name": "iris", "version": pointer["model_version"], "run_id": pointer["run_id"]}
    servers[0].ask(route, method=method, **{key: values[key] for key in keys})
    assert planned(trained)["train"] == ("run", "registry")
    trained.run("run").ended(0)
    assert trained.outcomes() == {"train": "ran", "evaluate": "ran"}
    assert run_id(trained) != pointer["run_id"]
    nothing_is_to_do(trained)


def test_a_server_that_is_away_has_not_changed(trained: Project, servers: tuple[MlflowServer, MlflowServer]) -> None:
    servers[0].stop()
    try:
        for command in ("run", "plan", "run"):
            done = trained.run(command).ended(0)
            assert f"{servers[0].uri}: it refused the connection" in done.text
        assert set(trained.outcomes().values()) == {"skipped"}
    finally:
        servers[0].start()
    nothing_is_to_do(trained)


@cases(
    "answer, told",
    {
        "401": (Told(status=401), "401"),
        "403": (Told(status=403), "403"),
        "403 of MLflow": (Told(status=403, kind="application/json", text=DENIED), "403"),
        "404, a page": (Told(status=404), "404"),
        "500": (Told(status=500), "500"),
        "500 of MLflow": (Told(status=500, kind="application/json", text=BROKEN), "it broke"),
        "200, a page": (Told(), "text/html"),
        "200, empty": (EMPTY, "it answers with nothing"),
        "200, {}": (BLANK, "it answers model-versions/get without model_version"),
    },
)
def test_a_server_that_does_not_serve_has_not_changed(trained: Project, answer: Told, told: str) -> None:
    with web(lambda *_: answer) as port:
        elsewhere = trained.with_env(**{URI: f"http://127.0.0.1:{port}"})
        assert set(planned(elsewhere).values()) == {("skip",)}
        assert told in elsewhere.run("run").ended(0).text
    assert set(trained.outcomes().values()) == {"skipped"}


def test_without_a_server_it_is_told_that_nothing_is_known(trained: Project) -> None:
    unset = trained.with_env(**{URI: ""})
    for command in ("run", "plan"):
        assert "it is not known whether the registry has iris version" in unset.run(command).ended(0).text
    assert set(trained.outcomes().values()) == {"skipped"}


def test_an_out_that_tells_of_no_version_is_made_again(trained: Project) -> None:
    trained.write("stages/train/train.py", "open('model.json', 'w').write('{}')")
    trained.run("run", "train").ended(0)
    assert planned(trained)["train"] == ("run", "registry")


def test_what_is_registered_has_to_be_an_out(trained: Project) -> None:
    text = trained.read("dvc.yaml").replace("registers: model.json", "registers: nope.json")
    trained.write("dvc.yaml", text)
    assert "nope.json" in trained.run("run").ended(EXIT_CONFIGURATION).err


def test_a_password_goes_nowhere_else(trained: Project) -> None:
    asked: list[str] = []

    def elsewhere(method: str, path: str, headers: Mapping[str, str]) -> Told:
        asked.append(f"{method} {path} {headers.get('Authorization')}")
        return Told()

    with web(elsewhere) as target, web(lambda *_: Told(status=302, location=f"http://localhost:{target}/")) as port:
        env = {
            URI: f"http://127.0.0.1:{port}",
            "MLFLOW_TRACKING_USERNAME": "me",
            "MLFLOW_TRACKING_PASSWORD": "s3cret",
        }
        assert "302" in trained.with_env(**env).run("run").ended(0).text
    assert asked == []


def test_a_pulled_pointer_is_asked_about(
    trained: Project, servers: tuple[MlflowServer, MlflowServer], tmp_path: Path
) -> None:
    trained.dvc("remote", "add", "--default", "there", str(tmp_path / "remote")).ended(0)
    trained.dvc("push", "--run-cache").ended(0)
    theirs = at(trained.twin(), servers[1])
    for name in ("model.json", "score.txt"):
        (theirs.root / name).unlink()
    theirs.dvc("gc", "--workspace", "--force").ended(0)
    theirs.run("run", "--pull").ended(0)
    assert theirs.outcomes()["train"] == "ran"
    assert run_id(theirs) != json.loads(trained.read("model.json"))["run_id"]
