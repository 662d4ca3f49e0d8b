"""The scripts behind make: the environment, the engine, the container, git-sync, clean, the summary."""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml
from tests.support.cases import cases
from tests.support.people import as_somebody
from tests.support.servers import answering
from tests.support.trees import lay

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "scripts"))

import engine  # noqa: E402
import explain_install  # noqa: E402
import fetch_uv  # noqa: E402
import run  # noqa: E402
import summary  # noqa: E402
from summary import Registry, RegistryError  # noqa: E402

SECRET = "s3cret-t0ken"
IN_SETUP = ("Makefile", "pyproject.toml", "uv.lock", "README.md", "LICENSE", "src", "scripts", "tracking-server")
NO_NETWORK = dict.fromkeys(("HTTPS_PROXY", "https_proxy", "ALL_PROXY"), "http://127.0.0.1:9") | {"UV_HTTP_RETRIES": "0"}


def started(
    command: list[str | Path], folder: Path, *, code: int = 0, environment: dict[str, str] | None = None
) -> str:
    """Run a command to its end; give all that it printed, which is no traceback."""
    variables = {name: value for name, value in os.environ.items() if name not in {"DOCKER_HOST", "BASE_IMAGE"}}
    done = subprocess.run(
        command,
        cwd=folder,
        env=variables | (environment or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout
    assert "Traceback" not in done.stdout
    return done.stdout


def program(folder: Path, name: str, text: str) -> None:
    """Put a shell script where PATH finds it."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def copied(root: Path) -> Path:
    """Copy what setup-env needs of the project."""
    root.mkdir(parents=True)
    for name in IN_SETUP:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, root)
    return root


# --- setup-env


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose environment was made."""
    root = copied(tmp_path_factory.mktemp("setup") / "a projéct, mine")
    started(["make", "setup-env"], root)
    return root


def test_setup_env_makes_what_make_run_needs(ready: Path) -> None:
    assert started([".venv/bin/dvc-runner", "--version"], ready).startswith("dvc-runner")
    assert started([".venv/bin/dvc", "--version"], ready)
    assert not (ready / ".venv/bin/pytest").exists()


def test_setup_env_does_nothing_the_second_time(ready: Path) -> None:
    assert started(["make", "setup-env"], ready, environment=NO_NETWORK) == ""


def test_setup_env_in_a_moved_folder_makes_it_anew(ready: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(ready, tmp_path / "moved", symlinks=True)
    started(["make", "setup-env"], moved)
    assert str(moved) in (moved / ".venv/bin/dvc-runner").read_text()
    assert started([".venv/bin/dvc-runner", "--version"], moved)


def test_setup_env_leaves_a_folder_that_is_no_environment_alone(tmp_path: Path) -> None:
    root = copied(tmp_path / "p")
    (root / ".venv").mkdir()
    (root / ".venv" / "mine").touch()
    assert ".venv is in the way" in started(["scripts/setup-env"], root, code=3)
    assert (root / ".venv" / "mine").exists()


@cases(
    "version, told",
    {
        "too old": ("echo 3.9.18; exit 1", "python3 is 3.9.18"),
        "a shim without a Python": ("echo 'pyenv: python3: command not found' >&2; exit 127", "no Python that runs"),
        "incomplete": ("echo '3.12.1, which lacks _ssl'; exit 1", "lacks _ssl"),
    },
)
def test_setup_env_says_which_python_it_saw(tmp_path: Path, version: str, told: str) -> None:
    root = copied(tmp_path / "p")
    tools = tmp_path / "bin"
    for name in ("bash", "env", "dirname", "sed", "awk", "ls", "cksum", "mkdir", "id", "flock"):
        found = shutil.which(name)
        if found:
            program(tools, name, f'exec {found} "$@"')
    program(tools, "python3", version)
    printed = started(["scripts/setup-env"], root, code=3, environment={"PATH": str(tools)})
    assert told in printed
    assert len(printed.splitlines()) == 2


def test_setup_env_says_that_there_is_no_network(tmp_path: Path) -> None:
    root = copied(tmp_path / "p")
    environment = {"UV_CACHE_DIR": str(tmp_path / "uv"), **NO_NETWORK}
    printed = started(["scripts/setup-env"], root, code=3, environment=environment)
    assert "no network for packages" in printed
    assert ".local/logs/setup-env.log" in printed
    assert len(printed.splitlines()) == 3


@pytest.mark.root
def test_setup_env_in_a_folder_of_somebody_else_says_whose_it_is(ready: Path) -> None:
    root = copied(Path("/tmp") / f"dvc-runner-test-{os.getpid()}")
    try:
        as_somebody(lambda: _assert_not_writable(root))
    finally:
        shutil.rmtree(root)
    del ready


def _assert_not_writable(root: Path) -> None:
    assert "belongs to root" in started(["scripts/setup-env"], root, code=3, environment={"HOME": "/nonexistent"})


@cases(
    "log, told",
    {
        "pip's": ("OSError: [Errno 28] No space left on device", "the disk is full"),
        "uv's": ("error: failed to write\n  cause: … (os error 28)", "the disk is full"),
    },
)
def test_a_full_disk_is_known_by_its_number(log: str, told: str) -> None:
    assert explain_install.explain(log)[0] == told


@cases(
    "system, machine, libc, part",
    {
        "Debian": ("Linux", "x86_64", "glibc", "manylinux"),
        "Alpine": ("Linux", "x86_64", "", "musllinux"),
        "a Raspberry Pi": ("Linux", "aarch64", "glibc", "manylinux"),
        "a new Mac": ("Darwin", "arm64", "", "macosx"),
        "an old Mac": ("Darwin", "x86_64", "", "macosx"),
    },
)
def test_the_locked_uv_is_found_for(system: str, machine: str, libc: str, part: str) -> None:
    url, sha256 = fetch_uv.locked_wheel((ROOT / "uv.lock").read_text(), system=system, machine=machine, libc=libc)
    assert part in url
    assert machine in url
    assert len(sha256) == 64


def test_no_uv_for_a_machine_that_nobody_knows() -> None:
    with pytest.raises(LookupError, match="pdp11"):
        fetch_uv.locked_wheel((ROOT / "uv.lock").read_text(), system="Linux", machine="pdp11", libc="glibc")


# --- the engine


@pytest.fixture
def docker_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A docker command that is there."""
    program(tmp_path / "bin", "docker", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "bin"


@pytest.mark.usefixtures("docker_command")
def test_an_engine_that_answers_is_found(tmp_path: Path) -> None:
    path = tmp_path / "d.sock"
    with answering(path, b"HTTP/1.0 200 OK\r\n\r\nOK"):
        assert engine.find({"DOCKER_HOST": f"unix://{path}"}) == path


@pytest.mark.usefixtures("docker_command")
@cases(
    "host, kind, told",
    {
        "nothing there": ("unix:///nonexistent/docker.sock", engine.NoEngineError, "/nonexistent/docker.sock"),
        "another machine": ("tcp://10.0.0.1:2375", engine.EngineError, "not on this machine"),
        "by ssh": ("ssh://ada@lab", engine.EngineError, "not on this machine"),
    },
)
def test_no_engine_is_told(host: str, kind: type[engine.EngineError], told: str) -> None:
    with pytest.raises(kind, match=told):
        engine.find({"DOCKER_HOST": host})


@pytest.mark.usefixtures("docker_command")
def test_a_socket_of_something_else_is_no_engine(tmp_path: Path) -> None:
    path = tmp_path / "d.sock"
    with answering(path, b"HTTP/1.0 404 Not Found\r\n\r\n"), pytest.raises(engine.EngineError, match="is no container"):
        engine.find({"DOCKER_HOST": f"unix://{path}"})


def test_a_dead_socket_is_no_engine(tmp_path: Path) -> None:
    path = tmp_path / "d.sock"
    with socket.socket(socket.AF_UNIX) as closed:
        closed.bind(str(path))
    with pytest.raises(engine.NoEngineError):
        engine.find({"DOCKER_HOST": f"unix://{path}"})


@pytest.mark.root
def test_a_socket_that_is_not_ours_to_open_names_its_group() -> None:
    path = Path("/tmp") / f"dvc-runner-test-{os.getpid()}.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        path.chmod(0o660)
        try:
            as_somebody(lambda: _assert_refused(path))
        finally:
            path.unlink()


def _assert_refused(path: Path) -> None:
    with pytest.raises(engine.EnginePermissionError, match="group root") as caught:
        engine.find({"DOCKER_HOST": f"unix://{path}"})
    assert "usermod -aG root" in str(caught.value)
    # A run ends here; the doctor tells it beside all else.
    assert run.place_of_doctor({"DOCKER_HOST": f"unix://{path}"}) == (run.ON_HOST, None)


def test_the_runner_s_image_is_named_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in engine.IMAGE_INPUTS:
        (tmp_path / name).write_text(name)
    (tmp_path / "src").mkdir()
    code = tmp_path / "src" / "a.py"
    code.write_text("a")
    monkeypatch.setattr(engine, "ROOT", tmp_path)
    before = engine.runner_image("base")
    assert engine.runner_image("base") == before
    assert engine.runner_image("other") != before
    (tmp_path / "src" / "a.pyc").touch()
    assert engine.runner_image("base") == before
    code.rename(tmp_path / "src" / "b.py")
    assert engine.runner_image("base") != before


# --- in the container

DOCKER = """
case "$1" in
  image) exit ${IMAGE_MISSING:-0} ;;
  build) for word; do printf '%s\\n' "$word"; done >"$RECORD.build"; exit ${BUILD_FAILS:-0} ;;
  run)
    for word; do printf '%s\\n' "$word"; done >"$RECORD"
    { flock --nonblock "$DVC_RUNNER_CLIENT" true && echo free || echo held; } >"$RECORD.client"
    exit 7 ;;
