"""What the tiers store and exchange: extractions, the entity–relation records of the registry, the graph's projection of a passage, journal and cache entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rag2_memory.types import Chunk, Document, Hit, Parent, TierName

MentionKind = Literal["subject", "mention"]
"""`subject`: the chunk is about the entity (its title or heading); `mention`: it names the entity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedEntity:
    """A name that an extractor read in a chunk."""

    name: str
    """As written."""
    type: str = ""
    """A node type of the schema; empty where unknown."""
    kind: MentionKind = "mention"
    weight: float = 1.0
    """In (0, 1]; how firmly the chunk is tied to the name."""
    properties: Mapping[str, Any] = field(default_factory=dict)
    """Node properties that the chunk states, such as `role` or `technology_stack`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A statement that an extractor read in a chunk, by names."""

    subject: str
    predicate: str
    object: str
    subject_type: str = ""
    object_type: str = ""
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)
    quote: str = ""
    """The words of the chunk that state it, verbatim; verification looks for them."""
    confidence: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """All that an extractor read in one chunk."""

    chunk_id: str
    entities: tuple[NamedEntity, ...] = ()
    relations: tuple[Relation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """A node: one normalised name of one namespace. Merges join several under one canonical entity without touching them."""

    id: str
    namespace: str
    key: str
    """Normalised name; `id` is a hash of namespace and key."""
    name: str
    """One surface form; what a scope is shown comes from the mentions that it can see."""
    type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """A chunk's tie to an entity, never shown as a fact."""

    chunk_id: str
    entity_id: str
    name: str
    """The surface form in this chunk."""
    kind: MentionKind = "mention"
    weight: float = 1.0
    type: str = ""
    properties: Mapping[str, Any] = field(default_factory=dict)
    """Node properties stated by this chunk; they exist for a scope only where the chunk does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """One chunk's statement of one edge. Edges are what equal assertions share; windows are asserted here and resolved when read."""

    edge_id: str
    """Hash of namespace, subject, predicate, object and asserted window."""
    namespace: str
    subject_id: str
    predicate: str
    object_id: str
    chunk_id: str
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)
    quote: str = ""
    confidence: float = 1.0
    recorded_at: datetime | None = None
    retracted_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """What the knowledge pipeline writes for a set of chunks."""

    entities: tuple[Entity, ...] = ()
    mentions: tuple[Mention, ...] = ()
    assertions: tuple[Assertion, ...] = ()
    rejected: tuple[tuple[Relation, str], ...] = ()
    """Relations that verification refused, with the reason."""
    extractor: str = ""
    """Name of the extractor that read the chunks; empty where none did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadChunk:
    """A published chunk that an extractor has not read."""

    chunk_id: str
    document_key: str
    principal: str | None
    """An ACL entry of its document, whose scope can fetch it; `None` where everyone in the namespace can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SurfaceName:
    """A name under which chunks mention an entity."""

    entity_id: str
    name: str
    type: str
    count: int
    """Visible chunks that use it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityUse:
    """An entity with how it is used, unscoped: what resolution compares."""

    entity: Entity
    names: tuple[str, ...]
    """Surface forms, most frequent first."""
    types: tuple[str, ...]
    """Node types that were read for it, most frequent first."""
    mentions: int
    neighbours: frozenset[str]
    """Entities that share an edge with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeRecord:
    """A logged decision about two entities."""

    merge_id: int
    namespace: str
    kept_id: str
    absorbed_id: str
    decision: str
    """`merge`, `review`, `rejected` or `undone`; only `merge` has an effect."""
    score: float
    reason: str
    decided_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommunityMember:
    """A document of a community."""

    id: str
    """`m1`, `m2`, …: how the summary cites it."""
    document_id: str
    document_key: str
    chunk_id: str
    """Its first chunk, which stands for the document: what the summary was made of."""
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Community:
    """Documents that belong together, all with the same readers, and what they say in short."""

    id: str
    """Hash of what it was made of: equal members with equal chunks make an equal community."""
    namespace: str
    members: tuple[CommunityMember, ...]
    """The most central first."""
    names: tuple[str, ...] = ()
    """What its documents name in common, the most common first."""
    summary: str = ""
    """Cites members by their ids: `The gateway listens on 8443. [m2]`."""
    summarised_by: str = ""
    """`extractive`, or the name of a chat model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphLink:
    """A passage's tie to a canonical entity, as the graph tier holds it."""

    passage_id: str
    entity_id: str
    kind: MentionKind
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphEdge:
    """An entity–entity edge with the passage that evidences it; the window is the asserted one."""

    edge_id: str
    subject_id: str
    predicate: str
    object_id: str
    passage_id: str
    valid_from: datetime | None = None
    valid_to: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphPassage:
    """A passage's whole projection into the graph; an upsert replaces what the passage had before."""

    id: str
    namespace: str
    links: tuple[GraphLink, ...] = ()
    edges: tuple[GraphEdge, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Subgraph:
    """A neighbourhood: links and edges, each with a passage id that the registry can check."""

    links: tuple[GraphLink, ...] = ()
    edges: tuple[GraphEdge, ...] = ()
    truncated: bool = False
    """Whether a bound cut it."""
    degrees: Mapping[str, int] = field(default_factory=dict)
    """For every entity reached, in the order in which it was: how many links it has in the whole namespace. A hub is known by it."""


class Outline(NamedTuple):
    """What ranking needs of a chunk besides its id."""

    title: str
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentWrite:
    """One new version of a document with all that the registry stores for it."""

    key: str
    """Hash of namespace and document id."""
    document: Document
    namespace: str
    content_hash: str
    root: str | None = None
    parents: tuple[Parent, ...] = ()
    chunks: tuple[Chunk, ...] = ()
    embed_hashes: tuple[str, ...] = ()
    """One per chunk: the hash of what is embedded."""
    knowledge: Knowledge = field(default_factory=Knowledge)


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentState:
    """What the registry knows of a document, without its text."""

    key: str
    document_id: str
    namespace: str
    uri: str | None
    root: str | None
    state: str
    """`live`, `archived` or `deleted`."""
    acl: frozenset[str]
    source_acl: frozenset[str]
    """As the source last said; `acl` differs once someone changed it here."""
    live_version: int | None
    pending_version: int | None
    content_hash: str
    """Of the pending version where there is one, else of the live one."""
    title: str = ""
    modified_at: datetime | None = None
    recorded_at: datetime | None = None
    thread_id: str | None = None
    """The conversation that it is a turn of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LexicalDocument:
    """What the lexical tier indexes for a chunk."""

    id: str
    namespace: str
    text: str
    window: str = ""
    """A conversation turn with its neighbours, searched as a field of its own; empty elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """Chunk ids whose state in one index may differ from the registry; applying it makes them agree, however often it is done."""

    seq: int
    tier: TierName
    document_key: str
    namespace: str
    chunk_ids: tuple[str, ...]
    attempts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """What a cached context was computed from, and so what a write must not have touched for it to be served."""

    generation: int = 0
    """The registry's generation that the context was last known to equal."""
    floors: Mapping[str, float] = field(default_factory=dict)
    """Per vector space, the cosine from which a new vector probably enters the context; -1: any does."""
    watches: tuple[int, ...] = ()
    """Sorted 32-bit codes of the chunks, entities and terms whose change can change the result; a code's collision costs a recomputation."""
    principals: frozenset[str] = frozenset()
    """Whom the context was compiled for; a chunk that none of them may see cannot enter it."""
    nearest: tuple[Hit, ...] = ()
    """The best dense hits, compared with those of another wording of the question."""
    valid_until: datetime | None = None
    """When the context changes by itself, such as the end of a fact's validity; `None`: never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """A compiled context and everything it depended on."""

    key: str
    """Hash of the normalised request; equal keys ask the same."""
    namespace: str
    partition: str
    """Hash of scope, as_of, budget, route, history, guidelines and configuration: semantic hits stay inside one partition."""
    query: str
    vector: tuple[float, ...] = ()
    """The query's unit vector; empty where it was never embedded: then only an exact hit is possible."""
    payload: str = ""
    """The context as JSON."""
    evidence: tuple[str, ...] = ()
    """Chunk ids of the context's passages and of its facts' evidence."""
    dependencies: Dependencies = field(default_factory=Dependencies)
    created_at: datetime | None = None
    """Set by the cache where it is `None`; an entry's age counts from here."""
    tokens: int = 0
    """Tokens of the context, counted as saved on a hit."""
    seconds: float = 0.0
    """What computing it took, counted as saved on a hit."""
    size_bytes: int = 0
    """Set by the cache: what the entry takes of its bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchlist:
    """The cached queries in columns, row by row the same entry, so that a batch of writes is compared with all of them at once."""

    keys: Sequence[str]
    """By row; empty where a row is free."""
    namespaces: tuple[str, ...]
    """The distinct namespaces; `namespace_codes`, shape (n,), points into them."""
    namespace_codes: NDArray[np.int32]
    principals: tuple[frozenset[str], ...]
    """The distinct sets of principals; `principal_codes`, shape (n,), points into them."""
    principal_codes: NDArray[np.int32]
    vectors: NDArray[np.float32]
    """Shape (n, dimensions); a row of zeros where the query was never embedded."""
    floors: Mapping[str, NDArray[np.float32]]
    """Per vector space n floors; 2, which no cosine reaches, where the entry did not search the space."""
    codes: NDArray[np.uint32]
    """Shape (m,): the watch codes of all entries, in no order."""
    rows: NDArray[np.int32]
    """Shape (m,): the row that watches the code at the same place; -1: nobody any longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStatistics:
    """What the cache holds and what it did since it was cleared."""

    entries: int = 0
    size_bytes: int = 0
    outcomes: Mapping[str, int] = field(default_factory=dict)
    """Counts by outcome: `exact`, `semantic`, `revalidated`, `miss`, `stored`, `evicted`, `expired`, `invalidated`, and `rejected:RULE`."""
    tokens_saved: int = 0
    seconds_saved: float = 0.0

    @property
    def hit_rate(self) -> float:
        """Share of lookups for which an entry was right, in [0, 1], those revalidated by a search included; 0 before the first lookup."""
        hits = sum(self.outcomes.get(name, 0) for name in ("exact", "semantic", "revalidated"))
        return hits / lookups if (lookups := hits + self.outcomes.get("miss", 0)) else 0.0
