"""``dvc-runner models`` on a real MLflow server."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.cases import cases
from tests.support.json_schema import problems, schema
from tests.support.mlflows import MlflowServer, mlflow_server
from tests.support.projects import Finished, Project
from tests.support.servers import BLANK, EMPTY, Told, forwarding

from dvc_runner.errors import EXIT_CONFIGURATION, EXIT_STAGE_FAILED, EXIT_USAGE
from dvc_runner.tracking import claim

MODEL = "iris 'best'"
LINEAGE = {"git_commit": "0123456789abcdef", "deps": [{"path": "rows.csv", "md5": "aa"}], "params": {"n": 1}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, surroundings: None) -> Iterator[MlflowServer]:
    """A server; each test makes the models that it wants."""
    del surroundings
    with mlflow_server(tmp_path_factory.mktemp("models")) as found:
        yield found


class Registry:
    """A project, and the model that it registered versions of."""

    def __init__(self, project: Project, server: MlflowServer, here: Callable[..., Finished]) -> None:
        self.here = here
        self.project = project.with_env(MLFLOW_TRACKING_URI=server.uri)
        self.server = server
        self.name = f"{MODEL} {project.root.parent.name}"
        self._post("registered-models/create", name=self.name)

    def version(self, **logged: Any) -> str:
        """Make a run with a param and a metric, and a version of it."""
        run = self._post("runs/create", experiment_id="0")["run"]["info"]
        batch = {
            "params": [{"key": "depth", "value": str(logged.get("depth", 5))}, {"key": "seed", "value": "42"}],
            "metrics": [{"key": "accuracy", "value": logged.get("accuracy", 0.9), "timestamp": 1, "step": 0}],
            "tags": [{"key": "lineage.git_commit", "value": "0123456789abcdef"}],
        }
        self._post("runs/log-batch", run_id=run["run_id"], **batch)
        made = self._post(
            "model-versions/create", name=self.name, source=f"{run['artifact_uri']}/m", run_id=run["run_id"]
        )
        pointer = {"model_name": self.name, "model_version": made["model_version"]["version"], "run_id": run["run_id"]}
        self.project.write("model.json", json.dumps(pointer))
        return str(made["model_version"]["version"])

    def models(self, *arguments: str) -> Finished:
        return self.project.run("models", "--model", self.name, *arguments)

    def moves(self, *arguments: str, uri: str | None = None) -> Finished:
        """Run what takes a claim, which waits for less than it does for people."""
        env = {"MLFLOW_TRACKING_URI": uri or self.server.uri}
        return self.here(self.project, "models", "--model", self.name, *arguments, env=env)

    def claim(self, value: str | None = None) -> None:
        """Set somebody else's claim, or remove what is there."""
        tag = {"name": self.name, "key": claim.TAG}
        if value is None:
            self.server.ask("registered-models/delete-tag", method="DELETE", **tag)
        else:
            self.server.ask("registered-models/set-tag", method="POST", **tag, value=value)

    def json(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.models(*arguments, "--json").ended(0).out)
        return found

    def tags(self) -> list[str]:
        found = self.server.ask("registered-models/get", name=self.name)["registered_model"]
        return [one["key"] for one in found.get("tags", [])]

    def production(self) -> str | None:
        found = self.server.ask("registered-models/get", name=self.name)["registered_model"]
        return next((str(a["version"]) for a in found.get("aliases", []) if a["alias"] == "production"), None)

    def _post(self, route: str, **values: Any) -> dict[str, Any]:
        return self.server.ask(route, method="POST", **values)


@pytest.fixture
def registry(
    project: Project, server: MlflowServer, here: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch
) -> Registry:
    """A registered model without versions."""
    monkeypatch.setattr(claim, "PATIENCE", claim.Patience(settle_s=0.3, expires_s=60, gives_up_s=3))
    return Registry(project, server, here)


