"""Configuring: .env as people leave it, which server and which remote it leads to, and what is written where."""

import dataclasses
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.cases import cases

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "scripts"))

import configure  # noqa: E402
import dagshub  # noqa: E402
import dvc_config  # noqa: E402
import env_file  # noqa: E402
import env_lines  # noqa: E402
from dagshub import Repository  # noqa: E402
from env_file import SettingsError  # noqa: E402

from dvc_runner.cli import settings as runner_settings  # noqa: E402
from dvc_runner.workspace.secrets import CERTIFICATE  # noqa: E402

TOKEN = "s3cret-t0ken"
DAGSHUB = {"DAGSHUB_USER_NAME": "ada", "DAGSHUB_TOKEN": TOKEN, "DAGSHUB_REPO": "ada/iris"}
REPOSITORY = Repository(owner="ada", name="iris", user="ada", token=TOKEN)
URI, USER, PASSWORD = "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
SERVER = "https://mlflow.example.com"

VALUES = {
    "plain": ("A=b", "b"),
    "spaces around": ("  A  =  b  ", "b"),
    "export": ("export A=b", "b"),
    "comment after": ("A=b # c", "b"),
    "a # inside": ("A=b#c", "b#c"),
    "a # first": ("A=#b", "#b"),
    "an = inside": ("A=b=c=", "b=c="),
    "nothing": ("A=", ""),
    "nothing but a comment": ("A= # c", ""),
    "single quotes": ("A='b # \"c\" $D' # e", 'b # "c" $D'),
    "double quotes": ("A=\"b # 'c' $D\" # e", "b # 'c' $D"),
    "escapes in double quotes": (r'A="b\"c\\d\te"', 'b"c\\d\te'),
    "escapes in single quotes": (r"A='b\'c\\d\te'", r"b'c\d\te"),
    "backslashes unquoted": (r"A=b\n\c", r"b\n\c"),
    "not expanded": ("A=$HOME/${B}/`c`", "$HOME/${B}/`c`"),
    "accents": ("A=é ü", "é ü"),
    "lines end as on Windows": ("B=1\r\nA=b\r\n", "b"),
    "a byte order mark": ("\ufeffA=b", "b"),
    "the last of two": ("A=a\nA=b", "b"),
}


@cases("text, value", VALUES)
def test_values_are_read_as_dvc_runner_reads_them(tmp_path: Path, text: str, value: str) -> None:
    assert env_file.parse(text)["A"] == value
    (tmp_path / ".env").write_bytes(text.encode())
    assert runner_settings.read(tmp_path).values.get("A", "") == value


@cases("text, value", VALUES)
def test_what_is_written_reads_the_same(tmp_path: Path, text: str, value: str) -> None:
    (tmp_path / ".env.auto").write_text(env_file.render({"A": value}))
    assert env_file.read(tmp_path / ".env.auto") == {"A": value}
    assert runner_settings.read(tmp_path).values.get("A", "") == env_file.parse(text)["A"]


@cases(
    "content, told",
    {
        "no assignment": (b"A=1\n\ns3cret-t0ken\n", "line 3"),
        "a space in the name": (b"A B=s3cret-t0ken", "line 1"),
        "an open quote": (b"# x\r\nA='s3cret-t0ken\r\n", "line 2 (A)"),
        "words after a quote": (b'A="s3cret-t0ken" b', "line 1 (A)"),
        "UTF-16": ("A=s3cret-t0ken".encode("utf-16"), "UTF-8"),
    },
)
def test_a_broken_file_is_told_by_its_line_and_without_values(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / ".env").write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        env_file.read(tmp_path / ".env")
    assert told in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    with pytest.raises(SettingsError, match=r"\.env cannot be read"):
        env_file.read(tmp_path / ".env")


