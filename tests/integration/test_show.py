"""dvc-runner show: what it prints, pasted into a shell, does what a run does."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.support.cases import cases
from tests.support.engines import Engine
from tests.support.projects import Finished, Project
from tests.support.trees import files, lay

from dvc_runner.engine.images import LABEL
from dvc_runner.errors import EXIT_CONFIGURATION

pytestmark = pytest.mark.engine
DOCKER_FAILED = 125
TOKEN = "a%to ken'$1\""

SEE = """
import getpass, json, os, pathlib, socket, stat, sys
home = pathlib.Path.home()
LIMITS = ('memory/memory.limit_in_bytes', 'cpu/cpu.cfs_quota_us', 'pids/pids.max', 'memory.max', 'cpu.max', 'pids.max')
seen = {'argv': sys.argv[1:], 'cwd': os.getcwd(), 'user': [getpass.getuser(), os.getuid(), os.getgid()],
    'env': {name: os.environ[name] for name in sorted(os.environ) if name != 'HOSTNAME'},
    'lineage': json.load(open(os.environ['LINEAGE_FILE'])), 'files': {}, 'mounts': {},
    'interfaces': sorted(os.listdir('/sys/class/net')),
    'limits': [pathlib.Path('/sys/fs/cgroup', name).read_text() for name in LIMITS
        if os.path.exists(f'/sys/fs/cgroup/{name}')]}
for folder in ('/workspace', str(home)):
    for here, _, names in os.walk(folder):
        for name in sorted(names):
            path = os.path.join(here, name)
            seen['files'][path] = [open(path).read(), stat.S_IMODE(os.stat(path).st_mode), os.access(path, os.W_OK)]
for line in open('/proc/mounts'):
    _, target, kind, options, *_ = line.split()
    # What stands in for the guard's reaping.
    if not target.startswith(('/proc', '/sys', '/dev', '/etc')) and not target.endswith(('docker-init', '/')):
        seen['mounts'][target] = [kind, *sorted(set(options.split(',')) & {'ro', 'rw', 'noexec', 'nosuid', 'nodev'})]
with open('/proc/self/status') as file:
    seen['status'] = [line for line in file if line.startswith(('Cap', 'NoNewPrivs', 'Uid', 'Gid', 'Groups'))]
os.makedirs('models/deep é')
json.dump(seen, open('models/deep é/seen.json', 'w'), sort_keys=True, indent=1)
open('models/empty', 'w').close()
with open('../count.txt', 'a') as file:
    file.write('once\\n')
