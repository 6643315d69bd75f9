"""Writing to the registry: new versions with what each index owes, knowledge, vectors. Every function runs inside its caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Row, func, select, update

from rag2_memory.records import DocumentWrite, Knowledge
from rag2_memory.tiers import sql_derived as d
from rag2_memory.tiers import sql_schema as t
from rag2_memory.tiers.sql_dropping import drop_embeddings, drop_versions
from rag2_memory.tiers.sql_journal import owe_many, owe_windows
from rag2_memory.tiers.sql_publishing import permissions_of
from rag2_memory.tiers.sql_values import batched, insert_new, seconds, to_json
from rag2_memory.types import INDEX_TIERS


def write_versions(connection: Connection, items: Sequence[DocumentWrite], *, now: float) -> None:
    """Record new versions as pending, and what every index owes for them; a pending version not yet published is replaced."""
    rows = _existing(connection, [item.key for item in items])
    _add_documents(connection, [item for item in items if item.key not in rows])
    versions = {item.key: _next_version(connection, item, rows[item.key]) if item.key in rows else 1 for item in items}
    insert_new(connection, t.versions, [_version_row(item, versions[item.key]) for item in items])
    _write_chunks(connection, items, versions)
    everything = Knowledge(
        entities=tuple({entity.id: entity for item in items for entity in item.knowledge.entities}.values()),
        mentions=tuple(mention for item in items for mention in item.knowledge.mentions),
        assertions=tuple(assertion for item in items for assertion in item.knowledge.assertions),
    )
    write_knowledge(connection, everything, now=now)
    _note_readings(connection, items)
    compare_again(connection, {mention.entity_id for mention in everything.mentions if d.ALIASES in mention.properties})
    owed = []
    for item in items:
        held = _indexed_already(connection, item, versions[item.key]) if item.key in rows else set()
        owed.append((item.namespace, item.key, sorted({chunk.id for chunk in item.chunks} - held)))
    owe_many(connection, INDEX_TIERS, owed)
    for item in items:
        if item.document.turn is not None:
            owe_windows(connection, _existing(connection, [item.key])[item.key])


def _existing(connection: Connection, keys: Sequence[str]) -> dict[str, Row[Any]]:
    found: dict[str, Row[Any]] = {}
    for part in batched(keys):
        for row in connection.execute(select(t.documents).where(t.documents.c.document_key.in_(part))):
            found[row.document_key] = row
    return found


def _add_documents(connection: Connection, items: Sequence[DocumentWrite]) -> None:
    """Add rows for documents that the registry does not know, invisible until their first version is published."""
    insert_new(
        connection,
        t.documents,
        [
            {
                "document_key": item.key,
                "namespace": item.namespace,
                "document_id": item.document.id,
                "state": "live",
                "restricted": bool(item.document.acl),
                **_pending(item, 1, to_json(sorted(item.document.acl))),
            }
            for item in items
        ],
    )
    insert_new(connection, t.namespaces, [{"namespace": name, "generation": 0} for name in sorted({item.namespace for item in items})])
    granted = [{"document_key": item.key, "principal": principal} for item in items for principal in sorted(item.document.acl)]
    insert_new(connection, t.permissions, granted)


def _next_version(connection: Connection, item: DocumentWrite, row: Row[Any]) -> int:
    """Have a known document wait for its next version; returns its number."""
    acl = source_acl = to_json(sorted(item.document.acl))
    if row.pending_version is not None:
        drop_versions(connection, [(item.key, row.pending_version)])
    if row.source_acl == source_acl and row.state == "live":
        acl = row.pending_acl if row.pending_acl is not None else to_json(permissions_of(connection, item.key))
    newest = connection.execute(select(func.max(t.versions.c.version)).where(t.versions.c.document_key == item.key)).scalar()
    version = max(newest or 0, row.live_version or 0) + 1
    connection.execute(update(t.documents).where(t.documents.c.document_key == item.key).values(**_pending(item, version, acl)))
    return version


def _pending(item: DocumentWrite, version: int, acl: str) -> dict[str, Any]:
    turn = item.document.turn
    return {
        "uri": item.document.uri,
        "root": item.root,
        "pending_version": version,
        "pending_acl": acl,
        "source_acl": to_json(sorted(item.document.acl)),
        "thread_id": turn.thread_id if turn else None,
        "turn_ordinal": turn.ordinal if turn else None,
    }


def _version_row(item: DocumentWrite, version: int) -> dict[str, Any]:
    document, turn = item.document, item.document.turn
    return {
        "document_key": item.key,
        "version": version,
        "content_hash": item.content_hash,
        "title": document.title,
        "media_type": document.media_type,
        "metadata": to_json(dict(document.metadata)),
        "speaker": turn.speaker if turn else None,
        "spoken_at": seconds(turn.at) if turn else None,
        "modified_at": seconds(document.modified_at),
    }


def _write_chunks(connection: Connection, items: Sequence[DocumentWrite], versions: Mapping[str, int]) -> None:
    insert_new(
        connection,
        t.parents,
        [
            {"parent_id": p.id, "document_key": item.key, "heading_path": to_json(p.heading_path), "text": p.text, "tokens": p.tokens}
            for item in items
            for p in item.parents
        ],
    )
    insert_new(
        connection,
        t.version_parents,
        [
            {
                "document_key": item.key,
                "version": versions[item.key],
                "position": position,
                "parent_id": p.id,
                "start": p.start,
                "end": p.end,
            }
            for item in items
            for position, p in enumerate(item.parents)
        ],
    )
    insert_new(
        connection,
        t.chunks,
        [
            {
                "chunk_id": c.id,
                "document_key": item.key,
                "heading_path": to_json(c.heading_path),
                "text": c.text,
                "tokens": c.tokens,
                "embed_hash": embed_hash,
            }
            for item in items
            for c, embed_hash in zip(item.chunks, item.embed_hashes, strict=True)
        ],
    )
    insert_new(
        connection,
        t.occurrences,
        [
            {
                "document_key": item.key,
                "version": versions[item.key],
                "ordinal": c.ordinal,
                "chunk_id": c.id,
                "parent_id": c.parent_id,
                "start": c.start,
                "end": c.end,
                "tokens": c.tokens,
            }
            for item in items
            for c in item.chunks
        ],
    )


def _indexed_already(connection: Connection, item: DocumentWrite, version: int) -> set[str]:
    """Return chunk ids that a published version of the document holds, so that the indexes have them or owe them already."""
    query = select(t.occurrences.c.chunk_id).where(t.occurrences.c.document_key == item.key, t.occurrences.c.version != version)
    return set(connection.execute(query).scalars())


def _note_readings(connection: Connection, items: Sequence[DocumentWrite]) -> None:
    """Note which extractor read each chunk; a chunk that another one read before keeps that note, since its mentions stayed as they were."""
    by = {chunk.id: item.knowledge.extractor for item in items if item.knowledge.extractor for chunk in item.chunks}
    known: set[str] = set()
    for part in batched(sorted(by)):
        known.update(connection.execute(select(d.readings.c.chunk_id).where(d.readings.c.chunk_id.in_(part))).scalars())
    insert_new(connection, d.readings, [{"chunk_id": key, "extractor": name} for key, name in by.items() if key not in known])


def compare_again(connection: Connection, entity_ids: Collection[str]) -> None:
    """Have entity resolution look at entities that it has compared before: something new is known of them."""
    for part in batched(sorted(entity_ids)):
        connection.execute(update(t.entities).where(t.entities.c.entity_id.in_(part)).values(compared=False))


def write_knowledge(connection: Connection, knowledge: Knowledge, *, now: float) -> None:
    """Add entities, mentions, edges and evidence; what exists stays as it is."""
    insert_new(
        connection,
        t.entities,
        [{"entity_id": e.id, "namespace": e.namespace, "key": e.key, "name": e.name, "type": e.type} for e in knowledge.entities],
    )
    insert_new(
        connection,
        t.mentions,
        [
            {
                "chunk_id": m.chunk_id,
                "entity_id": m.entity_id,
                "kind": m.kind,
                "name": m.name,
                "weight": m.weight,
                "type": m.type,
                "properties": to_json(dict(m.properties)),
            }
            for m in knowledge.mentions
        ],
    )
    insert_new(
        connection,
        t.edges,
        [
            {
                "edge_id": a.edge_id,
                "namespace": a.namespace,
                "subject_id": a.subject_id,
                "predicate": a.predicate,
                "object_id": a.object_id,
                "valid_from": seconds(a.valid_from),
                "valid_to": seconds(a.valid_to),
            }
            for a in knowledge.assertions
        ],
    )
    insert_new(
        connection,
        t.evidence,
        [
            {
                "edge_id": a.edge_id,
                "chunk_id": a.chunk_id,
                "quote": a.quote,
                "confidence": a.confidence,
                "properties": to_json(dict(a.properties)),
                "recorded_at": seconds(a.recorded_at) or now,
            }
            for a in knowledge.assertions
        ],
    )


def store_vectors(connection: Connection, vectors: Mapping[str, NDArray[np.float32]], embedder: str) -> None:
    """Cache embeddings by the hash of what was embedded."""
    rows = [{"embedder": embedder, "embed_hash": key, "vector": vector.astype("<f4").tobytes()} for key, vector in vectors.items()]
    insert_new(connection, t.embeddings, rows)


def set_windows(connection: Connection, hashes: Mapping[str, str]) -> None:
    """Note which embedding is a turn's window, and drop those that were one before."""
    before: list[str] = []
    for part in batched(sorted(hashes)):
        rows = connection.execute(select(t.chunks.c.chunk_id, t.chunks.c.window_hash).where(t.chunks.c.chunk_id.in_(part)))
        before += [old for chunk_id, old in rows if old is not None and old != hashes[chunk_id]]
    for chunk_id, key in sorted(hashes.items()):
        connection.execute(update(t.chunks).where(t.chunks.c.chunk_id == chunk_id).values(window_hash=key))
    drop_embeddings(connection, before)
