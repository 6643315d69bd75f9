"""The five tier ABCs: what an engine must do to take part. `rag2_memory.testing` holds one contract suite for each.

Engines raise `BackendUnavailableError` (or `CorruptIndexError`) for their own failures; their native exceptions end at their file's boundary.
All methods may be called from several threads; writes come from one thread at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rag2_memory.records import (
    Assertion,
    CacheEntry,
    CacheStatistics,
    DocumentState,
    DocumentWrite,
    Entity,
    EntityUse,
    GraphEdge,
    GraphPassage,
    JournalEntry,
    Knowledge,
    LexicalDocument,
    Mention,
    MergeRecord,
    Outline,
    Subgraph,
    SurfaceName,
    Watchlist,
)
from rag2_memory.tiers.consolidation import ConsolidationTier
from rag2_memory.types import AsOf, Chunk, Hit, Parent, Scope, TierName

VectorSpace = Literal["chunks", "windows", "entities"]
"""The vector tier's collections: chunks, conversation turns with their neighbours, entity names."""

LexicalField = Literal["text", "window"]


class VectorTier(ABC):
    """Tier 3: ids and unit vectors, ranked by cosine. Text stays in the registry.

    Rules: an upsert replaces (`test_an_upsert_replaces_the_vector`); deleting an absent id is no error (`test_deleting_an_absent_id_is_no_error`);
    namespaces and spaces are separate (`test_a_search_sees_one_namespace_and_one_space`).
    """

    @abstractmethod
    def upsert(self, ids: Sequence[str], vectors: NDArray[np.float32], *, namespace: str, space: VectorSpace = "chunks") -> None:
        """Store n ids with vectors of shape (n, dimensions), rows of unit length; durable on return."""

    @abstractmethod
    def delete(self, ids: Sequence[str], *, namespace: str, space: VectorSpace = "chunks") -> None:
        """Remove ids; absent ones are no error."""

    @abstractmethod
    def search(
        self, vector: NDArray[np.float32], *, k: int, namespace: str, space: VectorSpace = "chunks", among: Collection[str] | None = None
    ) -> list[Hit]:
        """Return up to k hits by cosine in [-1, 1], best first; with `among`, the exact ranking of those ids alone."""

    @abstractmethod
    def ids(self, *, namespace: str, space: VectorSpace = "chunks") -> Iterator[str]:
        """Yield every stored id once, in any order."""

    @abstractmethod
    def vectors(self, ids: Sequence[str], *, namespace: str, space: VectorSpace = "chunks") -> Mapping[str, NDArray[np.float32]]:
        """Return the stored vectors of those ids that exist; verification compares them with the registry."""

    @abstractmethod
    def clear(self) -> None:
        """Remove everything, also when the stored data cannot be read."""

    @abstractmethod
    def close(self) -> None:
        """Release the engine; further calls are undefined. Idempotent."""


class LexicalTier(ABC):
    """Keyword search beside the vectors: BM25 over analysed text.

    Rules: an upsert replaces (`test_an_upsert_replaces_the_text`); no query text is a syntax error (`test_no_query_is_a_syntax_error`);
    namespaces are separate (`test_a_search_sees_one_namespace`).
    """

    keeps_deleted_terms: bool = False
    """Whether the words of a deleted document stay in the index until the documents beside it are indexed anew."""

    @abstractmethod
    def upsert(self, documents: Sequence[LexicalDocument]) -> None:
        """Index documents, replacing those of the same id; durable on return."""

    @abstractmethod
    def delete(self, ids: Sequence[str]) -> None:
        """Remove ids; absent ones are no error; durable on return."""

    @abstractmethod
    def search(self, query: str, *, k: int, namespace: str, field: LexicalField = "text") -> list[Hit]:
        """Return up to k hits by BM25 score (above 0), best first, ties by id; a query without known terms returns none."""

    @abstractmethod
    def ids(self) -> Iterator[str]:
        """Yield every stored id once, in any order."""

    @abstractmethod
    def digests(self, ids: Sequence[str]) -> Mapping[str, str]:
        """Return `lexical_digest` of what is indexed for those ids that exist; verification compares them with the registry."""

    @abstractmethod
    def document_frequency(self, term: str, *, namespace: str) -> int:
        """Return in how many documents an analysed term occurs; 0 where unknown. An estimate may ignore deletions not yet merged."""

    @abstractmethod
    def clear(self) -> None:
        """Remove everything, also when the stored data cannot be read."""

    @abstractmethod
    def close(self) -> None:
        """Release the engine. Idempotent."""