esac
"""


@pytest.fixture
def in_container(tmp_path: Path) -> Callable[..., list[str]]:
    """Run scripts/in_container.py in a folder with a difficult name; give what docker was told."""
    root = tmp_path / 'a "projéct", mine'
    for name in ("scripts", "src"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (*engine.IMAGE_INPUTS, "params.yaml", "docker-compose.yml"):
        shutil.copy(ROOT / name, root)
    program(tmp_path / "bin", "docker", DOCKER)
    path = tmp_path / "d.sock"

    def act(
        *words: str, code: int = 7, kernel: str | None = None, security: Sequence[str] = (), **settings: str
    ) -> list[str]:
        record = tmp_path / "record"
        environment = settings | {
            "RECORD": str(record),
            "DOCKER_HOST": f"unix://{path}",
            "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        }
        command: list[str | Path] = [sys.executable, root / "scripts/in_container.py", *words]
        info = json.dumps({"KernelVersion": kernel or os.uname().release, "SecurityOptions": security})
        with answering(path, b"HTTP/1.0 200 OK\r\n\r\n" + info.encode()):
            printed = started(command, root, code=code, environment=environment)
        path.unlink()
        return record.read_text().splitlines() if record.exists() else printed.splitlines()

    return act


def test_the_container_gets_the_workspace_and_the_socket(
    in_container: Callable[..., list[str]], tmp_path: Path
) -> None:
    told = in_container("run", "train")
    root = str(tmp_path / 'a "projéct", mine').replace('"', '""')
    assert f'type=bind,"source={root}",target=/workspace' in told
    assert f'type=bind,"source={tmp_path}/d.sock",target=/var/run/docker.sock' in told
    assert told[told.index("--user") + 1] == f"{tmp_path.stat().st_uid}:{tmp_path.stat().st_gid}"
    assert told[-2:] == ["run", "train"]
    assert told[-3].startswith("dvc-runner:")
    assert "--tty" not in told
    assert (tmp_path / "record.client").read_text() == "held\n"


def test_in_a_rootless_engine_the_owner_is_root(in_container: Callable[..., list[str]]) -> None:
    told = in_container("run", security=["name=seccomp,profile=default", "name=rootless"])
    assert told[told.index("--user") + 1] == "0:0"
    assert told[told.index("--group-add") + 1] == "0"


def test_a_virtual_machine_does_not_see_the_lock(in_container: Callable[..., list[str]], tmp_path: Path) -> None:
    in_container("run", kernel="6.10.14-linuxkit")
    assert not list((tmp_path / 'a "projéct", mine').glob(".local/clients/*"))


def test_secrets_are_handed_over_by_a_file(in_container: Callable[..., list[str]], tmp_path: Path) -> None:
    root = tmp_path / 'a "projéct", mine'
    (root / "dvc.yaml").write_text(json.dumps({"stages": {"a": {"meta": {"container": {"secrets": ["s3", "MINE"]}}}}}))
    addresses = {"MLFLOW_TRACKING_URI": f"https://me:{SECRET}@host", "MLFLOW_S3_ENDPOINT_URL": "https://s3"}
    given = {**addresses, "MLFLOW_TRACKING_PASSWORD": SECRET, "AWS_ACCESS_KEY_ID": "id", "MINE": "my own"}
    told = in_container("run", **given, OTHERS="another")
    # What docker is told by name, it takes from its environment.
    assert not set(given) & set(told)
    assert not [word for word in told if SECRET in word or "PASSWORD" in word or "my own" in word]
    assert "DVC_RUNNER_HANDED_OVER" in told
    (file,) = root.glob(".local/clients/*.json")
    assert json.loads(file.read_text()) == given
    assert file.stat().st_mode & 0o777 == 0o600


def test_nothing_is_handed_over_for_nothing(in_container: Callable[..., list[str]], tmp_path: Path) -> None:
    in_container("run", BASE_IMAGE="my/base:1")
    assert not list((tmp_path / 'a "projéct", mine').glob(".local/clients/*.json"))


def test_a_missing_image_is_built_from_the_base_image(in_container: Callable[..., list[str]], tmp_path: Path) -> None:
    told = in_container("run", IMAGE_MISSING="1", BASE_IMAGE="my/base:1")
    built = (tmp_path / "record.build").read_text().splitlines()
    assert "BASE_IMAGE=my/base:1" in built
    assert built[built.index("--tag") + 1] == told[-2]


def test_a_build_that_fails_is_an_engine_error(in_container: Callable[..., list[str]]) -> None:
    printed = in_container("run", code=4, IMAGE_MISSING="1", BUILD_FAILS="1")
    assert "could not be built" in printed[-2]
    assert "runner-image.log" in printed[-1]


# --- where it runs


@pytest.mark.usefixtures("docker_command")
@cases(
    "settings, git, program, reason",
    {
        "an engine": ({}, "folder", run.IN_CONTAINER, None),
        "process was asked for": ({"DVC_RUNNER_EXECUTOR": "process"}, "folder", run.ON_HOST, None),
        "no engine": ({"DOCKER_HOST": "unix:///nonexistent"}, "folder", run.ON_HOST, None),
        "an engine elsewhere": ({"DOCKER_HOST": "tcp://h:1"}, "folder", run.ON_HOST, "not on this machine"),
        "a git worktree": ({}, "file", run.ON_HOST, "git"),
        "a folder of a larger repository": ({}, "above", run.ON_HOST, "git"),
        "no git": ({}, "none", run.IN_CONTAINER, None),
    },
)
def test_place(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    git: str,
    program: Path,
    reason: str | None,
) -> None:
    root = tmp_path / "p"
    root.mkdir()
    where = {"folder": root / ".git", "above": tmp_path / ".git"}
    if git in where:
        where[git].mkdir()
    elif git == "file":
        (root / ".git").write_text("gitdir: elsewhere")
    monkeypatch.setattr(run, "ROOT", root)
    path = tmp_path / "d.sock"
    with answering(path, b"HTTP/1.0 200 OK\r\n\r\n{}"):
        found, why = run.place({"DOCKER_HOST": f"unix://{path}"} | settings, host=False)
    assert found == program
    assert why == reason or (reason is not None and why is not None and reason in why)


@pytest.mark.usefixtures("docker_command")
@cases("also, program", {"Docker": ({}, run.ON_HOST), "Podman": ({"host": {"os": "linux"}}, run.IN_CONTAINER)})
def test_place_beside_a_rootless_engine(tmp_path: Path, also: dict[str, object], program: Path) -> None:
    info = {"SecurityOptions": ["name=seccomp,profile=default", "name=rootless"]}
    path = tmp_path / "d.sock"
    with answering(path, b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps(info | also).encode()):
        found, why = run.place({"DOCKER_HOST": f"unix://{path}"}, host=False)
    assert found == program
    assert (why is None) == (program == run.IN_CONTAINER)


@cases(
    "arguments, told",
    {
        "all": [[], "make run"],
        "on the host": [["--host"], "make run-host"],
        "a stage": [["train"], "make run-train"],
        "what make does not know": [["--host", "a b"], "scripts/python scripts/run.py --host 'a b'"],
    },
)
def test_the_runner_is_told_how_to_go_on(tmp_path: Path, arguments: list[str], told: str) -> None:
    program(tmp_path, "dvc-runner", 'echo "$DVC_RUNNER_AGAIN"; exit 1')
    code = f"""import pathlib, sys
