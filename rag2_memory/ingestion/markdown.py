"""The block structure of a text as a partition of its characters; markdown-it-py's line maps are exact."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

Kind = Literal["paragraph", "heading", "list", "table", "code"]

HEADING_CHARACTERS = 160
"""A longer heading is shortened in heading paths, which are indexed with every chunk below it."""

LINE_END = re.compile(r"\r\n|\n|\r(?!\n)")
"""What markdown-it takes as a line end; `str.splitlines` knows more and would shift the line maps."""

_BLANK_LINES = re.compile(r"(?:\r\n|\n|\r(?!\n))(?:[^\S\r\n]*(?:\r\n|\n|\r(?!\n)))+")
_KINDS: dict[str, Kind] = {
    "heading_open": "heading",
    "bullet_list_open": "list",
    "ordered_list_open": "list",
    "table_open": "table",
    "fence": "code",
    "code_block": "code",
    "html_block": "code",
}
_CONTAINERS = frozenset({"bullet_list_open", "ordered_list_open", "list_item_open", "blockquote_open"})


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a text that belongs together. Blocks partition the text; blank lines go with the block before."""

    start: int
    end: int
    kind: Kind
    level: int = 0
    """Of a heading: 1 to 6."""
    title: str = ""
    """Of a heading: its text without markup."""
    parts: tuple[Block, ...] = ()
    """What a list or quote consists of; a partition of it."""


def markdown_blocks(text: str) -> list[Block]:
    """Return the top-level blocks of a Markdown text.

    A heading is an ATX heading, or a setext heading of one line: under several lines, `---` nearly always means a rule.
    """
    if "\n" not in text and "\r" not in text and not text.lstrip().startswith("#"):
        return [Block(0, len(text), "paragraph")] if text.strip() else []
    env: dict[str, Any] = {}
    tokens = _parser().parse(text, env)
    offsets = [0, *(match.end() for match in LINE_END.finditer(text)), len(text)]
    return _partition(text, tokens, offsets, env, start=0, end=len(text))


def paragraph_blocks(text: str, *, kind: Kind) -> list[Block]:
    """Return the blocks of a text without markup: what stands between blank lines."""
    blocks, start = [], 0
    for blank in _BLANK_LINES.finditer(text):
        if text[start : blank.end()].strip():
            blocks.append(Block(start, blank.end(), kind))
            start = blank.end()
    if text[start:].strip():
        blocks.append(Block(start, len(text), kind))
    elif blocks:
        blocks[-1] = Block(blocks[-1].start, len(text), kind)
    return blocks


def first_heading(text: str) -> str:
    """Return the first top-level heading of a Markdown text without markup, empty where there is none."""
    return next((block.title for block in markdown_blocks(text) if block.kind == "heading" and block.level == 1), "")


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable("table")
    parser.core.ruler.disable(["inline", "text_join"])
    return parser


def _partition(text: str, tokens: Sequence[Token], offsets: Sequence[int], env: dict[str, Any], *, start: int, end: int) -> list[Block]:
    """Make sibling tokens blocks that cover `text[start:end]`; unclaimed lines (link definitions) are paragraphs."""
    found: list[Block] = []
    cursor = start

    def fill(until: int) -> None:
        if text[cursor:until].strip():
            found.append(Block(cursor, until, "paragraph"))
        elif found and cursor < until:
            last = found[-1]
            found[-1] = Block(last.start, until, last.kind, last.level, last.title, _stretched(last.parts, until))

    for token, inner in _siblings(tokens):
        assert token.map is not None  # `_siblings` passes over tokens without lines
        first, last = max(offsets[token.map[0]], cursor), min(offsets[token.map[1]], end)
        if not text[first:last].strip():  # markdown-it has fewer blank characters than Python: a form feed is a paragraph
            continue
        fill(first)
        begin = first if found else start
        parts = _partition(text, inner, offsets, env, start=begin, end=last) if token.type in _CONTAINERS else ()
        found.append(_block(token, inner, env, start=begin, end=last, parts=tuple(parts)))
        cursor = last
    fill(end)
    return found


def _stretched(parts: tuple[Block, ...], until: int) -> tuple[Block, ...]:
    if not parts:
        return ()
    last = parts[-1]
    return (*parts[:-1], Block(last.start, until, last.kind, last.level, last.title, _stretched(last.parts, until)))


def _siblings(tokens: Sequence[Token]) -> list[tuple[Token, Sequence[Token]]]:
    """Pair each token of the outermost level with the tokens inside it."""
    pairs: list[tuple[Token, Sequence[Token]]] = []
    index = 0
    while index < len(tokens):
        token, close = tokens[index], index
        if token.nesting == 1:
            close = next(
                place for place in range(index + 1, len(tokens)) if tokens[place].level == token.level and tokens[place].nesting == -1
            )
        if token.map is not None and token.nesting >= 0:
            pairs.append((token, tokens[index + 1 : close]))
        index = close + 1
    return pairs


def _block(token: Token, inner: Sequence[Token], env: dict[str, Any], *, start: int, end: int, parts: tuple[Block, ...]) -> Block:
    kind = _KINDS.get(token.type, "paragraph")
    if kind != "heading":
        return Block(start, end, kind, parts=parts)
    source = inner[0].content
    if token.markup in ("=", "-") and ("\n" in source or len(source) > HEADING_CHARACTERS):
        return Block(start, end, "paragraph")
    return Block(start, end, "heading", level=int(token.tag[1]), title=_plain(source, env))


def _plain(source: str, env: dict[str, Any]) -> str:
    """Return inline Markdown as text: no emphasis, code marks or link targets, no `{#anchor}` at the end."""
    parser = _parser()
    tokens: list[Token] = []
    parser.inline.parse(re.sub(r"\s*\{#[^{}]*\}\s*$", "", source), parser, env, tokens)
    words = " ".join("".join(_inline_text(token) for token in tokens).split())
    return words if len(words) <= HEADING_CHARACTERS else words[:HEADING_CHARACTERS].rpartition(" ")[0] + "…"


def _inline_text(token: Token) -> str:
    if token.type in ("softbreak", "hardbreak"):
        return " "
    return "" if token.type == "html_inline" else token.content
