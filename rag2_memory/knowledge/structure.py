"""A chunk's layout as units of reading: sentences, list items, `Key: value` lines and table rows, each with the headings and dates above it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

UnitKind = Literal["sentence", "pair", "definition", "row", "heading", "lead"]


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece of a chunk that states something by itself."""

    kind: UnitKind
    text: str
    """Verbatim; of a heading, without its marks."""
    key: str = ""
    """Of a pair: what stands before the colon; of a definition: the name that a list item begins with."""
    value: str = ""
    cells: tuple[str, ...] = ()
    """Of a row."""
    header: tuple[str, ...] = ()
    """Of a row: its table's header cells."""
    level: int = 0
    """Of a heading."""
    item: bool = False
    """Whether it stands in a list."""
    opens: bool = True
    """Of a sentence: whether it is the first of its paragraph or item."""


_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(.+?)[ \t]*#*[ \t]*$")
_ITEM = re.compile(r"[ \t]*(?:[-*+•]|\d{1,3}[.)])[ \t]+(?:\[[ xX]\][ \t]+)?")
_QUOTE = re.compile(r"(?:[ \t]*>[ \t]?)+")
_RULE_ROW = re.compile(r"[ \t]*\|?[ \t:|-]*-{2,}[ \t:|-]*$")
_PAIR = re.compile(
    r"(?:\*\*|__)?(?P<key>[^\W\d_`][^:\n*_|`.]{0,40}?|`[^`\s]+`|[\w-]+)(?:(?:\*\*|__):?|:(?:\*\*|__)?|\*\*:)[ \t]+(?P<value>\S.*)$",
    re.DOTALL,
)
_DEFINED = re.compile(r"(?:\*\*)?`?(?P<key>[a-z][\w.-]*[-_.A-Z]\w+)`?(?:\*\*)?(?:,| [–—-]| \()\s*\S", re.DOTALL)
"""A list item that begins with the thing it explains."""
_LEAD = re.compile(r"(?:\*\*[^*\n]{3,80}\*\*[:.]?|[^.!?\n]{3,80}:|[^.!?:\n]{0,60}\b(?:on|of|by|are|is|uses|needs|requires|for))[ \t]*$")
_END = re.compile(r"(?<=[.!?])[\"”')\]*_]*\s+(?=[\"“'(\[*_`]*[^\W\d_a-zß-öø-ÿ]|[\"“'(\[*_`]*\d|`|→)")
_ABBREVIATED = re.compile(r"\b(?:[^\W\d_]|(?i:e\.g|i\.e|etc|vs|cf|no|nr|dr|mr|mrs|ms|prof|st|jr|sr|inc|ltd|approx|fig|sec|ca|resp))\.$")


def units(text: str, *, header: Sequence[str] = ()) -> Iterator[Unit]:
    """Yield what a chunk's text consists of, in order; code blocks are left out.

    Args:
        text: Markdown or plain text.
        header: Header cells of a table that began in the chunk before, for rows that come without one.
    """
    block: list[str] = []
    rows: list[str] = []
    fenced = False
    for line in text.split("\n"):
        stripped = line.strip()
        if stripped.startswith(("```", "~~~")):
            fenced = not fenced
        is_row = stripped.startswith("|") and not fenced
        if not is_row and rows:
            yield from _table(rows, tuple(header))
            rows = []
        if fenced or not stripped or is_row or stripped.startswith(("#", "```", "~~~", "<!--")) or _ITEM.match(line):
            yield from _paragraph(block)
            block = []
        if fenced or not stripped or stripped.startswith(("```", "~~~", "<!--")):
            continue
        if is_row:
            rows.append(stripped)
            continue
        heading = _HEADING.match(line)
        if heading:
            yield Unit("heading", heading[2], level=len(heading[1]))
        else:
            block.append(line)
    yield from _table(rows, tuple(header))
    yield from _paragraph(block)


def table_header(text: str) -> tuple[str, ...]:
    """Return the header cells of the last table that starts in a text, or nothing."""
    lines = text.split("\n")
    for index in range(len(lines) - 1, 0, -1):
        if _RULE_ROW.match(lines[index]) and "|" in lines[index - 1]:
            return _cells(lines[index - 1])
    return ()


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a paragraph verbatim; abbreviations and initials end none."""
    start = 0
    for match in _END.finditer(text):
        if not _ABBREVIATED.search(text, max(0, match.start() - 8), match.start()):
            yield text[start : match.start()].strip()
            start = match.end()
    if text[start:].strip():
        yield text[start:].strip()


def _paragraph(lines: Sequence[str]) -> Iterator[Unit]:
    if not lines:
        return
    if len(lines) > 1 and all(_PAIR.match(_QUOTE.sub("", line, count=1).strip()) for line in lines):
        for line in lines:
            yield from _text_units(line)
        return
    if len(lines) > 1 and not _ITEM.match(lines[0]) and _PAIR.match(lines[0].strip()) and lines[0].lstrip().startswith("**"):
        yield from _pairs_and_prose(lines)
        return
    yield from _text_units("\n".join(lines))


def _pairs_and_prose(lines: Sequence[str]) -> Iterator[Unit]:
    """Lines that open with a bold key each stand alone; the others belong to the line before."""
    group: list[str] = []
    for line in lines:
        if group and line.lstrip().startswith("**"):
            yield from _text_units("\n".join(group))
            group = []
        group.append(line)
    yield from _text_units("\n".join(group))


def _text_units(text: str) -> Iterator[Unit]:
    quote = _QUOTE.match(text)
    body = text[quote.end() :] if quote else text
    item = _ITEM.match(body)
    body = (body[item.end() :] if item else body).strip()
    if not body:
        return
    if not item and _LEAD.match(body):
        yield Unit("lead", body)
        return
    pair = _PAIR.match(body)
    if pair:
        yield Unit("pair", body, key=pair["key"].strip(" `"), value=pair["value"].strip(), item=bool(item))
        return
    defined = _DEFINED.match(body) if item else None
    if defined:
        yield Unit("definition", body, key=defined["key"], value=body, item=True)
        return
    for place, sentence in enumerate(sentences(body)):
        yield Unit("sentence", sentence, item=bool(item), opens=place == 0)


def _table(rows: Sequence[str], header: tuple[str, ...]) -> Iterator[Unit]:
    if not rows:
        return
    body = list(rows)
    if len(rows) > 1 and _RULE_ROW.match(rows[1]):
        header, body = _cells(rows[0]), list(rows[2:])
    elif _RULE_ROW.match(rows[0]):
        body = list(rows[1:])
    for row in body:
        cells = _cells(row)
        if len(cells) > 1:
            yield Unit("row", row, cells=cells, header=header if len(header) >= len(cells) else ())


def _cells(row: str) -> tuple[str, ...]:
    inner = row.strip().removeprefix("|")
    inner = inner[:-1] if inner.endswith("|") and not inner.endswith("\\|") else inner
    return tuple(cell.replace("\\|", "|").strip() for cell in re.split(r"(?<!\\)\|", inner))