def test_lists(registry: Registry) -> None:
    one, two = registry.version(), registry.version()
    registry.moves("promote", one).ended(0)
    listed = registry.models("list", registry.name).ended(0).out
    assert [line.split()[:2] for line in listed.splitlines()] == [["version", two], ["version", one]]
    assert listed.splitlines()[1].endswith("production")
    everything = registry.project.run("models", "list").ended(0).out
    assert any(line.startswith(registry.name) and "production → 1" in line for line in everything.splitlines())
    [found] = registry.json("list")["models"]
    assert found["aliases"] == {"production": one}
    assert [version["version"] for version in found["versions"]] == [two, one]


def test_many_versions_are_all_listed(registry: Registry) -> None:
    run = registry.server.ask("runs/create", method="POST", experiment_id="0")["run"]["info"]
    for _ in range(130):
        registry.server.ask(
            "model-versions/create", method="POST", name=registry.name, source=run["artifact_uri"], run_id=run["run_id"]
        )
    assert [int(one["version"]) for one in registry.json("list")["models"][0]["versions"]] == [*range(130, 0, -1)]


def test_shows_by_number_and_by_alias(registry: Registry) -> None:
    one = registry.version(depth=7, accuracy=0.75)
    registry.moves("promote", one, "--why", "it is the only one").ended(0)
    for name in (one, "production"):
        found = registry.json("show", name)
        assert (found["version"], found["run"]["params"]["depth"], found["run"]["metrics"]["accuracy"]) == (
            one,
            "7",
            0.75,
        )
        assert [move["why"] for move in found["history"]] == ["it is the only one"]
    text = registry.models("show").ended(0).out
    for word in ("depth", "0.75", "it is the only one", "production"):
        assert word in text


def test_compares_and_marks_what_differs(registry: Registry, tmp_path: Path) -> None:
    one, two = registry.version(depth=5, accuracy=0.9), registry.version(depth=6, accuracy=0.9)
    page = tmp_path / "page.html"
    lines = registry.models("compare", one, two, "--html", str(page)).ended(0).out.splitlines()
    marked = [line.split()[1:] for line in lines if line.startswith("≠")]
    assert marked == [["depth", "5", "6"]]
    assert any(line.split() == ["accuracy", "0.9", "0.9"] for line in lines)
    text = page.read_text("utf-8")
    assert text.count("<tr class=differs>") == 1
    assert "&#x27;best&#x27;" in text
    assert len(registry.json("compare", one, two)["versions"]) == 2
    lines = registry.models("compare", one, two, registry.version(depth=5, accuracy=0.8)).ended(0).out.splitlines()
    marked = [line.split()[1:] for line in lines if line.startswith("≠")]
    assert marked == [["depth", "5", "6", "5"], ["accuracy", "0.9", "0.9", "0.8"]]


def test_compares_what_stages_were_given_back_to_the_first(registry: Registry, tmp_path: Path) -> None:
    one, two, untold = (registry.version() for _ in range(3))
    for version, size in ((one, 0.3), (two, 0.25)):
        upstream = [
            {"stage": "prepare", "params": {"params.yaml": {"prepare": {"size": size, "drop": ["a", "<b>"]}, "n": 1}}},
            {"stage": "load", "params": {}},
        ]
        told = {"stage": "train", "params": {"params.yaml": {"train": {"seed": None}}}, "upstream": upstream}
        registry.server.upload(registry.json("show", version)["run"]["run_id"], "lineage.json", json.dumps(told))
    page = tmp_path / "page.html"
    printed = registry.models("compare", one, two, "--html", str(page)).ended(0).out
    part = printed.partition("params of stages")[2].partition("\n\n")[0].splitlines()[1:]
    assert [line.split(maxsplit=1)[0] for line in part] == ["prepare:", "prepare:", "≠", "train:"]
    assert part[2].split() == ["≠", "prepare:", "params.yaml:prepare.size", "0.3", "0.25"]
    assert part[3].split() == ["train:", "params.yaml:train.seed", "null", "null"]
    assert page.read_text("utf-8").count("<tr class=differs>") == 1
    assert "[&quot;a&quot;, &quot;&lt;b&gt;&quot;]" in page.read_text("utf-8")
    given = [found["stage_params"] for found in registry.json("compare", one, untold)["versions"]]
    assert given[0]["prepare: params.yaml:n"] == "1"
    assert given[1] == {}
    assert "params of stages" not in registry.models("compare", untold, untold).ended(0).out


