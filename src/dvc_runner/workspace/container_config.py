"""``meta.container`` of a stage: read strictly, so that a key nobody reads is an error."""

import difflib
import math
import posixpath
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from dvc_runner.errors import ConfigurationError
from dvc_runner.model import ALL_GPUS, Build, Container, Limits, Network
from dvc_runner.workspace.quantities import size_bytes, time_s

T = TypeVar("T")

KEYS = ("build", "image", "network", "secrets", "cpus", "memory", "shm", "gpus", "timeout", "retries", "registers")
BUILD_KEYS = ("context", "dockerfile", "include", "args")


def parse(stage: str, wdir: str, raw: object) -> Container:
    """Read the ``container`` mapping of ``stage``, whose paths are relative to ``wdir``.

    Raises:
        ConfigurationError: A key is unknown, a value is of the wrong kind, or neither or both of
            ``build`` and ``image`` are given.
    """
    where = f"meta.container of stage {stage}"
    values = _mapping(raw, where, KEYS)
    if ("build" in values) == ("image" in values):
        found = "both" if "build" in values else "neither"
        raise ConfigurationError(
            f"{where} must name its image by one of build and image, and has {found}",
            remedy="write  build: FOLDER  or  image: NAME@sha256:DIGEST",
        )
    return Container(
        build=_build(values["build"], where, wdir) if "build" in values else None,
        image=_image(values["image"], where) if "image" in values else None,
        network=_read(where, "network", values.get("network", "none"), _network),
        secrets=_read(where, "secrets", values.get("secrets", []), _names),
        limits=_limits(values, where),
        retries=_optional(where, "retries", values, _count) or 0,
        registers=_optional(where, "registers", values, lambda value: _join(wdir, _text(value))),
    )


def _limits(values: Mapping[str, object], where: str) -> Limits:
    given: dict[str, Any] = {
        "cpus": _optional(where, "cpus", values, _positive),
        "memory_bytes": _optional(where, "memory", values, lambda value: size_bytes(str(value))),
        "shm_bytes": _optional(where, "shm", values, lambda value: size_bytes(str(value))),
        "gpus": _optional(where, "gpus", values, _gpus),
        "timeout_s": _optional(where, "timeout", values, lambda value: time_s(str(value))),
    }
    return Limits(**{name: value for name, value in given.items() if value is not None})


def _build(raw: object, where: str, wdir: str) -> Build:
    if isinstance(raw, str):
        context = _join(wdir, raw)
        return Build(context=context, dockerfile=_join(context, "Dockerfile"))
    values = _mapping(raw, f"build in {where}", BUILD_KEYS)
    context = _join(wdir, _read(where, "build.context", values.get("context", "."), _text))
    name = _read(where, "build.dockerfile", values.get("dockerfile", "Dockerfile"), _text)
    return Build(
        context=context,
        dockerfile=_join(context, name),
        include=_read(where, "build.include", values.get("include", []), _names),
        args=_read(where, "build.args", values.get("args", {}), _args),
    )


def _image(raw: object, where: str) -> str:
    image = _read(where, "image", raw, _text)
    if "@sha256:" not in image:
        raise ConfigurationError(
            f"image in {where} is {image!r}, which may be another image tomorrow",
            remedy=f"pin it:  image: {image.partition(':')[0]}@sha256:…  (docker images --digests shows the digest)",
        )
    return image


def _mapping(raw: object, where: str, known: tuple[str, ...]) -> Mapping[str, object]:
    if not isinstance(raw, Mapping):
        raise ConfigurationError(
            f"{where} must be a mapping, and is {raw!r}",
            remedy=f"give it some of the keys {', '.join(known)}",
        )
    for key in raw:
        if key not in known:
            nearest = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            raise ConfigurationError(
                f"{where} has the unknown key {key!r}",
                remedy=f"did you mean {nearest[0]}?" if nearest else f"the known keys are {', '.join(known)}",
            )
    return raw


def _read(where: str, key: str, raw: object, read: Callable[[object], T]) -> T:
    try:
        return read(raw)
    except ValueError as error:
        raise ConfigurationError(f"{key} in {where} is wrong: {error}", remedy="correct it in dvc.yaml") from None


def _optional(where: str, key: str, values: Mapping[str, object], read: Callable[[object], T]) -> T | None:
    return _read(where, key, values[key], read) if values.get(key) is not None else None


def _join(*parts: str) -> str:
    return posixpath.normpath(posixpath.join(*parts))


def _text(raw: object) -> str:
    if isinstance(raw, str) and raw.strip():
        return raw.strip()
    message = f"{raw!r} is not a text"
    raise ValueError(message)


def _names(raw: object) -> tuple[str, ...]:
    if isinstance(raw, list | tuple):
        return tuple(_text(item) for item in raw)
    message = f"{raw!r} is not a list of names"
    raise ValueError(message)


def _args(raw: object) -> tuple[tuple[str, str], ...]:
    if isinstance(raw, Mapping) and None not in raw.values():
        return tuple(sorted((str(key), str(value)) for key, value in raw.items()))
    message = f"{raw!r} is not a mapping of names to values"
    raise ValueError(message)


def _network(raw: object) -> Network:
    try:
        return Network(str(raw))
    except ValueError:
        message = f"{raw!r} is none of {', '.join(Network)}"
        raise ValueError(message) from None


def _positive(raw: object) -> float:
    value = float(str(raw))
    if not 0 < value < math.inf:
        message = f"{raw!r} is not a number above zero"
        raise ValueError(message)
    return value


def _count(raw: object) -> int:
    if isinstance(raw, int) and not isinstance(raw, bool) and raw >= 0:
        return raw
    message = f"{raw!r} is not a whole number, zero or more"
    raise ValueError(message)


def _gpus(raw: object) -> int:
    return ALL_GPUS if raw == "all" else _count(raw)
