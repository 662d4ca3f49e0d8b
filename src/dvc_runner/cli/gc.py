"""``dvc-runner gc``: what nobody has used for long, and its removal."""

import dataclasses
import datetime as dt
import json
from collections.abc import Sequence

from dvc_runner.cli import commands
from dvc_runner.cli.printing import err, out
from dvc_runner.errors import DvcRunnerError, UsageError
from dvc_runner.executors.stores import Store, reached
from dvc_runner.model import Unused
from dvc_runner.report import leftovers
from dvc_runner.workspace.quantities import time_s

Found = Sequence[tuple[Store, tuple[Unused, ...]]]


def collect(executor: str | None, *, older_than: str, force: bool, as_json: bool) -> int:
    """Say what is unused; remove it if ``force``. Give the exit code.

    What this project needs stays, whenever it was last used; so does whatever any project used lately.
    """
    before = _before(older_than)
    with commands.opened() as (project, settings):
        wanted = executor or settings.executor
        stores, missing = reached(wanted, project.root, settings.engine, settings.cache)
        if missing:
            err(missing)
        stages = project.stages()
        found = [(store, store.unused(stages, before)) for store in stores.values()]
        frees_bytes = sum(store.frees_bytes(unused) for store, unused in found)
        everything = tuple(one for _, unused in found for one in unused)
        if not as_json:
            for line in leftovers.table(everything, frees_bytes=frees_bytes, older_than=older_than, force=force):
                out(line)
        failed = _remove(found) if force else ()
        if as_json:
            out(json.dumps(_plain(everything, failed, frees_bytes=frees_bytes, force=force), ensure_ascii=False))
    return max((error.exit_code for _, error in failed), default=0)


def _before(older_than: str) -> dt.datetime:
    try:
        return dt.datetime.now(dt.UTC) - dt.timedelta(seconds=time_s(older_than))
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--older-than is wrong: {error}", remedy="write a time such as 30d or 12h") from None


def _remove(found: Found) -> tuple[tuple[Unused, DvcRunnerError], ...]:
    failed = []
    for store, unused in found:
        for one in unused:
            try:
                store.remove(one)
            except DvcRunnerError as error:
                err(f"error: {error}\n  {error.remedy}")
                failed.append((one, error))
    return tuple(failed)


def _plain(
    everything: Sequence[Unused],
    failed: Sequence[tuple[Unused, DvcRunnerError]],
    *,
    frees_bytes: int,
    force: bool,
) -> dict[str, object]:
    errors = {one.name: str(error) for one, error in failed}
    unused = [
        {
            **dataclasses.asdict(one),
            "last_used": one.last_used.astimezone(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "removed": force and one.name not in errors,
            "error": errors.get(one.name),
        }
        for one in everything
    ]
    return {"dry_run": not force, "unused": unused, "frees_bytes": frees_bytes}
