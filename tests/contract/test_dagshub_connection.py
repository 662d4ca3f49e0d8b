"""Connecting a project with DagsHub and taking it back, against a stand-in of real parts."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.support import dagshub_site
from tests.support.cases import cases
from tests.support.dagshub_site import ROOT, DagsHub
from tests.support.servers import BLANK, Told, web

LOCAL = "http://127.0.0.1:5123"
HOLD_CREDENTIALS = (".env", ".env.auto", ".dvc/config.local")
MINE = "# mine\nMY_OWN=1 # stays\n\nDVC_RUNNER_EXECUTOR=process"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What the commands need of the project; its local server only says where it would listen."""
    root = tmp_path / "a projéct"
    shutil.copytree(ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    (root / ".dvc").mkdir()
    for name in (".env.example", ".gitignore", ".dvc/config", ".dvc/.gitignore"):
        shutil.copy(ROOT / name, root / name)
    (root / "tracking-server").mkdir()
    (root / "tracking-server" / "server.py").write_text(f'print("{LOCAL}")\n')
    subprocess.run(["git", "init", "--quiet", root], check=True)
    return root


def run(
    project: Path, dagshub: DagsHub, *words: str, code: int = 0, environment: Mapping[str, str] | None = None
) -> str:
    """Run a script as make does; give all that it printed, which holds no token."""
    done = subprocess.run(
        [sys.executable, project / "scripts" / words[0], *words[1:]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | (environment or {}),
        check=False,
    )
    assert done.returncode == code, done.stdout
    assert "Traceback" not in done.stdout
    assert not [token for token in (dagshub.token, dagshub.read_only_token, "wr0ng-token") if token in done.stdout]
    return done.stdout


def connect(project: Path, dagshub: DagsHub, *, code: int = 0, environment: Mapping[str, str] | None = None) -> str:
    return run(project, dagshub, "dagshub_connection.py", code=code, environment=environment)


def disconnect(project: Path, dagshub: DagsHub, *, code: int = 0, environment: Mapping[str, str] | None = None) -> str:
    return run(project, dagshub, "dagshub_connection.py", "--disconnect", code=code, environment=environment)


def write_env(project: Path, values: Mapping[str, str], before: str = "") -> None:
    (project / ".env").write_text(before + "".join(f"{name}={value}\n" for name, value in values.items()))


def files(project: Path) -> dict[str, str]:
    return {name: (project / name).read_text() for name in HOLD_CREDENTIALS if (project / name).exists()}


def dvc_value(project: Path, key: str) -> str:
    dvc = Path(sys.executable).with_name("dvc")
    return subprocess.run([dvc, "config", key], cwd=project, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("storage", ["s3", "http"])
def test_connecting_proves_both_and_leaves_nothing_there(project: Path, dagshub: DagsHub, storage: str) -> None:
    write_env(project, dagshub.env | {"DAGSHUB_STORAGE": storage})
    before = dagshub.objects()
    printed = connect(project, dagshub)
    url = f"{dagshub.url}/ada/iris"
    place = f"{url}.s3" if storage == "s3" else f"{url}.dvc"
    assert f"{url}.mlflow: the name of a model was written, read and removed" in printed
    assert f"{place}: an object was written, read and removed" in printed
    assert dvc_value(project, "remote.from-env.endpointurl" if storage == "s3" else "remote.from-env.url") == place
    assert f'MLFLOW_TRACKING_URI="{url}.mlflow"' in files(project)[".env.auto"]
    assert {stat.S_IMODE((project / name).stat().st_mode) for name in HOLD_CREDENTIALS} == {0o600}
    assert dagshub.objects() == before
    models = dagshub.ask("GET", ".mlflow/api/2.0/mlflow/registered-models/search?max_results=100")
    assert "connection-check" not in models
    assert dagshub.ask("GET", ".dvc/files/md5/8c/566009d26db7fd9a1b4527a185e5fd").startswith("404")


def test_connecting_twice_changes_nothing_the_second_time(project: Path, dagshub: DagsHub) -> None:
    write_env(project, dagshub.env, MINE + "\n")
    connect(project, dagshub)
    first = files(project)
    connect(project, dagshub)
    assert files(project) == first
    assert first[".env"].startswith(MINE)


def test_disconnecting_brings_the_local_default_back_and_keeps_the_rest(project: Path, dagshub: DagsHub) -> None:
    (project / ".dvc" / "config.local").write_text("[cache]\n    shared = group\n")
    write_env(project, dagshub.env, MINE + "\n")
    connect(project, dagshub)
    for _ in range(2):
        disconnect(project, dagshub)
        assert dvc_value(project, "core.remote") == "local"
        assert dagshub.token not in "".join(text for name, text in files(project).items() if name != ".env")
        assert files(project)[".dvc/config.local"].endswith("[cache]\n    shared = group\n")
        assert files(project)[".env"].startswith(MINE)
    run(project, dagshub, "configure.py")
    assert LOCAL in files(project)[".env.auto"]
    connect(project, dagshub)
    assert dvc_value(project, "core.remote") == "from-env"
    assert files(project)[".env"] == MINE + "\n" + "".join(f"{name}={value}\n" for name, value in dagshub.env.items())


def test_what_this_shell_says_is_kept_for_the_next(project: Path, dagshub: DagsHub) -> None:
    (project / ".env").write_text(MINE)
    connect(project, dagshub, environment=dagshub.env)
    assert files(project)[".env"].startswith(MINE + "\n")
    assert "iris.s3" in run(project, dagshub, "configure.py")


def test_disconnecting_says_what_this_shell_would_connect_again(project: Path, dagshub: DagsHub) -> None:
    connect(project, dagshub, environment=dagshub.env)
    printed = disconnect(project, dagshub, code=3, environment=dagshub.env)
    assert "unset DAGSHUB_USER_NAME DAGSHUB_TOKEN DAGSHUB_REPO" in printed
    assert dvc_value(project, "core.remote") == "local"


def test_another_server_in_env_stays_in_use_and_is_told(project: Path, dagshub: DagsHub) -> None:
    other = {"MLFLOW_TRACKING_URI": "http://mlflow.example.com", "DVC_REMOTE_URL": "/mnt/nas"}
    write_env(project, dagshub.env | other)
    printed = connect(project, dagshub)
    for told in ("http://mlflow.example.com, since MLFLOW_TRACKING_URI", "/mnt/nas, which counts more"):
        assert told in printed
    printed = disconnect(project, dagshub)
    assert "http://mlflow.example.com" in printed
    assert "/mnt/nas" in printed


@cases(
    "wrong, told",
    {
        "token": ({"DAGSHUB_TOKEN": "wr0ng-token"}, "401, it does not know user ada with this token"),
        "user": ({"DAGSHUB_USER_NAME": "eve"}, "401, it does not know user eve"),
        "repository": ({"DAGSHUB_REPO": "ada/lily"}, "404, there is no repository ada/lily"),
        "nothing that listens": ({"DAGSHUB_URL": "http://127.0.0.1:9"}, "127.0.0.1:9: it refused the connection"),
        "no host": ({"DAGSHUB_URL": "https://dagshub.invalid"}, "dagshub.invalid: no host of that name"),
        "unencrypted": ({"DAGSHUB_URL": "http://dagshub.com"}, "'http://dagshub.com': the token would go there unencr"),
        "kind of storage": ({"DAGSHUB_STORAGE": "ftp"}, "DAGSHUB_STORAGE is 'ftp'"),
        "all": (dict.fromkeys(("DAGSHUB_USER_NAME", "DAGSHUB_TOKEN", "DAGSHUB_REPO"), ""), "are not set"),
    },
)
def test_what_is_wrong_is_told_and_changes_nothing(
    project: Path, dagshub: DagsHub, wrong: dict[str, str], told: str
) -> None:
    write_env(project, dagshub.env | wrong)
    before = files(project)
    printed = connect(project, dagshub, code=3)
    assert told in printed
    assert len(printed.splitlines()) == 2
    assert files(project) == before


@cases(
    "answer, told",
    {
        "a page": (Told(), "something else than MLflow's JSON"),
        "{} to all": (BLANK, "it answers without registered_model"),
        "out of order": (Told(status=503), ": 503"),
    },
)
def test_a_site_that_is_none_is_told(project: Path, dagshub: DagsHub, answer: Told, told: str) -> None:
    with web(lambda *_: answer) as port:
        write_env(project, dagshub.env | {"DAGSHUB_URL": f"http://127.0.0.1:{port}"})
        printed = connect(project, dagshub, code=3)
    assert f"http://127.0.0.1:{port}/ada/iris.mlflow" in printed
    assert told in printed
    assert len(printed.splitlines()) == 2
    assert not (project / ".env.auto").exists()


@pytest.mark.parametrize("storage", ["s3", "http"])
def test_a_read_only_token_is_told(project: Path, dagshub: DagsHub, storage: str) -> None:
    write_env(project, dagshub.env | {"DAGSHUB_TOKEN": dagshub.read_only_token, "DAGSHUB_STORAGE": storage})
    assert "403, user ada with this token may not write to ada/iris" in connect(project, dagshub, code=3)
    assert not (project / ".env.auto").exists()


def test_a_file_for_credentials_that_git_does_not_ignore_is_refused(project: Path, dagshub: DagsHub) -> None:
    write_env(project, dagshub.env)
    (project / ".gitignore").write_text(".env\n")
    assert "git does not ignore .env.auto" in connect(project, dagshub, code=3)


def test_an_mlflow_without_a_registry_is_told() -> None:
    with dagshub_site.running("--without-registry") as found:
        code = (
            "import dagshub, dagshub_check\n"
            f"r = dagshub.Repository(owner='ada', name='iris', user='ada', token='{found.token}', site='{found.url}')\n"
            "print(dagshub_check.mlflow(r))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT / "scripts", capture_output=True, text=True, check=True
        )
        assert "a run was written, read and deleted; it has no model registry" in done.stdout


@pytest.mark.parametrize("word", ["push", "pull"])
@pytest.mark.parametrize("storage", ["s3", "http"])
def test_a_wrong_token_is_told_before_data_travel(project: Path, dagshub: DagsHub, storage: str, word: str) -> None:
    write_env(project, dagshub.env | {"DAGSHUB_TOKEN": "wr0ng-token", "DAGSHUB_STORAGE": storage})
    printed = run(project, dagshub, "share.py", word, code=3)
    assert "401" in printed
    assert "cache files do not exist" not in printed


@pytest.mark.parametrize("storage", ["s3", "http"])
def test_data_travel(project: Path, dagshub: DagsHub, storage: str) -> None:
    write_env(project, dagshub.env | {"DAGSHUB_STORAGE": storage})
    connect(project, dagshub)
    data, dvc = project / "data.csv", Path(sys.executable).with_name("dvc")
    data.write_text(f"one,two\n{storage},{dagshub.url}\n")
    subprocess.run([dvc, "add", "--quiet", data], cwd=project, check=True)
    printed = run(project, dagshub, "share.py", "push")
    assert ("does not travel over HTTP" in printed) is (storage == "http")
    assert "make git-sync" in printed
    shutil.rmtree(project / ".dvc" / "cache")
    data.unlink()
    run(project, dagshub, "share.py", "pull")
    assert dagshub.url in data.read_text()
