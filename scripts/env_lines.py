"""Change single lines of .env and leave every other as somebody wrote it."""

import re
from collections.abc import Collection, Mapping

import env_file

ASIDE = "# disconnected: "
ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=")


def put_aside(text: str, names: Collection[str]) -> str:
    """Turn the lines that set these names into comments that ``take_back`` knows."""
    return "".join(f"{ASIDE}{line}" if _name(line) in names else line for line in _lines(text))


def take_back(text: str, names: Collection[str]) -> str:
    """Undo ``put_aside`` for the names that no other line sets meanwhile."""
    lines = _lines(text)
    wanted = set(names) - {_name(line) for line in lines}
    return "".join(
        line.removeprefix(ASIDE) if line.startswith(ASIDE) and _name(line.removeprefix(ASIDE)) in wanted else line
        for line in lines
    )


def assign(text: str, values: Mapping[str, str]) -> str:
    """Give names values: on the last line that sets one, which is the one that counts, or on a new one."""
    lines = _lines(text)
    if lines and not lines[-1].endswith(("\n", "\r")):
        lines[-1] += "\n"
    for name, value in values.items():
        written = env_file.render({name: value})
        found = [at for at, line in enumerate(lines) if _name(line) == name]
        if found:
            lines[found[-1]] = written
        else:
            lines.append(written)
    return "".join(lines)


def _lines(text: str) -> list[str]:
    return re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", text)


def _name(line: str) -> str:
    found = ASSIGNMENT.match(line.removeprefix("\ufeff"))
    return found[1] if found else ""
