"""How outs are linked to the cache, with less to do for each than DVC has. A part of the DVC adapter."""

import contextlib
import os
import stat
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

from dvc_data.hashfile.db.local import LocalHashFileDB
from dvc_data.hashfile.state import State
from dvc_objects.fs.generic import test_links

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.repo import Repo
    from dvc.stage import Stage as DvcStage
    from dvc_data.hashfile.cache import Cache


class Links:
    """The links of a project, noted as DVC does."""

    def __init__(self, repo: "Repo") -> None:
        """Leave DVC's database of them open: it is opened and closed for each, which takes longer than all the rest."""
        self._repo = repo
        state = repo.state
        if isinstance(state, State):
            state.links = cast("Cache", _Open(state.links))

    def are_copies(self, stage: "DvcStage") -> bool:
        """Say whether DVC would put an equal copy in the place of each out, once the cache has it."""
        cached = [out for out in stage.outs if out.use_cache]
        return bool(cached) and self._has_copies and all(map(self._is_plain, cached))

    def note(self, stage: "DvcStage") -> None:
        """Take outs that the cache has as those copies."""
        for out in stage.outs:
            if out.use_cache:
                out.cache.unprotect(out.fs_path)
                self._repo.state.save_link(out.fs_path, out.fs)
                out.set_exec()

    @cached_property
    def _has_copies(self) -> bool:
        """Whether DVC makes copies, since the cache's disk has no reflinks."""
        cache, settings = self._repo.cache.local, self._repo.config["cache"]
        if cache.cache_types != LocalHashFileDB.DEFAULT_CACHE_TYPES or settings.get("shared"):
            return False
        return not test_links(["reflink"], cache.fs, cache.path, cache.fs, cache.fs.join(cache.path, "any"))

    def _is_plain(self, out: "Output") -> bool:
        """Say whether an out is a file of ours, and no link: DVC would replace one of somebody else's."""
        try:
            found = Path(out.fs_path).lstat()
        except OSError:
            return False
        is_file = out.cache is self._repo.cache.local and stat.S_ISREG(found.st_mode)
        return is_file and found.st_nlink == 1 and found.st_uid == os.geteuid()


class _Open(contextlib.nullcontext["Cache"]):
    """A database that a ``with`` leaves open; who closes it is who closes the repository."""

    def close(self) -> None:
        self.enter_result.close()
