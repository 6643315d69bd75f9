"""The units that are never cut, and the division of a row of units into pieces of about one size."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rag2_memory.ingestion.markdown import Block
from rag2_memory.ingestion.sentences import Spans, clauses, lines, sentences, words

TOLERANCE = 1.5
"""What is up to this many times the target stays whole: half a paragraph is the worse evidence."""

LOOK_BACK_UNITS = 1_000
"""Units that one piece may hold; bounds the time that empty units could take."""

CHARACTERS_PER_TOKEN_AT_MOST = 64
"""A longer text is too large and not counted: tokenizers are slow on one endless word."""

AFTER_HEADING, LEAD_IN, ITEM, SENTENCE, CLAUSE = 5.0, 0.5, 0.1, 0.3, 0.8
"""Costs of a cut on the scale of `divide`: behind a heading, behind a line that announces a list, between list items,
between sentences, rows or lines, and inside one of those. Between paragraphs a cut costs nothing."""


LONG_ROW_PIECES = 6
"""A row of more than so many pieces is cut where its own words prefer."""

PREFERENCE = 0.4
"""Largest addition to a cut's cost by the words after it. One unit added near the beginning of rows of 23 to 750 pieces (equal and unequal
lines, sentences and paragraphs) then changes 2 pieces on average and 12 at worst; without it nearly all where units are equal. Sizes vary
by 9 % of the target."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A slice of the text that stays whole."""

    start: int
    end: int
    tokens: int
    cut: float
    """Cost of a cut before it."""


def divide(sizes: Sequence[int], cuts: Sequence[float], *, target: int) -> list[int]:
    """Divide a row of units into pieces of about the target size, at the least cost, by dynamic programming.

    A piece of x times the target costs (1 - x)² below it and 4 (1 - x)² above it, so that both a half and 1.5 times the
    target cost something; beyond `TOLERANCE` only a single unit stands alone. Each division adds its cut's cost. Linear
    in the number of units.

    Args:
        sizes: Tokens of each unit.
        cuts: Cost of a cut before each unit; the first is not used.
        target: Wanted tokens of a piece.

    Returns:
        The indices, ascending, before which the row is cut.
    """
    if sum(sizes) <= target:
        return []
    count, limit = len(sizes), int(TOLERANCE * target)
    costs = [(1 - size / target) ** 2 * (1 if size <= target else 4) for size in range(limit + 1)]
    cuts = [0.0, *cuts[1:]]
    best, previous = [0.0] * (count + 1), [0] * (count + 1)
    for end in range(1, count + 1):
        size, lowest, origin = 0, float("inf"), end - 1
        for start in range(end - 1, max(-1, end - 1 - LOOK_BACK_UNITS), -1):
            size += sizes[start]
            if size <= limit:
                cost = best[start] + cuts[start] + costs[size]
            elif start == end - 1:
                cost = best[start] + cuts[start] + costs[limit]
            else:
                break
            if cost < lowest:
                lowest, origin = cost, start
        best[end], previous[end] = lowest, origin
    found, place = [], previous[count]
    while place > 0:
        found.append(place)
        place = previous[place]
    return found[::-1]


def preferred(text: str, starts: Sequence[int], sizes: Sequence[int], cuts: Sequence[float], *, target: int) -> list[float]:
    """Return the cuts' costs, in a long row changed a little by the words that come after each cut.

    Otherwise a row of equal units (lines of a table, say) has no better or worse places, and one more unit at its beginning would move
    every cut behind it. The words decide by a checksum, so that an edit elsewhere changes nothing.
    """
    if sum(sizes) <= LONG_ROW_PIECES * target:
        return list(cuts)
    return [cut + PREFERENCE * _lot(text[start : start + 64]) for start, cut in zip(starts, cuts, strict=True)]


def _lot(text: str) -> float:
    """A number in [0, 1) that depends on the text alone, evenly spread."""
    return zlib.crc32(text.encode("utf-8", "surrogatepass")) / 2**32


