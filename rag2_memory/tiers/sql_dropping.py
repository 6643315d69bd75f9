"""Deleting from the registry: versions, chunks with all that only they knew, whole documents. Every function runs inside its caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, delete, func, insert, select, update

from rag2_memory.tiers import sql_derived as d
from rag2_memory.tiers import sql_schema as t
from rag2_memory.tiers.sql_journal import changed, owe, owe_windows, resized
from rag2_memory.tiers.sql_values import batched, pairs, to_json
from rag2_memory.types import INDEX_TIERS


def version_chunks(connection: Connection, key: str, version: int) -> set[str]:
    """Return the chunk ids of one version."""
    query = select(t.occurrences.c.chunk_id).where(t.occurrences.c.document_key == key, t.occurrences.c.version == version)
    return set(connection.execute(query).scalars())


def trim_versions(connection: Connection, key: str, namespace: str, keep_versions: int) -> None:
    """Drop superseded versions beyond the newest `keep_versions`."""
    query = (
        select(t.versions.c.version)
        .where(t.versions.c.document_key == key, t.versions.c.retired_at.is_not(None))
        .order_by(t.versions.c.version.desc())
        .offset(keep_versions)
    )
    surplus = [(key, version) for version in connection.execute(query).scalars()]
    gone = drop_versions(connection, surplus)
    owe(connection, INDEX_TIERS, namespace, key, sorted(gone))


def drop_versions(connection: Connection, versions: Sequence[tuple[str, int]]) -> set[str]:
    """Delete versions and everything that only they held; returns the chunk ids that no version holds any longer."""
    gone: set[str] = set()
    for key, version in versions:
        ids = version_chunks(connection, key, version)
        for table in (t.occurrences, t.version_parents, t.versions):
            connection.execute(delete(table).where(table.c.document_key == key, table.c.version == version))
        still = set(connection.execute(select(t.occurrences.c.chunk_id).where(t.occurrences.c.document_key == key)).scalars())
        gone |= ids - still
        kept = select(t.version_parents.c.parent_id).where(t.version_parents.c.document_key == key)
        connection.execute(delete(t.parents).where(t.parents.c.document_key == key, t.parents.c.parent_id.not_in(kept)))
    drop_chunks(connection, gone)
    return gone


def drop_chunks(connection: Connection, ids: Collection[str]) -> dict[str, int]:
    """Delete chunks with their mentions, evidence, extractions and embeddings that nothing else uses; returns counts by kind."""
    counts = dict.fromkeys(("chunks", "mentions", "evidence", "edges", "entities", "embeddings"), 0)
    for part in batched(sorted(ids), 1_000):
        stored = connection.execute(select(t.chunks.c.embed_hash, t.chunks.c.window_hash).where(t.chunks.c.chunk_id.in_(part))).all()
        hashes = sorted({key for row in stored for key in row if key is not None})
        touched = set(connection.execute(select(t.mentions.c.entity_id).where(t.mentions.c.chunk_id.in_(part))).scalars())
        edge_ids = set(connection.execute(select(t.evidence.c.edge_id).where(t.evidence.c.chunk_id.in_(part))).scalars())
        d.drop_derived(connection, part)
        for name, table in (("mentions", t.mentions), ("evidence", t.evidence), ("chunks", t.chunks)):
            counts[name] += connection.execute(delete(table).where(table.c.chunk_id.in_(part))).rowcount
        counts["embeddings"] += drop_embeddings(connection, hashes)
        counts["edges"] += _drop_edges(connection, edge_ids)
        counts["entities"] += _drop_or_rename_entities(connection, touched)
    return counts


def drop_embeddings(connection: Connection, hashes: Sequence[str]) -> int:
    """Delete cached embeddings that no chunk uses any longer."""
    removed = 0
    for part in batched(hashes):
        used = {
            key
            for column in (t.chunks.c.embed_hash, t.chunks.c.window_hash)
            for key in connection.execute(select(column).where(column.in_(part))).scalars()
        }
        unused = [key for key in part if key not in used]
        for embedder in _embedders(connection):  # the key begins with it: without it every embedding would be read
            theirs = delete(t.embeddings).where(t.embeddings.c.embedder == embedder, t.embeddings.c.embed_hash.in_(unused))
            removed += connection.execute(theirs).rowcount
    return removed


def _embedders(connection: Connection) -> list[str]:
    """Return the names of the embedders that have embeddings, each by one step along the key."""
    found: list[str] = []
    while True:
        later = select(func.min(t.embeddings.c.embedder))
        name = connection.execute(later.where(t.embeddings.c.embedder > found[-1]) if found else later).scalar()
        if name is None:
            return found
        found.append(name)


def _drop_edges(connection: Connection, edge_ids: Collection[str]) -> int:
    removed = 0
    for part in batched(sorted(edge_ids)):
        stated = select(t.evidence.c.edge_id).where(t.evidence.c.edge_id.in_(part))
        removed += connection.execute(delete(t.edges).where(t.edges.c.edge_id.in_(part), t.edges.c.edge_id.not_in(stated))).rowcount
    return removed


def _drop_or_rename_entities(connection: Connection, entity_ids: Collection[str]) -> int:
    """Delete entities that nothing mentions any longer; name the others by what still mentions them and have them compared again, so that no dropped
    text lives on in a name or in what a name is found by."""
    removed = 0
    for part in batched(sorted(entity_ids)):
        query = select(t.mentions.c.entity_id, func.min(t.mentions.c.name)).where(t.mentions.c.entity_id.in_(part))
        mentioned = pairs(connection, query.group_by(t.mentions.c.entity_id))
        orphans = [entity for entity in part if entity not in mentioned]
        removed += connection.execute(delete(t.entities).where(t.entities.c.entity_id.in_(orphans))).rowcount
        connection.execute(delete(t.blocks).where(t.blocks.c.entity_id.in_(part)))
        connection.execute(delete(t.merges).where(t.merges.c.kept_id.in_(orphans) | t.merges.c.absorbed_id.in_(orphans)))
        for entity, name in mentioned.items():
            connection.execute(update(t.entities).where(t.entities.c.entity_id == entity).values(name=name, compared=False))
    return removed


def purge(connection: Connection, key: str, *, receipt_id: str, digest: str, now: float) -> dict[str, int]:
    """Delete every row of a document and what only it knew; the indexes and the cache owe the rest. Returns counts by kind."""
    row = connection.execute(select(t.documents).where(t.documents.c.document_key == key)).one()
    versions = list(connection.execute(select(t.versions.c.version).where(t.versions.c.document_key == key)).scalars())
    ids = set(connection.execute(select(t.chunks.c.chunk_id).where(t.chunks.c.document_key == key)).scalars())
    if row.live_version is not None:
        resized(connection, row.namespace, by=-len(version_chunks(connection, key, row.live_version)))
    counts = {"versions": len(versions)}
    counts["parents"] = connection.execute(delete(t.parents).where(t.parents.c.document_key == key)).rowcount
    counts |= drop_chunks(connection, ids)
    d.drop_answers_of(connection, key)
    for table in (t.occurrences, t.version_parents, t.versions, t.permissions, t.journal, t.documents):
        connection.execute(delete(table).where(table.c.document_key == key))
    owe(connection, (*INDEX_TIERS, "cache"), row.namespace, key, sorted(ids))
    owe_windows(connection, row)
    changed(connection, {row.namespace})
    connection.execute(insert(t.receipts).values(receipt_id=receipt_id, document_digest=digest, forgotten_at=now, counts=to_json(counts)))
    return counts