def test_a_lineage_of_another_form_is_compared_for_what_it_has(registry: Registry) -> None:
    one = registry.version()
    run_id = registry.json("show", one)["run"]["run_id"]
    for told in (LINEAGE, {"params": {"p.yaml": {"n": 1}}, "upstream": ["load", {"stage": "a"}, {"params": 3}]}):
        registry.server.upload(run_id, "lineage.json", json.dumps(told))
        assert registry.models("compare", one, one).ended(0).out.startswith("   params")


def test_what_differs_in_a_digit_that_is_not_shown_is_marked_too(registry: Registry) -> None:
    one, two = registry.version(accuracy=0.97777777), registry.version(accuracy=0.97777778)
    lines = registry.models("compare", one, two).ended(0).out.splitlines()
    assert [line.split()[1:] for line in lines if line.startswith("≠")] == [["accuracy", "0.977778", "0.977778"]]


def test_a_rollback_goes_back_step_by_step(registry: Registry) -> None:
    versions = [registry.version() for _ in range(3)]
    for version in versions:
        registry.moves("promote", version, "--why", f"try {version}").ended(0)
    for expected in versions[1::-1]:
        registry.moves("rollback", "--why", "it was worse").ended(0)
        assert registry.production() == expected
    failed = registry.moves("rollback").ended(EXIT_STAGE_FAILED)
    assert "stood nowhere before" in failed.err
    assert registry.production() == versions[0]
    registry.moves("promote", versions[2]).ended(0)
    registry.moves("rollback").ended(0)
    assert registry.production() == versions[0]
    moves = registry.json("show", versions[0])["history"]
    every = registry.json("history")["history"]
    assert [found for move in every for found in problems(move, schema("alias_event"))] == []
    assert [move["to_version"] for move in every] == ["1", "2", "3", "2", "1", "3", "1"]
    listed = registry.models("history").ended(0).out.splitlines()
    assert [line.split()[2:5] for line in listed][-1] == ["-", "→", "1"]
    assert len(listed) == len(every)
    assert [(m["from_version"], m["to_version"]) for m in moves] == [
        (None, "1"), ("1", "2"), ("2", "1"), ("1", "3"), ("3", "1"),
    ]  # fmt: skip
    assert all(move["who"] and move["at"].endswith("Z") for move in moves)


def test_what_production_left_is_archived(registry: Registry) -> None:
    one, two = registry.version(), registry.version()
    registry.moves("promote", one).ended(0)
    registry.moves("promote", two).ended(0)
    assert "archived" in registry.json("show", one)["tags"]
    registry.moves("rollback").ended(0)
    assert "archived" not in registry.json("show", one)["tags"]
    assert "archived" in registry.json("show", two)["tags"]


def test_an_alias_moved_by_others_is_not_rolled_back_blindly(registry: Registry) -> None:
    one, two = registry.version(), registry.version()
    registry.moves("promote", one).ended(0)
    registry.server.ask("registered-models/alias", method="POST", name=registry.name, alias="production", version=two)
    failed = registry.moves("rollback").ended(EXIT_STAGE_FAILED)
    assert "its history ends at 1" in failed.err
    assert registry.production() == two