sys.path.append({str(ROOT / "scripts")!r})
import run
run.configure.configure = lambda: ("", "")
run.ON_HOST = pathlib.Path({str(tmp_path / "dvc-runner")!r})
sys.exit(run.main())"""
    environment = {"DVC_RUNNER_EXECUTOR": "process"}
    assert started([sys.executable, "-c", code, *arguments], tmp_path, code=1, environment=environment) == f"{told}\n"


@cases("number", {"SIGTERM": (signal.SIGTERM,), "SIGHUP": (signal.SIGHUP,)})
def test_a_signal_that_only_make_got_reaches_the_runner(tmp_path: Path, number: signal.Signals) -> None:
    program(tmp_path, "runner", "trap 'exit 42' TERM HUP; echo ready; while :; do sleep 0.05; done")
    code = f"import sys; sys.path.append({str(ROOT / 'scripts')!r}); import run; sys.exit(run.run([sys.argv[1]]))"
    with subprocess.Popen([sys.executable, "-c", code, tmp_path / "runner"], stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.wait(timeout=10) == 42


# --- git-sync


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with the scripts, a first commit, and our .gitignore."""
    root = tmp_path / "a repö"
    shutil.copytree(ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".gitignore", ".env.example", "Makefile"):
        shutil.copy(ROOT / name, root)
    git(root, "init", "--quiet", "--initial-branch", "main")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "first")
    return root