@cases(
    "env, environment, expected",
    {
        "environment before .env": ("A=1", {"A": "2"}, {"A": "2"}),
        "empty counts as not set": ("A=1\nB=", {"A": ""}, {"A": "1"}),
        "credentials stay with their address": (
            f"{URI}=http://a\n{USER}=u\n{PASSWORD}=p",
            {URI: "http://b"},
            {URI: "http://b"},
        ),
    },
)
def test_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, env: str, environment: dict[str, str], expected: dict[str, str]
) -> None:
    (tmp_path / ".env").write_text(env)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = env_file.settings(tmp_path)
    assert {name: found[name] for name in ("A", "B", URI, USER, PASSWORD) if name in found} == expected


@cases(
    "settings, repository, expected",
    {
        "nothing: the local server": ({}, None, None),
        "DagsHub": ({}, REPOSITORY, {URI: "https://dagshub.com/ada/iris.mlflow", USER: "ada", PASSWORD: TOKEN}),
        "a server": ({URI: SERVER}, None, {URI: SERVER}),
        "a server before DagsHub": ({URI: SERVER}, REPOSITORY, {URI: SERVER}),
        "with credentials": ({URI: SERVER, USER: "u", PASSWORD: "p"}, None, {URI: SERVER, USER: "u", PASSWORD: "p"}),
    },
)
def test_tracking(settings: dict[str, str], repository: Repository | None, expected: dict[str, str] | None) -> None:
    assert configure.tracking(settings, repository) == expected


