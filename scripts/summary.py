"""Say what a run came to: the metrics, the model's version and aliases, where to look."""

import base64
import hashlib
import json
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import env_file
import yaml

ROOT = Path(__file__).resolve().parent.parent
METRICS = ROOT / "metrics" / "metrics.json"
MODEL = ROOT / "models" / "model_metadata.json"
SHOWN = ("accuracy", "macro_f1")
TIMEOUT_S = 5
PRODUCTION = "production"
NOT_EVALUATED = "this model is not evaluated yet: make run"


class RegistryError(Exception):
    """The registry did not tell: why, in a few words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Registry:
    """An MLflow server, and who asks it."""

    uri: str
    user: str | None
    password: str | None

    def aliases(self, model: str) -> dict[str, str]:
        """Return the version behind each alias of a model.

        A model's own record tells them; the search for versions gives none on any server.

        Raises:
            RegistryError: It does not answer, or not as a registry does.
        """
        question = f"/api/2.0/mlflow/registered-models/get?name={urllib.parse.quote(model)}"
        request = urllib.request.Request(self.uri.rstrip("/") + question)  # noqa: S310 - configure.py let http(s) only pass
        if self.user and self.password:
            word = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            request.add_header("Authorization", f"Basic {word}")
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310 - the same
                record = json.load(answer)["registered_model"]
            return {alias["alias"]: str(alias["version"]) for alias in record.get("aliases", [])}
        except urllib.error.HTTPError as error:
            raise RegistryError(f"it answers {error.code} {error.reason}") from error
        except OSError as error:
            raise RegistryError(f"it does not answer ({getattr(error, 'reason', error)})") from error
        except (ValueError, KeyError, TypeError) as error:
            raise RegistryError("its answer is not a registry's") from error


def registry(root: Path) -> Registry | None:
    """Return the server that the run used, None when none is configured."""
    auto = env_file.read(root / ".env.auto")
    settings = env_file.settings(root)
    if env_file.is_offline(settings) and (uri := auto.get(env_file.OFFLINE_URI)):
        return Registry(uri=uri, user=None, password=None)
    source = settings if settings.get("MLFLOW_TRACKING_URI") else auto
    if "MLFLOW_TRACKING_URI" not in source:
        return None
    return Registry(
        uri=source["MLFLOW_TRACKING_URI"],
        user=source.get("MLFLOW_TRACKING_USERNAME"),
        password=source.get("MLFLOW_TRACKING_PASSWORD"),
    )


def why_not(root: Path) -> str | None:
    """Say why the metrics are not those of the pipeline as it stands, as far as dvc.lock tells; None if they are."""
    try:
        stages = yaml.safe_load((root / "dvc.lock").read_text(encoding="utf-8"))["stages"]
        pointer = (root / MODEL.relative_to(ROOT)).read_bytes()
        evaluated = {dep.get("md5") for dep in stages["evaluate"]["deps"]}
    except (OSError, KeyError, TypeError, yaml.YAMLError):
        return NOT_EVALUATED
    if hashlib.md5(pointer, usedforsecurity=False).hexdigest() not in evaluated:
        return NOT_EVALUATED
    outs = {out["path"]: out.get("md5") for stage in stages.values() for out in stage.get("outs", ())}
    behind = [
        name
        for name, stage in stages.items()
        for dep in stage.get("deps", ())
        if outs.get(dep["path"], dep.get("md5")) != dep.get("md5")
    ]
    return f"{behind[0]} has not seen what the stages before it made: make run" if behind else None


def lines(metrics: Mapping[str, object], model: Mapping[str, object], server: Registry | None) -> list[tuple[str, str]]:
    """Return what to show, as names and words."""
    told = [(name, f"{value:.4f}") for name in SHOWN if isinstance(value := metrics.get(name), float | int)]
    if "model_name" in model:
        name, version = str(model["model_name"]), str(model.get("model_version"))
        told.append(("model", f"{name} version {version}{_place(name, version, server)}"))
    if server:
        told.append(("MLflow", server.uri))
    return told


def _place(name: str, version: str, server: Registry | None) -> str:
    if server is None:
        return ""
    try:
        aliases = server.aliases(name)
    except RegistryError as error:
        return f" (the registry was not asked for its aliases: {error})"
    own = [alias for alias, target in aliases.items() if target == version]
    words = f", alias {', '.join(sorted(own))}" if own else ", no alias"
    if PRODUCTION in aliases and aliases[PRODUCTION] != version:
        words += f"; version {aliases[PRODUCTION]} stays in production"
    return words


def read(path: Path) -> dict[str, object]:
    """Read a JSON object; an empty one when there is none, as after a run of some stages only."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def show() -> None:
    """Write the summary."""
    why = why_not(ROOT)
    told = lines({} if why else read(METRICS), read(MODEL), registry(ROOT))
    if MODEL.exists() and why:
        told.insert(0, ("metrics", why))
    sys.stdout.write("\n" + "".join(f"  {name:<10} {words}\n" for name, words in told))


if __name__ == "__main__":
    show()
