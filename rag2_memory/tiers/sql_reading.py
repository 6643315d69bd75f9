"""Reading the registry: what a scope can see, and the chunks, parents and states behind ids."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, FromClause, Row, Select, and_, exists, func, or_, select

from rag2_memory.records import DocumentState, LexicalDocument, Outline
from rag2_memory.tiers import sql_schema as t
from rag2_memory.tiers.sql_values import batched, from_seconds, pairs, seconds
from rag2_memory.types import AsOf, Chunk, Parent, Scope, Turn, index_text, spoken_text

LAST_CHARACTER = "\U0010ffff"
"""Sorts behind every character that an id may go on with."""

WINDOW_TURNS = 1
"""Neighbours on each side of a conversation turn that its window holds (shared measurements: one before and one after)."""


def seen_versions(scope: Scope, as_of: AsOf | None) -> tuple[FromClause, Any]:
    """Return the join of documents and their versions, and the condition that the scope may see that version at that time.

    Without `as_of` it is the published version. With `as_of.recorded` it is what was published then. With `as_of.valid` a version counts from its
    `effective_from` until it was superseded or deleted. Permissions are always today's: a withdrawn permission also covers the past.
    """
    source = t.documents.join(t.versions, t.versions.c.document_key == t.documents.c.document_key)
    conditions = [t.documents.c.namespace == scope.namespace, t.documents.c.state != "archived", permitted(scope)]
    if as_of is None or (as_of.valid is None and as_of.recorded is None):
        conditions += [t.documents.c.state == "live", t.versions.c.version == t.documents.c.live_version]
    if as_of is not None:
        for start, moment in ((t.versions.c.recorded_at, as_of.recorded), (t.versions.c.effective_from, as_of.valid)):
            if moment is not None:
                at = seconds(moment)
                conditions += [start <= at, or_(t.versions.c.retired_at.is_(None), t.versions.c.retired_at > at)]
    return source, and_(*conditions)


def permitted(scope: Scope) -> Any:
    """Return the condition that the scope satisfies a document's ACL."""
    principals = sorted(scope.principals)
    if not principals:
        return t.documents.c.restricted.is_(False)
    granted = exists().where(t.permissions.c.document_key == t.documents.c.document_key, t.permissions.c.principal.in_(principals))
    return or_(t.documents.c.restricted.is_(False), granted)


def seen_chunks(scope: Scope, as_of: AsOf | None, *columns: Any) -> Select[Any]:
    """Select columns of the chunks that the scope sees; occurrences, documents and versions are joined."""
    source, condition = seen_versions(scope, as_of)
    source = source.join(
        t.occurrences, and_(t.occurrences.c.document_key == t.versions.c.document_key, t.occurrences.c.version == t.versions.c.version)
    )
    return select(*columns).select_from(source).where(condition)


def visible(connection: Connection, ids: Collection[str], scope: Scope, as_of: AsOf | None) -> set[str]:
    """Return those chunk ids that the scope sees."""
    found: set[str] = set()
    for part in batched(list(ids)):
        query = seen_chunks(scope, as_of, t.occurrences.c.chunk_id).where(t.occurrences.c.chunk_id.in_(part))
        found.update(connection.execute(query).scalars())
    return found


def outlines(connection: Connection, ids: Collection[str], scope: Scope, as_of: AsOf | None) -> dict[str, Outline]:
    """Return title and length of those chunks that the scope sees."""
    found: dict[str, Outline] = {}
    columns = (t.occurrences.c.chunk_id, t.versions.c.title, t.chunks.c.tokens)
    for part in batched(list(ids)):
        query = seen_chunks(scope, as_of, *columns).where(
            t.occurrences.c.chunk_id.in_(part), t.chunks.c.chunk_id == t.occurrences.c.chunk_id
        )
        found.update({row[0]: Outline(title=row[1], tokens=row[2]) for row in connection.execute(query)})
    return found


def size(connection: Connection, namespace: str) -> int:
    """Return how many published chunks a namespace has."""
    query = (
        select(func.count())
        .select_from(t.occurrences.join(t.documents, t.documents.c.document_key == t.occurrences.c.document_key))
        .where(t.documents.c.namespace == namespace, t.documents.c.live_version == t.occurrences.c.version)
    )
    return int(connection.execute(query).scalar() or 0)


def visible_ids(connection: Connection, scope: Scope, as_of: AsOf | None, limit: int) -> list[str] | None:
    """Return every chunk id that the scope sees, or `None` where there are more than `limit`."""
    found = list(connection.execute(seen_chunks(scope, as_of, t.occurrences.c.chunk_id).distinct().limit(limit + 1)).scalars())
    return None if len(found) > limit else found


