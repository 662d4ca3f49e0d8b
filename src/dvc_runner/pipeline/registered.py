"""Whether the registry in use holds the versions that outs of stages name: the cache must not hide that it does not."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dvc_runner.errors import ConfigurationError
from dvc_runner.model import Reason, ReasonKind
from dvc_runner.tracking import pointer
from dvc_runner.tracking.pointer import ModelPointer
from dvc_runner.tracking.server import TrackingServer

if TYPE_CHECKING:
    from dvc_runner.workspace.dvc_plan import DvcPlan


class Registered:
    """What the registry said, which is asked once for each version.

    A server that does not answer has not changed: ``away`` then says why nothing is known of it.
    """

    def __init__(self, settings: Mapping[str, str]) -> None:
        """Ask nothing yet."""
        self._settings = settings
        self._server: TrackingServer | None = None
        self._lacks: dict[ModelPointer, str | None] = {}
        self.away: str | None = None

    def reasons(self, project: "DvcPlan", address: str) -> tuple[Reason, ...]:
        """Say why a stage that is up to date otherwise has to run all the same; nothing where it has not."""
        path = project.registers(address)
        return self.reasons_at(Path(path)) if path else ()

    def reasons_at(self, path: Path) -> tuple[Reason, ...]:
        """The same for the stage that the out at ``path`` is of; one that is not there has other reasons."""
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ()
        return self._reasons_of(text)

    def _reasons_of(self, text: str) -> tuple[Reason, ...]:
        found = pointer.read(text)
        if found is None:
            return (Reason(kind=ReasonKind.REGISTRY, name="what it registered", new="is not told by its out"),)
        lack = self._lack(found)
        return (Reason(kind=ReasonKind.REGISTRY, name=found.words, new=lack),) if lack else ()

    def holds(self, text: str) -> bool:
        """Say whether the registry has what an out says, as far as it tells."""
        return not self._reasons_of(text)

    def _lack(self, one: ModelPointer) -> str | None:
        if self.away:
            return None
        if one not in self._lacks:
            try:
                self._server = self._server or TrackingServer(self._settings)
                self._lacks[one] = pointer.lack(self._server, one)
            except ConfigurationError as error:
                self.away = f"it is not known whether the registry has {one.words}: {error}"
                return None
        return self._lacks[one]