def test_nobody_moves_an_alias_beside_who_has_the_claim(registry: Registry) -> None:
    one = registry.version()
    registry.claim("of an evaluate")
    refused = registry.moves("promote", one).ended(EXIT_STAGE_FAILED)
    assert registry.production() is None
    assert "of an evaluate" in refused.err
    registry.claim()
    registry.moves("promote", one).ended(0)
    assert claim.TAG not in registry.tags()


def test_who_decided_meanwhile_is_not_overwritten(registry: Registry) -> None:
    """Another writes its claim over ours, moves production, and lets go: we claim again, and look."""
    one, two = registry.version(), registry.version()
    seen: list[str] = []

    def meddle(method: str, path: str, when: str) -> None:
        if method == "GET" or when != "answered":
            return
        seen.append(path.rpartition("/")[2])
        if seen == ["set-tag"]:
            registry.claim("of an evaluate")
            moved = {"name": registry.name, "alias": "production", "version": two}
            registry.server.ask("registered-models/alias", method="POST", **moved)
            threading.Timer(1, registry.claim).start()

    with forwarding(registry.server.uri, meddle) as uri:
        assert f"version {two} meanwhile" in registry.moves("promote", one, uri=uri).ended(EXIT_STAGE_FAILED).err
    assert seen == ["set-tag", "set-tag", "delete-tag"]
    assert registry.production() == two


def test_the_claim_is_the_one_that_evaluate_takes() -> None:
    code = (Path(__file__).parents[2] / "stages/tracking/claim.py").read_text("utf-8")
    for name in ("settle_s", "valid_s", "expires_s"):
        assert f"    {name}: float = {getattr(claim.Patience(), name)}\n" in code
    assert f'TAG = "{claim.TAG}"\n' in code


def test_a_move_that_could_not_be_noted_is_told_of_in_its_place(registry: Registry) -> None:
    versions = [registry.version() for _ in range(3)]
    registry.moves("promote", versions[0]).ended(0)
    posts = iter(range(10))

    def fail(_: str, path: str, when: str) -> int | None:
        return 500 if path.endswith("set-tag") and when == "asked" and next(posts) == 1 else None

    with forwarding(registry.server.uri, fail) as uri:
        failed = registry.moves("promote", versions[1], uri=uri).ended(EXIT_STAGE_FAILED)
    assert f"stands at version {versions[1]} now" in failed.err
    assert f"{uri}: 500" in failed.err
    assert "its history ends at 1" in registry.moves("rollback").ended(EXIT_STAGE_FAILED).err
    registry.moves("promote", versions[2]).ended(0)
    told = [(one["from_version"], one["to_version"], one["who"] is None) for one in registry.json("history")["history"]]
    assert told == [(None, "1", False), ("1", "2", True), ("2", "3", False)]
    assert registry.json("show", "2")["history"][0]["at"] is None
    assert "unknown" in registry.models("history").ended(0).out.splitlines()[1]
    registry.moves("rollback").ended(0)
    assert registry.production() == versions[1]


def test_a_version_that_is_gone_does_not_come_back(registry: Registry) -> None:
    one, two = registry.version(), registry.version()
    registry.moves("promote", one).ended(0)
    registry.moves("promote", two).ended(0)
    registry.server.ask("model-versions/delete", method="DELETE", name=registry.name, version=one)
    registry.moves("rollback").ended(EXIT_CONFIGURATION)
    assert registry.production() == two


def test_promoting_what_is_there_changes_nothing(registry: Registry) -> None:
    one = registry.version()
    for _ in range(2):
        registry.moves("promote", one).ended(0)
    assert len(registry.json("show", one)["history"]) == 1


def test_lineage_is_shown_as_the_tags_have_it(registry: Registry) -> None:
    one = registry.version()
    assert registry.json("lineage", one) == {"git_commit": "0123456789abcdef"}


def test_lineage_is_shown_as_the_file_has_it(registry: Registry) -> None:
    one = registry.version()
    run_id = registry.json("show", one)["run"]["run_id"]
    registry.server.upload(run_id, "lineage.json", json.dumps(LINEAGE))
    assert registry.json("lineage", one) == LINEAGE
    assert "  - path  rows.csv" in registry.models("lineage", one).ended(0).out


