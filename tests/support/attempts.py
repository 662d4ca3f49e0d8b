"""What a stage tries, many things at once, and what came of each."""

import json
from collections.abc import Mapping
from typing import Any

from tests.support.ways import Way

TRY = """
import contextlib, ctypes, json, os, pathlib, shutil, signal, socket, subprocess, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def attempt(act):
    try:
        act()
    except Exception as error:
        return [type(error).__name__, getattr(error, 'filename', None)]
    return ['done', None]
def write(path, mode='w'):
    open(path, mode).write('x')
def connect(host, port):
    socket.create_connection((host, port), timeout=3).close()
def called(code):
    if code != 0:
        raise OSError(ctypes.get_errno(), 'refused')
"""


def attempted(way: Way, acts: Mapping[str, str], setup: str = "", **spec: Any) -> dict[str, tuple[str, str | None]]:
    """Give by name what came of each act, all of them tried by one stage: an error's type and path, or ``done``."""
    tried = ", ".join(f"{name!r}: attempt(lambda: {act})" for name, act in acts.items())
    code = f"{TRY}\n{setup}\njson.dump({{{tried}}}, open('said.json', 'w'))"
    ran = way.python(code, **spec)
    said = json.loads(str(ran.left.get("said.json") or ran.lines))
    return {name: (kind, path) for name, (kind, path) in said.items()}