@cases(
    "settings, repository, told",
    {
        "user alone": ({URI: SERVER, USER: "u"}, None, "without MLFLOW_TRACKING_PASSWORD"),
        "password alone": ({URI: SERVER, PASSWORD: TOKEN}, None, "without MLFLOW_TRACKING_USERNAME"),
        "credentials without an address": ({USER: "u", PASSWORD: TOKEN}, None, "without MLFLOW_TRACKING_URI"),
        "a folder": ({URI: "./mlruns"}, None, "'./mlruns'"),
        "no scheme": ({URI: "localhost:5000"}, None, "'localhost:5000'"),
        "no host": ({URI: "http:///x"}, None, "'http:///x'"),
        "a password in it": ({URI: f"https://u:{TOKEN}@example.com"}, None, "holds a user or a password"),
        "DagsHub's without credentials": ({URI: f"{dagshub.SITE}/a/b.mlflow"}, REPOSITORY, "on DagsHub"),
    },
)
def test_tracking_refuses(settings: dict[str, str], repository: Repository | None, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        configure.tracking(settings, repository)
    assert told in str(caught.value)
    assert TOKEN not in str(caught.value)


@cases(
    "repo, remotes, expected",
    {
        "owner and name": ("lab/iris", [], ("lab", "iris")),
        "a name is the user's": ("iris", [], ("ada", "iris")),
        "a URL": ("https://dagshub.com/lab/iris.git", [], ("lab", "iris")),
        "the page's URL": ("https://dagshub.com/lab/iris/", [], ("lab", "iris")),
        "the server's URL": ("https://dagshub.com/lab/iris.mlflow", [], ("lab", "iris")),
        "dots in the name": ("lab/iris.v2-x", [], ("lab", "iris.v2-x")),
        "git over https": (None, ["https://github.com/x/y", "https://dagshub.com/lab/iris.git"], ("lab", "iris")),
        "git with a token": (None, ["https://ada:t0k@dagshub.com/lab/iris"], ("lab", "iris")),
        "git over ssh": (None, ["git@dagshub.com:lab/iris.git"], ("lab", "iris")),
        "git with ssh://": (None, ["ssh://git@dagshub.com/lab/iris.git"], ("lab", "iris")),
        "the storage's URL": ("https://dagshub.com/lab/iris.s3", [], ("lab", "iris")),
        "said before git": ("lab/iris", ["https://dagshub.com/other/one"], ("lab", "iris")),
    },
)
def test_dagshub_repository(repo: str | None, remotes: list[str], expected: tuple[str, str]) -> None:
    settings = {"DAGSHUB_USER_NAME": "ada", "DAGSHUB_TOKEN": TOKEN} | ({"DAGSHUB_REPO": repo} if repo else {})
    found = dagshub.repository(settings, remotes)
    assert found
    assert (found.owner, found.name, found.user) == (*expected, "ada")
    assert TOKEN not in repr(found)


@cases(
    "settings, remotes, told",
    {
        "token alone": ({"DAGSHUB_TOKEN": TOKEN}, [], "without DAGSHUB_USER_NAME"),
        "user alone": ({"DAGSHUB_USER_NAME": "ada"}, [], "without DAGSHUB_TOKEN"),
        "repository alone": ({"DAGSHUB_REPO": "ada/iris"}, [], "without DAGSHUB_USER_NAME and DAGSHUB_TOKEN"),
        "no repository": ({**DAGSHUB, "DAGSHUB_REPO": ""}, ["https://github.com/ada/iris"], "which repository"),
        "a broken repository": ({**DAGSHUB, "DAGSHUB_REPO": "a/b/c"}, [], "'a/b/c'"),
        "storage": ({**DAGSHUB, "DAGSHUB_STORAGE": "ftp"}, [], "'ftp'"),
        "another site's": ({**DAGSHUB, "DAGSHUB_REPO": "https://example.com/a/b"}, [], "example.com"),
    },
)
def test_dagshub_in_part_is_told(settings: dict[str, str], remotes: list[str], told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        dagshub.repository(settings, remotes)
    assert told in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_dagshub_is_at_another_address() -> None:
    settings = {**DAGSHUB, "DAGSHUB_URL": "http://127.0.0.1:5080/", "DAGSHUB_REPO": ""}
    found = dagshub.repository(settings, ["https://dagshub.com/x/y", "http://127.0.0.1:5080/lab/iris.git"])
    assert found
    assert found.mlflow_uri == "http://127.0.0.1:5080/lab/iris.mlflow"
    assert found.s3_endpoint == "http://127.0.0.1:5080/lab/iris.s3"


@cases(
    "url",
    {
        "https": ("https://dagshub.example.com",),
        "this machine": ("http://localhost:5080",),
        "its address": ("http://127.0.0.2",),
        "its newer address": ("http://[::1]:80",),
    },
)
def test_dagshub_may_be_there(url: str) -> None:
    assert dagshub.site({"DAGSHUB_URL": url}) == url


@cases(
    "url, told",
    {
        "unencrypted": ("http://dagshub.com", "unencrypted"),
        "a name like an address": ("http://127.0.0.1.example.com", "unencrypted"),
        "no scheme": ("dagshub.com", "'dagshub.com'"),
        "a path": ("https://example.com/dagshub", "'https://example.com/dagshub'"),
        "a password": (f"https://ada:{TOKEN}@dagshub.com", "'https://…@dagshub.com'"),
    },
)
def test_dagshub_may_not_be_there(url: str, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        dagshub.site({"DAGSHUB_URL": url})
    assert told in str(caught.value)
    assert TOKEN not in str(caught.value)


@cases(
    "settings, repository, expected",
    {
        "nothing: the committed default": ({}, None, {}),
        "DagsHub": (
            {},
            REPOSITORY,
            {
                "url": "s3://dvc",
                "endpointurl": "https://dagshub.com/ada/iris.s3",
                "access_key_id": TOKEN,
                "secret_access_key": TOKEN,
            },
        ),
        "DagsHub over HTTP": (
            {},
            dataclasses.replace(REPOSITORY, storage="http"),
            {"url": "https://dagshub.com/ada/iris.dvc", "auth": "basic", "user": "ada", "password": TOKEN},
        ),
        "a folder, seen from the project": ({"URL": "../backup"}, None, {"url": "../../backup"}),
        "a folder, absolute": ({"URL": "/mnt/nas"}, None, {"url": "/mnt/nas"}),
        "a bucket before DagsHub": ({"URL": "s3://b/p"}, REPOSITORY, {"url": "s3://b/p"}),
        "a bucket of another server": (
            {"URL": "s3://b", "ENDPOINT_URL": "http://minio", "ACCESS_KEY_ID": "k", "SECRET_ACCESS_KEY": "s"},
            None,
            {"url": "s3://b", "endpointurl": "http://minio", "access_key_id": "k", "secret_access_key": "s"},
        ),
        "https with a password": (
            {"URL": "https://h/p", "USER": "u", "PASSWORD": "p"},
            None,
            {"url": "https://h/p", "user": "u", "password": "p", "auth": "basic"},
        ),
        "another kind": ({"URL": "gs://b/p"}, None, {"url": "gs://b/p"}),
    },
)
def test_remote(
    tmp_path: Path, settings: dict[str, str], repository: Repository | None, expected: dict[str, str]
) -> None:
    given = {f"DVC_REMOTE_{name}": value for name, value in settings.items()}
    assert dvc_config.remote(given, repository, tmp_path) == expected


@cases(
    "settings, told",
    {
        "no URL": ({"REGION": "eu"}, "DVC_REMOTE_REGION is set without DVC_REMOTE_URL"),
        "half the keys": ({"URL": "s3://b", "ACCESS_KEY_ID": "k"}, "without DVC_REMOTE_SECRET_ACCESS_KEY"),
        "the other half": ({"URL": "s3://b", "SECRET_ACCESS_KEY": TOKEN}, "without DVC_REMOTE_ACCESS_KEY_ID"),
        "keys for a folder": ({"URL": "/x", "ACCESS_KEY_ID": "k", "SECRET_ACCESS_KEY": TOKEN}, "a folder"),
        "a user for a bucket": ({"URL": "s3://b", "USER": "u", "PASSWORD": TOKEN}, "at s3"),
        "a password in the URL": ({"URL": f"https://u:{TOKEN}@h/p"}, "holds a user or a password"),
    },
)
def test_remote_refuses(tmp_path: Path, settings: dict[str, str], told: str) -> None:
    given = {f"DVC_REMOTE_{name}": value for name, value in settings.items()}
    with pytest.raises(SettingsError) as caught:
        dvc_config.remote(given, None, tmp_path)
    assert told in str(caught.value)
    assert TOKEN not in str(caught.value)


ASIDE = "# disconnected: "


@cases(
    "text, aside",
    {
        "nothing": ("", ""),
        "others": ("# A=1\nB=2", "# A=1\nB=2"),
        "one": ("B=2\nA=1 # x\n\nC=3\n", f"B=2\n{ASIDE}A=1 # x\n\nC=3\n"),
        "two of one name": ("A=1\nexport A=2", f"{ASIDE}A=1\n{ASIDE}export A=2"),
        "lines as on Windows": ("A=1\r\nB=2\r\n", f"{ASIDE}A=1\r\nB=2\r\n"),
        "a longer name": ("AA=1\n", "AA=1\n"),
    },
)
def test_lines_are_put_aside_and_taken_back(text: str, aside: str) -> None:
    assert env_lines.put_aside(text, ["A"]) == aside
    assert env_lines.put_aside(aside, ["A"]) == aside
    assert "A" not in env_file.parse(aside)
    assert env_lines.take_back(aside, ["A"]) == text


def test_a_line_that_was_written_since_counts() -> None:
    assert env_lines.take_back(f"{ASIDE}A=1\nA=2\n", ["A"]) == f"{ASIDE}A=1\nA=2\n"


@cases(
    "text, expected",
    {
        "none": ("", 'A="1 #2"\n'),
        "no end of line": ("B=2", 'B=2\nA="1 #2"\n'),
        "in its place": ("A=0\nB=2\n", 'A="1 #2"\nB=2\n'),
        "the last of two": ("A=0\nA=9\n", 'A=0\nA="1 #2"\n'),
    },
)
def test_values_are_assigned(text: str, expected: str) -> None:
    assert env_lines.assign(text, {"A": "1 #2"}) == expected
    assert env_file.parse(expected)["A"] == "1 #2"


MINE = "# mine\n[cache]\n    dir = /big/disk\n"
MY_CORE = "[core]\n    check_update = false\n"
MY_DEFAULT = "[core]\n    remote = mine\n['remote \"mine\"']\n    url = /mnt\n"


@cases("text", {"none": ("",), "another section": (MINE,), "core": (MY_CORE,), "both": (MINE + MY_CORE,)})
def test_config_gains_and_loses_our_part_and_keeps_the_rest(text: str) -> None:
    with_remote = dvc_config.merge(text, {"url": "s3://b"}, has_git=False)
    assert with_remote.count("[core]") == 1
    assert all(line in with_remote.splitlines() for line in text.splitlines())
    assert dvc_config.merge(with_remote, {"url": "s3://b"}, has_git=False) == with_remote
    other = dvc_config.merge(with_remote, {"url": "s3://c"}, has_git=True)
    assert "s3://b" not in other
    assert "no_scm" not in other
    without = dvc_config.merge(other, {}, has_git=True)
    assert [line for line in without.splitlines() if line != "[core]"] == [
        line for line in text.splitlines() if line != "[core]"
    ]


def test_a_default_that_somebody_chose_stays() -> None:
    merged = dvc_config.merge(MY_DEFAULT, {"url": "s3://b"}, has_git=True)
    assert "remote = mine" in merged
    assert f"remote = {dvc_config.REMOTE}" not in merged
    assert dvc_config.has_other_default(merged)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The scripts in a folder of their own; its local server is a stand-in that says where it listens."""
    root = tmp_path / "a projéct"
    shutil.copytree(ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".env.example", root)
    (root / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", root / ".dvc")
    (root / "tracking-server").mkdir()
    (root / "tracking-server" / "server.py").write_text('print("http://127.0.0.1:5123")\n')
    subprocess.run(["git", "init", "--quiet", root], check=True)
    return root


def run_configure(project: Path, *arguments: str, code: int = 0, environment: dict[str, str] | None = None) -> str:
    """Run configure.py as make does; give all that it printed, which holds no secret."""
    done = subprocess.run(
        [sys.executable, project / "scripts" / "configure.py", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | (environment or {}),
        check=False,
    )
    assert done.returncode == code, done.stdout
    assert TOKEN not in done.stdout
    assert "Traceback" not in done.stdout
    return done.stdout


def dvc_value(project: Path, key: str) -> str:
    """Ask DVC for a value of its configuration."""
    dvc = Path(sys.executable).with_name("dvc")
    done = subprocess.run([dvc, "config", key], cwd=project, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_without_settings_all_is_local(project: Path) -> None:
    assert "http://127.0.0.1:5123" in run_configure(project)
    assert env_file.read(project / ".env.auto") == {URI: "http://127.0.0.1:5123"}
    assert mode(project / ".env.auto") == 0o600
    assert not (project / ".dvc" / "config.local").exists()
    assert dvc_value(project, "core.remote") == "local"


def test_dagshub_comes_and_goes(project: Path) -> None:
    (project / ".env").write_text(env_file.render(DAGSHUB))
    assert "https://dagshub.com/ada/iris.mlflow" in run_configure(project)
    assert env_file.read(project / ".env.auto")[PASSWORD] == TOKEN
    config = project / ".dvc" / "config.local"
    assert (mode(project / ".env.auto"), mode(config)) == (0o600, 0o600)
    assert dvc_value(project, "core.remote") == dvc_config.REMOTE
    assert dvc_value(project, f"remote.{dvc_config.REMOTE}.secret_access_key") == TOKEN
    before = config.stat().st_mtime_ns
    run_configure(project)
    assert config.stat().st_mtime_ns == before

    (project / ".env").unlink()
    run_configure(project)
    assert not config.exists()
    assert TOKEN not in (project / ".env.auto").read_text()
    assert dvc_value(project, "core.remote") == "local"


@cases(
    "secret",
    {
        "comma": ("a,b",),
        "hash": ("a #b",),
        "quote": ('a"b',),
        "other quote": ("a'b",),
        "percent": ("a%b",),
        "dollar": ("a$b{c}",),
    },
)
def test_dvc_reads_every_secret_as_it_was_meant(project: Path, secret: str) -> None:
    keys = {"URL": "s3://b", "ACCESS_KEY_ID": "k", "SECRET_ACCESS_KEY": secret}
    environment = {f"DVC_REMOTE_{name}": value for name, value in keys.items()}
    run_configure(project, "--storage", environment=environment)
    assert dvc_value(project, f"remote.{dvc_config.REMOTE}.secret_access_key") == secret


@cases(
    "env", {"DagsHub": (env_file.render(DAGSHUB),), "a server": (f"{URI}={SERVER}\n{USER}=u\n{PASSWORD}={TOKEN}\n",)}
)
def test_offline_the_local_server_stands_in_until_it_is_taken_back(project: Path, env: str) -> None:
    (project / ".env").write_text(env)
    printed = run_configure(project, environment={"TRACKING_OFFLINE": "1"})
    assert "http://127.0.0.1:5123" in printed
    assert "make sync" in printed
    assert env_file.read(project / ".env.auto") == {"TRACKING_OFFLINE_URI": "http://127.0.0.1:5123"}
    assert runner_settings.read(project).values.get(URI) != "http://127.0.0.1:5123"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACKING_OFFLINE", "1")
        assert runner_settings.read(project).values[URI] == "http://127.0.0.1:5123"
    assert "http://127.0.0.1:5123" not in run_configure(project, environment={"TRACKING_OFFLINE": "0"})
    assert runner_settings.read(project).values[URI].startswith("https://")


def test_offline_is_yes_or_no(project: Path) -> None:
    printed = run_configure(project, code=3, environment={"TRACKING_OFFLINE": "perhaps"})
    assert "'perhaps'" in printed
    assert len(printed.splitlines()) == 2


def test_what_the_environment_says_is_not_copied_to_disk(project: Path) -> None:
    run_configure(project, environment={URI: SERVER, USER: "ada", PASSWORD: TOKEN})
    assert env_file.read(project / ".env.auto") == {}


@cases(
    "env, told",
    {
        "a line that makes no sense": ("A=1\nwhat\n", ".env line 2"),
        "DagsHub in part": (f"DAGSHUB_TOKEN={TOKEN}", "DAGSHUB_USER_NAME"),
        "a port that is none": ("MLFLOW_PORT=http", "'http'"),
    },
)
def test_a_user_s_mistake_ends_in_two_lines(project: Path, env: str, told: str) -> None:
    (project / ".env").write_text(env)
    printed = run_configure(project, code=3)
    assert told in printed
    assert len(printed.splitlines()) == 2
    assert not (project / ".env.auto").exists()


def test_a_misspelt_name_is_told_with_the_right_one(project: Path) -> None:
    (project / ".env").write_text("DAGSHUB_USERNAME=ada\nMY_OWN=1\n")
    printed = run_configure(project)
    assert "DAGSHUB_USER_NAME" in printed
    assert "MY_OWN" not in printed


def test_a_folder_without_git_works(project: Path) -> None:
    shutil.rmtree(project / ".git")
    run_configure(project)
    assert dvc_value(project, "core.no_scm") == "true"
    dvc = Path(sys.executable).with_name("dvc")
    subprocess.run([dvc, "status"], cwd=project, check=True)
    subprocess.run(["git", "init", "--quiet", project], check=True)
    run_configure(project)
    assert not (project / ".dvc" / "config.local").exists()


def test_env_example_changes_nothing_and_names_what_is_read() -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert env_file.parse(example) == {}
    ours = {"DVC_RUNNER_EXECUTOR", "DVC_RUNNER_HOST_ROOT", "DOCKER_HOST", "BASE_IMAGE"}
    mlflows = {URI, USER, PASSWORD, CERTIFICATE, "MLFLOW_PORT", "TRACKING_OFFLINE"}
    read = {*mlflows, *ours, *dagshub.NAMES, *dagshub.CHOICES}
    remote = {f"DVC_REMOTE_{name}" for name in ("URL", *dvc_config.S3, *dvc_config.HTTP)}
    assert set(configure.known_names()) == read | remote
