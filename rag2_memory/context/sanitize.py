"""Making retrieved text harmless: it may say anything, but it cannot hide, break its frame, or cite in our name."""

from __future__ import annotations

import re
from typing import Final

MAX_LABEL_CHARACTERS: Final = 200
"""Titles and section paths are cut here: they repeat in every block, and nobody reads a longer one."""

ASCII_CONTROLS: Final = bytes(set(range(32)) - {9, 10}) + b"\x7f"

INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f"  # control characters; XML 1.0 forbids most
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f"  # zero-width and bidi
    "\u3164\ufeff\uffa0\ufff9-\ufffb\ufffe\uffff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"  # tag characters, which smuggle whole ASCII texts
)
NONCHARACTER: Final = re.compile("[\ufdd0-\ufdef" + "".join(f"{chr(plane * 0x10000 + 0xFFFE)}{chr(plane * 0x10000 + 0xFFFF)}" for plane in range(1, 17)) + "]")
JOINER_IN_ASCII: Final = re.compile("(?<=[\x00-\x7f])[\u200c\u200d]+|[\u200c\u200d]+(?=[\x00-\x7f])|^[\u200c\u200d]+|[\u200c\u200d]+$")
"""Joiners belong into emoji and into Persian or Indic words; beside ASCII they only hide something."""

LINE_BREAK: Final = re.compile("\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
SURROGATE: Final = re.compile("[\ud800-\udfff]")

CITATION_MARK: Final = re.compile(r"[\[［【](\s*[cfCF]\s*\d+[^\[\]［］【】\n]{0,80})[\]］】]")
"""What could be read as one of our citation ids."""

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
    text = SURROGATE.sub("\ufffd", LINE_BREAK.sub("\n", text))
    return JOINER_IN_ASCII.sub("", NONCHARACTER.sub("", INVISIBLE.sub("", text)))


def clean(text: str) -> str:
    """Return a visible text that uses none of the context's own marks: `[c1]` becomes `(c1)`, `<|im_start|>` becomes `‹|im_start|›`. Idempotent."""
    text = visible(text)
    if "[" in text or "［" in text or "【" in text or "<" in text:
        text = CITATION_MARK.sub(r"(\1)", CONTROL_TOKEN.sub(_defused, text))
    return text


def _defused(match: re.Match[str]) -> str:
    if match[1] is not None:
        return f"‹|{match[1]}|›"
    return f"‹{match[2] or match[3] or match[4]}›"


def label(text: str) -> str:
    """Return a title, name or path as one clean line of bounded length."""
    line = " ".join(clean(text).split())
    return line if len(line) <= MAX_LABEL_CHARACTERS else line[: MAX_LABEL_CHARACTERS - 1].rstrip() + "…"


def escape(text: str) -> str:
    """Escape a clean text for XML content."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def escape_attribute(text: str) -> str:
    """Escape a clean line for an XML attribute in double quotes."""
    return escape(text).replace('"', "&quot;")