CHUNK_COLUMNS = (
    t.occurrences.c.chunk_id,
    t.occurrences.c.document_key,
    t.occurrences.c.parent_id,
    t.occurrences.c.ordinal,
    t.occurrences.c.start,
    t.occurrences.c.end,
    t.documents.c.document_id,
    t.documents.c.namespace,
    t.documents.c.uri,
    t.documents.c.thread_id,
    t.documents.c.turn_ordinal,
    t.versions.c.version,
    t.versions.c.title,
    t.versions.c.metadata,
    t.versions.c.modified_at,
    t.versions.c.speaker,
    t.versions.c.spoken_at,
    t.chunks.c.heading_path,
    t.chunks.c.text,
    t.chunks.c.tokens,
)


def chunk_of(row: Row[Any]) -> Chunk:
    """Build a chunk from a row of `CHUNK_COLUMNS`."""
    turn = None
    if row.thread_id is not None:
        turn = Turn(thread_id=row.thread_id, ordinal=row.turn_ordinal, speaker=row.speaker or "", at=from_seconds(row.spoken_at))
    return Chunk(
        id=row.chunk_id,
        document_key=row.document_key,
        document_id=row.document_id,
        namespace=row.namespace,
        parent_id=row.parent_id,
        title=row.title,
        heading_path=tuple(json.loads(row.heading_path)),
        text=row.text,
        tokens=row.tokens,
        ordinal=row.ordinal,
        start=row.start,
        end=row.end,
        modified_at=from_seconds(row.modified_at),
        metadata=json.loads(row.metadata),
        uri=row.uri,
        version=row.version,
        turn=turn,
    )


def chunks(connection: Connection, ids: Collection[str], scope: Scope, as_of: AsOf | None) -> dict[str, Chunk]:
    """Return the chunks behind those ids that the scope sees; of a text that occurs twice in a document, the first place."""
    found: dict[str, Chunk] = {}
    for part in batched(list(ids)):
        query = seen_chunks(scope, as_of, *CHUNK_COLUMNS).where(
            t.occurrences.c.chunk_id.in_(part), t.chunks.c.chunk_id == t.occurrences.c.chunk_id
        )
        for row in connection.execute(query.order_by(t.occurrences.c.ordinal)):
            found.setdefault(row.chunk_id, chunk_of(row))
    return found


def parents(connection: Connection, ids: Collection[str], scope: Scope, as_of: AsOf | None) -> dict[str, Parent]:
    """Return those parents whose document the scope sees."""
    found = {}
    source, condition = seen_versions(scope, as_of)
    columns = (*t.parents.c, t.version_parents.c.start, t.version_parents.c.end)
    joined = source.join(
        t.version_parents,
        and_(t.version_parents.c.document_key == t.versions.c.document_key, t.version_parents.c.version == t.versions.c.version),
    ).join(t.parents, t.parents.c.parent_id == t.version_parents.c.parent_id)
    for part in batched(list(ids)):
        for row in connection.execute(select(*columns).select_from(joined).where(condition, t.parents.c.parent_id.in_(part))):
            found[row.parent_id] = Parent(
                id=row.parent_id,
                document_key=row.document_key,
                heading_path=tuple(json.loads(row.heading_path)),
                text=row.text,
                tokens=row.tokens,
                start=row.start,
                end=row.end,
            )
    return found


def document_metadata(
    connection: Connection, scope: Scope, document_ids: Collection[str] | None, prefix: str | None
) -> dict[str, Mapping[str, Any]]:
    """Return the metadata of documents that the scope sees, by id."""
    source, condition = seen_versions(scope, None)
    query = select(t.documents.c.document_id, t.versions.c.metadata).select_from(source).where(condition)
    if prefix is not None:
        query = query.where(t.documents.c.document_id >= prefix, t.documents.c.document_id < prefix + LAST_CHARACTER)
    parts = [query] if document_ids is None else [query.where(t.documents.c.document_id.in_(part)) for part in batched(list(document_ids))]
    return {row[0]: json.loads(row[1]) for part in parts for row in connection.execute(part)}


def document_text(connection: Connection, document_id: str, scope: Scope, as_of: AsOf | None) -> str | None:
    """Return a document's whole text as the scope sees it; parents partition it."""
    source, condition = seen_versions(scope, as_of)
    joined = source.join(
        t.version_parents,
        and_(t.version_parents.c.document_key == t.versions.c.document_key, t.version_parents.c.version == t.versions.c.version),
    ).join(t.parents, t.parents.c.parent_id == t.version_parents.c.parent_id)
    query = select(t.parents.c.text).select_from(joined).where(condition, t.documents.c.document_id == document_id)
    pieces = list(connection.execute(query.order_by(t.version_parents.c.position)).scalars())
    return "".join(pieces) if pieces else None


