"""From ranked passages to the blocks of a context: choosing, joining neighbours, taking in parents, ordering."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction
from typing import Any, Final, NamedTuple

from rag2_memory.context.compiled import ContextBlock, Dropped
from rag2_memory.context.dedupe import Deduplicator
from rag2_memory.context.pack import pack
from rag2_memory.context.render import Renderer, block_part, header, interval
from rag2_memory.context.sanitize import clean
from rag2_memory.context.shorten import cut_to_fit
from rag2_memory.context.weigh import Scale
from rag2_memory.types import Passage, utc

ALIKE_TOKENS: Final = 160
"""Added to a passage's tokens in the order by density: length decides between passages of like scores, and a short one of a much lower score
does not come first. Between 80 and 400 contexts hold a point more of the gold passages than with the 40 tokens of a header alone."""

CHARACTERS_PER_TOKEN: Final = 4
"""English under o200k_base has about 4.5; used for the order by density where a passage's tokens are unknown."""

PROMOTED_BLOCKS: Final = 10
"""Blocks that may become their parent chunk: what is around the best ones may hold the answer; around the fortieth it is ballast, and a
window that is full because it can be costs money and attention."""

NO_ROOM: Final = "no room left for passages"

MIN_OVERLAP_CHARACTERS: Final = 20
"""A shorter common end and beginning of neighbouring chunks may be chance."""


class Shown(NamedTuple):
    """A block and what it looks like in the context."""

    block: ContextBlock
    part: str


@dataclass(slots=True, kw_only=True, eq=False)
class Candidate:
    """A passage that may enter."""

    passage: Passage
    value: float
    number: int = 0
    """Of its citation id, given when it is first weighed."""
    alone: Shown | None = None
    """As it would stand alone."""


@dataclass(slots=True, kw_only=True, eq=False)
class Group:
    """Chosen candidates that are shown as one block."""

    members: list[Candidate]
    """The first to be considered first."""
    shown: Shown
    parent_id: str = ""
    """The parent that all members share; empty if they do not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentText:
    """What is needed of a parent chunk."""

    text: str
    heading_path: tuple[str, ...] = ()


def parent_text(value: Any) -> ParentText:
    """Read a parent: plain text, or anything with `text` and perhaps `heading_path`."""
    if isinstance(value, str):
        return ParentText(text=value)
    return ParentText(text=value.text, heading_path=tuple(getattr(value, "heading_path", ())))


def score_of(passage: Passage) -> float:
    """Return a passage's score; 0 where it is not finite."""
    return passage.score if math.isfinite(passage.score) else 0.0


def values(passages: Sequence[Passage]) -> list[float]:
    """Return scores as values of at least 0: shifted where some are negative, as a cross-encoder's are."""
    scores = [score_of(passage) for passage in passages]
    floor = min(min(scores, default=0.0), 0.0)
    return [score - floor for score in scores]


