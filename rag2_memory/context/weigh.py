"""Weighing rendered parts so that sums of weights bound the count of the whole."""

from __future__ import annotations

from collections.abc import Sequence

from rag2_memory.protocols import TokenCounter


class Scale:
    """A counter together with what is known about adding up its counts."""

    def __init__(self, counter: TokenCounter) -> None:
        self.counter = counter
        self._adds_up = hasattr(counter, "count_lines")
        self._weights: dict[str, int] = {}

    def weigh(self, part: str) -> int:
        """Return what a part adds to a context, at most.

        Counts of parts add up exactly for the counters that say so (`count_lines`). For any other one token is added, which covers counters
        that round down and encodings that split differently at a border.
        """
        if not part:
            return 0
        weight = self._weights.get(part)
        if weight is None:
            weight = self._weights[part] = self.counter.count(part) + (0 if self._adds_up else 1)
        return weight

    def whole(self, parts: Sequence[str]) -> int:
        """Count the rendered whole: at once, or as the sum of its parts where counts add up."""
        return sum(map(self.weigh, parts)) if self._adds_up else self.counter.count("".join(parts))
