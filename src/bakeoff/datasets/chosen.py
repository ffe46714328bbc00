"""A sample of a stream that does not depend on its order, its length or the process."""

import heapq
from dataclasses import dataclass, field

import mmh3

from bakeoff.datasets.model import Line


@dataclass(kw_only=True, slots=True)
class Chosen:
    """At most `most` lines of all that were offered: those whose ids have the smallest hashes (bottom-k sampling)."""

    most: int
    _heap: list[tuple[int, str, Line]] = field(default_factory=list)  # the greatest hash first, as its negative

    def offer(self, line: Line) -> None:
        rank = -mmh3.hash64(line.example_id, signed=False)[0]
        if len(self._heap) < self.most:
            heapq.heappush(self._heap, (rank, line.example_id, line))
        elif rank > self._heap[0][0]:
            heapq.heapreplace(self._heap, (rank, line.example_id, line))

    def lines(self) -> list[Line]:
        """By time, then id."""
        return sorted((line for _, _, line in self._heap), key=lambda line: (line.occurred_at, line.example_id))
