"""What stages need of their surroundings, named before anything runs."""

import configparser
from pathlib import Path

import pytest
from tests.support.cases import cases
from tests.support.values import a_stage

from dvc_runner.errors import ConfigurationError
from dvc_runner.model import Container, Network, Server
from dvc_runner.pipeline.needs import Needs, needs_of
from dvc_runner.workspace import secrets

URI = "MLFLOW_TRACKING_URI"
S3 = "MLFLOW_S3_ENDPOINT_URL"
MLFLOW = {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "p%ss"}
AWS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "k%y/+="}


def needs(settings: dict[str, str], *names: str, network: Network = Network.NONE) -> Needs:
    container = Container(image="a@sha256:0", network=network, secrets=names)
    return needs_of(a_stage("train", container=container), settings)


@cases(
    "settings, servers",
    {
        "MLflow": ({URI: "http://host:5000/path"}, [("host", 5000)]),
        "a port that goes without saying": ({URI: "https://dagshub.com/U/R.mlflow"}, [("dagshub.com", 443)]),
        "artifacts elsewhere": ({URI: "http://h:1", S3: "http://minio:9000"}, [("h", 1), ("minio", 9000)]),
        "artifacts beside it": (
            {URI: "https://dagshub.com/U/R.mlflow", S3: "https://dagshub.com/U/R.s3"},
            [("dagshub.com", 443)],
        ),
    },
)
def test_servers(settings: dict[str, str], servers: list[tuple[str, int]]) -> None:
    found = needs(settings, network=Network.TRACKING)
    assert found.servers == tuple(Server(host=host, port=port) for host, port in servers)
    assert found.addresses == settings
    for network in (Network.NONE, Network.INTERNET):
        assert needs(settings, network=network) == Needs(files={}, addresses={}, servers=())


@cases(
    "name, address, given",
    {
        "MLflow's": ("MLFLOW_TRACKING_SERVER_CERT_PATH", "https://h", True),
        "everybody's": ("REQUESTS_CA_BUNDLE", "https://h", True),
        "where there is no TLS": ("REQUESTS_CA_BUNDLE", "http://h", False),
    },
)
def test_certificates(name: str, address: str, given: bool, tmp_path: Path) -> None:  # noqa: FBT001
    path = tmp_path / "ca.pem"
    path.write_bytes("é\n-----BEGIN".encode("latin-1"))
    found = needs({URI: address, name: str(path)}, network=Network.TRACKING)
    assert found.certificates == ({name: f".certificates/{name}.pem"} if given else {})
    assert found.files == dict.fromkeys(found.certificates.values(), "\ufffd\n-----BEGIN")
    assert needs({URI: address, name: str(path)}).files == {}


def test_certificates_that_are_not_there_are_named() -> None:
    settings = {URI: "https://h", "REQUESTS_CA_BUNDLE": "/nonexistent/ca.pem"}
    with pytest.raises(ConfigurationError, match=r"REQUESTS_CA_BUNDLE, and /nonexistent/ca\.pem cannot be read"):
        needs(settings, network=Network.TRACKING)


def test_a_folder_of_certificates_is_left_to_the_image(tmp_path: Path) -> None:
    settings = {URI: "https://h", "REQUESTS_CA_BUNDLE": str(tmp_path)}
    assert needs(settings, network=Network.TRACKING).files == {}


def test_a_word_that_is_also_a_password_is_no_secret() -> None:
    settings = {URI: "http://tracking-host/mlflow", "MLFLOW_TRACKING_USERNAME": "me"}
    for password in ("mlflow", "tracking-host"):
        found = needs({**settings, "MLFLOW_TRACKING_PASSWORD": password}, network=Network.TRACKING)
        assert found.addresses == {URI: settings[URI]}


