"""Secrets by name: where their values come from, and the file that a stage finds them in."""

from collections.abc import Callable, Mapping, Sequence

from dvc_runner.errors import ConfigurationError
from dvc_runner.model import Stage

FOLDER = ".secrets"
TRACKING_URI = "MLFLOW_TRACKING_URI"
# What tells MLflow's client, and what it is built upon, whose certificates to trust.
CERTIFICATE = "MLFLOW_TRACKING_SERVER_CERT_PATH"
CERTIFICATES = (CERTIFICATE, "REQUESTS_CA_BUNDLE")
USER, PASSWORD, TOKEN = (f"MLFLOW_TRACKING_{name}" for name in ("USERNAME", "PASSWORD", "TOKEN"))
KEY_ID, KEY, SESSION = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
NEEDED: dict[str, tuple[str, ...]] = {"mlflow": (), "s3": (KEY_ID, KEY)}
REGIONS = ("AWS_DEFAULT_REGION", "AWS_REGION")
# What stands behind the secrets that have a name of their own.
READ = {"mlflow": (USER, PASSWORD, TOKEN), "s3": (KEY_ID, KEY, SESSION, *REGIONS)}


def files(stage: Stage, settings: Mapping[str, str]) -> dict[str, str]:
    """Give the contents of the files that hold a stage's secrets, by path in its home.

    ``mlflow`` becomes MLflow's own credentials file, ``s3`` the AWS libraries'; any other name is a
    variable's, and becomes ``~/.secrets/NAME``.

    Raises:
        ConfigurationError: A secret has no value.
    """
    found: dict[str, str] = {}
    for name in stage.container.secrets if stage.container else ():
        if name in LIBRARIES:
            found |= LIBRARIES[name](stage.address, settings)
        else:
            found[f"{FOLDER}/{name}"] = _needed(stage.address, name, settings, name)
    return found


def elsewhere(settings: Mapping[str, str]) -> dict[str, str]:
    """Give settings without the credentials of the tracking server: they belong to its address, and go to no other."""
    return {name: value for name, value in settings.items() if name not in READ["mlflow"]}


def values(settings: Mapping[str, str], names: Sequence[str]) -> tuple[str, ...]:
    """Give the values that must not show in a log."""
    known = {PASSWORD, TOKEN, KEY, SESSION, *names}
    return tuple(settings[name] for name in sorted(known) if settings.get(name))


def variables(names: Sequence[str]) -> tuple[str, ...]:
    """Give the variables without which those secrets have no value."""
    return tuple(variable for name in names for variable in NEEDED.get(name, (name,)))


def joined(settings: Mapping[str, str]) -> tuple[str, ...]:
    """Give the pairs of user and password that a header holds as one."""
    return (f"{settings[USER]}:{settings[PASSWORD]}",) if settings.get(USER) and settings.get(PASSWORD) else ()


def _mlflow(stage: str, settings: Mapping[str, str]) -> dict[str, str]:
    """Give the credentials file that MLflow's client reads; a server may do without."""
    if not any(settings.get(name) for name in (USER, PASSWORD)):
        if settings.get(TOKEN):
            raise ConfigurationError(
                f"stage {stage} names the secret mlflow, and MLflow reads {TOKEN} from no file",
                remedy=f"set {USER} and {PASSWORD} in its place; DagsHub takes the token as both",
            )
        return {}
    user, password = (_needed(stage, "mlflow", settings, name).replace("%", "%%") for name in (USER, PASSWORD))
    return {
        ".mlflow/credentials": f"[mlflow]\nmlflow_tracking_username = {user}\nmlflow_tracking_password = {password}\n"
    }


def _s3(stage: str, settings: Mapping[str, str]) -> dict[str, str]:
    """Give the files that every AWS library reads."""
    key_id, key = (_needed(stage, "s3", settings, name) for name in (KEY_ID, KEY))
    lines = ["[default]", f"aws_access_key_id = {key_id}", f"aws_secret_access_key = {key}"]
    if settings.get(SESSION):
        lines.append(f"aws_session_token = {settings[SESSION]}")
    found = {".aws/credentials": "".join(f"{line}\n" for line in lines)}
    region = next((settings[name] for name in REGIONS if settings.get(name)), None)
    return found | ({".aws/config": f"[default]\nregion = {region}\n"} if region else {})


def _needed(stage: str, secret: str, settings: Mapping[str, str], name: str) -> str:
    if settings.get(name):
        return settings[name]
    of_it = "which has no value" if name == secret else f"and {name} has no value"
    raise ConfigurationError(
        f"stage {stage} names the secret {secret}, {of_it}", remedy=f"set {name} in the environment or in .env"
    )


LIBRARIES: dict[str, Callable[[str, Mapping[str, str]], dict[str, str]]] = {"mlflow": _mlflow, "s3": _s3}