class FilteringLexicalTier(LexicalTier):
    """A lexical tier that can rank some ids alone. With any other, a scope that sees little is served by searching further and further."""

    @abstractmethod
    def search_among(self, query: str, *, ids: Collection[str], k: int, namespace: str, field: LexicalField = "text") -> list[Hit]:
        """Return what `search` would, had it skipped all other ids: same scores, same order (`test_a_search_among_ids_ranks_just_those`)."""


class GraphTier(ABC):
    """Tier 2: the projection of entities, mentions and edges that traversal runs on. Every element carries the passage that evidences it.

    Rules: an upsert replaces all that a passage evidences (`test_an_upsert_replaces_a_passage`); what no passage evidences any longer is gone
    (`test_deleting_the_last_evidence_removes_the_edge`); namespaces are separate (`test_a_neighbourhood_stays_in_its_namespace`); a bound that
    cuts is told (`test_a_hub_is_cut_and_that_is_told`); a window leaves out what does not overlap it, at every hop
    (`test_a_window_is_kept_at_every_hop`).
    """

    engine: str
    """Name of the engine, as shown by `rag2 status`."""

    @abstractmethod
    def upsert(self, passages: Sequence[GraphPassage]) -> None:
        """Project passages, replacing what each had before, all of them or none; durable on return.

        Raises:
            InvalidRequestError: If a link or an edge names another passage than the one that holds it.
        """

    @abstractmethod
    def delete(self, passage_ids: Sequence[str]) -> None:
        """Remove passages with their links and edges, and entities that nothing ties any longer; absent ids are no error."""

    @abstractmethod
    def neighbourhood(
        self,
        *,
        namespace: str,
        passages: Sequence[str] = (),
        entities: Sequence[str] = (),
        hops: int = 1,
        valid_from: datetime | None = None,
        valid_to: datetime | None = None,
        subjects_per_entity: int = 32,
        mentions_per_entity: int = 32,
        edges_per_entity: int = 64,
        limit: int = 2_000,
    ) -> Subgraph:
        """Return the links of the seed passages and of every entity reached, and the edges within `hops` of the seeds.

        One hop reaches the entities that a seed passage is linked to, or that share an edge with a seed entity; each further hop follows the edges of
        what the one before reached. Edges are those that were walked, so `hops=1` from passages alone returns links only. Ids that are not
        stored, or not in the namespace, are passed over.

        Args:
            namespace: The only one whose elements are returned.
            passages: Seed passages, the most important first. All their links are returned, before all others.
            entities: Seed entities, the most important first.
            hops: At least 1.
            valid_from: With `valid_to`, the window [valid_from, valid_to) that an edge's asserted validity must overlap to be returned or walked;
                `None` is an open side, on edges too. An empty window, asked or asserted, counts as its one moment.
            valid_to: See `valid_from`.
            subjects_per_entity: Most links of an entity reached to passages *about* it, besides those of the seeds, the heaviest first.
            mentions_per_entity: The same for passages that mention it.
            edges_per_entity: Most edges of an entity, either direction, that lead to entities not reached before; those without an end first, then
                those that began last. Edges among entities that were reached before do not count.
            limit: Most links, most edges and most entities reached; what was reached first is kept.

        Returns:
            Links and edges, each once; `truncated` where a bound that is not 0 cut something.

        Raises:
            InvalidRequestError: If `hops` or `limit` is below 1, or a bound per entity below 0.
        """

    @abstractmethod
    def paths(
        self,
        *,
        namespace: str,
        source: str,
        target: str,
        max_hops: int = 3,
        valid_at: datetime | None = None,
        without_passages: Collection[str] = (),
        limit: int = 20,
    ) -> list[tuple[GraphEdge, ...]]:
        """Return up to `limit` chains of edges (either direction) that join two entities, all of the least possible length; none where there is none.

        Args:
            namespace: The only one that is walked.
            source: Where chains begin.
            target: Where they end; equal to `source`: no chain.
            max_hops: Longest chain.
            valid_at: Leaves out edges whose asserted validity does not include this moment.
            without_passages: Leaves out edges that these evidence, such as those that a scope cannot see; ask again with them for the ways around.
            limit: Most chains. Edges that differ in their evidence alone make different chains.

        Raises:
            InvalidRequestError: If `max_hops` or `limit` is below 1.
        """

    @abstractmethod
    def ids(self) -> Iterator[str]:
        """Yield every projected passage id once, in any order."""

    @abstractmethod
    def passages(self, ids: Sequence[str]) -> Mapping[str, GraphPassage]:
        """Return what the engine holds for those ids that exist, links by (entity, kind) and edges by id; verification compares it with the registry."""

    @abstractmethod
    def clear(self) -> None:
        """Remove everything, also when the stored data cannot be read."""

    @abstractmethod
    def close(self) -> None:
        """Release the engine. Idempotent."""


