"""Read .env: one NAME=value a line, comments, quotes; nothing in it is ever executed or expanded.

Values mean what they mean to python-dotenv, with which dvc-runner reads the same file.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=(.*)")
SINGLE_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'\s*(?:#.*)?")
DOUBLE_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?')
COMMENT = re.compile(r"\s+#.*")
OFFLINE, OFFLINE_URI = "TRACKING_OFFLINE", "TRACKING_OFFLINE_URI"
YES, NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
ESCAPES = dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True)) | {"\\": "\\", "'": "'", '"': '"'}


class SettingsError(Exception):
    """Settings that cannot be used: what is wrong, then the way out. No value shows: it may be a secret."""

    def __init__(self, problem: str, remedy: str) -> None:
        """Say ``problem`` in one line and ``remedy`` in another."""
        super().__init__(f"{problem}\n{remedy}")


def parse(text: str, *, name: str = ".env") -> dict[str, str]:
    """Read the variables in a text; of two with one name the last counts.

    Args:
        text: What the file holds.
        name: What to call it in an error.

    Raises:
        SettingsError: A line is no assignment, or its quotes do not close.
    """
    values = {}
    for number, raw in enumerate(re.split(r"\r\n|\r|\n", text.removeprefix("\ufeff")), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        found = LINE.fullmatch(line)
        if found is None:
            raise SettingsError(
                f"{name} line {number} is not of the form NAME=value",
                "mend the line, or put a # before it; .env.example shows the form",
            )
        values[found[1]] = _value(found[2], where=f"{name} line {number} ({found[1]})")
    return values


def _value(text: str, *, where: str) -> str:
    if text.lstrip()[:1] not in {"'", '"'}:
        return COMMENT.sub("", text).strip()
    text = text.lstrip()
    form, escaped = (SINGLE_QUOTED, "\\'") if text[0] == "'" else (DOUBLE_QUOTED, "".join(ESCAPES))
    found = form.fullmatch(text)
    if found is None:
        raise SettingsError(
            f"{where}: a quote is not closed, or something follows it",
            f"write NAME={text[0]}value{text[0]} on one line",
        )
    return re.sub(rf"\\([{re.escape(escaped)}])", lambda escape: ESCAPES[escape[1]], found[1])


def read(path: Path) -> dict[str, str]:
    """Read a file of variables; none when it does not exist.

    Raises:
        SettingsError: It cannot be read, is not UTF-8, or holds a line that is no assignment.
    """
    try:
        return parse(path.read_text(encoding="utf-8"), name=path.name)
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{path.name} is not UTF-8 text (byte {error.start + 1})", "save it as UTF-8; PowerShell's > writes UTF-16"
        ) from None
    except OSError as error:
        raise SettingsError(
            f"{path.name} cannot be read: {error.strerror}", f"make it a file that you can read: chmod 600 {path.name}"
        ) from None


def render(values: dict[str, str]) -> str:
    """Write variables so that ``parse`` reads the same."""
    quoted = {name: value.replace("\\", "\\\\").replace('"', '\\"') for name, value in values.items()}
    return "".join(f'{name}="{value}"\n' for name, value in quoted.items())


def is_offline(values: Mapping[str, str]) -> bool:
    """Say whether runs are to stay on this machine although another server is configured.

    Raises:
        SettingsError: It is neither a yes nor a no.
    """
    said = values.get(OFFLINE, "")
    if said.lower() in YES:
        return True
    if said and said.lower() not in NO:
        raise SettingsError(f"{OFFLINE} is {said!r}", "write 1 to keep runs on this machine, 0 or nothing otherwise")
    return False


def settings(root: Path, text: str | None = None) -> dict[str, str]:
    """Return what is set in the environment or, where it is not, in .env; empty counts as not set.

    Args:
        root: The project.
        text: What .env is going to hold, where that is not what it holds.
    """
    merged = read(root / ".env") if text is None else parse(text)
    if os.environ.get("MLFLOW_TRACKING_URI"):
        # Credentials belong to the address beside them: those in .env are not for this server.
        merged = {name: value for name, value in merged.items() if not name.startswith("MLFLOW_TRACKING_")}
    merged.update({name: value for name, value in os.environ.items() if value})
    return {name: value for name, value in merged.items() if value}
