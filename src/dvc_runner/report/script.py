"""A stage as a shell script to paste, and the same as JSON."""

import json
import re
import shlex
from collections.abc import Iterator

from dvc_runner.pipeline.show import MARK, Laid, Shown
from dvc_runner.report import words

SCRATCH = "$scratch"
USUAL = 0o644
_SECRET = re.compile(f"{MARK}(.*?)(%+){MARK}")


def text(shown: Shown) -> str:
    """Give the script; it reads the same in any shell, since it is handed to bash as a whole."""
    lines = [*_beginning(shown), "", *_scratch(shown), "", *_docker(shown), "", *_collect(shown)]
    end = _delimiter("DVC_RUNNER", lines)
    return "\n".join([f"bash -eu <<'{end}'", *lines, end])


def as_json(shown: Shown) -> str:
    """Give one object: the command, its flags with their reasons, the files that it needs, and the script.

    ``$scratch`` in a value stands for an empty folder of whoever starts it.
    """
    docker = shown.docker
    flags = [{"flag": f.flag, "value": _named(f.value, shown), "reason": f.reason} for f in docker.flags]
    given = [word for f in flags for word in (f["flag"], f["value"]) if word is not None]
    prepare: list[dict[str, object]] = [{"path": f"{SCRATCH}/{path}", "kind": "folder"} for path in shown.folders]
    prepare += [_json_file(file) for file in shown.files]
    return json.dumps(
        {
            "stage": shown.stage,
            "project": shown.project,
            "image": docker.image,
            "image_id": shown.image.id,
            "argv": ["docker", "run", *given, docker.image, *docker.argv],
            "flags": flags,
            "prepare": prepare,
            "outs": list(shown.outs),
            "missing_deps": list(shown.missing),
            "script": text(shown),
        },
        ensure_ascii=False,
    )


def _json_file(file: Laid) -> dict[str, object]:
    names = [found[1] for found in _SECRET.finditer(file.text)]
    content = _SECRET.sub(lambda found: f"${{{found[1]}}}", file.text)
    entry: dict[str, object] = {
        "path": f"{SCRATCH}/{file.path}",
        "kind": "file",
        "mode": f"{file.mode:03o}",
        "text": content,
    }
    return {**entry, "secrets": names} if names else entry


def _named(value: str | None, shown: Shown) -> str | None:
    if value is None:
        return None
    for path in (shown.scratch, _in_csv(shown.scratch)):
        value = value.replace(path, SCRATCH)
    return value


def _beginning(shown: Shown) -> Iterator[str]:
    yield f"# The stage {shown.stage} as dvc-runner starts it. Paste it all, or:  dvc-runner show {shown.stage} | sh"
    yield "# A run starts it in the namespaces of a guard, which ends it when the runner dies. Here nothing does:"
    yield "# Ctrl-C ends it; closing the terminal does not."
    if shown.limits.timeout_s:
        yield f"# A run ends it after {words.duration(shown.limits.timeout_s)} (timeout); no flag of docker run does."
    for path in shown.missing:
        yield f"# {path} is not there yet: run what makes it first."
    yield f"project={shlex.quote(shown.project)}"
    if shown.engine_host:
        yield f"export DOCKER_HOST={shlex.quote(shown.engine_host)}"
    if shown.build:
        image = shlex.quote(shown.docker.image)
        yield f"docker image inspect {image} >/dev/null 2>&1 ||"
        yield f'  (cd "$project" && {shlex.join(shown.build)} </dev/null)  # the image is missing: make it'