@cases(
    "settings, named",
    {
        "none": ({}, URI),
        "a folder": ({URI: "./mlruns"}, "./mlruns"),
        "a strange port": ({URI: "http://h:mlflow"}, "http://h:mlflow"),
        "artifacts at no address": ({URI: "http://h:1", S3: "minio"}, S3),
        "a password in it": ({URI: "https://me:hunter2@host"}, URI),
        "a user in it": ({URI: "https://me@host"}, URI),
        "a password in the artifacts'": ({URI: "http://h", S3: "https://me:hunter2@host"}, S3),
        "a secret in its path": ({URI: "https://h/tok-hunter2/x", "A_TOKEN": "tok-hunter2"}, URI),
        "a secret in its path, escaped": ({URI: "https://h/t%2Fhunter2", "A_TOKEN": "t/hunter2"}, URI),
        "a secret in the artifacts'": ({URI: "http://h", S3: "http://h?t=tok-hunter2", "A_TOKEN": "tok-hunter2"}, S3),
    },
)
def test_addresses_that_cannot_be_used_are_named(settings: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        needs(settings, *(name for name in settings if name == "A_TOKEN"), network=Network.TRACKING)
    assert named in str(raised.value)
    assert "hunter2" not in str(raised.value) + raised.value.remedy


def parsed(text: str, section: str, *, interpolated: bool = True) -> dict[str, str]:
    parser = configparser.ConfigParser() if interpolated else configparser.RawConfigParser()
    parser.read_string(text)
    return dict(parser[section])


def test_mlflow() -> None:
    (found,) = needs(MLFLOW, "mlflow").files.items()
    assert found[0] == ".mlflow/credentials"
    assert parsed(found[1], "mlflow") == {"mlflow_tracking_username": "me", "mlflow_tracking_password": "p%ss"}
    assert needs({}, "mlflow").files == {}


def test_s3() -> None:
    found = needs({**AWS, "AWS_SESSION_TOKEN": "t", "AWS_DEFAULT_REGION": "eu-1"}, "s3").files
    assert set(found) == {".aws/credentials", ".aws/config"}
    assert parsed(found[".aws/credentials"], "default", interpolated=False) == {
        "aws_access_key_id": "id",
        "aws_secret_access_key": "k%y/+=",
        "aws_session_token": "t",
    }
    assert parsed(found[".aws/config"], "default") == {"region": "eu-1"}
    assert set(needs(AWS, "s3").files) == {".aws/credentials"}


@cases(
    "settings, secret, named",
    {
        "a variable": ({}, "A_TOKEN", "A_TOKEN"),
        "an empty one": ({"A_TOKEN": ""}, "A_TOKEN", "A_TOKEN"),
        "MLflow's password": ({"MLFLOW_TRACKING_USERNAME": "me"}, "mlflow", "MLFLOW_TRACKING_PASSWORD"),
        "MLflow's user": ({"MLFLOW_TRACKING_PASSWORD": "me"}, "mlflow", "MLFLOW_TRACKING_USERNAME"),
        "a token that no file can hold": ({"MLFLOW_TRACKING_TOKEN": "t"}, "mlflow", "MLFLOW_TRACKING_USERNAME"),
        "the key": ({"AWS_ACCESS_KEY_ID": "id"}, "s3", "AWS_SECRET_ACCESS_KEY"),
        "the key's id": ({"AWS_SECRET_ACCESS_KEY": "k"}, "s3", "AWS_ACCESS_KEY_ID"),
    },
)
def test_what_is_missing_is_named(settings: dict[str, str], secret: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"train names the secret {secret}") as raised:
        needs(settings, secret)
    assert named in raised.value.remedy


def test_what_must_not_show() -> None:
    settings = {**MLFLOW, **AWS, "A_TOKEN": "tok", "OTHER": "x"}
    assert set(secrets.values(settings, ("A_TOKEN", "s3"))) == {"p%ss", "k%y/+=", "tok"}
    assert secrets.joined(settings) == ("me:p%ss",)
    assert secrets.joined({}) == ()


def test_the_variables_of_secrets() -> None:
    assert secrets.variables(("A_TOKEN", "s3", "mlflow")) == ("A_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    settings = dict.fromkeys(secrets.variables(("A_TOKEN", "s3", "mlflow")), "x")
    assert needs(settings, "A_TOKEN", "s3", "mlflow").files
