"""Writing the registry: new versions with what each index owes, publishing, hiding, permissions. Every function runs inside its caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Row, and_, bindparam, case, delete, exists, func, insert, select, update

from rag2_memory.records import DocumentWrite, Knowledge
from rag2_memory.tiers import sql_derived as d
from rag2_memory.tiers import sql_schema as t
from rag2_memory.tiers.sql_reading import WINDOW_TURNS
from rag2_memory.tiers.sql_values import batched, insert_new, pairs, seconds, to_json
from rag2_memory.types import INDEX_TIERS, TierName


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
            _owe_windows(connection, _existing(connection, [item.key])[item.key])


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


def publish(connection: Connection, *, now: float, keep_versions: int, keys: Collection[str] | None = None) -> list[str]:
    """Make every pending version visible whose index work is done; returns the document keys.

    One update per document switches version, title and permissions together. Superseded versions beyond `keep_versions` are dropped and the
    indexes owe their removal.
    """
    owed = exists().where(t.journal.c.document_key == t.documents.c.document_key, t.journal.c.tier.in_(INDEX_TIERS))
    query = select(t.documents).where(t.documents.c.pending_version.is_not(None), ~owed)
    rows = connection.execute(query).all()
    chosen = [row for row in rows if keys is None or row.document_key in keys]
    if not chosen:
        return []
    _switch(connection, chosen, now)
    for row in chosen:
        if row.live_version is not None:
            trim_versions(connection, row.document_key, row.namespace, keep_versions)
    changed(connection, {row.namespace for row in chosen})
    return [row.document_key for row in chosen]


def _switch(connection: Connection, rows: Sequence[Row[Any]], now: float) -> None:
    """Make pending versions the live ones: version, title and permissions change together."""
    before = _chunks_of(connection, {row.document_key: row.live_version for row in rows if row.live_version is not None})
    after = _chunks_of(connection, {row.document_key: row.pending_version for row in rows})
    permitted = _permissions(connection, [row.document_key for row in rows])
    for row in rows:
        acl = json.loads(row.pending_acl)
        if permitted.get(row.document_key, set()) != set(acl):
            set_permissions(connection, row.document_key, acl)
    connection.execute(
        update(t.documents)
        .where(t.documents.c.document_key == bindparam("key"))
        .values(live_version=bindparam("now_live"), pending_version=None, pending_acl=None, state="live"),
        [{"key": row.document_key, "now_live": row.pending_version} for row in rows],
    )
    # A first version counts from its own date where it has one, so that an archive ingested today has a past.
    effective = case((and_(t.versions.c.version == 1, t.versions.c.modified_at < now), t.versions.c.modified_at), else_=now)
    connection.execute(
        update(t.versions)
        .where(t.versions.c.document_key == bindparam("key"), t.versions.c.version == bindparam("number"))
        .values(recorded_at=now, effective_from=effective),
        [{"key": row.document_key, "number": row.pending_version} for row in rows],
    )
    superseded = [{"key": row.document_key, "number": row.live_version} for row in rows if row.live_version is not None]
    if superseded:
        connection.execute(
            update(t.versions)
            .where(
                t.versions.c.document_key == bindparam("key"),
                t.versions.c.version == bindparam("number"),
                t.versions.c.retired_at.is_(None),
            )
            .values(retired_at=now),
            superseded,
        )
    # A changed title or permission concerns every chunk, a changed text only those that came or went; the cache decides by content.
    concerned = {row.document_key: before.get(row.document_key, set()) | after.get(row.document_key, set()) for row in rows}
    owe_many(connection, ("cache",), [(row.namespace, row.document_key, sorted(concerned[row.document_key]) or [""]) for row in rows])


def _chunks_of(connection: Connection, versions: Mapping[str, int]) -> dict[str, set[str]]:
    """Return the chunk ids of one version of each document."""
    found: dict[str, set[str]] = {}
    for part in batched(sorted(versions)):
        columns = (t.occurrences.c.document_key, t.occurrences.c.version, t.occurrences.c.chunk_id)
        for key, version, chunk_id in connection.execute(select(*columns).where(t.occurrences.c.document_key.in_(part))):
            if version == versions[key]:
                found.setdefault(key, set()).add(chunk_id)
    return found


def version_chunks(connection: Connection, key: str, version: int) -> set[str]:
    """Return the chunk ids of one version."""
    query = select(t.occurrences.c.chunk_id).where(t.occurrences.c.document_key == key, t.occurrences.c.version == version)
    return set(connection.execute(query).scalars())


def changed(connection: Connection, namespaces: Collection[str]) -> None:
    """Count a change that readers of these namespaces could see."""
    if namespaces:
        connection.execute(
            update(t.namespaces).where(t.namespaces.c.namespace.in_(sorted(namespaces))).values(generation=t.namespaces.c.generation + 1)
        )


def permissions_of(connection: Connection, key: str) -> list[str]:
    """Return a document's ACL, sorted."""
    return sorted(connection.execute(select(t.permissions.c.principal).where(t.permissions.c.document_key == key)).scalars())