class UnitMaker:
    """Makes the units of one document, counting each text once."""

    def __init__(self, text: str, *, count: Callable[[str], int], target: int) -> None:
        self.text, self.target, self._count = text, target, count
        self._limit = int(TOLERANCE * target)
        self._known: dict[str, int] = {}

    def count(self, text: str) -> int:
        """Return the tokens of a text."""
        known = self._known.get(text)
        if known is None:
            known = self._known[text] = self._count(text)
        return known

    def units(self, blocks: Iterable[Block]) -> list[Unit]:
        """Return the units of consecutive blocks; they partition what the blocks cover."""
        units: list[Unit] = []
        before: Block | None = None
        for block in blocks:
            units += self._block(block, cut=self._cut_between(before))
            before = block
        return units

    def _cut_between(self, before: Block | None) -> float:
        if before is None:
            return 0.0
        if before.kind == "heading":
            return AFTER_HEADING
        return LEAD_IN if self.text[before.start : before.end].rstrip()[-1:] == ":" else 0.0

    def _tokens(self, start: int, end: int) -> int | None:
        """Tokens of a slice with one for the line end that joins it to the next; `None` if it is beyond measure."""
        if end - start > CHARACTERS_PER_TOKEN_AT_MOST * self.target:
            return None
        body = self.text[start:end].rstrip()
        return self.count(body) + (self.text.find("\n", start + len(body), end) >= 0)

    def _fits(self, start: int, end: int) -> bool:
        tokens = self._tokens(start, end)
        return tokens is not None and tokens <= self._limit

    def _block(self, block: Block, *, cut: float) -> list[Unit]:
        tokens = self._tokens(block.start, block.end)
        if tokens is not None and tokens <= self._limit:
            return [Unit(block.start, block.end, tokens, cut)]
        if len(block.parts) > 1:
            step = ITEM if block.kind == "list" else 0.0
            return [
                unit
                for number, part in enumerate(block.parts)
                for unit in self._block(part, cut=cut if number == 0 else max(step, self._cut_between(block.parts[number - 1])))
            ]
        if block.parts:
            return self._block(block.parts[0], cut=cut)
        if block.kind in ("code", "table"):
            return self._spans(self._rows(block), cut=cut, finer=(clauses,))
        return self._spans(sentences(self.text, block.start, block.end), cut=cut, finer=(lines, clauses))

    def _rows(self, block: Block) -> Spans:
        """Lines of code or rows of a table; fences stay with their code, a header with the first row."""
        rows = lines(self.text, block.start, block.end)
        glued = 3 if block.kind == "table" else 2 if self.text[block.start : block.start + 40].lstrip().startswith(("```", "~~~")) else 1
        rows = [(rows[0][0], rows[:glued][-1][1]), *rows[glued:]]
        if glued == 2 and len(rows) > 1:
            rows = [*rows[:-2], (rows[-2][0], rows[-1][1])]
        return rows

    def _spans(
        self, spans: Spans, *, cut: float, finer: tuple[Callable[[str, int, int], Spans], ...], step: float = SENTENCE
    ) -> list[Unit]:
        """Make units of spans; one that is too large is cut by the next finer rule."""
        units: list[Unit] = []
        for start, end in spans:
            tokens = self._tokens(start, end)
            if tokens is not None and tokens <= self._limit:
                units.append(Unit(start, end, tokens, cut))
            elif finer:
                units += self._spans(finer[0](self.text, start, end), cut=cut, finer=finer[1:], step=CLAUSE)
            else:
                units += self._words(start, end, tokens, cut=cut)
            cut = step
        return units

    def _words(self, start: int, end: int, tokens: int | None, *, cut: float) -> list[Unit]:
        characters = 2 * self.target if tokens is None else self.target * (end - start) // tokens
        pieces = words(self.text, start, end, characters=characters, fits=self._fits)
        return [Unit(first, last, self._tokens(first, last) or 0, cut if first == start else CLAUSE) for first, last in pieces]