class CacheTier(ABC):
    """Tier 1: compiled contexts by request. It stores and finds; whether an entry may be served is decided above it.

    Rules: bounded by entries, bytes and age (`test_the_cache_stays_within_its_bounds`); partitions are separate (`test_nearest_stays_in_its_partition`);
    what was invalidated never comes back, after a crash neither (`test_an_invalidated_entry_stays_away_after_reopening`).
    """

    @abstractmethod
    def get(self, key: str) -> CacheEntry | None:
        """Return the live entry of exactly this key and mark it used."""

    @abstractmethod
    def nearest(self, vector: NDArray[np.float32], *, partition: str, k: int, minimum: float = -1.0) -> list[tuple[CacheEntry, float]]:
        """Return up to k live entries of the partition whose cosine is at least `minimum`, best first, each cosine exact.

        A large cache may overlook an entry whose cosine is far below the best ones; it then costs a recomputation, never a wrong answer.
        """

    @abstractmethod
    def put(self, entry: CacheEntry) -> None:
        """Store an entry, replacing that of the same key and evicting the least recently used beyond the bounds.

        A crash may lose the last entries put. An entry larger than the whole bound is not stored.
        """

    @abstractmethod
    def invalidate(self, keys: Collection[str]) -> int:
        """Remove entries, durably on return; returns how many were there."""

    @abstractmethod
    def entries(self, *, namespace: str | None = None) -> Iterator[CacheEntry]:
        """Yield the live entries, of one namespace or all."""

    @abstractmethod
    def watchlist(self) -> Watchlist:
        """Return what decides which entries a write affects; a snapshot, valid until the next put or invalidate."""

    @abstractmethod
    def record(self, outcome: str, *, tokens: int = 0, seconds: float = 0.0) -> None:
        """Count one outcome (`exact`, `semantic`, `revalidated`, `miss`, `rejected:RULE`) and what it saved."""

    @abstractmethod
    def statistics(self) -> CacheStatistics:
        """Return what the cache holds and what was recorded since it was cleared."""

    @abstractmethod
    def clear(self) -> None:
        """Remove everything, statistics included, also when the stored data cannot be read."""

    @abstractmethod
    def close(self) -> None:
        """Release the store. Idempotent."""