def _scratch(shown: Shown) -> Iterator[str]:
    yield "# What it sees of the project: its deps, to be mounted below, and params cut down to its own."
    yield 'mkdir -p "$project/.dvc/tmp"'
    yield 'scratch=$(mktemp -d "$project/.dvc/tmp/show-XXXXXX")'
    yield 'trap \'chmod -R u+rwX "$scratch"; rm -rf "$scratch"\' EXIT'
    yield shlex.join(["mkdir", "-p", "--"]) + "".join(f' "$scratch"/{shlex.quote(path)}' for path in shown.folders)
    for file in shown.files:
        yield from _file(file)
    for path in shown.persistent:
        here = shlex.quote(path)
        yield f'[ ! -e "$project"/{here} ] || cp -RL "$project"/{here} "$scratch"/workspace/{here}  # persist: true'
        yield f'[ ! -e "$scratch"/workspace/{here} ] || chmod -R u+rwX "$scratch"/workspace/{here}'
    if shown.given_to:
        yield f'chown -R {shown.given_to.uid}:{shown.given_to.gid} "$scratch"  # a stage never runs as root'


def _file(file: Laid) -> Iterator[str]:
    place = f'"$scratch"/{shlex.quote(file.path)}'
    if not file.text:
        yield f"touch {place}  # a dep is mounted here"
    elif _SECRET.search(file.text):
        yield from _secret(file, place)
    else:
        body = file.text.removesuffix("\n").split("\n")
        end = _delimiter("END", body)
        yield from [f"cat >{place} <<'{end}'", *body, end]
    if file.text and file.mode != USUAL:
        yield f"chmod {file.mode:o} {place}"


def _secret(file: Laid, place: str) -> Iterator[str]:
    """Write a secret's file from variables of the shell, by a command of the shell's own: no other process sees it."""
    pieces = []
    at = 0
    for found in _SECRET.finditer(file.text):
        name = found[1]
        yield f': "${{{name}:?is a secret of this stage: export it first}}"'
        pieces += [shlex.quote(file.text[at : found.start()])] if found.start() > at else []
        pieces.append(f'"${{{name}//%/%%}}"' if len(found[2]) > 1 else f'"${name}"')
        at = found.end()
    pieces += [shlex.quote(file.text[at:])] if at < len(file.text) else []
    yield f"(umask 077 && printf %s {''.join(pieces)} >{place})"


def _docker(shown: Shown) -> Iterator[str]:
    yield "flags=("
    for flag in shown.docker.flags:
        value = "" if flag.value is None else f" {_quoted(flag.value, shown)}"
        yield f"  {flag.flag}{value}  # {flag.reason}"
    yield ")"
    yield f'docker run "${{flags[@]}}" {shlex.quote(shown.docker.image)} {shlex.join(shown.docker.argv)} </dev/null'


def _collect(shown: Shown) -> Iterator[str]:
    yield "# Its outs come into the project once all of them are there; a run also writes dvc.lock (here: dvc commit)."
    outs = " ".join(map(shlex.quote, shown.outs))
    if not outs:
        return
    yield f"outs=({outs})"
    yield 'for out in "${outs[@]}"; do'
    yield '  [ -e "$scratch/workspace/$out" ] || { echo "it did not write $out" >&2; exit 1; }'
    yield "done"
    yield 'for out in "${outs[@]}"; do'
    if shown.given_to:
        yield '  chown -R "$(stat -c %u:%g "$project")" "$scratch/workspace/$out"'
    yield '  mkdir -p "$(dirname -- "$project/$out")"'
    yield '  rm -rf -- "$project/$out"'
    yield '  mv -- "$scratch/workspace/$out" "$project/$out"'
    yield "done"


def _quoted(value: str, shown: Shown) -> str:
    """Quote a value for the shell, with variables for the two folders."""
    known = {
        _in_csv(shown.scratch): r'"${scratch//\"/\"\"}"',
        _in_csv(shown.project): r'"${project//\"/\"\"}"',
        shown.scratch: '"$scratch"',
        shown.project: '"$project"',
    }
    pieces = re.split("(" + "|".join(map(re.escape, known)) + ")", value)
    return "".join(known.get(piece) or shlex.quote(piece) for piece in pieces if piece) or "''"


def _in_csv(path: str) -> str:
    return path.replace('"', '""')


def _delimiter(word: str, lines: list[str]) -> str:
    """Give a word that no line is, to end a text with."""
    while word in lines:
        word += "_"
    return word
