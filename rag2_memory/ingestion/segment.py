"""Documents as parents, which partition the text, and children, the slices of them that are embedded and ranked.

Every decision is local. Children are formed section by section, so an edit changes the children of its own section and
nothing else; within a section the cheapest division is sought (`divide`), which settles again a few pieces after an
edit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rag2_memory.ingestion.located import locate
from rag2_memory.ingestion.markdown import Block, markdown_blocks, paragraph_blocks
from rag2_memory.ingestion.media import is_markdown, is_prose
from rag2_memory.ingestion.sections import Section, common_path, sections
from rag2_memory.ingestion.units import Unit, UnitMaker, divide, preferred
from rag2_memory.protocols import TextSplitter
from rag2_memory.types import Document

HeadingPath = tuple[str, ...]

NEW_SECTION_CUT = 0.02
"""Cost of a parent's boundary per level of the heading that it stands at: shallow headings are the better places."""

INSIDE_SECTION_CUT = 0.3
"""Cost of a parent's boundary inside a section."""


INDENTATION_CHARACTERS = 100
"""White space before the first word of a child that is kept, because code means something by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildDraft:
    """A child chunk before it has an id."""

    text: str
    heading_path: HeadingPath
    start: int
    end: int
    """`text` is `document.text[start:end]`."""
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentDraft:
    """A parent chunk before it has an id."""

    text: str
    heading_path: HeadingPath
    """What the heading paths of its children have in common."""
    start: int
    end: int
    tokens: int
    children: tuple[ChildDraft, ...]


@dataclass(frozen=True, slots=True)
class _Piece:
    """A future child with the white space around it; the pieces of a document partition its text."""

    start: int
    end: int
    path: HeadingPath
    tokens: int
    level: int
    """Level of the heading that it starts with; 0 inside a section."""


def segment(
    document: Document,
    *,
    count: Callable[[str], int],
    parent_tokens: int = 1024,
    child_tokens: int = 128,
    splitter: TextSplitter | None = None,
) -> list[ParentDraft]:
    """Divide a document along its structure.

    Children follow headings, paragraphs, list items, tables, code and quotes. What is at most 1.5 times `child_tokens`
    is never cut; a larger paragraph is cut into even pieces at sentences, a table at rows (the header stays with the
    first), code at lines; a single sentence, row or line that is itself too large is cut at words, and at characters
    where there are none. Small neighbours of one section share a child, and a heading stays with the text that follows.

    Args:
        document: Its `media_type` says whether the text is Markdown, prose or lines. A conversation turn becomes one
            parent.
        count: Counts tokens; called once or twice per block.
        parent_tokens: Target size of a parent; at most 1.5 times that, as far as `count` is additive.
        child_tokens: Target size of a child, likewise.
        splitter: Makes the children of each parent instead of the rules above; its pieces may overlap but must occur in
            the text.

    Returns:
        Parents in order, whose texts joined are the document's text; none for an empty text. A text of white space is a
        parent without children.

    Raises:
        InvalidRequestError: If the splitter returns a piece that does not occur in the text.
    """
    text = document.text
    if not text:
        return []
    maker = UnitMaker(text, count=count, target=child_tokens)
    pieces = [piece for section in sections(_blocks(document)) for piece in _pieces(section, maker)]
    if not pieces:
        return [ParentDraft(text=text, heading_path=(), start=0, end=len(text), tokens=maker.count(text), children=())]
    groups = [pieces] if document.turn is not None else _groups(text, pieces, target=parent_tokens)
    bounds = [0, *(group[0].start for group in groups[1:]), len(text)]
    parents = []
    for group, (start, end) in zip(groups, pairwise(bounds), strict=True):
        spans = [(piece.start, piece.end) for piece in group] if splitter is None else locate(text, start, end, splitter)
        children = [_child(text, span, group, maker) for span in spans]
        parents.append(
            ParentDraft(
                text=text[start:end],
                heading_path=common_path([piece.path for piece in group]),
                start=start,
                end=end,
                tokens=maker.count(text[start:end]),
                children=tuple(children),
            )
        )
    return parents


def _blocks(document: Document) -> list[Block]:
    if is_markdown(document.media_type):
        return markdown_blocks(document.text)
    return paragraph_blocks(document.text, kind="paragraph" if is_prose(document.media_type) else "code")


def _pieces(section: Section, maker: UnitMaker) -> list[_Piece]:
    """Divide one section into pieces of about the target size."""
    units: list[Unit] = maker.units(section.blocks)
    cuts = _divided(maker.text, units, [unit.cut for unit in units], target=maker.target)
    pieces = []
    for first, last in pairwise([0, *cuts, len(units)]):
        tokens = sum(unit.tokens for unit in units[first:last])
        pieces.append(_Piece(units[first].start, units[last - 1].end, section.path, tokens, 0 if first else section.level))
    return pieces


def _groups(text: str, pieces: Sequence[_Piece], *, target: int) -> list[Sequence[_Piece]]:
    """Group pieces into parents, preferably at headings, the shallower the better."""
    cuts = [piece.level * NEW_SECTION_CUT if piece.level else INSIDE_SECTION_CUT for piece in pieces]
    bounds = _divided(text, pieces, cuts, target=target)
    return [pieces[first:last] for first, last in pairwise([0, *bounds, len(pieces)])]


def _divided(text: str, row: Sequence[Unit] | Sequence[_Piece], cuts: Sequence[float], *, target: int) -> list[int]:
    sizes = [item.tokens for item in row]
    return divide(sizes, preferred(text, [item.start for item in row], sizes, cuts, target=target), target=target)


def _child(text: str, span: tuple[int, int], group: Sequence[_Piece], maker: UnitMaker) -> ChildDraft:
    """Trim a span: blank lines before it and white space after it belong to the parent alone; an indentation stays."""
    start, end = span
    body = text[start:end]
    visible = start + len(body) - len(body.lstrip())
    line = max(text.rfind("\n", start, visible), text.rfind("\r", start, visible), start - 1) + 1
    start = line if visible - line <= INDENTATION_CHARACTERS else visible
    body = text[start:end].rstrip()
    path = next((piece.path for piece in group if piece.start <= visible < piece.end), group[0].path)
    return ChildDraft(text=body, heading_path=path, start=start, end=start + len(body), tokens=maker.count(body))
