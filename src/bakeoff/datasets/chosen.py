"""A sample of a stream that does not depend on its order, its length or the process."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

import mmh3

from bakeoff.datasets.model import Line, Row


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

    def lines(self, most: int | None = None) -> list[Line]:
        """By time, then id; at most so many, which are those that a sample of that size would hold."""
        kept = heapq.nlargest(self.most if most is None else most, self._heap)
        return sorted((line for _, _, line in kept), key=lambda line: (line.occurred_at, line.example_id))

    def rows(self, most: int | None = None) -> Iterator[Row]:
        """`lines` as rows, made one by one."""
        return (line.row() for line in self.lines(most))
