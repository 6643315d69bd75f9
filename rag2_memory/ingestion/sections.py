"""Sections of a document: a heading with the blocks up to the next one, and the path of headings above them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from rag2_memory.ingestion.markdown import Block


@dataclass(frozen=True, slots=True)
class Section:
    """Blocks under one heading; the sections of a document partition it."""

    path: tuple[str, ...]
    """Headings from the outermost down to its own."""
    level: int
    """Level of its first heading; 0 for text above all headings."""
    blocks: tuple[Block, ...]


def common_path(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the headings that all paths start with."""
    shared = itertools.takewhile(lambda level: len(set(level)) == 1, zip(*paths, strict=False))
    return tuple(level[0] for level in shared)


def sections(blocks: Sequence[Block]) -> list[Section]:
    """Group blocks by headings.

    A heading without text of its own goes with the first subsection below it; headings that none of the following text
    is under (a mere list of headings) form a section together.
    """
    found: list[Section] = []
    stack: list[Block] = []
    waiting: list[tuple[Block, tuple[str, ...]]] = []
    orphans: list[tuple[Block, tuple[str, ...]]] = []
    body: list[Block] = []
    body_path: tuple[str, ...] = ()

    def close() -> None:
        if not body:
            return
        heads = [block for block, _ in waiting]
        found.append(Section(body_path, heads[0].level if heads else 0, (*heads, *body)))
        waiting.clear()
        body.clear()

    def close_orphans() -> None:
        if orphans:
            path = common_path([path for _, path in orphans])
            found.append(Section(path, orphans[0][0].level, tuple(block for block, _ in orphans)))
            orphans.clear()

    for block in blocks:
        if block.kind != "heading":
            close_orphans()
            body.append(block)
            continue
        close()
        if waiting and waiting[-1][0].level >= block.level:
            orphans += waiting
            waiting.clear()
        while stack and stack[-1].level >= block.level:
            stack.pop()
        stack.append(block)
        body_path = tuple(heading.title for heading in stack if heading.title)
        waiting.append((block, body_path))
    close()
    orphans += waiting
    close_orphans()
    return found
