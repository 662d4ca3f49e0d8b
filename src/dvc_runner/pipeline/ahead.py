"""Which stages of a plan will run, told before they do."""

from collections.abc import Callable, Iterable


def likely(
    first: str,
    later: Iterable[str],
    *,
    upstream: Callable[[str], Iterable[str]],
    changed: Callable[[str], bool],
) -> tuple[str, ...]:
    """Give those of ``later``, in order, that read what runs, or are themselves changed.

    Args:
        first: The stage that is about to run.
        later: The stages after it, in the order of the graph.
        upstream: Gives the stages whose outs a stage reads.
        changed: Says whether a stage would run by itself; only asked where nothing upstream runs.
    """
    runs = {first: None}
    for address in later:
        if any(other in runs for other in upstream(address)) or changed(address):
            runs[address] = None
    return tuple(runs)[1:]
