"""What each index still owes, and that a namespace changed. Every function runs inside its caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from rag2_memory.tiers import sql_schema as t
from rag2_memory.tiers.sql_reading import WINDOW_TURNS
from rag2_memory.tiers.sql_values import batched
from rag2_memory.types import TierName


def owe(connection: Connection, tiers: Iterable[TierName], namespace: str, key: str, chunk_ids: Sequence[str]) -> None:
    """Record in the journal that these chunks may differ between the registry and those indexes."""
    owe_many(connection, tiers, [(namespace, key, chunk_ids)])


def owe_many(connection: Connection, tiers: Iterable[TierName], debts: Sequence[tuple[str, str, Sequence[str]]]) -> None:
    """As `owe` for several documents: `(namespace, document key, chunk ids)` each."""
    rows = [
        {"tier": tier, "namespace": namespace, "document_key": key, "chunk_ids": json.dumps(part), "attempts": 0, "not_before": 0.0}
        for tier in tiers
        for namespace, key, chunk_ids in debts
        for part in batched(chunk_ids, 500)
    ]
    if rows:
        connection.execute(insert(t.journal), rows)


def owe_chunks(connection: Connection, tier: TierName, ids: Collection[str]) -> None:
    """Record in the journal that chunks, of whichever documents, may differ between the registry and one index."""
    by_document: dict[tuple[str, str], list[str]] = {}
    for part in batched(sorted(ids)):
        query = select(t.chunks.c.chunk_id, t.chunks.c.document_key, t.documents.c.namespace).where(
            t.chunks.c.chunk_id.in_(part), t.documents.c.document_key == t.chunks.c.document_key
        )
        for chunk_id, key, namespace in connection.execute(query):
            by_document.setdefault((key, namespace), []).append(chunk_id)
    for (key, namespace), chunk_ids in by_document.items():
        owe(connection, (tier,), namespace, key, chunk_ids)


def owe_windows(connection: Connection, row: Row[Any]) -> None:
    """Have the indexes renew the windows that a document, where it is a conversation turn, stands in."""
    if row.thread_id is not None:
        near = near_turns(connection, row.namespace, row.thread_id, row.turn_ordinal)
        owe(connection, ("vector", "lexical"), row.namespace, row.document_key, sorted(near))


def near_turns(connection: Connection, namespace: str, thread_id: str, ordinal: int) -> set[str]:
    """Return the chunk ids of a conversation turn and of those whose window holds it."""
    query = (
        select(t.occurrences.c.chunk_id)
        .join(t.documents, t.documents.c.document_key == t.occurrences.c.document_key)
        .where(
            t.documents.c.namespace == namespace,
            t.documents.c.thread_id == thread_id,
            t.documents.c.turn_ordinal.between(ordinal - WINDOW_TURNS, ordinal + WINDOW_TURNS),
        )
    )
    return set(connection.execute(query).scalars())


def changed(connection: Connection, namespaces: Collection[str]) -> None:
    """Count a change that readers of these namespaces could see."""
    if namespaces:
        connection.execute(
            update(t.namespaces).where(t.namespaces.c.namespace.in_(sorted(namespaces))).values(generation=t.namespaces.c.generation + 1)
        )


def resized(connection: Connection, namespace: str, *, by: int) -> None:
    """Count published chunks that came, or, below 0, went."""
    if by:
        connection.execute(
            update(t.namespaces).where(t.namespaces.c.namespace == namespace).values(live_chunks=t.namespaces.c.live_chunks + by)
        )


def knowledge_changed(connection: Connection, ids: Collection[str]) -> None:
    """Have the cache and readers know that entities or edges of these chunks changed."""
    owe_chunks(connection, "cache", ids)
    query = select(t.documents.c.namespace).distinct().join(t.chunks, t.chunks.c.document_key == t.documents.c.document_key)
    for part in batched(sorted(ids)):
        changed(connection, set(connection.execute(query.where(t.chunks.c.chunk_id.in_(part))).scalars()))