"""


def see(project: Project) -> None:
    """A stage in a folder of its own that writes down all that it sees, and adds to what it wrote before."""
    lay(
        project.root, {"data": {"a, b:é.csv": "1\n", "deep": {"x.csv": "x\n"}, "other.csv": "no"}, "count.txt": "old\n"}
    )
    (project.root / "sub").mkdir()
    project.params(train={"n": 1, "text": "DVC_RUNNER\nEND\n$HOME '"}, other=2)
    container = {"memory": "128MiB", "cpus": 0.5, "secrets": ["A_TOKEN", "mlflow"], "timeout": "5min"}
    stage = project.stage(
        "see", SEE, container=container, wdir="sub", cmd="dvc-runner exec python3 -m see 'a b' \"it's\""
    )
    stage["meta"]["container"]["build"]["context"] = "../stages/see"
    stage["deps"] = ["../stages/see", "../data/a, b:é.csv", "../data/deep"]
    stage["params"] = [{"../params.yaml": ["train"]}]
    stage["outs"] = ["models", {"../count.txt": {"persist": True}}]
    project.stages(see=stage)
    project.adopt()


def paste(project: Project, shell: str, text: str, **env: str) -> Finished:
    """Type ``text`` into a shell in the project's folder."""
    done = subprocess.run(
        [*project.prefix, shell],
        input=text,
        cwd=project.root,
        env={**project.env, **env},
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def outs(project: Project) -> dict[str, bytes]:
    return {**files(project.root / "sub/models"), "count.txt": (project.root / "count.txt").read_bytes()}


def nothing_left(project: Project, containers: Engine) -> bool:
    found: list[dict[str, Any]] = containers.api.containers(all=True, filters={"label": f"{LABEL}.stage"})
    shown = [one for one in found if any(str(project.root) in str(m.get("Source")) for m in one["Mounts"])]
    return not shown and not list((project.root / ".dvc/tmp").glob("show-*"))


SECRETS = {"A_TOKEN": TOKEN, "MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "p%w"}


@cases("shell", {"bash": ["bash"], "a plain shell": ["sh"]})
def test_pasted_it_gives_what_a_run_gives(contained: Project, containers: Engine, shell: str) -> None:
    see(contained)
    by_run = contained.twin("run")
    by_run.json(env=SECRETS).ended(0)
    shown = contained.run("show", "see", env=SECRETS).ended(0)
    for value in SECRETS.values():
        assert value == "me" or value not in shown.text
    paste(contained, shell, shown.out, **SECRETS).ended(0)
    assert outs(contained) == outs(by_run)
    seen = json.loads((contained.root / "sub/models/deep é/seen.json").read_text())
    assert seen["files"]["/home/stage/.secrets/A_TOKEN"] == [TOKEN, 0o600, True]
    assert seen["files"]["/home/stage/.mlflow/credentials"][0].endswith("p%%w\n")
    assert contained.read("count.txt") == "old\nonce\n"
    owner = contained.root.stat().st_uid
    assert [path for path in contained.root.rglob("*") if path.lstat().st_uid != owner] == []
    assert nothing_left(contained, containers)


def test_a_path_with_every_quote(contained: Project, containers: Engine) -> None:
    quoted = contained.twin('it\'s "quoted", $HOME')
    code = "import os; open('out.txt', 'w').write(str(os.listdir('data')))"
    quoted.stages(one=quoted.stage("one", code, deps=["data"], outs=["out.txt"]))
    quoted.write("data/x", "1")
    paste(quoted, "sh", quoted.run("show", "one").ended(0).out).ended(0)
    assert quoted.read("out.txt") == "['x']"
    assert nothing_left(quoted, containers)


@cases(
    "code, named",
    {
        "a command that fails": ("open('out.txt', 'w').write('new'); raise SystemExit(7)", ""),
        "an out that is not written": ("pass", "it did not write out.txt"),
    },
)
def test_a_stage_that_fails_leaves_the_project_as_it_was(
    contained: Project, containers: Engine, code: str, named: str
) -> None:
    contained.stages(one=contained.stage("one", code, outs=["out.txt"]))
    contained.write("out.txt", "old")
    done = paste(contained, "sh", contained.run("show", "one").ended(0).out)
    assert done.code == (1 if named else 7), done.text
    assert named in done.text
    assert contained.read("out.txt") == "old"
    assert nothing_left(contained, containers)


def test_a_secret_that_is_not_exported_is_named(contained: Project, containers: Engine) -> None:
    contained.stages(one=contained.stage("one", "pass", outs=["out.txt"], container={"secrets": ["A_TOKEN"]}))
    shown = contained.run("show", "one").ended(0).out
    done = paste(contained, "sh", shown)
    assert done.code != 0
    assert "A_TOKEN" in done.err
    assert nothing_left(contained, containers)


def test_json_is_the_same_command(contained: Project) -> None:
    see(contained)
    found = json.loads(contained.run("show", "see", "--json", env=SECRETS).ended(0).out)
    assert {
        "stage",
        "project",
        "image",
        "image_id",
        "argv",
        "flags",
        "prepare",
        "outs",
        "missing_deps",
        "script",
    } == set(found)
    assert found["script"] + "\n" == contained.run("show", "see", env=SECRETS).ended(0).out
    given = [word for flag in found["flags"] for word in (flag["flag"], flag["value"]) if word is not None]
    assert found["argv"] == ["docker", "run", *given, found["image"], "python3", "-m", "see", "a b", "it's"]
    assert all(flag["reason"] for flag in found["flags"])
    assert found["outs"] == ["sub/models", "count.txt"]
    (credentials,) = [entry for entry in found["prepare"] if entry["path"].endswith("credentials")]
    assert credentials["secrets"] == ["MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"]
    assert TOKEN not in json.dumps(found)


def test_every_flag_is_on_a_line_with_its_reason(contained: Project) -> None:
    see(contained)
    shown = contained.run("show", "see", env=SECRETS).ended(0).out
    lines = shown[shown.index("flags=(\n") + 8 : shown.index("\n)\n")].splitlines()
    assert len(lines) > 20
    for line in lines:
        assert line.startswith("  --")
        assert line.rpartition("  # ")[2]


def test_an_address_with_a_secret_in_it_is_not_shown(contained: Project) -> None:
    contained.stages(one=contained.stage("one", "pass", outs=["out.txt"], container={"network": "tracking"}))
    secret = {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "tok-77"}
    address = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5/tok-77/x"}
    long = {"MLFLOW_TRACKING_PASSWORD": "tok-77/x"}
    assert (
        "tok-77" not in contained.run("show", "one", env={**address, **secret, **long}).ended(EXIT_CONFIGURATION).text
    )
    shown = contained.run("show", "one", env={**address, **secret}).ended(0)
    assert "tok-77" not in shown.text
    assert "--env MLFLOW_TRACKING_URI  #" in shown.out
    assert "MORE OPEN" in shown.out


def test_a_dep_that_is_not_there_yet_is_named(contained: Project) -> None:
    contained.stages(one=contained.stage("one", "pass", deps=["data/later.csv"], outs=["out.txt"]))
    shown = contained.run("show", "one").ended(0)
    assert "# data/later.csv is not there yet" in shown.out
    assert paste(contained, "sh", shown.out).code == DOCKER_FAILED
    assert not Path(contained.root, "data/later.csv").exists()


@cases(
    "stage, named",
    {
        "of DVC's own": ({"cmd": "echo hi"}, "echo hi"),
        "for a shell to read": ({"cmd": "dvc-runner exec python3 -c 'print(1)' | cat"}, "print(1)"),
    },
)
def test_a_command_that_only_a_shell_knows(contained: Project, stage: dict[str, Any], named: str) -> None:
    entry = contained.stage("one", "pass", outs=["out.txt"])
    if "exec" not in stage["cmd"]:
        del entry["meta"]
    contained.stages(one={**entry, **stage})
    done = contained.run("show", "one").ended(EXIT_CONFIGURATION)
    assert named in done.err
    assert done.out == ""


def test_the_address_of_the_server_is_the_shells(contained: Project) -> None:
    contained.stages(one=contained.stage("one", "pass", outs=["out.txt"], container={"network": "tracking"}))
    # In a run, the guard listens at 127.0.0.1 for it.
    shown = contained.run("show", "one", env={"MLFLOW_TRACKING_URI": "http://127.0.0.2:5"}).ended(0)
    assert "--env MLFLOW_TRACKING_URI=http://127.0.0.2:5  #" in shown.out
    assert "--network host  #" in shown.out
