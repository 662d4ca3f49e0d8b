"""Settings: which of three places wins, and files as people and editors leave them."""

from pathlib import Path

import pytest
from tests.support.cases import cases
from tests.support.people import as_somebody

from dvc_runner.cli import settings
from dvc_runner.errors import ConfigurationError, UsageError

NAME = "SOME_SETTING"


@cases(
    "auto, env, environment, value",
    {
        "nowhere": (None, None, None, None),
        ".env.auto": ("auto", None, None, "auto"),
        ".env": (None, "env", None, "env"),
        "the environment": (None, None, "environment", "environment"),
        ".env before .env.auto": ("auto", "env", None, "env"),
        "the environment before .env.auto": ("auto", None, "environment", "environment"),
        "the environment before both": ("auto", "env", "environment", "environment"),
        "set to nothing is not set": ("auto", "", "", "auto"),
    },
)
def test_precedence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    auto: str | None,
    env: str | None,
    environment: str | None,
    value: str | None,
) -> None:
    for name, content in ((".env.auto", auto), (".env", env)):
        if content is not None:
            (tmp_path / name).write_text(f"{NAME}={content}\n")
    if environment is not None:
        monkeypatch.setenv(NAME, environment)
    assert settings.read(tmp_path).values.get(NAME) == value


def test_certificates_are_named_from_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("MLFLOW_TRACKING_SERVER_CERT_PATH=data/ca.pem\n")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/ca.pem")
    values = settings.read(tmp_path).values
    assert values["MLFLOW_TRACKING_SERVER_CERT_PATH"] == str(tmp_path / "data/ca.pem")
    assert values["REQUESTS_CA_BUNDLE"] == "/etc/ca.pem"


@cases(
    "content, value",
    {
        "plain": (b"SOME_SETTING=a b", "a b"),
        "with a byte-order mark": (b"\xef\xbb\xbfSOME_SETTING=a", "a"),
        "with Windows' line ends": (b"SOME_SETTING=a\r\nB=2\r\n", "a"),
        "double quotes": (b'SOME_SETTING="a # b"', "a # b"),
        "single quotes": (b"SOME_SETTING='a # b'", "a # b"),
        "spaces around": (b"  SOME_SETTING = a  ", "a"),
        "export": (b"export SOME_SETTING=a", "a"),
        "a comment behind": (b"SOME_SETTING=a # why", "a"),
        "accents": ("SOME_SETTING=àé".encode(), "àé"),
        "a sign of equality in it": (b"SOME_SETTING=a=b", "a=b"),
        "nothing is expanded": (b"SOME_SETTING=$HOME${HOME}", "$HOME${HOME}"),
        "the last one counts": (b"SOME_SETTING=a\nSOME_SETTING=b", "b"),
        "without a value": (b"SOME_SETTING", None),
    },
)
def test_files_as_people_write_them(tmp_path: Path, content: bytes, value: str | None) -> None:
    (tmp_path / ".env").write_bytes(content)
    assert settings.read(tmp_path).values.get(NAME) == value


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"A=\xff\xfe")
    with pytest.raises(ConfigurationError, match=str(tmp_path / ".env")):
        settings.read(tmp_path)


@cases(
    "content, line",
    {
        "no sign of equality": ("A=1\nB=2\nthis is no setting\n", "line 3"),
        "a quote that is not closed": ("A=1\nB='2\n", "line 2"),
    },
)
def test_a_broken_line_is_named(tmp_path: Path, content: str, line: str) -> None:
    (tmp_path / ".env").write_text(content)
    with pytest.raises(ConfigurationError, match=rf"\.env {line}"):
        settings.read(tmp_path)


def test_a_file_that_is_not_ours_to_read_is_named(tmp_path: Path) -> None:
    tmp_path.parent.chmod(0o755)
    tmp_path.parent.parent.chmod(0o755)
    tmp_path.chmod(0o755)
    (tmp_path / ".env").write_text("A=1")
    (tmp_path / ".env").chmod(0)

    def act() -> None:
        with pytest.raises(ConfigurationError, match=str(tmp_path / ".env")):
            settings.read(tmp_path)

    as_somebody(act)