def git(root: Path, *words: str | Path) -> str:
    """Run git; give what it wrote."""
    return subprocess.run(["git", *words], cwd=root, stdout=subprocess.PIPE, text=True, check=True).stdout


def sync(root: Path, message: str = "", code: int = 0) -> str:
    """Run git-sync as make does, where nobody sits to be asked."""
    return started([sys.executable, "scripts/git_sync.py"], root, code=code, environment={"GIT_SYNC_MESSAGE": message})


def commits(root: Path) -> list[str]:
    return git(root, "log", "--format=%s").splitlines()


def test_sync_commits_new_changed_and_removed_files(repository: Path) -> None:
    (repository / "dvc.lock").touch()
    (repository / "Makefile").unlink()
    (repository / ".env.example").write_text("# changed\n")
    assert "not pushed" in sync(repository, "all of it")
    assert commits(repository) == ["all of it", "first"]
    assert git(repository, "status", "--porcelain") == ""


def test_sync_with_nothing_to_do_says_so(repository: Path) -> None:
    assert "nothing to commit" in sync(repository)
    assert commits(repository) == ["first"]


def test_sync_without_a_message_asks_for_one(repository: Path) -> None:
    (repository / "dvc.lock").touch()
    assert 'M="' in sync(repository, code=2)
    assert commits(repository) == ["first"]


