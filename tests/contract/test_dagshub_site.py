"""The stand-in for DagsHub: what it answers to whom, and that nothing of it outlives it."""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.support import dagshub_site
from tests.support.cases import cases
from tests.support.dagshub_site import DagsHub
from tests.support.waiting import until

sys.path += [str(dagshub_site.ROOT / name) for name in ("dagshub-local", "tracking-server", "scripts")]

import env_file
import packages

EXPERIMENTS = ".mlflow/api/2.0/mlflow/experiments"


@cases(
    "path",
    {
        "MLflow": (f"{EXPERIMENTS}/search?max_results=1",),
        "a route that MLflow does not know": (".mlflow/api/2.0/mlflow/logged-models",),
        "storage over HTTP": (".dvc/files/md5/00/11",),
        "storage over S3": (".s3/dvc?list-type=2",),
    },
)
def test_strangers_are_refused_everywhere(dagshub: DagsHub, path: str) -> None:
    for user, token in (("ada", "wrong"), ("eve", dagshub.token), ("ada", dagshub.token.upper())):
        assert dagshub.ask("GET", path, user=user, token=token).startswith("401")


def test_other_repositories_are_not_there(dagshub: DagsHub) -> None:
    for kind in ("mlflow", "dvc", "s3"):
        assert dagshub.ask("GET", f"2.{kind}/api/2.0/mlflow/experiments/search").startswith("404")


def test_a_token_is_a_user_too(dagshub: DagsHub) -> None:
    assert dagshub.ask("GET", f"{EXPERIMENTS}/search?max_results=1", user=dagshub.token).startswith("200")


def test_mlflow_is_the_one_that_dagshub_had(dagshub: DagsHub) -> None:
    assert dagshub.ask("GET", ".mlflow/version") == "200 2.7.1"
    made = dagshub.ask("POST", f"{EXPERIMENTS}/create", body=b'{"name": "an experiment"}')
    assert made.startswith("200")
    assert "an experiment" in dagshub.ask("POST", f"{EXPERIMENTS}/search", body=b'{"max_results": 9}')
    # MLflow's own 404 stays MLflow's.
    assert "RESOURCE_DOES_NOT_EXIST" in dagshub.ask("GET", f"{EXPERIMENTS}/get-by-name?experiment_name=none")


def test_what_that_mlflow_does_not_know_is_told_as_dagshub_tells_it(dagshub: DagsHub) -> None:
    told = '404 {"error": "unsupported endpoint, please contact support@dagshub.com"}'
    for path in ("logged-models", "runs/nonsense", "traces"):
        assert dagshub.ask("POST", f".mlflow/api/2.0/mlflow/{path}", body=b"{}") == told


def test_artifacts_travel(dagshub: DagsHub) -> None:
    place = ".mlflow/api/2.0/mlflow-artifacts/artifacts/1/ab/artifacts/model.bin"
    assert dagshub.ask("PUT", place, body=b"a model").startswith("200")
    assert dagshub.ask("GET", place) == "200 a model"


def test_a_read_only_token_reads(dagshub: DagsHub) -> None:
    reading = dagshub.read_only_token
    dagshub.ask("POST", ".dvc/files/md5/00/22", body=b"mine")
    assert dagshub.ask("GET", ".dvc/files/md5/00/22", token=reading) == "200 mine"
    assert dagshub.ask("POST", f"{EXPERIMENTS}/search", token=reading, body=b'{"max_results": 1}').startswith("200")
    for method, path in (
        ("POST", f"{EXPERIMENTS}/create"),
        ("POST", ".dvc/files/md5/00/33"),
        ("PUT", ".dvc/files/md5/00/33"),
        ("DELETE", ".dvc/files/md5/00/22"),
    ):
        assert dagshub.ask(method, path, token=reading, body=b'{"name": "x"}').startswith("403")
    assert dagshub.ask("GET", ".dvc/files/md5/00/22") == "200 mine"


def status_of(call: Any, *, Key: str = "a folder/é+1") -> int:  # noqa: N803 - botocore's name
    try:
        answer = call(Bucket="dvc", Key=Key)
    except ClientError as error:
        return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
    return int(answer["ResponseMetadata"]["HTTPStatusCode"])


def test_objects_are_kept_by_their_names(dagshub: DagsHub) -> None:
    client = dagshub.s3()
    client.put_object(Bucket="dvc", Key="a folder/é+1", Body=b"12")
    assert client.get_object(Bucket="dvc", Key="a folder/é+1")["Body"].read() == b"12"
    reader = dagshub.s3(dagshub.read_only_token)
    assert status_of(reader.get_object) == 200
    assert status_of(reader.delete_object) == 403
    assert status_of(reader.put_object) == 403
    assert status_of(client.delete_object) == 204
    assert status_of(client.get_object) == 404


def test_a_wrong_key_or_signature_is_refused(dagshub: DagsHub) -> None:
    for key, secret in (("wrong", "wrong"), (dagshub.token, "wrong"), (dagshub.token, dagshub.read_only_token)):
        assert status_of(dagshub.s3(key, secret).get_object) == 401


def parts_of(folder: str) -> list[str]:
    """Give the processes that work in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink().as_posix().startswith(folder):
                found.append(process.name)
    return found


def lines_lead_to_it(printed: str) -> None:
    """See that what it prints for ``.env`` is read there, and that its address and token are good."""
    settings = env_file.parse(printed)
    told = DagsHub(url=settings["DAGSHUB_URL"], token=settings["DAGSHUB_TOKEN"], read_only_token="")
    assert settings == told.env
    assert told.ask("GET", f"{EXPERIMENTS}/search?max_results=1").startswith("200 ")


@cases("number", {"Ctrl-C": (signal.SIGINT,), "SIGKILL": (signal.SIGKILL,)})
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no kernel ends what a killed program started")
def test_nothing_outlives_it(tmp_path: Path, number: int) -> None:
    command = [sys.executable, str(dagshub_site.PROGRAM), "--port", "0"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout
        printed = list(itertools.islice(process.stdout, 6))
        if not printed:
            pytest.skip("it does not start here")
        lines_lead_to_it("".join(printed))
        assert len(parts_of(str(tmp_path))) >= 3
        process.send_signal(number)
        process.wait(30)
        gone = until(lambda: parts_of(str(tmp_path)) == [])
        for left in parts_of(str(tmp_path)):
            os.kill(int(left), signal.SIGKILL)
        assert gone
    if number == signal.SIGKILL:
        assert len(list(tmp_path.iterdir())) == 1
        command.append("--json")  # ends with its input
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=environment, check=True)
    assert list(tmp_path.iterdir()) == []


def test_without_nginx_the_way_out_is_told(tmp_path: Path) -> None:
    with pytest.raises(packages.MissingError, match="no nginx") as caught:
        packages.nginx(str(tmp_path))
    assert "apt-get install" in str(caught.value)