def by_density(passages: Sequence[Passage]) -> list[Candidate]:
    """Return candidates with the most valuable first and the others by value per token; ties keep their rank."""
    candidates = [Candidate(passage=passage, value=value) for passage, value in zip(passages, values(passages), strict=True)]
    if not candidates:
        return []
    best = max(range(len(candidates)), key=lambda at: (candidates[at].value, -at))
    rest = sorted(
        candidates[:best] + candidates[best + 1 :],
        key=lambda item: -item.value / ((item.passage.tokens or len(item.passage.text) // CHARACTERS_PER_TOKEN) + ALIKE_TOKENS),
    )
    return [candidates[best], *rest]


class PassageSegment:
    """The passages of one context."""

    def __init__(self, passages: Sequence[Passage], *, renderer: Renderer, scale: Scale) -> None:
        self._renderer, self._scale = renderer, scale
        self._candidates = by_density(passages)
        self._numbered = 0
        self.frame_tokens = scale.weigh(renderer.opening("passages", "retrieved")) + scale.weigh(renderer.closing("passages"))
        self.dropped: dict[int, Dropped] = {}
        self.groups: list[Group] = []
        self.complete = True

    def choose(self, limit: Fraction) -> None:
        """Choose passages under a limit of tokens for the whole segment, its frame included, and join neighbours."""
        room = limit - self.frame_tokens
        whole_room = math.floor(room)  # weights are whole numbers, and comparing those is ten times as fast
        packed = pack(self._distinct(), weight=lambda item: self._alone(item).block.tokens, value=lambda item: item.value, limit=whole_room)
        self.complete = packed.complete
        chosen = list(packed.chosen)
        if not packed.best_fits and (cut := self._cut_best(room)) is not None:
            chosen = [cut]
        self.groups = self._joined(chosen)
        taken = set(chosen)
        for at, item in enumerate(self._candidates):
            if item not in taken and at not in self.dropped:
                self.dropped[at] = _dropped(item.passage, NO_ROOM)

    @property
    def tokens(self) -> int:
        """Tokens of the segment as it stands, at most."""
        return self.frame_tokens + sum(group.shown.block.tokens for group in self.groups) if self.groups else 0

    def promote(self, parents: Mapping[str, Any], spare: Fraction) -> None:
        """Replace the best blocks by the parent chunks around them while the spare tokens last."""
        for group in sorted(self.groups, key=_by_value)[:PROMOTED_BLOCKS]:
            if group not in self.groups or not group.parent_id or group.parent_id not in parents or group.shown.block.truncated:
                continue
            family = [other for other in self.groups if other.parent_id == group.parent_id]
            parent = parent_text(parents[group.parent_id])
            if not all(_stands_in(item.passage, parent) for member in family for item in member.members):
                continue
            promoted = self._promoted(family, parent)
            cost = promoted.shown.block.tokens - sum(member.shown.block.tokens for member in family)
            if cost <= spare:
                spare -= cost
                self.groups = [promoted if other is group else other for other in self.groups if other is group or other not in family]
        inside = {group.parent_id: group.shown.block.citation_id for group in self.groups if group.shown.block.kind == "parent"}
        for at, dropped in self.dropped.items():
            passage = self._candidates[at].passage
            if passage.parent_id in inside and dropped.reason == NO_ROOM and _stands_in(passage, parent_text(parents[passage.parent_id])):
                self.dropped[at] = replace(dropped, reason=f"already inside {inside[passage.parent_id]}, its parent chunk")

    def give_up(self, excess: int) -> bool:
        """Remove the least valuable blocks, about `excess` tokens but at most half of them; whether anything was removed."""
        last_first = sorted(self.groups, key=lambda group: -min(member.number for member in group.members))
        for group in last_first[: (len(last_first) + 1) // 2]:
            if excess <= 0:
                break
            excess -= group.shown.block.tokens
            self.groups.remove(group)
            for at, item in enumerate(self._candidates):
                if item in group.members:
                    self.dropped[at] = _dropped(item.passage, "no room left: the rendered whole was over budget")
        return bool(last_first)

    def arranged(self) -> list[Group]:
        """Return what is shown, grouped by document, the best documents at the edges, each document in reading order."""
        documents: dict[str, list[Group]] = {}
        for group in sorted(self.groups, key=_by_value):
            documents.setdefault(_source(group.members[0].passage), []).append(group)
        ranked = [sorted(groups, key=_reading_order) for groups in documents.values()]
        return [group for groups in best_at_the_edges(ranked) for group in groups]

    def _distinct(self) -> Iterator[Candidate]:
        known = Deduplicator()
        for at, item in enumerate(self._candidates):
            passage = item.passage
            original = known.duplicate_of(
                chunk_id=passage.chunk_id, document_id=passage.document_id, text=passage.text, ordinal=passage.ordinal
            )
            if original is None:
                yield item
            else:
                self.dropped[at] = _dropped(
                    passage, "the same chunk twice" if original == passage.chunk_id else f"near-duplicate of {original}"
                )

    def _alone(self, item: Candidate) -> Shown:
        if item.alone is None:
            self._numbered += 1
            item.number = self._numbered
            item.alone = self._first_shown(item.passage, f"c{item.number}")
        return item.alone

    def _first_shown(self, passage: Passage, citation_id: str) -> Shown:
        turn = passage.turn
        text = body(clean(passage.text))
        modified_at = turn.at if turn and turn.at else passage.modified_at
        valid, speaker = _validity(passage.metadata), turn.speaker if turn else ""
        labels = header(
            title=passage.title,
            heading_path=tuple(passage.heading_path),
            document_id=passage.document_id,
            modified_at=modified_at,
            valid=valid,
            speaker=speaker,
        )
        part = self._renderer.block(citation_id, labels, text)
        block = ContextBlock(
            citation_id=citation_id,
            kind="chunk",
            text=text,
            tokens=self._scale.weigh(part),
            chunk_ids=(passage.chunk_id,),
            document_id=passage.document_id,
            title=passage.title,
            heading_path=passage.heading_path,
            score=score_of(passage),
            uri=passage.uri,
            modified_at=modified_at,
            valid=valid,
            speaker=speaker,
            version=passage.version,
        )
        return Shown(block=block, part=part)

    def _shown(self, block: ContextBlock) -> Shown:
        part = block_part(self._renderer, block)
        return Shown(block=replace(block, tokens=self._scale.weigh(part)), part=part)

    def _cut_best(self, room: Fraction) -> Candidate | None:
        best = self._candidates[0]
        block = self._alone(best).block
        shortened = cut_to_fit(block.text, lambda text: self._shown(replace(block, text=text)).block.tokens <= room)
        if shortened is None:
            return None
        best.alone = self._shown(replace(block, text=shortened, truncated=True))
        return best

    def _joined(self, chosen: Iterable[Candidate]) -> list[Group]:
        """Group chosen candidates: chunks that follow each other in one section become one block."""
        groups: list[list[Candidate]] = []
        for item in sorted(chosen, key=lambda item: (_section(item.passage), item.passage.ordinal, item.number)):
            last = groups[-1][-1].passage if groups else None
            follows = last is not None and _section(last) == _section(item.passage) and item.passage.ordinal == last.ordinal + 1
            if follows and item.passage.turn is None:
                groups[-1].append(item)
            else:
                groups.append([item])
        return [self._merged(members) for members in groups]

    def _merged(self, in_order: list[Candidate]) -> Group:
        if len(in_order) == 1:
            return Group(members=in_order, shown=self._alone(in_order[0]), parent_id=in_order[0].passage.parent_id)
        members = sorted(in_order, key=lambda item: item.number)
        best = self._alone(members[0])
        parent_ids = {item.passage.parent_id for item in in_order}
        parent_id = parent_ids.pop() if len(parent_ids) == 1 else ""
        text = in_order[0].passage.text
        for item in in_order[1:]:
            text = joined(text, item.passage.text)
        block = replace(
            best.block,
            kind="merged",
            text=body(clean(text)),
            chunk_ids=tuple(item.passage.chunk_id for item in in_order),
            score=math.fsum(score_of(item.passage) for item in in_order),
        )
        return Group(members=members, shown=self._shown(block), parent_id=parent_id)

    def _promoted(self, family: Sequence[Group], parent: ParentText) -> Group:
        members = sorted((item for group in family for item in group.members), key=lambda item: item.number)
        in_order = sorted(members, key=lambda item: item.passage.ordinal)
        first = family[0].shown.block
        block = replace(
            first,
            citation_id=f"c{members[0].number}",
            kind="parent",
            text=body(clean(parent.text)),
            heading_path=parent.heading_path or first.heading_path,
            chunk_ids=tuple(item.passage.chunk_id for item in in_order),
            score=math.fsum(score_of(item.passage) for item in members),
        )
        return Group(members=members, shown=self._shown(block), parent_id=family[0].parent_id)


def joined(first: str, second: str) -> str:
    """Join neighbouring chunks, once where the end of one is the beginning of the other."""
    if second[:MIN_OVERLAP_CHARACTERS] in first[-len(second) :]:
        for size in range(min(len(first), len(second)), MIN_OVERLAP_CHARACTERS - 1, -1):
            if first.endswith(second[:size]):
                return first + second[size:]
    return f"{first.rstrip()}\n{body(second)}"


def body(text: str) -> str:
    """Return a text without surrounding blank space; the indentation of its first line stays, for code means something by it."""
    return text.rstrip().lstrip("\n")


def best_at_the_edges(ranked: Sequence[Any]) -> list[Any]:
    """Reorder best-first items so that the best stand first and last and the worst in the middle.

    Models recall what stands in the middle of a long prompt worst (Liu et al., "Lost in the Middle", TACL 2024).
    """
    return [*ranked[0::2], *reversed(ranked[1::2])]


def _by_value(group: Group) -> tuple[float, int]:
    return -max(item.value for item in group.members), group.members[0].number


def _stands_in(passage: Passage, parent: ParentText) -> bool:
    """Whether a parent holds a passage; one that was joined from chunks of two parents stands in neither."""
    return passage.text.strip() in parent.text


def _source(passage: Passage) -> str:
    return f"thread {passage.turn.thread_id}" if passage.turn else f"document {passage.document_id}"


def _section(passage: Passage) -> tuple[str, int, tuple[str, ...]]:
    return _source(passage), passage.version, passage.heading_path


def _reading_order(group: Group) -> tuple[int, int]:
    passage = min((item.passage for item in group.members), key=lambda passage: passage.ordinal)
    return (passage.turn.ordinal if passage.turn else 0), passage.ordinal


def _validity(metadata: Mapping[str, Any]) -> str:
    """Return the validity window that a document's metadata states under `valid_from` and `valid_to`; empty if none can be read."""
    if not metadata:
        return ""
    moments: list[datetime | None] = []
    for name in ("valid_from", "valid_to"):
        value = metadata.get(name)
        try:
            moments.append(utc(value) if value else None)
        except (ValueError, TypeError):
            moments.append(None)
    return interval(*moments)


def _dropped(passage: Passage, reason: str) -> Dropped:
    return Dropped(kind="passage", id=passage.chunk_id, title=passage.title, reason=reason, tokens=passage.tokens)
