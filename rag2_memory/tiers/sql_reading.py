"""Reading the registry: what a scope can see, and the chunks, parents and states behind ids."""

from __future__ import annotations

import json
from collections import namedtuple
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, FromClause, Integer, Row, Select, and_, bindparam, func, select

from rag2_memory.records import DocumentState, LexicalDocument, Outline
from rag2_memory.tiers import sql_schema as t
from rag2_memory.tiers.sql_driver import Rows
from rag2_memory.tiers.sql_scopes import (
    Sight,
    all_seen_chunks,
    among,
    at_once,
    microseconds,
    parameters,
    seen_chunks,
    seen_versions,
    sight_of,
    unpacked,
)
from rag2_memory.tiers.sql_values import batched, from_microseconds, from_seconds, pairs
from rag2_memory.types import AsOf, Chunk, Parent, Scope, Turn, index_text, spoken_text

LAST_CHARACTER = "\U0010ffff"
"""Sorts behind every character that an id may go on with."""

WINDOW_TURNS = 1
"""Neighbours on each side of a conversation turn that its window holds (shared measurements: one before and one after)."""


@cache
def _visible(sight: Sight) -> Select[Any]:
    column = t.occurrences.c.chunk_id
    return at_once(seen_chunks(sight, column).where(among(column, "ids")), column)


def visible(rows: Rows, ids: Collection[str], scope: Scope, as_of: AsOf | None) -> set[str]:
    """Return those chunk ids that the scope sees."""
    found = rows(_visible(sight_of(scope, as_of)), parameters(scope, as_of, ids=ids))
    return {chunk_id for (chunk_id,) in unpacked(found)}


@cache
def _outlines(sight: Sight) -> Select[Any]:
    columns = (t.occurrences.c.chunk_id, t.versions.c.title, t.occurrences.c.tokens)
    return at_once(seen_chunks(sight, *columns).where(among(t.occurrences.c.chunk_id, "ids")), *columns)


def outlines(rows: Rows, ids: Collection[str], scope: Scope, as_of: AsOf | None) -> dict[str, Outline]:
    """Return title and length of those chunks that the scope sees."""
    found = rows(_outlines(sight_of(scope, as_of)), parameters(scope, as_of, ids=ids))
    return {chunk_id: Outline(title, tokens) for chunk_id, title, tokens in unpacked(found)}


@cache
def _visible_ids(sight: Sight) -> Select[Any]:
    first = select(all_seen_chunks(sight).subquery().c.chunk_id).limit(bindparam("limit", type_=Integer)).subquery()
    return at_once(select(first), first.c.chunk_id)


def visible_ids(rows: Rows, scope: Scope, as_of: AsOf | None, limit: int) -> tuple[str, ...] | None:
    """Return every chunk id that the scope sees, or `None` where there are more than `limit`."""
    values = parameters(scope, as_of) | {"limit": limit + 1}
    found = tuple(chunk_id for (chunk_id,) in unpacked(rows(_visible_ids(sight_of(scope, as_of)), values)))
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
    microseconds(t.versions.c.modified_at),
    t.versions.c.speaker,
    microseconds(t.versions.c.spoken_at),
    t.chunks.c.heading_path,
    t.chunks.c.text,
    t.chunks.c.tokens,
)


_ChunkRow = namedtuple("_ChunkRow", [column.name for column in CHUNK_COLUMNS])  # type: ignore[misc]


def chunk_of(values: Sequence[Any]) -> Chunk:
    """Build a chunk from a row of `CHUNK_COLUMNS`."""
    row: Any = _ChunkRow._make(values)
    turn = None
    if row.thread_id is not None:
        turn = Turn(thread_id=row.thread_id, ordinal=row.turn_ordinal, speaker=row.speaker or "", at=from_microseconds(row.spoken_at))
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
        modified_at=from_microseconds(row.modified_at),
        metadata=json.loads(row.metadata),
        uri=row.uri,
        version=row.version,
        turn=turn,
    )


