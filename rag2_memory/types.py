"""The values that cross layers: what goes in, what comes out, and what the tiers exchange. No behaviour beyond reading them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timezone
from typing import Any, Literal

from rag2_memory.errors import InvalidRequestError

TierName = Literal["vector", "lexical", "graph", "cache"]
"""The four indexes that are rebuilt from the registry."""

INDEX_TIERS: tuple[TierName, ...] = ("vector", "lexical", "graph")
"""Indexes that must have taken a document before it becomes visible; the cache is invalidated afterwards."""

DEFAULT_NAMESPACE = "default"


def in_words(moment: datetime) -> str:
    """Return a moment as people write it, to the minute: `8 May 2023, 13:56`; the title of a turn, for a search finds dates by their words."""
    return f"{moment.day} {moment:%B %Y, %H:%M}"


def utc(moment: datetime | date | str) -> datetime:
    """Return a moment as an aware UTC datetime; naive values are taken as UTC, a date as its first instant.

    Raises:
        InvalidRequestError: If text is not ISO 8601.
    """
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment.strip())
        except ValueError as exc:
            raise InvalidRequestError(f"got {moment!r} as a date; needed ISO 8601 such as 2026-03-15 or 2026-03-15T09:00:00Z.") from exc
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time.min)
    return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)


@dataclass(frozen=True, slots=True, kw_only=True)
class AsOf:
    """A point on both time axes; `None` on an axis means now."""

    valid: datetime | None = None
    """When something was true in the world."""
    recorded: datetime | None = None
    """When the memory knew it (transaction time)."""

    @classmethod
    def of(cls, value: AsOf | datetime | date | str | None) -> AsOf | None:
        """Read what callers pass as `as_of`: a plain moment is a point of valid time; `None` stays `None`."""
        if value is None or isinstance(value, AsOf):
            return value
        return cls(valid=utc(value))


AsOfLike = AsOf | datetime | date | str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Who asks. Documents with an empty ACL are visible to everyone in the namespace; no namespace ever sees another."""

    namespace: str = DEFAULT_NAMESPACE
    user: str | None = None
    groups: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not isinstance(self.namespace, str) or not self.namespace:
            raise InvalidRequestError(f"got namespace={self.namespace!r}; needed a non-empty string.")
        if isinstance(self.groups, str):
            raise InvalidRequestError(f"got groups={self.groups!r}; needed a collection of names such as {{'eng'}}, not one string.")
        object.__setattr__(self, "groups", frozenset(self.groups))

    @property
    def principals(self) -> frozenset[str]:
        """The ACL entries that this scope satisfies, such as `user:ada` and `group:eng`."""
        user = {f"user:{self.user}"} if self.user else set()
        return frozenset(user | {f"group:{group}" for group in self.groups})


def acl_of(entries: Any) -> frozenset[str]:
    """Check ACL entries and return them as a set.

    Raises:
        InvalidRequestError: If an entry is not `user:NAME` or `group:NAME`.
    """
    if isinstance(entries, str):
        raise InvalidRequestError(f"got acl={entries!r}; needed a collection such as ['user:ada', 'group:eng'], not one string.")
    acl = frozenset(entries or ())
    for entry in acl:
        kind, _, name = entry.partition(":") if isinstance(entry, str) else ("", "", "")
        if kind not in ("user", "group") or not name:
            raise InvalidRequestError(f"got the ACL entry {entry!r}; needed 'user:NAME' or 'group:NAME'.")
    return acl


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What makes a document a turn of a conversation."""

    thread_id: str
    ordinal: int
    """Position in the thread, from 0."""
    speaker: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document as a caller hands it in."""

    id: str
    text: str
    title: str = ""
    uri: str | None = None
    acl: frozenset[str] = frozenset()
    """Who may see it (`user:ada`, `group:eng`); empty: everyone in the namespace."""
    modified_at: datetime | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """JSON values only; returned with passages, never interpreted."""
    media_type: str = "text/markdown"
    turn: Turn | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id.strip():
            raise InvalidRequestError(f"got Document(id={self.id!r}); needed a non-empty string that names the document.")
        if not isinstance(self.text, str):
            raise InvalidRequestError(f"got Document(text=…) of type {type(self.text).__name__}; needed str. Decode bytes first.")
        object.__setattr__(self, "acl", acl_of(self.acl))
        if self.modified_at is not None:
            object.__setattr__(self, "modified_at", utc(self.modified_at))


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A child chunk: the unit that is embedded, indexed and ranked. Its id follows its content, so equal ids mean equal content."""

    id: str
    document_key: str
    """Registry key of the document: a hash of namespace and document id."""
    document_id: str
    namespace: str
    parent_id: str
    title: str
    heading_path: tuple[str, ...]
    text: str
    tokens: int
    """Tokens of `text` by the memory's token counter."""
    ordinal: int
    """Position in the document, from 0."""
    start: int
    end: int
    """Character span in the document's text."""
    modified_at: datetime | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    uri: str | None = None
    version: int = 1
    turn: Turn | None = None

    @property
    def index_text(self) -> str:
        """What is embedded and indexed: title, headings, and the text with its speaker."""
        return index_text(self.title, self.heading_path, spoken_text(self.text, self.turn.speaker if self.turn else None))


