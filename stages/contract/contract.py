"""What every stage holds to: its input is checked on the way in, and a user's mistake ends in one line and exit 1."""

import errno
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

DISK_FULL = {errno.ENOSPC, errno.EDQUOT}

log = logging.getLogger("stage")


class StageError(Exception):
    """What the user can put right. The message names the thing, the value seen and the way out."""


class Checked(BaseModel):
    """Values out of a file: of the right type, all there, and none that nobody reads."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


Values = TypeVar("Values", bound=Checked)


def run(main: Callable[[], None]) -> None:
    """Run a stage: one line and exit 1 for the user's mistake, a traceback for ours."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        main()
    except StageError as error:
        log.error("%s", error)  # noqa: TRY400 - the line is the message, a traceback would hide it
        raise SystemExit(1) from None
    except Exception as error:
        if not any(isinstance(cause, OSError) and cause.errno in DISK_FULL for cause in causes(error)):
            raise
        log.error("the disk is full, or its quota for this user: free some space, then run again")  # noqa: TRY400
        raise SystemExit(1) from None


def read_params(section: str, kind: type[Values]) -> Values:
    """Read one section of ``params.yaml``.

    Raises:
        StageError: The file, the section or a value is missing; or a value is unknown, of another type or out of range.
    """
    path = Path("params.yaml")
    try:
        sections = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StageError(f"{path} is missing in {Path.cwd()}: declare `params: [{section}]` in dvc.yaml") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StageError(f"{path} is not YAML: {one_line(error)}") from error
    if not isinstance(sections, dict) or section not in sections:
        raise StageError(f"{path} has no section `{section}`: add it, and declare `params: [{section}]` in dvc.yaml")
    return check(sections[section], kind, where=f"{path}: {section}")


def check(values: object, kind: type[Values], *, where: str) -> Values:
    """Give the values their types.

    Raises:
        StageError: Names every value that is missing, unknown or wrong.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise StageError("; ".join(_problem(where, **found) for found in error.errors())) from error


def _problem(where: str, *, type: str, loc: tuple[str | int, ...], msg: str, input: object, **_: object) -> str:  # noqa: A002
    name = ".".join([where, *map(str, loc)])
    if type == "missing":
        return f"{name} is missing: add it"
    if type == "extra_forbidden":
        return f"{name} is unknown: remove it, or correct its name"
    return f"{name} is {input!r}: {msg[0].lower()}{msg[1:]}"


def read_table(path: Path, target: str) -> pd.DataFrame:
    """Read a CSV with one row per sample and its label, as text, in the column ``target``.

    Raises:
        StageError: The file is missing, empty or no CSV, or has no such column, no other one, or a row without label.
    """
    try:
        rows = pd.read_csv(path, dtype={target: str})
    except FileNotFoundError:
        raise StageError(f"{path} is missing: run the stage that makes it, and declare it in `deps`") from None
    except pd.errors.EmptyDataError:
        raise StageError(f"{path} is empty: it has not even a header; run the stage that makes it again") from None
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise StageError(f"{path} is not CSV: {one_line(error)}") from error
    if target not in rows.columns:
        raise StageError(f"{path} has no column {target!r}, but {list(rows.columns)}: correct `target` in params.yaml")
    if rows.empty:
        raise StageError(f"{path} has a header and no rows: run the stage that makes it again")
    if len(rows.columns) == 1:
        raise StageError(f"{path} has the column {target!r} alone: there is nothing to predict it from")
    if unlabelled := int(rows[target].isna().sum()):
        raise StageError(f"{path} has {unlabelled} rows without a value of {target!r}: fill or remove them")
    return rows


def read_samples(path: Path, target: str) -> tuple[pd.DataFrame, "pd.Series[str]"]:
    """Read what a model takes: the columns of numbers, and apart from them the labels.

    Raises:
        StageError: As ``read_table``, and for a column that does not hold numbers.
    """
    rows = read_table(path, target)
    samples, labels = rows.drop(columns=target), rows[target]
    if others := samples.select_dtypes(exclude=["number", "bool"]).columns.tolist():
        raise StageError(f"{path} has columns that are not numbers: {', '.join(others)}; encode them in preprocess")
    return samples.astype("float64"), labels  # whole numbers too, or a model takes no fraction in their column


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Give an error, and what it came from."""
    while error:
        yield error
        error = error.__cause__ or error.__context__


def one_line(error: Exception) -> str:
    """Give an error's words in one line."""
    return " ".join(str(error).split())