@cache
def _chunks(sight: Sight) -> Select[Any]:
    query = seen_chunks(sight, *CHUNK_COLUMNS).join(t.chunks, t.chunks.c.chunk_id == t.occurrences.c.chunk_id)
    return at_once(query.where(among(t.occurrences.c.chunk_id, "ids")), *CHUNK_COLUMNS)


def chunks(rows: Rows, ids: Collection[str], scope: Scope, as_of: AsOf | None) -> dict[str, Chunk]:
    """Return the chunks behind those ids that the scope sees; of a text that occurs twice in a document, the first place."""
    seen = unpacked(rows(_chunks(sight_of(scope, as_of)), parameters(scope, as_of, ids=ids)))
    found: dict[str, Chunk] = {}
    for chunk in sorted(map(chunk_of, seen), key=lambda chunk: chunk.ordinal):
        found.setdefault(chunk.id, chunk)
    return found


_PARENT_COLUMNS = (
    t.parents.c.parent_id,
    t.parents.c.document_key,
    t.parents.c.heading_path,
    t.parents.c.text,
    t.parents.c.tokens,
    t.version_parents.c.start,
    t.version_parents.c.end,
)


@cache
def _parents(sight: Sight) -> Select[Any]:
    source, condition = seen_versions(sight, picked=True)
    query = select().select_from(_with_parents(source)).where(condition, among(t.parents.c.parent_id, "ids"))
    return at_once(query, *_PARENT_COLUMNS)


def _with_parents(versions: FromClause) -> FromClause:
    """Join the parents that versions are made of."""
    held = and_(t.version_parents.c.document_key == t.versions.c.document_key, t.version_parents.c.version == t.versions.c.version)
    return versions.join(t.version_parents, held).join(t.parents, t.parents.c.parent_id == t.version_parents.c.parent_id)


def parents(rows: Rows, ids: Collection[str], scope: Scope, as_of: AsOf | None) -> dict[str, Parent]:
    """Return those parents whose document the scope sees."""
    found = unpacked(rows(_parents(sight_of(scope, as_of)), parameters(scope, as_of, ids=ids)))
    return {
        parent_id: Parent(
            id=parent_id,
            document_key=document_key,
            heading_path=tuple(json.loads(heading_path)),
            text=text,
            tokens=tokens,
            start=start,
            end=end,
        )
        for parent_id, document_key, heading_path, text, tokens, start, end in found
    }


def document_metadata(
    connection: Connection, scope: Scope, document_ids: Collection[str] | None, prefix: str | None
) -> dict[str, Mapping[str, Any]]:
    """Return the metadata of documents that the scope sees, by id."""
    source, condition = seen_versions(sight_of(scope, None), picked=False)
    query = select(t.documents.c.document_id, t.versions.c.metadata).select_from(source).where(condition)
    values = parameters(scope, None)
    if prefix is not None:
        query = query.where(t.documents.c.document_id >= prefix, t.documents.c.document_id < prefix + LAST_CHARACTER)
    if document_ids is not None:
        query = query.where(among(t.documents.c.document_id, "ids"))
        values = parameters(scope, None, ids=document_ids)
    return {document_id: json.loads(metadata) for document_id, metadata in connection.execute(query, values)}


def document_text(connection: Connection, document_id: str, scope: Scope, as_of: AsOf | None) -> str | None:
    """Return a document's whole text as the scope sees it; parents partition it."""
    source, condition = seen_versions(sight_of(scope, as_of), picked=False)
    query = select(t.parents.c.text).select_from(_with_parents(source)).where(condition, t.documents.c.document_id == document_id)
    pieces = list(connection.execute(query.order_by(t.version_parents.c.position), parameters(scope, as_of)).scalars())
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
    hashes: dict[str, str] = {}
    for part in batched(list(ids)):  # not one join: for many ids SQLite would start from all embeddings of the embedder
        hashes |= pairs(connection, select(t.chunks.c.chunk_id, t.chunks.c.embed_hash).where(t.chunks.c.chunk_id.in_(part)))
    vectors = cached_vectors(connection, list(dict.fromkeys(hashes.values())), embedder)
    return {chunk_id: vectors[key] for chunk_id, key in hashes.items() if key in vectors}


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
