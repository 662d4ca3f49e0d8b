"""Renew the digest of base_image in params.yaml, and hand it on to dvc-runner's guards.

base_image.py [PROJECT]: asks the registry, through the container engine, what the name stands for now. Where neither
answers, the digest stays, and the exit code is 4.
"""

import contextlib
import re
import sys
from pathlib import Path

import docker
import env_file
import requests
from docker.errors import APIError, DockerException
from engine import address
from env_file import SettingsError

ROOT = Path(__file__).resolve().parent.parent
GUARD_IMAGE = Path("src/dvc_runner/cli/guard_image.py")
LINE = re.compile(r"^(base_image:[ \t]*)([^\s@#]+)(?:@(sha256:[0-9a-f]{64}))?", re.MULTILINE)
ENGINE_EXIT_CODE = 4
ANSWER_TIMEOUT_S = 60


def newest(host: str, name: str) -> str:
    """Ask for the digest of an image's name.

    Raises:
        DockerException: The engine refuses, or its registry does.
        OSError: The engine does not answer.
    """
    with contextlib.closing(docker.APIClient(base_url=host, version="auto", timeout=ANSWER_TIMEOUT_S)) as client:
        answer = client.inspect_distribution(name)  # type: ignore[no-untyped-call]
    return str(answer["Descriptor"]["digest"])


def hand_on(root: Path, image: str) -> None:
    """Write the module that says which image guards run in."""
    lines = (
        '"""The image that guards run in: base_image of params.yaml, written here by `make lock`."""\n\n'
        f'GUARD_IMAGE = "{image}"\n'
    )
    (root / GUARD_IMAGE).write_text(lines, encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Renew the digest, if somebody can be asked."""
    root = Path(arguments[0]) if arguments else ROOT
    params = root / "params.yaml"
    text = params.read_text(encoding="utf-8")
    found = LINE.search(text)
    if not found:
        sys.stderr.write("lock: params.yaml has no line  base_image: NAME:TAG\nwrite one, then run it again\n")
        return 3
    name, old = found[2], found[3]
    try:
        new = newest(address(env_file.settings(root)), name)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 3
    except (DockerException, requests.RequestException, OSError) as error:
        why = error.explanation if isinstance(error, APIError) else error
        sys.stderr.write(f"lock: {name} stays at {old}, since its registry could not be asked: {why}\n")
        if old:
            hand_on(root, f"{name}@{old}")
        return ENGINE_EXIT_CODE
    params.write_text(LINE.sub(rf"\g<1>{name}@{new}", text, count=1), encoding="utf-8")
    hand_on(root, f"{name}@{new}")
    sys.stdout.write(f"lock: {name} " + (f"is still {new}\n" if new == old else f"is now {new}\n"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
