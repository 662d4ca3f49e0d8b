"""What ``gc`` found, in words."""

from collections.abc import Sequence

from dvc_runner.model import Unused
from dvc_runner.report import words


def table(found: Sequence[Unused], *, frees_bytes: int, older_than: str, force: bool) -> list[str]:
    """Give one line per image or environment, and what all of them come to."""
    if not found:
        return [f"nothing is unused for {older_than} or longer"]
    lines = [f"unused for {older_than} or longer, and not needed by this project:"]
    for one in found:
        size = words.size(one.size_bytes)
        lines.append(f"  {one.kind:<11}  {one.name}  {size}, last used {one.last_used:%Y-%m-%d}")
    lines.append(
        f"{'removing' if force else 'removing them frees'} {words.size(frees_bytes)}"
        " (layers that other images have too are not counted)"
    )
    if any(one.kind == "image" for one in found):
        lines.append("what the engine's builders keep besides is freed by: docker builder prune, docker image prune")
    if not force:
        lines.append("nothing was removed; to do it: dvc-runner gc --force")
    return lines