STATE_COLUMNS = (
    t.documents,
    t.versions.c.content_hash,
    t.versions.c.title,
    t.versions.c.modified_at,
    t.versions.c.recorded_at,
)


def states(connection: Connection, *conditions: Any) -> Iterator[DocumentState]:
    """Yield documents with the hash of their newest version, pending ones included, by namespace and id."""
    newest = t.documents.outerjoin(
        t.versions,
        and_(
            t.versions.c.document_key == t.documents.c.document_key,
            t.versions.c.version == _newest_version(),
        ),
    )
    query = select(*STATE_COLUMNS).select_from(newest).where(*conditions).order_by(t.documents.c.namespace, t.documents.c.document_id)
    for rows in connection.execute(query).partitions(1_000):
        keys = [row.document_key for row in rows if row.restricted]
        acls: dict[str, set[str]] = {}
        for part in batched(keys):
            for key, principal in connection.execute(
                select(t.permissions.c.document_key, t.permissions.c.principal).where(t.permissions.c.document_key.in_(part))
            ):
                acls.setdefault(key, set()).add(principal)
        for row in rows:
            yield _state_of(row, acls.get(row.document_key, set()))


def _newest_version() -> Any:
    return func.coalesce(t.documents.c.pending_version, t.documents.c.live_version)


def _state_of(row: Row[Any], acl: set[str]) -> DocumentState:
    pending = frozenset(json.loads(row.pending_acl)) if row.pending_acl is not None else frozenset(acl)
    return DocumentState(
        key=row.document_key,
        document_id=row.document_id,
        namespace=row.namespace,
        uri=row.uri,
        root=row.root,
        state=row.state,
        acl=pending,
        source_acl=frozenset(json.loads(row.source_acl)),
        live_version=row.live_version,
        pending_version=row.pending_version,
        content_hash=row.content_hash or "",
        title=row.title or "",
        modified_at=from_seconds(row.modified_at),
        recorded_at=from_seconds(row.recorded_at),
        thread_id=row.thread_id,
    )


def indexable_query(*columns: Any) -> Select[Any]:
    """Select columns of every chunk occurrence that indexes hold: all retained versions of documents that are not archived."""
    source = t.occurrences.join(t.documents, t.documents.c.document_key == t.occurrences.c.document_key)
    return select(*columns).select_from(source).where(t.documents.c.state != "archived")


def indexable(connection: Connection, ids: Collection[str] | None) -> dict[str, str]:
    """Return chunk ids that the indexes should hold with their namespaces; of the given ids, or all."""
    query = indexable_query(t.occurrences.c.chunk_id, t.documents.c.namespace).distinct()
    if ids is None:
        return pairs(connection, query)
    found: dict[str, str] = {}
    for part in batched(list(ids)):
        found |= pairs(connection, query.where(t.occurrences.c.chunk_id.in_(part)))
    return found


def embed_texts(connection: Connection, ids: Collection[str]) -> dict[str, tuple[str, str]]:
    """Return hash and text of what is embedded for each recorded chunk among the ids."""
    found: dict[str, tuple[str, str]] = {}
    columns = (
        t.chunks.c.chunk_id,
        t.chunks.c.embed_hash,
        t.chunks.c.heading_path,
        t.chunks.c.text,
        t.versions.c.title,
        t.versions.c.speaker,
    )
    for part in batched(list(ids)):
        query = indexable_query(*columns).where(
            t.occurrences.c.chunk_id.in_(part),
            t.chunks.c.chunk_id == t.occurrences.c.chunk_id,
            t.versions.c.document_key == t.occurrences.c.document_key,
            t.versions.c.version == t.occurrences.c.version,
        )
        for row in connection.execute(query):
            found[row.chunk_id] = (row.embed_hash, _index_text(row))
    return found


def lexical_documents(connection: Connection, ids: Collection[str]) -> dict[str, LexicalDocument]:
    """Return what the lexical index should hold for those of the ids that are indexable."""
    found: dict[str, LexicalDocument] = {}
    windows = turn_windows(connection, ids)
    columns = (
        t.chunks.c.chunk_id,
        t.chunks.c.heading_path,
        t.chunks.c.text,
        t.documents.c.namespace,
        t.versions.c.title,
        t.versions.c.speaker,
    )
    for part in batched(list(ids)):
        query = indexable_query(*columns).where(
            t.occurrences.c.chunk_id.in_(part),
            t.chunks.c.chunk_id == t.occurrences.c.chunk_id,
            t.versions.c.document_key == t.occurrences.c.document_key,
            t.versions.c.version == t.occurrences.c.version,
        )
        for row in connection.execute(query):
            found[row.chunk_id] = LexicalDocument(
                id=row.chunk_id, namespace=row.namespace, text=_index_text(row), window=windows.get(row.chunk_id, "")
            )
    return found


