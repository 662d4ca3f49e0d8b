"""Secrets by name: where their values come from, and the file that a stage finds them in."""

from collections.abc import Callable, Mapping

from dvc_runner.errors import ConfigurationError
from dvc_runner.model import Stage

FOLDER = ".secrets"


def _mlflow(settings: Mapping[str, str]) -> dict[str, str]:
    """Give the credentials file that MLflow's client reads; a server may do without."""
    user = settings.get("MLFLOW_TRACKING_USERNAME")
    password = settings.get("MLFLOW_TRACKING_PASSWORD")
    if not user or not password:
        return {}
    quoted = [value.replace("%", "%%") for value in (user, password)]
    return {
        ".mlflow/credentials": "[mlflow]\n"
        f"mlflow_tracking_username = {quoted[0]}\nmlflow_tracking_password = {quoted[1]}\n"
    }


LIBRARIES: dict[str, Callable[[Mapping[str, str]], dict[str, str]]] = {"mlflow": _mlflow}


def files(stage: Stage, settings: Mapping[str, str]) -> dict[str, str]:
    """Give the contents of the files that hold a stage's secrets, by path in its home.

    ``mlflow`` becomes MLflow's own credentials file; any other name is a variable's, and becomes
    ``~/.secrets/NAME``.

    Raises:
        ConfigurationError: A secret has no value.
    """
    found: dict[str, str] = {}
    for name in stage.container.secrets if stage.container else ():
        if name in LIBRARIES:
            found |= LIBRARIES[name](settings)
        elif settings.get(name):
            found[f"{FOLDER}/{name}"] = settings[name]
        else:
            raise ConfigurationError(
                f"stage {stage.address} names the secret {name}, which has no value",
                remedy=f"set {name} in the environment or in .env",
            )
    return found


def values(settings: Mapping[str, str], names: tuple[str, ...]) -> tuple[str, ...]:
    """Give the values that must not show in a log."""
    known = {"MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", *names}
    return tuple(settings[name] for name in sorted(known) if settings.get(name))