def test_a_version_tells_its_lineage_when_its_run_is_gone(registry: Registry) -> None:
    gone = {"source": "s3://gone/model", "run_id": "0" * 32}
    tags = [{"key": "lineage.git_commit", "value": "0123456789abcdef"}, {"key": "mine", "value": "no"}]
    made = registry.server.ask("model-versions/create", method="POST", name=registry.name, **gone, tags=tags)
    one = made["model_version"]["version"]
    assert registry.json("lineage", one) == {"git_commit": "0123456789abcdef"}
    assert "(gone)" in registry.models("show", one).ended(0).out


def test_the_projects_own_model_needs_no_name(registry: Registry) -> None:
    registry.version()
    stage = registry.project.stage("train", "", outs=["model.json"], container={"registers": "model.json"})
    registry.project.stages(train=stage)
    assert registry.name in registry.project.run("models", "show", "1").ended(0).out


@cases(
    "arguments, code, named",
    {
        "no such model": [["--model", "nope", "show", "1"], EXIT_CONFIGURATION, "nope"],
        "no such version": [["show", "99"], EXIT_CONFIGURATION, "99"],
        "no such alias": [["show", "champion"], EXIT_CONFIGURATION, "champion"],
        "an alias that is a number": [["promote", "1", "--alias", "3"], EXIT_USAGE, "3"],
        "no name for an alias": [["promote", "1", "--alias", ""], EXIT_USAGE, "alias"],
        "no name for a page": [["compare", "1", "1", "--html", ""], EXIT_USAGE, "--html"],
        "one to compare": [["compare", "1"], EXIT_USAGE, "two versions"],
        "no lineage": [["lineage", "1"], EXIT_CONFIGURATION, "docs/LINEAGE.md"],
    },
)
def test_mistakes_are_told(registry: Registry, arguments: list[str], code: int, named: str) -> None:
    run = registry.server.ask("runs/create", method="POST", experiment_id="0")["run"]["info"]
    registry.server.ask(
        "model-versions/create", method="POST", name=registry.name, source=run["artifact_uri"], run_id=run["run_id"]
    )
    assert named in registry.models(*arguments).ended(code).err


@cases(
    "answer, told",
    {
        "401": (401, "MLFLOW_TRACKING_USERNAME"),
        "403": (403, "token that may"),
        "404": (404, "correct MLFLOW_TRACKING_URI"),
        "500": (500, "look at its log"),
        "a page": (200, "answers with text/html"),
        "empty": (EMPTY, "answers with nothing"),
        "{}": (BLANK, "answers registered-models/get without registered_model"),
        "hung up": (0, "MLFLOW_TRACKING_URI"),
    },
)
def test_a_server_that_fails_is_told(registry: Registry, answer: int | Told, told: str) -> None:
    with forwarding(registry.server.uri, lambda *_: answer) as uri:
        failed = registry.moves("rollback", uri=uri).ended(EXIT_CONFIGURATION)
    assert uri in failed.err
    assert told in failed.err
    assert "Traceback" not in failed.err


@cases("status", {"500": (500,), "hung up": (0,)})
def test_a_server_that_fails_where_the_alias_moves(registry: Registry, status: int) -> None:
    one = registry.version()

    def fail(_: str, path: str, when: str) -> int | None:
        return status if path.endswith("registered-models/alias") and when == "asked" else None

    with forwarding(registry.server.uri, fail) as uri:
        assert uri in registry.moves("promote", one, uri=uri).ended(EXIT_CONFIGURATION).err
    assert registry.production() is None
    assert registry.tags() == []


def test_without_a_server_it_says_which_variable(project: Project) -> None:
    assert "MLFLOW_TRACKING_URI" in project.run("models", "list").ended(EXIT_CONFIGURATION).err
