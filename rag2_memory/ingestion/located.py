"""Pieces that a text splitter returned, located in the text they came from."""

from __future__ import annotations

import re

from rag2_memory.errors import InvalidRequestError
from rag2_memory.protocols import TextSplitter

Span = tuple[int, int]


def locate(text: str, start: int, end: int, splitter: TextSplitter) -> list[Span]:
    """Split `text[start:end]` and return the pieces as spans of the text.

    Pieces come in order and may overlap. Where a splitter changed white space the piece is found by its words. Text
    that it dropped (separators) is added to the piece before, so that the spans cover all that is not blank.

    Raises:
        InvalidRequestError: If a piece does not occur in the text.
    """
    spans: list[Span] = []
    cursor = start
    for piece in splitter.split_text(text[start:end]):
        if not piece.strip():
            continue
        first, last = _find(text, piece.strip(), cursor, end)
        covered = max((span[1] for span in spans), default=start)
        if text[covered:first].strip():
            if spans:
                spans[-1] = (spans[-1][0], first)
            else:
                first = start
        spans.append((first, last))
        cursor = first + 1
    if not spans:
        return [(start, end)] if text[start:end].strip() else []
    if text[max(span[1] for span in spans) : end].strip():
        spans[-1] = (spans[-1][0], end)
    return list(dict.fromkeys(spans))


def _find(text: str, piece: str, cursor: int, end: int) -> Span:
    place = text.find(piece, cursor, end)
    if place >= 0:
        return place, place + len(piece)
    match = re.compile(r"\s+".join(map(re.escape, piece.split()))).search(text, cursor, end)
    if match is None:
        raise InvalidRequestError(
            f"got a piece from the text splitter that does not occur in the text: {piece[:80]!r}; needed verbatim "
            "pieces in order. Use a splitter that changes nothing but white space, or none for our own rules."
        )
    return match.span()