def index_text(title: str, heading_path: tuple[str, ...], text: str) -> str:
    """Join title, headings and text, leaving out a heading that repeats the title."""
    headings = [heading for heading in heading_path if heading != title]
    return "\n".join(part for part in (title, " > ".join(headings), text) if part)


def spoken_text(text: str, speaker: str | None) -> str:
    """Put the speaker of a conversation turn in front of what was said, unless it stands there."""
    return f"{speaker}: {text}" if speaker and not text.startswith(f"{speaker}:") else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """A parent chunk: the larger piece of a document that holds child chunks. Parents partition the document's text."""

    id: str
    document_key: str
    heading_path: tuple[str, ...]
    text: str
    tokens: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Hit:
    """One id that an index returned, with that index's own score (higher is better, comparable within one call only)."""

    id: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One search result."""

    chunk_id: str
    document_id: str
    title: str
    text: str
    heading_path: tuple[str, ...] = ()
    score: float = 0.0
    """Fused or reranked score; comparable within one call only, higher is better."""
    sources: tuple[str, ...] = ()
    """The arms that found it: `dense`, `lexical`, `graph`, …"""
    uri: str | None = None
    parent_id: str = ""
    version: int = 1
    tokens: int = 0
    ordinal: int = 0
    modified_at: datetime | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    turn: Turn | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """An edge of the graph as a caller sees it: subject –predicate→ object, with both time axes and its evidence."""

    subject: str
    predicate: str
    object: str
    properties: Mapping[str, Any] = field(default_factory=dict)
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    """End of validity (exclusive); `None`: still true as far as known."""
    recorded_at: datetime | None = None
    retracted_at: datetime | None = None
    evidence: tuple[str, ...] = ()
    """Chunk ids that state it, each visible to the scope that asked."""
    documents: tuple[str, ...] = ()
    """Document ids of the evidence."""
    edge_id: str = ""
    subject_type: str = ""
    object_type: str = ""
    confidence: float = 1.0
    """In [0, 1]; how sure the extractor was."""

    @property
    def status(self) -> str:
        """`active`, or `inactive` once it ended or was retracted."""
        return "inactive" if self.valid_to is not None or self.retracted_at is not None else "active"

    @property
    def relation(self) -> str:
        """What to call the edge: the phrase of an open one (`kept for`), else its predicate."""
        return str(self.properties.get("phrase") or self.predicate)

    def __str__(self) -> str:
        window = ""
        if self.valid_from or self.valid_to:
            start = self.valid_from.date().isoformat() if self.valid_from else "…"
            end = self.valid_to.date().isoformat() if self.valid_to else "…"
            window = f" [{start} – {end}]"
        return f"{self.subject} –{self.relation}→ {self.object}{window}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedSource:
    """Something that ingestion left out, and why."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestReport:
    """What one `ingest` or `remember` did. Every document counted here as added or updated is durable and searchable."""

    added: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    skipped: tuple[SkippedSource, ...] = ()
    pending: tuple[str, ...] = ()
    """Durable in the registry, but an index has not taken them yet; they become visible once it has (`repair()` retries now)."""
    chunks: int = 0
    """Child chunks in the documents added and updated."""
    embedded: int = 0
    """Texts that were really embedded; the others came from the embedding cache."""
    seconds: float = 0.0

    @property
    def documents(self) -> int:
        """Documents seen, skipped ones aside."""
        return len(self.added) + len(self.updated) + len(self.unchanged) + len(self.pending)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetReceipt:
    """Proof of what left each tier when a document was forgotten."""

    document_id: str
    namespace: str
    receipt_id: str
    forgotten_at: datetime
    removed: Mapping[str, int] = field(default_factory=dict)
    """Counts by kind: versions, chunks, parents, vectors, postings, mentions, edges, entities, embeddings, cache_entries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TierCheck:
    """How one index compares with the registry."""

    tier: str
    expected: int
    missing: tuple[str, ...] = ()
    surplus: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether the index holds exactly what the registry says."""
        return not (self.missing or self.surplus or self.stale or self.error)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """Every index compared with the registry, by id and content."""

    tiers: tuple[TierCheck, ...]
    pending: int = 0
    """Journal entries that no index has taken yet."""

    @property
    def ok(self) -> bool:
        """Whether every index agrees with the registry and nothing is pending."""
        return self.pending == 0 and all(check.ok for check in self.tiers)