def test_sync_pushes_and_remembers_where_to(repository: Path, tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch", "main", "there.git")
    git(repository, "remote", "add", "origin", tmp_path / "there.git")
    (repository / "dvc.lock").touch()
    sync(repository, "one")
    assert commits(tmp_path / "there.git") == ["one", "first"]
    (repository / "dvc.lock").write_text("2")
    sync(repository, "two")
    assert commits(tmp_path / "there.git")[0] == "two"


def test_sync_keeps_its_commit_when_the_push_is_refused(repository: Path, tmp_path: Path) -> None:
    git(repository, "remote", "add", "origin", tmp_path / "nowhere.git")
    (repository / "dvc.lock").touch()
    assert "the commit is kept" in sync(repository, "one", code=3)
    assert commits(repository) == ["one", "first"]


@cases(
    "path, content, told",
    {
        "a secret's value": ("stages/train.py", f"token = '{SECRET}'", "DAGSHUB_TOKEN"),
        "a copy of .env": (".env.bak", "A=1", ".env.bak"),
        "data": ("data/raw.csv", "1,2", "data/raw.csv"),
        "a large file": ("weights.bin", "x" * (11 * 1024**2), "11 MiB"),
    },
)
def test_sync_refuses(repository: Path, path: str, content: str, told: str) -> None:
    (repository / ".env").write_text(f"DAGSHUB_TOKEN={SECRET}\n")
    # Somebody took the project's own rules away.
    (repository / ".gitignore").write_text("/.env\n__pycache__/\n")
    (repository / path).parent.mkdir(exist_ok=True)
    (repository / path).write_text(content)
    printed = sync(repository, "oops", code=3)
    assert told in printed
    assert SECRET not in printed
    assert commits(repository) == ["first"]
    assert git(repository, "diff", "--cached", "--name-only") == ""


def test_sync_outside_git_says_so(repository: Path) -> None:
    shutil.rmtree(repository / ".git")
    assert "no git repository" in sync(repository, "x", code=3)


def test_a_message_reaches_git_as_it_was_typed(repository: Path) -> None:
    message = "a $(shell touch made) $HOME `id` 'b' \"c\" # d"
    (repository / "scripts" / "setup-env").write_text("#!/bin/sh\n")
    (repository / "scripts" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    started(["make", "git-sync", f"M={message}"], repository)
    assert commits(repository)[0] == message
    assert not (repository / "made").exists()


# --- clean


@cases(
    "content, cached, stays",
    {
        "as its stage wrote it": ("1,2", "1,2", False),
        "changed by hand": ("changed", "1,2", True),
        "not in the cache": ("1,2", None, True),
    },
)
def test_clean_removes_what_can_be_had_again(tmp_path: Path, content: str, cached: str | None, *, stays: bool) -> None:
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    md5 = hashlib.md5(b"1,2", usedforsecurity=False).hexdigest()
    made = {"data/raw/a.csv": content, "metrics/m.json": "1,2"}
    locked = [{"path": path, "md5": md5} for path in made] + [{"path": "data/folder", "md5": "abc.dir"}]
    outs = {"outs": ["data/raw/a.csv", "data/folder"], "metrics": [{"metrics/m.json": {"cache": False}}]}
    (tmp_path / "dvc.lock").write_text(json.dumps({"stages": {"a": {"outs": locked}}}))
    (tmp_path / "dvc.yaml").write_text(json.dumps({"stages": {"a": outs}}))
    for path, text in (made | {"data/mine.csv": ""}).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    if cached:
        kept = tmp_path / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
        kept.parent.mkdir(parents=True)
        kept.write_text(cached)
    started([sys.executable, "scripts/remove_outs.py"], tmp_path)
    assert (tmp_path / "data/raw/a.csv").exists() == stays
    assert (tmp_path / "data/raw").exists() == stays
    assert (tmp_path / "data/mine.csv").exists()
    assert (tmp_path / "metrics/m.json").exists()


def test_clean_keeps_models_remote_cache_and_env(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    kept = [".local/mlflow/mlflow.db", ".local/dvc-remote/x", ".dvc/cache/x", ".env", ".env.auto", "metrics/m.json"]
    gone = [".venv/bin/x", ".dvc/tmp/x", "stages/__pycache__/x.pyc", ".ruff_cache/x"]
    for name in kept + gone:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    started(["scripts/clean"], tmp_path)
    assert [name for name in kept + gone if (tmp_path / name).exists()] == kept


# --- the summary


@contextmanager
def registry(status: int, answer: str) -> Iterator[tuple[Registry, list[str | None]]]:
    """A registry that gives one answer, and notes the credentials that it was sent."""
    seen: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["Authorization"])
            self.send_response(status)
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield Registry(uri=f"http://127.0.0.1:{server.server_port}", user="ada", password=SECRET), seen
        server.shutdown()


MODEL = {"model_name": "iris", "model_version": "3"}
MODEL_TEXT = json.dumps(MODEL)


@cases(
    "aliases, told",
    {
        "in production": ('[{"alias": "production", "version": "3"}]', "iris version 3, alias production"),
        "another one is": (
            '[{"alias": "production", "version": "2"}]',
            "iris version 3, no alias; version 2 stays in production",
        ),
        "none": ("[]", "iris version 3, no alias"),
    },
)
def test_summary_of_a_version(aliases: str, told: str) -> None:
    with registry(200, f'{{"registered_model": {{"aliases": {aliases}}}}}') as (server, seen):
        lines = dict(summary.lines({"accuracy": 0.96666, "macro_f1": 1}, MODEL, server))
    assert lines == {"accuracy": "0.9667", "macro_f1": "1.0000", "model": told, "MLflow": server.uri}
    assert seen[0]
    assert seen[0].startswith("Basic ")


@cases(
    "status, answer, told",
    {
        "refused": (401, "", "401"),
        "a page": (200, "<html>", "not a registry's"),
        "other JSON": (200, "{}", "not a registry's"),
        "a list": (200, "[]", "not a registry's"),
    },
)
def test_summary_of_a_registry_that_does_not_tell(status: int, answer: str, told: str) -> None:
    with registry(status, answer) as (server, _):
        with pytest.raises(RegistryError, match=told):
            server.aliases("iris")
        assert told in dict(summary.lines({}, MODEL, server))["model"]


def test_summary_of_a_registry_that_is_away() -> None:
    away = Registry(uri="http://127.0.0.1:9", user=None, password=None)
    assert "does not answer" in dict(summary.lines({}, MODEL, away))["model"]


@cases(
    "seen_by_train, evaluated, why",
    {
        "as it stands": ("1", MODEL_TEXT, None),
        "of data that changed since": ("2", MODEL_TEXT, "train has not seen"),
        "of another model": ("1", "{}", "not evaluated yet"),
    },
)
def test_metrics_are_told_of_the_pipeline_as_it_stands(
    tmp_path: Path, seen_by_train: str, evaluated: str, why: str | None
) -> None:
    hashed = hashlib.md5(evaluated.encode(), usedforsecurity=False).hexdigest()
    stages = {
        "preprocess": {"cmd": "x", "outs": [{"path": "train.csv", "md5": "1"}]},
        "train": {"cmd": "x", "deps": [{"path": "train.csv", "md5": seen_by_train}]},
        "evaluate": {"cmd": "x", "deps": [{"path": "models/model_metadata.json", "md5": hashed}]},
    }
    lay(tmp_path, {"dvc.lock": yaml.safe_dump({"stages": stages}), "models": {"model_metadata.json": MODEL_TEXT}})
    told = summary.why_not(tmp_path)
    assert told is None if why is None else why in (told or "")


def test_summary_of_nothing_is_empty() -> None:
    assert summary.lines({}, {}, None) == []


# --- make


def test_help_lists_every_target() -> None:
    targets = (
        "setup-env build run run-host plan doctor run-ingest run-preprocess run-train run-evaluate status dag push "
        "pull git-sync connect-dagshub disconnect-dagshub dagshub-local ui up down clean test chaos lint lock help"
    )
    printed = started(["make"], ROOT)
    for target in targets.split():
        assert f"make {target} " in printed