def _index_text(row: Row[Any]) -> str:
    return index_text(row.title, tuple(json.loads(row.heading_path)), spoken_text(row.text, row.speaker))


def turn_windows(connection: Connection, ids: Collection[str]) -> dict[str, str]:
    """Return the window of those ids that are conversation turns: title, the turns before, the turn itself, the turns after.

    Neighbours are published turns of the same thread with the same readers; a turn that fewer people may see never enters another's window.
    """
    texts: dict[str, str] = {}
    own = t.documents.alias("own")
    near = t.documents.alias("near")
    own_chunk = t.occurrences.alias("own_chunk")
    near_chunk = t.occurrences.alias("near_chunk")
    version = t.versions.alias("near_version")
    source = (
        own_chunk.join(own, own.c.document_key == own_chunk.c.document_key)
        .join(
            near,
            and_(
                near.c.namespace == own.c.namespace,
                near.c.thread_id == own.c.thread_id,
                near.c.turn_ordinal.between(own.c.turn_ordinal - WINDOW_TURNS, own.c.turn_ordinal + WINDOW_TURNS),
                near.c.state == "live",
            ),
        )
        .join(
            near_chunk,
            and_(
                near_chunk.c.document_key == near.c.document_key,
                near_chunk.c.version == func.coalesce(near.c.pending_version, near.c.live_version),
            ),
        )
        .join(version, and_(version.c.document_key == near.c.document_key, version.c.version == near_chunk.c.version))
        .join(t.chunks, t.chunks.c.chunk_id == near_chunk.c.chunk_id)
    )
    columns = (
        own_chunk.c.chunk_id.label("chunk_id"),
        own.c.document_key.label("own_key"),
        near.c.document_key.label("near_key"),
        near.c.turn_ordinal,
        near_chunk.c.ordinal,
        version.c.title,
        version.c.speaker,
        t.chunks.c.text,
    )
    for part in batched(list(ids)):
        rows = connection.execute(
            select(*columns)
            .select_from(source)
            .where(own_chunk.c.chunk_id.in_(part), own.c.thread_id.is_not(None))
            .order_by(own_chunk.c.chunk_id, near.c.turn_ordinal, near_chunk.c.ordinal)
        ).all()
        readers = _readers(connection, {row.own_key for row in rows} | {row.near_key for row in rows})
        for row in rows:
            if readers[row.own_key] != readers[row.near_key]:
                continue
            before = texts.get(row.chunk_id, row.title)
            texts[row.chunk_id] = f"{before}\n{spoken_text(row.text, row.speaker)}".strip()
    return texts


def _readers(connection: Connection, keys: Collection[str]) -> dict[str, frozenset[str]]:
    """Return the ACL of documents as it will be once what is pending is published."""
    readers: dict[str, frozenset[str]] = dict.fromkeys(keys, frozenset())
    granted: dict[str, set[str]] = {}
    for part in batched(list(keys)):
        for key, principal in connection.execute(
            select(t.permissions.c.document_key, t.permissions.c.principal).where(t.permissions.c.document_key.in_(part))
        ):
            granted.setdefault(key, set()).add(principal)
        readers |= {key: frozenset(principals) for key, principals in granted.items()}
        for key, acl in connection.execute(
            select(t.documents.c.document_key, t.documents.c.pending_acl).where(
                t.documents.c.document_key.in_(part), t.documents.c.pending_acl.is_not(None)
            )
        ):
            readers[key] = frozenset(json.loads(acl))
    return readers


def chunk_vectors(connection: Connection, ids: Collection[str], embedder: str) -> dict[str, NDArray[np.float32]]:
    """Return the cached embeddings of chunks, as far as they are cached."""
    found: dict[str, NDArray[np.float32]] = {}
    source = t.chunks.join(t.embeddings, t.embeddings.c.embed_hash == t.chunks.c.embed_hash)
    for part in batched(list(ids)):
        query = select(t.chunks.c.chunk_id, t.embeddings.c.vector).select_from(source)
        for key, blob in connection.execute(query.where(t.chunks.c.chunk_id.in_(part), t.embeddings.c.embedder == embedder)):
            found[key] = np.frombuffer(blob, dtype="<f4")
    return found


def cached_vectors(connection: Connection, hashes: Sequence[str], embedder: str) -> Mapping[str, NDArray[np.float32]]:
    """Return the cached embeddings of those hashes that have one."""
    found = {}
    for part in batched(list(hashes)):
        query = select(t.embeddings.c.embed_hash, t.embeddings.c.vector).where(
            t.embeddings.c.embedder == embedder, t.embeddings.c.embed_hash.in_(part)
        )
        for key, blob in connection.execute(query):
            found[key] = np.frombuffer(blob, dtype="<f4")
    return found