def _permissions(connection: Connection, keys: Sequence[str]) -> dict[str, set[str]]:
    """Return the ACLs of documents; one that everybody sees has none."""
    found: dict[str, set[str]] = {}
    for part in batched(keys):
        query = select(t.permissions.c.document_key, t.permissions.c.principal).where(t.permissions.c.document_key.in_(part))
        for key, principal in connection.execute(query):
            found.setdefault(key, set()).add(principal)
    return found


def set_permissions(connection: Connection, key: str, acl: Collection[str]) -> None:
    """Replace a document's ACL."""
    connection.execute(delete(t.permissions).where(t.permissions.c.document_key == key))
    insert_new(connection, t.permissions, [{"document_key": key, "principal": principal} for principal in sorted(acl)])
    connection.execute(update(t.documents).where(t.documents.c.document_key == key).values(restricted=bool(acl)))


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
        counts["embeddings"] += _drop_embeddings(connection, hashes)
        counts["edges"] += _drop_edges(connection, edge_ids)
        counts["entities"] += _drop_or_rename_entities(connection, touched)
    return counts


def _drop_embeddings(connection: Connection, hashes: Sequence[str]) -> int:
    """Delete cached embeddings that no chunk uses any longer."""
    removed = 0
    for part in batched(hashes):
        used = {
            key
            for column in (t.chunks.c.embed_hash, t.chunks.c.window_hash)
            for key in connection.execute(select(column).where(column.in_(part))).scalars()
        }
        unused = [key for key in part if key not in used]
        removed += connection.execute(delete(t.embeddings).where(t.embeddings.c.embed_hash.in_(unused))).rowcount
    return removed


def set_windows(connection: Connection, hashes: Mapping[str, str]) -> None:
    """Note which embedding is a turn's window, and drop those that were one before."""
    before: list[str] = []
    for part in batched(sorted(hashes)):
        rows = connection.execute(select(t.chunks.c.chunk_id, t.chunks.c.window_hash).where(t.chunks.c.chunk_id.in_(part)))
        before += [old for chunk_id, old in rows if old is not None and old != hashes[chunk_id]]
    for chunk_id, key in sorted(hashes.items()):
        connection.execute(update(t.chunks).where(t.chunks.c.chunk_id == chunk_id).values(window_hash=key))
    _drop_embeddings(connection, before)


def _drop_edges(connection: Connection, edge_ids: Collection[str]) -> int:
    removed = 0
    for part in batched(sorted(edge_ids)):
        stated = select(t.evidence.c.edge_id).where(t.evidence.c.edge_id.in_(part))
        removed += connection.execute(delete(t.edges).where(t.edges.c.edge_id.in_(part), t.edges.c.edge_id.not_in(stated))).rowcount
    return removed


def _drop_or_rename_entities(connection: Connection, entity_ids: Collection[str]) -> int:
    """Delete entities that nothing mentions any longer; name the others by what still mentions them, so that no dropped text lives on in a name."""
    removed = 0
    for part in batched(sorted(entity_ids)):
        query = select(t.mentions.c.entity_id, func.min(t.mentions.c.name)).where(t.mentions.c.entity_id.in_(part))
        mentioned = pairs(connection, query.group_by(t.mentions.c.entity_id))
        orphans = [entity for entity in part if entity not in mentioned]
        removed += connection.execute(delete(t.entities).where(t.entities.c.entity_id.in_(orphans))).rowcount
        connection.execute(delete(t.merges).where(t.merges.c.kept_id.in_(orphans) | t.merges.c.absorbed_id.in_(orphans)))
        for entity, name in mentioned.items():
            connection.execute(update(t.entities).where(t.entities.c.entity_id == entity).values(name=name))
    return removed


def hide(connection: Connection, keys: Collection[str], *, state: str, now: float, keep_versions: int) -> None:
    """Take documents out of every answer at once; `state` is `deleted` or `archived`. The indexes owe their removal."""
    for key in sorted(keys):
        row = connection.execute(select(t.documents).where(t.documents.c.document_key == key)).one()
        if row.pending_version is not None:
            gone = drop_versions(connection, [(key, row.pending_version)])
            owe(connection, INDEX_TIERS, row.namespace, key, sorted(gone))
        ids = version_chunks(connection, key, row.live_version) if row.live_version is not None else set()
        values = {"state": state, "pending_version": None, "pending_acl": None}
        if state == "deleted":
            values["live_version"] = None
            connection.execute(
                update(t.versions).where(t.versions.c.document_key == key, t.versions.c.retired_at.is_(None)).values(retired_at=now)
            )
        connection.execute(update(t.documents).where(t.documents.c.document_key == key).values(**values))
        if state == "deleted":
            trim_versions(connection, key, row.namespace, keep_versions)
        else:
            everything = set(connection.execute(select(t.occurrences.c.chunk_id).where(t.occurrences.c.document_key == key)).scalars())
            owe(connection, INDEX_TIERS, row.namespace, key, sorted(everything))
        _owe_windows(connection, row)
        owe(connection, ("cache",), row.namespace, key, sorted(ids) or [""])
        changed(connection, {row.namespace})


