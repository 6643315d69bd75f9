"""Tier 4 on SQL: the registry in SQLite (WAL), or by URL in any database that SQLAlchemy reaches and that has `ON CONFLICT`."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Select, String, bindparam, create_engine, delete, event, func, insert, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from rag2_memory.errors import BackendUnavailableError, InvalidRequestError
from rag2_memory.records import (
    Assertion,
    DocumentState,
    DocumentWrite,
    Entity,
    EntityUse,
    GraphPassage,
    JournalEntry,
    Knowledge,
    LexicalDocument,
    Mention,
    MergeRecord,
    Outline,
    SurfaceName,
)
from rag2_memory.tiers import sql_derived, sql_dropping, sql_graph, sql_journal, sql_publishing, sql_reading, sql_writing
from rag2_memory.tiers import sql_schema as t
from rag2_memory.tiers.sql_consolidation import SqlConsolidation
from rag2_memory.tiers.sql_driver import DriverReads, DriverRow
from rag2_memory.tiers.sql_values import batched, pairs
from rag2_memory.types import AsOf, Chunk, Parent, Scope, TierName

KEPT_SCOPES, KEPT_IDS = 32, 20_000
"""Scopes whose visible ids are kept until their namespace changes, and how many of each at most (100 bytes per id)."""

_GENERATION = select(t.namespaces.c.generation).where(t.namespaces.c.namespace == bindparam("name", type_=String))

_SIZE = select(t.namespaces.c.live_chunks).where(t.namespaces.c.namespace == bindparam("name", type_=String))

_BACKLOG = select(t.journal.c.tier, func.count()).group_by(t.journal.c.tier)


class SqlRegistry(SqlConsolidation):
    """The registry on SQLite (a file, or memory where `location` is `None`) or at an SQLAlchemy URL.

    Readers run side by side on snapshots (WAL); writers queue. In memory there is one connection and everybody takes turns.
    """

    def __init__(self, location: Path | str | None) -> None:
        url, self._exclusive = _url(location)
        options: dict[str, Any] = {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}} if self._exclusive else {}
        self._engine = create_engine(url, **options)
        self._driver_error: type[Exception] = self._engine.dialect.loaded_dbapi.Error
        self._lock = threading.RLock()
        self._canonical: dict[str, dict[str, str]] = {}
        self._few: dict[tuple[Scope, int], tuple[int, tuple[str, ...] | None]] = {}
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _configure_sqlite)
            event.listen(self._engine, "begin", _begin)
        self._driver = DriverReads(self._engine)
        with self._writing() as connection:
            t.prepare(connection)
            sql_derived.prepare(connection)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._turn(self._exclusive), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._turn(True), self._engine.begin() as connection:
            yield connection

    def _rows(self, statement: Select[Any], values: Mapping[str, Any]) -> list[DriverRow]:
        """Return what one statement reads, without SQLAlchemy's part in it."""
        with self._turn(self._exclusive):
            return self._driver.rows(statement, values)

    @contextmanager
    def _turn(self, exclusive: bool) -> Iterator[None]:
        """Wait for one's turn where there is one connection, and translate what the driver raises."""
        with self._lock if exclusive else nullcontext():
            try:
                yield
            except (DBAPIError, self._driver_error) as exc:
                reason = exc.orig if isinstance(exc, DBAPIError) else exc
                raise BackendUnavailableError(
                    f"the registry's database failed: {reason}. Check disk space and permissions of its folder."
                ) from exc

    # --- documents ---------------------------------------------------------------------------------------------------------------------
    def write(self, items: Sequence[DocumentWrite], *, vectors: Mapping[str, NDArray[np.float32]], embedder: str, now: datetime) -> None:
        with self._writing() as connection:
            sql_writing.store_vectors(connection, vectors, embedder)
            sql_writing.write_versions(connection, items, now=now.timestamp())

    def publish(self, *, now: datetime, keep_versions: int) -> list[str]:
        with self._writing() as connection:
            return sql_publishing.publish(connection, now=now.timestamp(), keep_versions=keep_versions)

    def hide(self, keys: Collection[str], *, state: str, now: datetime, keep_versions: int) -> None:
        with self._writing() as connection:
            sql_publishing.hide(connection, keys, state=state, now=now.timestamp(), keep_versions=keep_versions)

    def unarchive(self, key: str) -> None:
        with self._writing() as connection:
            sql_publishing.unarchive(connection, key)

    def set_acl(self, key: str, acl: Collection[str], *, from_source: bool = False) -> None:
        with self._writing() as connection:
            (sql_publishing.take_source_acl if from_source else sql_publishing.change_acl)(connection, key, acl)

    def relocate(self, key: str, *, uri: str | None, root: str | None, modified_at: datetime | None) -> None:
        with self._writing() as connection:
            sql_publishing.relocate(connection, key, uri=uri, root=root, modified_at=modified_at)

    def purge(self, key: str, *, receipt_id: str, digest: str, now: datetime) -> dict[str, int]:
        with self._writing() as connection:
            self._canonical.clear()
            return sql_dropping.purge(connection, key, receipt_id=receipt_id, digest=digest, now=now.timestamp())

    def compact(self) -> None:
        if self._engine.dialect.name != "sqlite":
            return
        with self._turn(True), self._engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None
            raw.execute("VACUUM")
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def states(
        self, *, namespace: str | None = None, document_ids: Collection[str] | None = None, uri: str | None = None, root: str | None = None
    ) -> Iterator[DocumentState]:
        conditions = []
        for column, value in ((t.documents.c.namespace, namespace), (t.documents.c.uri, uri), (t.documents.c.root, root)):
            if value is not None:
                conditions.append(column == value)
        if namespace is None and document_ids is not None:  # the index of document ids begins with the namespace
            conditions.append(t.documents.c.namespace.in_(select(t.namespaces.c.namespace)))
        parts = [[]] if document_ids is None else list(batched(list(document_ids)))
        for part in parts:
            narrowed = [*conditions, t.documents.c.document_id.in_(part)] if document_ids is not None else conditions
            with self._reading() as connection:
                found = list(sql_reading.states(connection, *narrowed))
            yield from found

    def namespaces(self) -> list[str]:
        with self._reading() as connection:
            return sorted(connection.execute(select(t.namespaces.c.namespace)).scalars())

    def thread_length(self, namespace: str, thread_id: str) -> int:
        query = select(func.max(t.documents.c.turn_ordinal)).where(
            t.documents.c.namespace == namespace, t.documents.c.thread_id == thread_id
        )
        with self._reading() as connection:
            last = connection.execute(query).scalar()
        return 0 if last is None else int(last) + 1

    def generation(self, namespace: str) -> int:
        return _number(self._rows(_GENERATION, {"name": namespace}))

    # --- reading under a scope ------------------------------------------------------------------------------------------------------------
    def visible(self, ids: Collection[str], scope: Scope, as_of: AsOf | None = None) -> set[str]:
        return sql_reading.visible(self._rows, ids, scope, as_of)

    def outlines(self, ids: Collection[str], scope: Scope, as_of: AsOf | None = None) -> dict[str, Outline]:
        return sql_reading.outlines(self._rows, ids, scope, as_of)

    def size(self, namespace: str) -> int:
        return _number(self._rows(_SIZE, {"name": namespace}))

    def visible_ids(self, scope: Scope, as_of: AsOf | None = None, *, limit: int) -> tuple[str, ...] | None:
        generation, asked = self.generation(scope.namespace), (scope, limit)
        known = self._few.get(asked)
        if as_of is None and known is not None and known[0] == generation:
            return known[1]
        found = sql_reading.visible_ids(self._rows, scope, as_of, limit)
        if as_of is None and limit <= KEPT_IDS:
            if len(self._few) >= KEPT_SCOPES:
                self._few.clear()
            self._few[asked] = (generation, found)
        return found

    def chunks(self, ids: Collection[str], scope: Scope, as_of: AsOf | None = None) -> dict[str, Chunk]:
        return sql_reading.chunks(self._rows, ids, scope, as_of)

    def parents(self, ids: Collection[str], scope: Scope, as_of: AsOf | None = None) -> dict[str, Parent]:
        return sql_reading.parents(self._rows, ids, scope, as_of)

    def metadata(
        self, scope: Scope, *, document_ids: Collection[str] | None = None, prefix: str | None = None
    ) -> dict[str, Mapping[str, Any]]:
        with self._reading() as connection:
            return sql_reading.document_metadata(connection, scope, document_ids, prefix)

    def annotate(self, key: str, metadata: Mapping[str, Any]) -> None:
        with self._writing() as connection:
            sql_publishing.annotate(connection, key, metadata)

    def document_text(self, document_id: str, scope: Scope, as_of: AsOf | None = None) -> str | None:
        with self._reading() as connection:
            return sql_reading.document_text(connection, document_id, scope, as_of)

    # --- what the indexes should hold -----------------------------------------------------------------------------------------------------
    def indexable(self, ids: Collection[str] | None = None) -> dict[str, str]:
        with self._reading() as connection:
            return sql_reading.indexable(connection, ids)

    def lexical_documents(self, ids: Collection[str]) -> dict[str, LexicalDocument]:
        with self._reading() as connection:
            return sql_reading.lexical_documents(connection, ids)

    def chunk_vectors(self, ids: Collection[str], embedder: str) -> dict[str, NDArray[np.float32]]:
        with self._reading() as connection:
            return sql_reading.chunk_vectors(connection, ids, embedder)

    def embed_texts(self, ids: Collection[str]) -> dict[str, tuple[str, str]]:
        with self._reading() as connection:
            return sql_reading.embed_texts(connection, ids)

    def cached_vectors(self, hashes: Sequence[str], embedder: str) -> Mapping[str, NDArray[np.float32]]:
        with self._reading() as connection:
            return sql_reading.cached_vectors(connection, hashes, embedder)

    def store_vectors(self, vectors: Mapping[str, NDArray[np.float32]], embedder: str) -> None:
        with self._writing() as connection:
            sql_writing.store_vectors(connection, vectors, embedder)

    def set_windows(self, hashes: Mapping[str, str]) -> None:
        with self._writing() as connection:
            sql_writing.set_windows(connection, hashes)

    def graph_passages(self, ids: Collection[str]) -> dict[str, GraphPassage]:
        namespaces = set(self.indexable(ids).values())
        canonical = {key: value for namespace in namespaces for key, value in self._canonical_ids(namespace).items()}
        with self._reading() as connection:
            return sql_graph.graph_passages(connection, ids, canonical)

    # --- journal ----------------------------------------------------------------------------------------------------------------------------
    def pending(self, tier: TierName, *, now: datetime | None = None, limit: int = 200) -> list[JournalEntry]:
        query = select(t.journal).where(t.journal.c.tier == tier).order_by(t.journal.c.seq).limit(limit)
        if now is not None:
            query = query.where(t.journal.c.not_before <= now.timestamp())
        with self._reading() as connection:
            return [
                JournalEntry(
                    seq=row.seq,
                    tier=row.tier,
                    document_key=row.document_key,
                    namespace=row.namespace,
                    chunk_ids=tuple(json.loads(row.chunk_ids)),
                    attempts=row.attempts,
                )
                for row in connection.execute(query)
            ]

    def settle(self, entries: Sequence[JournalEntry]) -> None:
        with self._writing() as connection:
            for part in batched([entry.seq for entry in entries]):
                connection.execute(delete(t.journal).where(t.journal.c.seq.in_(part)))

    def postpone(self, entries: Sequence[JournalEntry], *, error: str, until: datetime) -> None:
        with self._writing() as connection:
            for part in batched([entry.seq for entry in entries]):
                connection.execute(
                    update(t.journal)
                    .where(t.journal.c.seq.in_(part))
                    .values(attempts=t.journal.c.attempts + 1, error=error, not_before=until.timestamp())
                )

    def backlog(self) -> dict[str, int]:
        with self._reading() as connection:
            return pairs(connection, _BACKLOG)

    def owe(self, tier: TierName, ids: Collection[str]) -> None:
        with self._writing() as connection:
            sql_journal.owe_chunks(connection, tier, ids)

    # --- knowledge --------------------------------------------------------------------------------------------------------------------------
    def add_knowledge(self, knowledge: Knowledge, *, now: datetime) -> None:
        touched = {m.chunk_id for m in knowledge.mentions} | {a.chunk_id for a in knowledge.assertions}
        with self._writing() as connection:
            sql_writing.write_knowledge(connection, knowledge, now=now.timestamp())
            sql_journal.owe_chunks(connection, "graph", touched)
            sql_journal.knowledge_changed(connection, touched)

    def known_keys(self, namespace: str, keys: Collection[str]) -> dict[str, str]:
        canonical = self._canonical_ids(namespace)
        found = sql_graph.known_keys(self._rows, namespace, keys)
        return {key: canonical.get(entity, entity) for key, entity in found.items()}

    def canonical(self, namespace: str, entity_ids: Collection[str]) -> dict[str, str]:
        joined = self._canonical_ids(namespace)
        return {entity: joined.get(entity, entity) for entity in entity_ids}

    def surface_ids(self, namespace: str, entity_ids: Collection[str]) -> dict[str, str]:
        wanted = set(entity_ids)
        joined = {surface: root for surface, root in self._canonical_ids(namespace).items() if root in wanted}
        return {entity: entity for entity in wanted} | joined

    def surface_names(self, entity_ids: Collection[str], scope: Scope, as_of: AsOf | None = None) -> list[SurfaceName]:
        return sql_graph.surface_names(self._rows, entity_ids, scope, as_of)

    def mentions_in(self, chunk_ids: Collection[str]) -> list[Mention]:
        with self._reading() as connection:
            return sql_graph.mentions_in(connection, chunk_ids)

    def seen_entities(self, entity_ids: Collection[str], scope: Scope, as_of: AsOf | None = None) -> set[str]:
        return sql_graph.seen_entities(self._rows, entity_ids, scope, as_of)

    def assertions(
        self,
        scope: Scope,
        *,
        entity_ids: Collection[str] | None = None,
        edge_ids: Collection[str] | None = None,
        predicates: Collection[str] | None = None,
        as_of: AsOf | None = None,
    ) -> list[Assertion]:
        with self._reading() as connection:
            return sql_graph.assertions(
                connection, entity_ids=entity_ids, edge_ids=edge_ids, predicates=predicates, scope=scope, as_of=as_of
            )

    def entity_uses(
        self,
        namespace: str,
        *,
        compared: bool | None = None,
        ids: Collection[str] | None = None,
        after: str = "",
        limit: int | None = None,
    ) -> list[EntityUse]:
        with self._reading() as connection:
            return sql_graph.entity_uses(connection, namespace, compared=compared, ids=ids, after=after, limit=limit)

    def mark_compared(self, namespace: str, blocks: Mapping[str, Collection[str]]) -> None:
        with self._writing() as connection:
            sql_graph.mark_compared(connection, namespace, blocks)

    def sharing_blocks(self, namespace: str, keys: Collection[str], *, limit: int) -> set[str]:
        with self._reading() as connection:
            return sql_graph.sharing_blocks(connection, namespace, keys, limit=limit)

    def entities(self, namespace: str, *, after: str = "", limit: int = 10_000) -> list[Entity]:
        with self._reading() as connection:
            return sql_graph.entities(connection, namespace, after=after, limit=limit)

    def record_merges(self, decisions: Sequence[MergeRecord], *, now: datetime) -> list[int]:
        for record in decisions:
            if record.kept_id == record.absorbed_id:
                raise InvalidRequestError(f"got a merge of entity {record.kept_id!r} with itself; needed two entities.")
        with self._writing() as connection:
            ids = [sql_graph.record_merge(connection, record, now=now.timestamp()) for record in decisions]
            joined = {entity for record in decisions if record.decision == "merge" for entity in (record.kept_id, record.absorbed_id)}
            if joined:
                self._follow_merges(connection, joined)
        return ids

    def decide_merge(self, merge_id: int, decision: str, *, now: datetime) -> MergeRecord:
        if decision not in ("merge", "rejected", "undone"):
            raise InvalidRequestError(f"got decision={decision!r}; needed 'merge', 'rejected' or 'undone'.")
        with self._writing() as connection:
            record = sql_graph.decide_merge(connection, merge_id, decision, now=now.timestamp())
            if record is None:
                raise InvalidRequestError(f"got merge_id={merge_id!r}, which is not in the merge log; `rag2 graph merges` lists it.")
            self._follow_merges(connection, {record.kept_id, record.absorbed_id})
        return record

    def _follow_merges(self, connection: Connection, entity_ids: Collection[str]) -> None:
        chunks = sql_graph.chunks_mentioning(connection, entity_ids)
        sql_journal.owe_chunks(connection, "graph", chunks)
        sql_journal.knowledge_changed(connection, chunks)
        self._canonical.clear()

    def merges(self, namespace: str | None = None, *, decision: str | None = None) -> list[MergeRecord]:
        with self._reading() as connection:
            return list(sql_graph.merges(connection, namespace, decision))

    def _canonical_ids(self, namespace: str) -> dict[str, str]:
        known = self._canonical.get(namespace)
        if known is None:
            with self._reading() as connection:
                known = self._canonical[namespace] = sql_graph.canonical_ids(connection, namespace)
        return known

    # --- life -------------------------------------------------------------------------------------------------------------------------------
    def counts(self) -> dict[str, int]:
        tables = (t.documents, t.versions, t.chunks, t.entities, t.mentions, t.edges, t.embeddings, t.journal, t.receipts)
        with self._reading() as connection:
            counts = {table.name: int(connection.execute(select(func.count()).select_from(table)).scalar() or 0) for table in tables}
            live = select(func.count()).where(t.documents.c.state == "live", t.documents.c.live_version.is_not(None))
            return counts | {"live_documents": int(connection.execute(live).scalar() or 0)}

    def note(self, key: str, value: str | None = None) -> str | None:
        if value is not None:
            with self._writing() as connection:
                connection.execute(delete(t.meta).where(t.meta.c.key == key))
                connection.execute(insert(t.meta).values(key=key, value=value))
            return value
        with self._reading() as connection:
            return connection.execute(select(t.meta.c.value).where(t.meta.c.key == key)).scalar()

    def close(self) -> None:
        if self._engine.dialect.name == "sqlite" and not self._exclusive:
            with self._turn(True), self._engine.connect() as connection:
                raw = connection.connection.driver_connection
                assert raw is not None
                raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._engine.dispose()


def _number(rows: Sequence[DriverRow]) -> int:
    """Return the number in the one row that there is, 0 where there is none."""
    return int(rows[0][0]) if rows else 0


def _url(location: Path | str | None) -> tuple[str, bool]:
    if location is None:
        return "sqlite://", True
    text = str(location)
    return (text, False) if "://" in text else (f"sqlite:///{text}", False)


def _begin(connection: Connection) -> None:
    """Begin as SQLite does; on the driver's connection, for SQLAlchemy's own way takes as long as a short query."""
    raw = connection.connection.driver_connection
    assert raw is not None
    raw.execute("BEGIN")


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's own BEGIN (below) replaces the driver's late one, so that reads are snapshots
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",  # an acknowledged write survives a power cut
        "busy_timeout=30000",
        "secure_delete=ON",  # what is forgotten is overwritten
        "cache_size=-32768",  # kB per connection: most of what permissions of 100,000 documents are read from
        "temp_store=MEMORY",
        "mmap_size=1073741824",  # bytes that are read where the system holds them, instead of copied into each connection's cache
    ):
        connection.execute(f"PRAGMA {pragma}")
