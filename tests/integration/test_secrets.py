"""Secrets reach the stage that names them, and show nowhere."""

import base64
import json
import os
import signal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.support.cases import cases
from tests.support.engines import Engine
from tests.support.projects import Project

pytestmark = pytest.mark.engine

TOKEN, PASSWORD, KEY = "tok-1234/+é", "p%ss=word1", "AwsKey/+secret99"
ENV = f"""
A_TOKEN='{TOKEN}'
MLFLOW_TRACKING_USERNAME=me
MLFLOW_TRACKING_PASSWORD='{PASSWORD}'
AWS_ACCESS_KEY_ID=AKIDEXAMPLE
AWS_SECRET_ACCESS_KEY='{KEY}'
"""
TELL = """
import base64, configparser, json, os, pathlib, sys, time, urllib.parse
home = pathlib.Path.home()
found = {str(path.relative_to(home)): path.read_text() for path in home.rglob('*') if path.is_file()}
json.dump(sorted(found), open(sys.argv[0].rpartition('/')[2] + '.json', 'w'))
for text in found.values():
    print(text)
for line in '\\n'.join(found.values()).splitlines():
    value = line.partition(' = ')[2] or line
    for form in (value, repr(value), json.dumps(value), urllib.parse.quote(value, safe='')):
        print(form)
        print('x' * (8192 - len(form) // 2) + form)
    for user in ('me', 'you', 'them'):
        print('Authorization: Basic ' + base64.b64encode(f'{user}:{value}'.encode()).decode())
    sys.stdout.flush()
    for at in (1, len(value) // 2, len(value.encode()) - 1):
        os.write(1, value.encode()[:at])
        time.sleep(0.01)
        os.write(1, value.encode()[at:] + b'\\n')
    print(base64.b64encode(f'a longer text, {value}, and its end'.encode()).decode())
print('environment', dict(os.environ))
print('begun', flush=True)
time.sleep(float(open('wait').read()))
"""


def traces() -> set[str]:
    """What a secret looks like, in parts that no form may show."""
    found = set()
    for value in (TOKEN, PASSWORD, KEY):
        found |= {value, quote(value, safe=""), repr(value)[1:-1], json.dumps(value)[1:-1]}
        found.add(value.replace("%", "%%"))
        for user in ("me:", "you:", "them:"):
            # The characters at its ends belong to its neighbours as well.
            encoded = base64.b64encode(f"{user}{value}".encode()).decode()
            found.add(encoded[-(-len(user) * 8 // 6) : (len(user) + len(value.encode())) * 8 // 6])
    return found


def shown(text: str) -> set[str]:
    return {trace for trace in traces() if trace in text}


def telling(project: Project) -> None:
    project.write(".env", ENV)
    project.write("wait", "0")
    stages = {}
    for name, secrets in {"has": ["A_TOKEN", "mlflow", "s3"], "has_not": []}.items():
        stages[name] = project.stage(
            name, TELL, deps=["wait"], outs=[f"{name}.py.json"], container={"secrets": secrets}
        )
    project.stages(**stages)


@cases("executor", {"docker": ["docker"], "process": ["process"]})
def test_secrets_show_in_nothing_that_is_kept(contained: Project, executor: str) -> None:
    telling(contained)
    contained.write(".gitignore", ".env\n")
    done = contained.with_env(DVC_RUNNER_EXECUTOR=executor).json().ended(0)
    assert json.loads(contained.read("has.py.json")) == [".aws/credentials", ".mlflow/credentials", ".secrets/A_TOKEN"]
    assert json.loads(contained.read("has_not.py.json")) == []
    assert "*****" in done.err
    assert shown(done.text) == set()
    kept = [path for path in contained.root.rglob("*") if path.is_file() and path.name != ".env"]
    assert any(path.name == "has.log" for path in kept)
    assert {path for path in kept if shown(path.read_bytes().decode("utf-8", "replace"))} == set()


def test_secrets_show_in_nothing_that_can_be_inspected(contained: Project, containers: Engine) -> None:
    telling(contained)
    contained.write("wait", "600")
    with contained.started("dvc-runner", "run", "has") as process:
        for line in process.stdout or ():
            assert shown(line) == set()
            if "begun" in line:
                break
        ours = containers.ours()
        seen: list[Any] = [
            ours,
            containers.api.images(),
            *map(containers.api.inspect_container, (one["Id"] for one in ours)),
        ]
        seen += [containers.api.history(one["Image"]) for one in ours]
        seen += [containers.api.top(one["Id"]) for one in ours]
        commands = [text_of(path / "cmdline") for path in Path("/proc").iterdir() if path.name.isdecimal()]
        environments = [text_of(path / "environ") for path in Path("/proc").iterdir() if path.name.isdecimal()]
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert len(ours) == 2
    assert shown(json.dumps(seen, ensure_ascii=False)) == set()
    assert shown("\n".join(commands)) == set()
    if os.geteuid() == 0:
        assert shown("\n".join(environments)) == set()


def text_of(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""