def unarchive(connection: Connection, key: str) -> None:
    """Bring an archived document back; it becomes visible once the indexes hold it again."""
    row = connection.execute(select(t.documents).where(t.documents.c.document_key == key)).one()
    everything = set(connection.execute(select(t.occurrences.c.chunk_id).where(t.occurrences.c.document_key == key)).scalars())
    connection.execute(update(t.documents).where(t.documents.c.document_key == key).values(state="live"))
    owe(connection, INDEX_TIERS, row.namespace, key, sorted(everything))
    owe(connection, ("cache",), row.namespace, key, sorted(everything) or [""])
    changed(connection, {row.namespace})


def purge(connection: Connection, key: str, *, receipt_id: str, digest: str, now: float) -> dict[str, int]:
    """Delete every row of a document and what only it knew; the indexes and the cache owe the rest. Returns counts by kind."""
    row = connection.execute(select(t.documents).where(t.documents.c.document_key == key)).one()
    versions = list(connection.execute(select(t.versions.c.version).where(t.versions.c.document_key == key)).scalars())
    ids = set(connection.execute(select(t.chunks.c.chunk_id).where(t.chunks.c.document_key == key)).scalars())
    counts = {"versions": len(versions)}
    counts["parents"] = connection.execute(delete(t.parents).where(t.parents.c.document_key == key)).rowcount
    counts |= drop_chunks(connection, ids)
    d.drop_answers_of(connection, key)
    for table in (t.occurrences, t.version_parents, t.versions, t.permissions, t.journal, t.documents):
        connection.execute(delete(table).where(table.c.document_key == key))
    owe(connection, (*INDEX_TIERS, "cache"), row.namespace, key, sorted(ids))
    _owe_windows(connection, row)
    changed(connection, {row.namespace})
    connection.execute(insert(t.receipts).values(receipt_id=receipt_id, document_digest=digest, forgotten_at=now, counts=to_json(counts)))
    return counts


def change_acl(connection: Connection, key: str, acl: Collection[str]) -> None:
    """Replace a document's permissions at once, those of a pending version included; windows of neighbouring turns follow."""
    row = connection.execute(select(t.documents).where(t.documents.c.document_key == key)).one()
    set_permissions(connection, key, acl)
    if row.pending_version is not None:
        connection.execute(update(t.documents).where(t.documents.c.document_key == key).values(pending_acl=to_json(sorted(acl))))
    ids = version_chunks(connection, key, row.live_version) if row.live_version is not None else set()
    owe(connection, ("cache",), row.namespace, key, sorted(ids) or [""])
    _owe_windows(connection, row)
    changed(connection, {row.namespace})


def _owe_windows(connection: Connection, row: Row[Any]) -> None:
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


def knowledge_changed(connection: Connection, ids: Collection[str]) -> None:
    """Have the cache and readers know that entities or edges of these chunks changed."""
    owe_chunks(connection, "cache", ids)
    query = select(t.documents.c.namespace).distinct().join(t.chunks, t.chunks.c.document_key == t.documents.c.document_key)
    for part in batched(sorted(ids)):
        changed(connection, set(connection.execute(query.where(t.chunks.c.chunk_id.in_(part))).scalars()))


def take_source_acl(connection: Connection, key: str, acl: Collection[str]) -> None:
    """Follow an ACL that changed at the source of an otherwise unchanged document."""
    change_acl(connection, key, acl)
    connection.execute(update(t.documents).where(t.documents.c.document_key == key).values(source_acl=to_json(sorted(acl))))


def annotate(connection: Connection, key: str, metadata: Mapping[str, Any]) -> None:
    """Replace the metadata of a document's newest version in place."""
    row = connection.execute(select(t.documents).where(t.documents.c.document_key == key)).one()
    version = row.pending_version or row.live_version
    this = (t.versions.c.document_key == key, t.versions.c.version == version)
    connection.execute(update(t.versions).where(*this).values(metadata=to_json(dict(metadata))))
    owe(connection, ("cache",), row.namespace, key, sorted(version_chunks(connection, key, version)) or [""])
    changed(connection, {row.namespace})


def relocate(connection: Connection, key: str, *, uri: str | None, root: str | None, modified_at: datetime | None) -> None:
    """Note where, and with which date, an unchanged document was found."""
    connection.execute(update(t.documents).where(t.documents.c.document_key == key).values(uri=uri, root=root))
    row = connection.execute(select(t.documents).where(t.documents.c.document_key == key)).one()
    version = row.pending_version or row.live_version
    connection.execute(
        update(t.versions).where(t.versions.c.document_key == key, t.versions.c.version == version).values(modified_at=seconds(modified_at))
    )
    owe(connection, ("cache",), row.namespace, key, sorted(version_chunks(connection, key, version)) or [""])
    changed(connection, {row.namespace})
