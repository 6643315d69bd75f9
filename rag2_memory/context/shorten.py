"""Cutting a text to what fits, at a sentence or a word."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

CUT_MARK: Final = " […]"

MIN_KEPT_CHARACTERS: Final = 80
"""A shorter remainder says too little to be worth its header."""

SENTENCE_END: Final = re.compile(r"[.!?。！？](?=[\s\"')\]]|$)|\n")

WORTHWHILE: Final = 0.7
"""A cut goes back to the end of a sentence if that keeps at least this part of what would fit."""


def cut_to_fit(text: str, fits: Callable[[str], bool], *, minimum: int = MIN_KEPT_CHARACTERS) -> str | None:
    """Return the longest beginning of a text that fits, with a mark; the text itself if it fits; `None` if nothing worthwhile does.

    Args:
        text: What to cut.
        fits: Whether a text fits; taken to be monotone in its length, and asked again about what is returned.
        minimum: Characters that must remain.
    """
    if fits(text):
        return text
    low, high = 0, len(text) - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(text[:middle] + CUT_MARK) else (low, middle - 1)
    while low >= max(minimum, 1):
        beginning = _snapped(text[:low])
        if fits(beginning + CUT_MARK):
            return beginning + CUT_MARK
        low = len(beginning) - 1
    return None


def _snapped(text: str) -> str:
    ends = [match.end() for match in SENTENCE_END.finditer(text)]
    if ends and ends[-1] >= WORTHWHILE * len(text):
        return text[: ends[-1]].rstrip()
    words = text.rsplit(None, 1)
    return words[0] if len(words) == 2 and len(words[0]) >= WORTHWHILE * len(text) else text.rstrip()
