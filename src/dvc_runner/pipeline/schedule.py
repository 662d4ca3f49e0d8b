"""Which stage starts next: what it reads is there, and there is room for it."""

import bisect
import heapq
from collections.abc import Mapping, Sequence

from dvc_runner.model import Limits
from dvc_runner.pipeline.request import Room


class Schedule:
    """The stages of a run: waiting for others, open, queued for room, at work, settled.

    A stage is open as soon as all that it comes after is settled: then somebody looks whether it has
    to run, and settles or queues it. Queued ones start in the order of the run, but one that fits
    goes before one that does not. One that wants more than there is runs alone.
    """

    def __init__(self, order: Sequence[str], after: Mapping[str, Sequence[str]], room: Room) -> None:
        """Open what comes after nothing.

        Args:
            order: Every stage.
            after: What each of them comes after; what is not in ``order`` counts as settled.
            room: For stages at work.
        """
        self._order = order
        self._room = room
        self._rank = {address: rank for rank, address in enumerate(order)}
        self._next: dict[str, list[str]] = {address: [] for address in order}
        self._left = dict.fromkeys(order, 0)
        for address in order:
            for other in set(after[address]).intersection(self._rank):
                self._next[other].append(address)
                self._left[address] += 1
        # Both by rank; what is open is a heap, since it may be all there is.
        self._open = [self._rank[address] for address in order if not self._left[address]]
        self._queue: list[tuple[int, Limits]] = []
        self._at_work: dict[str, Limits] = {}

    @property
    def at_work(self) -> int:
        """How many stages are at work."""
        return len(self._at_work)

    def opened(self) -> str | None:
        """Give the next stage to look at, once; None if there is none now."""
        return self._order[heapq.heappop(self._open)] if self._open else None

    def queue(self, address: str, limits: Limits) -> None:
        """Have a stage start as soon as there is room for it."""
        bisect.insort(self._queue, (self._rank[address], limits), key=lambda one: one[0])

    def start(self) -> str | None:
        """Give a queued stage that starts now; None if there is no room, or no such stage."""
        if len(self._at_work) >= self._room.jobs:
            return None
        for place, (rank, limits) in enumerate(self._queue):
            if self._fits(limits):
                del self._queue[place]
                self._at_work[self._order[rank]] = limits
                return self._order[rank]
        return None

    def leave(self, address: str) -> None:
        """Take that a stage at work has ended: there is room for another."""
        del self._at_work[address]

    def settle(self, address: str) -> None:
        """Take that a stage that is neither open, queued nor at work is done with; what comes after it may open."""
        for other in self._next[address]:
            self._left[other] -= 1
            if not self._left[other]:
                heapq.heappush(self._open, self._rank[other])

    def _fits(self, limits: Limits) -> bool:
        if not self._at_work:
            return True
        together = [*self._at_work.values(), limits]
        cpus = sum(one.cpus or 0 for one in together)
        memory = sum(one.memory_bytes or 0 for one in together)
        return cpus <= self._room.cpus and memory <= self._room.memory_bytes
