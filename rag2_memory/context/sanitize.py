"""Making retrieved text harmless: it may say anything, but it cannot hide, break its frame, or cite in our name."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

MAX_LABEL_CHARACTERS: Final = 200
"""Titles and section paths are cut here: they repeat in every block, and nobody reads a longer one."""

ASCII_CONTROLS: Final = bytes(set(range(32)) - {9, 10}) + b"\x7f"

CONTROLS: Final = "\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f"
ZERO_WIDTH: Final = "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
"""Zero-width characters and those that change the direction of writing."""

NO_TEXT: Final = "\ufff9-\ufffb\ufffe\uffff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
"""Annotation and format characters, what XML forbids, and tag characters, which smuggle whole ASCII texts."""

LINE_BREAKS: Final = "\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029"
SURROGATES: Final = "\ud800-\udfff"
JOINERS: Final = "\u200c\u200d"

INVISIBLE: Final = re.compile(f"[{CONTROLS}{ZERO_WIDTH}{NO_TEXT}]")
LINE_BREAK: Final = re.compile(f"\r\n|[{LINE_BREAKS}]")
SURROGATE: Final = re.compile(f"[{SURROGATES}]")
JOINER_IN_ASCII: Final = re.compile(f"(?<=[\x00-\x7f])[{JOINERS}]+|[{JOINERS}]+(?=[\x00-\x7f])|^[{JOINERS}]+|[{JOINERS}]+$")
"""Joiners belong into emoji and into Persian or Indic words; beside ASCII they only hide something."""

SUSPECT: Final = re.compile(f"[{CONTROLS}{ZERO_WIDTH}{NO_TEXT}{LINE_BREAKS}{SURROGATES}{JOINERS}]")
"""Anything that `visible` might change, as one character class, which is scanned fast; most texts hold none of it."""

CITED_ID: Final = re.compile(r"(?<![A-Za-z0-9])(?:[A-Za-z]{1,8}\d{1,5}|\d{1,3})(?![A-Za-z0-9])")
CITATION_MARK: Final = re.compile(
    rf"[\[［【](\s*(?:[A-Za-z]{{2,10}}:?\s+)?\^?{CITED_ID.pattern}(?:[\s,;\-–]+\^?{CITED_ID.pattern})*\s*)[\]］】]"
)
"""What a text may use to cite: `[c1]`, `[c1, f2]`, and what models write instead, such as `[1]`, `[doc3]` or `[source: c1]`."""

OUR_ID: Final = re.compile(r"(?<![A-Za-z0-9])[cf]\d{1,5}(?![A-Za-z0-9])", re.IGNORECASE)
"""An id that this package gives out: passages are numbered from c1, facts from f1."""

CONTROL_TOKEN: Final = re.compile(r"<\|([^<>|\n]{1,60})\|>|<<(/?SYS)>>|\[(/?INST)\]|<((?:start|end)_of_turn)>", re.IGNORECASE)
"""Chat-template tokens, which a model server may read as the end of a turn."""


def visible(text: str) -> str:
    """Return a text without what cannot be seen: controls, zero-width and bidirectional characters, tags, joiners beside ASCII.

    Line breaks of all kinds become `\\n`, lone surrogates U+FFFD. Idempotent.
    """
    if text.isascii():
        encoded = text.encode()
        if len(encoded.translate(None, ASCII_CONTROLS)) != len(encoded):
            text = INVISIBLE.sub("", LINE_BREAK.sub("\n", text))
        return text
    if SUSPECT.search(text) is None:
        return text
    return JOINER_IN_ASCII.sub("", INVISIBLE.sub("", SURROGATE.sub("\ufffd", LINE_BREAK.sub("\n", text))))


def clean(text: str) -> str:
    """Return a visible text that uses none of the context's own marks: `[c1]` becomes `(c1)`, `<|im_start|>` becomes `‹|im_start|›`. Idempotent."""
    text = visible(text)
    if "[" in text or "［" in text or "【" in text or "<" in text:
        text = CITATION_MARK.sub(_unmarked, CONTROL_TOKEN.sub(_defused, text))
    return text


def _unmarked(match: re.Match[str]) -> str:
    return f"({match[1]})" if OUR_ID.search(match[1]) else match[0]


def _defused(match: re.Match[str]) -> str:
    if match[1] is not None:
        return f"‹|{match[1]}|›"
    return f"‹{match[2] or match[3] or match[4]}›"


@lru_cache(maxsize=4096)
def label(text: str) -> str:
    """Return a title, name or path as one clean line of bounded length."""
    line = " ".join(clean(text).split())
    return line if len(line) <= MAX_LABEL_CHARACTERS else line[: MAX_LABEL_CHARACTERS - 1].rstrip() + "…"


def escape(text: str) -> str:
    """Escape a clean text for XML content."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


@lru_cache(maxsize=4096)
def escape_attribute(text: str) -> str:
    """Escape a clean line for an XML attribute in double quotes."""
    return escape(text).replace('"', "&quot;")
