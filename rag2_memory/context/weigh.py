"""Weighing rendered parts so that sums of weights bound the count of the whole."""

from __future__ import annotations

from collections.abc import Sequence

from rag2_memory.context.tokens import count_joined
from rag2_memory.protocols import TokenCounter


class Scale:
    """A counter together with what is known about adding up its counts."""

    def __init__(self, counter: TokenCounter) -> None:
        self.counter = counter
        self._margin = 0 if hasattr(counter, "count_lines") else 1

    def weigh(self, part: str) -> int:
        """Return what a part adds to a context, at most.

        Counts of parts add up exactly for the counters that say so (`count_lines`). For any other one token is added, which covers counters
        that round down and encodings that split differently at a border.
        """
        return self.counter.count(part) + self._margin if part else 0

    def whole(self, parts: Sequence[str]) -> int:
        """Count the rendered whole."""
        return count_joined(self.counter, parts)