def test_a_folder_called_env_is_no_file(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    assert NAME not in settings.read(tmp_path).values


def test_what_is_read_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DOCKER_HOST", "BASE_IMAGE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    bare = settings.read(tmp_path)
    assert (bare.executor, bare.engine_host, bare.base_image, bare.experiment) == (None, None, None, ())
    assert "@sha256:" in bare.guard_image
    assert bare.cache == Path.home() / ".cache" / "dvc-runner"
    (tmp_path / ".env").write_text(
        "DVC_RUNNER_EXECUTOR=process\nDOCKER_HOST=unix:///s\nBASE_IMAGE=base\nXDG_CACHE_HOME=/c\nDVC_EXP_NAME=e\n"
    )
    full = settings.read(tmp_path)
    assert (full.executor, full.engine_host, full.base_image) == ("process", "unix:///s", "base")
    assert full.guard_image == "base"
    assert full.cache == Path("/c/dvc-runner")
    assert full.experiment == (("DVC_EXP_NAME", "e"),)


@cases(
    "files, environment, user",
    {
        "beside their address": ({".env": "MLFLOW_TRACKING_URI=a\nMLFLOW_TRACKING_USERNAME=u"}, {}, "u"),
        "without any address": ({".env": "MLFLOW_TRACKING_USERNAME=u"}, {}, "u"),
        "below another address": (
            {
                ".env.auto": "MLFLOW_TRACKING_URI=a\nMLFLOW_TRACKING_USERNAME=u\nMLFLOW_TRACKING_PASSWORD=p",
                ".env": "MLFLOW_TRACKING_URI=b",
            },
            {},
            None,
        ),
        "below another address of the environment": (
            {".env": "MLFLOW_TRACKING_URI=a\nMLFLOW_TRACKING_USERNAME=u"},
            {"MLFLOW_TRACKING_URI": "b"},
            None,
        ),
        "above the address": ({".env": "MLFLOW_TRACKING_URI=a"}, {"MLFLOW_TRACKING_USERNAME": "u"}, "u"),
    },
)
def test_credentials_go_to_no_other_address(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: dict[str, str],
    environment: dict[str, str],
    user: str | None,
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert settings.read(tmp_path).values.get("MLFLOW_TRACKING_USERNAME") == user


def test_what_dvc_tells_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="DVC_STAGE"):
        settings.dvc_stage()
    monkeypatch.setenv("DVC_STAGE", "train@a")
    assert settings.dvc_stage() == ("train@a", None)
    monkeypatch.setenv("DVC_ROOT", "/project")
    assert settings.dvc_stage() == ("train@a", Path("/project"))


@cases(
    "text, buildkit",
    {
        "not said": ("", None),
        "yes": ("DOCKER_BUILDKIT=1\n", True),
        "no": ("DOCKER_BUILDKIT=0\n", False),
        "no, in words": ("DOCKER_BUILDKIT=false\n", False),
    },
)
def test_the_builder_is_chosen_as_docker_does(
    tmp_path: Path,
    text: str,
    buildkit: bool | None,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DOCKER_BUILDKIT", raising=False)
    (tmp_path / ".env").write_text(text)
    assert settings.read(tmp_path).engine.buildkit is buildkit


def test_credentials_that_were_handed_over_are_as_if_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("MLFLOW_TRACKING_URI=http://one\nMLFLOW_TRACKING_PASSWORD=of-one\nA=of-env\n")
    file = tmp_path / "handed.json"
    file.write_text('{"MLFLOW_TRACKING_PASSWORD": "of-two", "A": "handed"}')
    monkeypatch.setenv("DVC_RUNNER_HANDED_OVER", "handed.json")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://two")
    for _ in range(2):
        values = settings.read(tmp_path).values
        assert (values["MLFLOW_TRACKING_PASSWORD"], values["A"]) == ("of-two", "handed")
        assert not file.exists()


@pytest.mark.parametrize("content", [None, "A=b"], ids=["no file", "no JSON"])
def test_a_hand_over_that_went_wrong_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "handed.json").write_text(content)
    monkeypatch.setenv("DVC_RUNNER_HANDED_OVER", "handed.json")
    with pytest.raises(ConfigurationError, match=r"handed\.json"):
        settings.read(tmp_path)


LOCAL, AWAY = "http://127.0.0.1:5123", "https://mlflow.example.com"


@cases(
    "auto, env, environment, uri, user",
    {
        "not asked for": (f"TRACKING_OFFLINE_URI={LOCAL}", f"MLFLOW_TRACKING_URI={AWAY}", {}, AWAY, "ada"),
        "in .env": (
            f"TRACKING_OFFLINE_URI={LOCAL}",
            f"MLFLOW_TRACKING_URI={AWAY}\nTRACKING_OFFLINE=1",
            {},
            LOCAL,
            None,
        ),
        "in the environment": (
            f"TRACKING_OFFLINE_URI={LOCAL}",
            f"MLFLOW_TRACKING_URI={AWAY}",
            {"TRACKING_OFFLINE": "yes"},
            LOCAL,
            None,
        ),
        "before the environment's server": (
            f"TRACKING_OFFLINE_URI={LOCAL}",
            "TRACKING_OFFLINE=1",
            {"MLFLOW_TRACKING_URI": AWAY},
            LOCAL,
            None,
        ),
        "taken back by the environment": (
            f"TRACKING_OFFLINE_URI={LOCAL}",
            f"MLFLOW_TRACKING_URI={AWAY}\nTRACKING_OFFLINE=1",
            {"TRACKING_OFFLINE": "0"},
            AWAY,
            "ada",
        ),
    },
)
def test_offline_the_local_server_is_used_and_told_no_credentials(  # noqa: PLR0913, PLR0917
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    auto: str,
    env: str,
    environment: dict[str, str],
    uri: str,
    user: str | None,
) -> None:
    (tmp_path / ".env.auto").write_text(auto)
    (tmp_path / ".env").write_text(f"MLFLOW_TRACKING_USERNAME=ada\nMLFLOW_TRACKING_PASSWORD=p\n{env}\n")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = settings.read(tmp_path).values
    assert (found["MLFLOW_TRACKING_URI"], found.get("MLFLOW_TRACKING_USERNAME")) == (uri, user)


def test_offline_without_a_local_server_goes_nowhere(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"MLFLOW_TRACKING_URI={AWAY}\nTRACKING_OFFLINE=1\n")
    with pytest.raises(ConfigurationError, match="no local MLflow server") as error:
        settings.read(tmp_path)
    assert "make up" in error.value.remedy