class RegistryTier(ConsolidationTier):
    """Tier 4: the truth. Documents, versions, permissions, knowledge and the journal, each change in one transaction.

    Every id that an index returns goes through `visible` or `chunks` before anyone sees it. Moments are aware UTC datetimes.

    Rules: a pending version is invisible (`test_a_pending_version_is_invisible`); publishing waits for the indexes
    (`test_publishing_waits_for_every_index`); namespaces and ACLs hold (`test_a_scope_sees_only_what_it_may`); a purge leaves no row
    (`test_a_purge_leaves_no_row`).
    """

    # --- documents ---------------------------------------------------------------------------------------------------------------------
    @abstractmethod
    def write(self, items: Sequence[DocumentWrite], *, vectors: Mapping[str, NDArray[np.float32]], embedder: str, now: datetime) -> None:
        """Record new versions as pending, with embeddings by hash and the journal entries that every index owes, in one transaction."""

    @abstractmethod
    def publish(self, *, now: datetime, keep_versions: int) -> list[str]:
        """Make every pending version visible whose index work is done; returns their document keys."""

    @abstractmethod
    def hide(self, keys: Collection[str], *, state: str, now: datetime, keep_versions: int) -> None:
        """Take documents out of every answer at once, as `deleted` or `archived`."""

    @abstractmethod
    def unarchive(self, key: str) -> None:
        """Bring an archived document back."""

    @abstractmethod
    def set_acl(self, key: str, acl: Collection[str], *, from_source: bool = False) -> None:
        """Replace a document's permissions; effective for every reader that asks afterwards.

        With `from_source` the source itself changed them; otherwise they outlive every re-ingest of a source that says what it said before.
        """

    @abstractmethod
    def relocate(self, key: str, *, uri: str | None, root: str | None, modified_at: datetime | None) -> None:
        """Note where, and with which date, an unchanged document was found this time."""

    @abstractmethod
    def purge(self, key: str, *, receipt_id: str, digest: str, now: datetime) -> dict[str, int]:
        """Delete every row of a document and what only it knew; returns counts by kind."""

    @abstractmethod
    def compact(self) -> None:
        """Overwrite and release what deletions left in the files."""

    @abstractmethod
    def states(
        self, *, namespace: str | None = None, document_ids: Collection[str] | None = None, uri: str | None = None, root: str | None = None
    ) -> Iterator[DocumentState]:
        """Yield documents that meet every given condition, hidden ones included, without their text."""

    @abstractmethod
    def namespaces(self) -> list[str]:
        """Return every namespace that ever held a document."""

    @abstractmethod
    def thread_length(self, namespace: str, thread_id: str) -> int:
        """Return the ordinal that the next turn of a conversation takes."""

    @abstractmethod
    def generation(self, namespace: str) -> int:
        """Return a number that grows with every change that a reader of the namespace could see."""

    # --- reading under a scope ------------------------------------------------------------------------------------------------------------
    @abstractmethod
    def visible(self, ids: Collection[str], scope: Scope, as_of: AsOf | None = None) -> set[str]:
        """Return those chunk ids that the scope may see; the one guard of every route."""

    @abstractmethod
    def outlines(self, ids: Collection[str], scope: Scope, as_of: AsOf | None = None) -> dict[str, Outline]:
        """Return title and length of those chunks that the scope may see; as `visible`, for rankings."""

    @abstractmethod
    def size(self, namespace: str) -> int:
        """Return how many published chunks a namespace has."""

    @abstractmethod
    def visible_ids(self, scope: Scope, as_of: AsOf | None = None, *, limit: int) -> tuple[str, ...] | None:
        """Return every chunk id that the scope sees, or `None` where there are more than `limit`.

        While nothing changed it is the same tuple as before: by its identity a vector tier finds what it selected then.
        """

    @abstractmethod
    def chunks(self, ids: Collection[str], scope: Scope, as_of: AsOf | None = None) -> dict[str, Chunk]:
        """Return the chunks behind those ids that the scope may see."""

    @abstractmethod
    def parents(self, ids: Collection[str], scope: Scope, as_of: AsOf | None = None) -> dict[str, Parent]:
        """Return those parent chunks whose document the scope may see."""

    @abstractmethod
    def metadata(
        self, scope: Scope, *, document_ids: Collection[str] | None = None, prefix: str | None = None
    ) -> dict[str, Mapping[str, Any]]:
        """Return the metadata of documents that the scope sees, by id; of the given ids, or of those that begin with `prefix`."""

    @abstractmethod
    def annotate(self, key: str, metadata: Mapping[str, Any]) -> None:
        """Replace the metadata of a document's newest version in place: no new version, nothing indexed anew."""

    @abstractmethod
    def document_text(self, document_id: str, scope: Scope, as_of: AsOf | None = None) -> str | None:
        """Return a document's whole text as the scope sees it, or `None`."""

    # --- what the indexes should hold -----------------------------------------------------------------------------------------------------
    @abstractmethod
    def indexable(self, ids: Collection[str] | None = None) -> dict[str, str]:
        """Return chunk ids that the indexes should hold, each with its namespace; of the given ids or of all."""

    @abstractmethod
    def lexical_documents(self, ids: Collection[str]) -> dict[str, LexicalDocument]:
        """Return what the lexical index should hold for the indexable ones of these ids."""

    @abstractmethod
    def chunk_vectors(self, ids: Collection[str], embedder: str) -> dict[str, NDArray[np.float32]]:
        """Return the cached embeddings of chunks."""

    @abstractmethod
    def embed_texts(self, ids: Collection[str]) -> dict[str, tuple[str, str]]:
        """Return hash and text of what is embedded for each recorded chunk among the ids."""

    @abstractmethod
    def cached_vectors(self, hashes: Sequence[str], embedder: str) -> Mapping[str, NDArray[np.float32]]:
        """Return cached embeddings by hash."""

    @abstractmethod
    def store_vectors(self, vectors: Mapping[str, NDArray[np.float32]], embedder: str) -> None:
        """Cache embeddings by hash."""

    @abstractmethod
    def set_windows(self, hashes: Mapping[str, str]) -> None:
        """Note, by chunk id, which cached embedding is a conversation turn's window; earlier ones that nothing uses are dropped."""

    @abstractmethod
    def graph_passages(self, ids: Collection[str]) -> dict[str, GraphPassage]:
        """Return what the graph index should hold for the indexable ones of these ids, by canonical entities."""

    # --- journal ----------------------------------------------------------------------------------------------------------------------------
    @abstractmethod
    def pending(self, tier: TierName, *, now: datetime | None = None, limit: int = 200) -> list[JournalEntry]:
        """Return the oldest entries of a tier that are due; with `now=None` whether due or not."""

    @abstractmethod
    def settle(self, entries: Sequence[JournalEntry]) -> None:
        """Remove entries that have been applied."""

    @abstractmethod
    def postpone(self, entries: Sequence[JournalEntry], *, error: str, until: datetime) -> None:
        """Note a failed attempt."""

    @abstractmethod
    def backlog(self) -> dict[str, int]:
        """Return the number of journal entries by tier."""

    @abstractmethod
    def owe(self, tier: TierName, ids: Collection[str]) -> None:
        """Have one index bring these chunks up to date, for instance after its folder was lost."""

    # --- knowledge --------------------------------------------------------------------------------------------------------------------------
    @abstractmethod
    def add_knowledge(self, knowledge: Knowledge, *, now: datetime) -> None:
        """Add entities, mentions and edges read later from chunks that are already recorded; the graph owes them."""

    @abstractmethod
    def known_keys(self, namespace: str, keys: Collection[str]) -> dict[str, str]:
        """Return canonical entity ids by normalised name, for the names that the namespace knows. Unscoped: check mentions before showing."""

    @abstractmethod
    def canonical(self, namespace: str, entity_ids: Collection[str]) -> dict[str, str]:
        """Return the canonical id of each surface entity; one that was never merged stands for itself."""

    @abstractmethod
    def surface_ids(self, namespace: str, entity_ids: Collection[str]) -> dict[str, str]:
        """Return every surface entity joined under these canonical ids (themselves included), each with its canonical id."""

    @abstractmethod
    def surface_names(self, entity_ids: Collection[str], scope: Scope, as_of: AsOf | None = None) -> list[SurfaceName]:
        """Return the names under which chunks that the scope sees mention surface entities, most frequent first."""

    @abstractmethod
    def mentions_in(self, chunk_ids: Collection[str]) -> list[Mention]:
        """Return what chunks mention. Unscoped: ask only for chunks that the scope sees."""

    @abstractmethod
    def seen_entities(self, entity_ids: Collection[str], scope: Scope, as_of: AsOf | None = None) -> set[str]:
        """Return those surface entities that a chunk the scope sees mentions; no other exists for it."""

    @abstractmethod
    def assertions(
        self,
        scope: Scope,
        *,
        entity_ids: Collection[str] | None = None,
        edge_ids: Collection[str] | None = None,
        predicates: Collection[str] | None = None,
        as_of: AsOf | None = None,
    ) -> list[Assertion]:
        """Return the statements of edges that touch surface entities, or of given edges, whose evidence the scope sees; of all predicates, or some."""

    @abstractmethod
    def entity_uses(
        self,
        namespace: str,
        *,
        compared: bool | None = None,
        ids: Collection[str] | None = None,
        after: str = "",
        limit: int | None = None,
    ) -> list[EntityUse]:
        """Return entities with how they are used, in the order of their ids; unscoped.

        Args:
            namespace: Whose entities.
            compared: Only those that resolution has, or has not yet, looked at.
            ids: Only these.
            after: Only ids behind this one.
            limit: Entities at most; `None`: no bound.
        """

    @abstractmethod
    def mark_compared(self, namespace: str, blocks: Mapping[str, Collection[str]]) -> None:
        """Note that resolution has looked at entities, and the keys under which it finds each of them again."""

    @abstractmethod
    def sharing_blocks(self, namespace: str, keys: Collection[str], *, limit: int) -> set[str]:
        """Return the entities noted under any of some keys. A key that more than `limit` share leads to nobody."""

    @abstractmethod
    def entities(self, namespace: str, *, after: str = "", limit: int = 10_000) -> list[Entity]:
        """Return entities of a namespace in the order of their ids, starting behind `after`; unscoped."""

    @abstractmethod
    def record_merges(self, decisions: Sequence[MergeRecord], *, now: datetime) -> list[int]:
        """Log decisions (their `merge_id` is not read) and, for `merge`, have the graph re-project what they join; returns their ids.

        A pair that was decided before keeps its decision.
        """

    @abstractmethod
    def decide_merge(self, merge_id: int, decision: str, *, now: datetime) -> MergeRecord:
        """Change a logged decision (`merge`, `rejected`, `undone`) and have the graph follow."""

    @abstractmethod
    def merges(self, namespace: str | None = None, *, decision: str | None = None) -> list[MergeRecord]:
        """Return the merge log, oldest first."""

    # --- life -------------------------------------------------------------------------------------------------------------------------------
    @abstractmethod
    def counts(self) -> dict[str, int]:
        """Return row counts by kind: documents, versions, chunks, entities, edges, embeddings, …"""

    @abstractmethod
    def note(self, key: str, value: str | None = None) -> str | None:
        """Read a named setting of the memory, or write it where `value` is given."""

    @abstractmethod
    def close(self) -> None:
        """Release the database. Idempotent."""
