"""The registry's tables, in SQLAlchemy Core terms that SQLite and PostgreSQL share. Migrations stand at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    ScalarSelect,
    String,
    Table,
    Text,
    and_,
    column,
    func,
    insert,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.schema import DropIndex

from rag2_memory.errors import SchemaVersionError

SCHEMA_VERSION = 3
"""Version of these tables; a registry written by a newer one is refused."""

metadata = MetaData()
Sequence = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only for a column declared INTEGER."""

Instant = Float
"""Moments are stored as seconds since 1970 UTC: exact to the microsecond, ordered, the same in every database."""

meta = Table("meta", metadata, Column("key", String, primary_key=True), Column("value", Text, nullable=False))

namespaces = Table(
    "namespaces",
    metadata,
    Column("namespace", String, primary_key=True),
    Column("generation", Integer, nullable=False, default=0),  # grows with every change that a reader could see
    Column("live_chunks", Integer, nullable=False, default=0),  # chunks of published versions
)

documents = Table(
    "documents",
    metadata,
    Column("document_key", String, primary_key=True),  # hash of namespace and document id
    Column("namespace", String, nullable=False),
    Column("document_id", String, nullable=False),
    Column("uri", Text),
    Column("root", Text),  # the folder it was ingested from; `prune` compares within it
    Column("state", String, nullable=False, default="live"),  # live | archived | deleted
    Column("restricted", Boolean, nullable=False, default=False),  # whether `permissions` has rows for it
    Column("live_version", Integer),  # NULL until the first version is published
    Column("pending_version", Integer),  # written, waiting for the indexes
    Column("pending_acl", Text),  # JSON; takes effect with the pending version
    Column("source_acl", Text, nullable=False, default="[]"),  # JSON; as the source last said: an ACL set since then outlives a re-ingest
    Column("thread_id", String),
    Column("turn_ordinal", Integer),
    Index("documents_by_id", "namespace", "document_id", unique=True),
    Index("documents_by_root", "namespace", "root"),
    Index("documents_by_uri", "namespace", "uri"),
    Index("documents_by_thread", "namespace", "thread_id", "turn_ordinal"),
    Index("documents_pending", "pending_version"),
    Index("documents_open", "namespace", "restricted"),
    sqlite_with_rowid=False,
)

permissions = Table(
    "permissions",
    metadata,
    Column("document_key", String, nullable=False),
    Column("principal", String, nullable=False),
    PrimaryKeyConstraint("document_key", "principal"),
    Index("permissions_by_principal", "principal", "document_key"),
    sqlite_with_rowid=False,
)

versions = Table(
    "versions",
    metadata,
    Column("document_key", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("content_hash", String, nullable=False),
    Column("title", Text, nullable=False, default=""),
    Column("media_type", String, nullable=False),
    Column("metadata", Text, nullable=False, default="{}"),
    Column("speaker", String),
    Column("spoken_at", Instant),
    Column("modified_at", Instant),
    Column("recorded_at", Instant),  # set when published
    Column("retired_at", Instant),  # superseded or deleted
    Column("effective_from", Instant),  # min(modified_at, recorded_at) of a first version, else recorded_at
    PrimaryKeyConstraint("document_key", "version"),
    sqlite_with_rowid=False,
)

parents = Table(
    "parents",
    metadata,
    Column("parent_id", String, primary_key=True),
    Column("document_key", String, nullable=False, index=True),
    Column("heading_path", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("tokens", Integer, nullable=False),
)

chunks = Table(
    "chunks",
    metadata,
    Column("chunk_id", String, primary_key=True),
    Column("document_key", String, nullable=False, index=True),
    Column("heading_path", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("tokens", Integer, nullable=False),
    Column("embed_hash", String, nullable=False, index=True),
    Column("window_hash", String, index=True),  # of a conversation turn with its neighbours, once that was embedded
)

occurrences = Table(
    "occurrences",
    metadata,
    Column("document_key", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("chunk_id", String, nullable=False),
    Column("parent_id", String, nullable=False),
    Column("start", Integer, nullable=False),
    Column("end", Integer, nullable=False),
    Column("tokens", Integer, nullable=False),  # of the chunk; here so that outlines need not read its text
    PrimaryKeyConstraint("document_key", "version", "ordinal"),
    Index("occurrences_by_chunk", "chunk_id", "version", "document_key", "tokens"),
    sqlite_with_rowid=False,
)

version_parents = Table(
    "version_parents",
    metadata,
    Column("document_key", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("position", Integer, nullable=False),
    Column("parent_id", String, nullable=False, index=True),
    Column("start", Integer, nullable=False),
    Column("end", Integer, nullable=False),
    PrimaryKeyConstraint("document_key", "version", "position"),
)

embeddings = Table(
    "embeddings",
    metadata,
    Column("embedder", String, nullable=False),
    Column("embed_hash", String, nullable=False),
    Column("vector", LargeBinary, nullable=False),  # little-endian float32
    PrimaryKeyConstraint("embedder", "embed_hash"),
)

entities = Table(
    "entities",
    metadata,
    Column("entity_id", String, primary_key=True),  # hash of namespace and key
    Column("namespace", String, nullable=False),
    Column("key", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("type", String, nullable=False, default=""),
    Column("compared", Boolean, nullable=False, default=False),  # whether entity resolution has looked at it
    Index("entities_by_key", "namespace", "key"),
    Index("entities_uncompared", "namespace", "compared"),
)

blocks = Table(
    "blocks",
    metadata,
    Column("code", BigInteger, nullable=False),  # hash of a namespace and a key under which entity resolution finds an entity again
    Column("entity_id", String, nullable=False, index=True),
    PrimaryKeyConstraint("code", "entity_id"),
    sqlite_with_rowid=False,
)

mentions = Table(
    "mentions",
    metadata,
    Column("chunk_id", String, nullable=False),
    Column("entity_id", String, nullable=False, index=True),
    Column("kind", String, nullable=False),
    Column("name", Text, nullable=False),  # the surface form: the entity's aliases are what its visible mentions say
    Column("weight", Float, nullable=False, default=1.0),
    Column("type", String, nullable=False, default=""),
    Column("properties", Text, nullable=False, default="{}"),
    PrimaryKeyConstraint("chunk_id", "entity_id", "kind"),
)
HAS_PROPERTIES = mentions.c.properties != literal_column("'{}'")
_mentions_with_properties = Index(
    "mentions_with_properties", mentions.c.entity_id, sqlite_where=HAS_PROPERTIES, postgresql_where=HAS_PROPERTIES
)

edges = Table(
    "edges",
    metadata,
    Column("edge_id", String, primary_key=True),
    Column("namespace", String, nullable=False),
    Column("subject_id", String, nullable=False),
    Column("predicate", String, nullable=False),
    Column("object_id", String, nullable=False),
    Column("valid_from", Instant),  # as asserted; an exclusive successor closes it when read
    Column("valid_to", Instant),
    Index("edges_by_subject", "subject_id", "predicate"),
    Index("edges_by_object", "object_id", "predicate"),
)

evidence = Table(
    "evidence",
    metadata,
    Column("edge_id", String, nullable=False),
    Column("chunk_id", String, nullable=False, index=True),
    Column("quote", Text, nullable=False, default=""),
    Column("confidence", Float, nullable=False, default=1.0),
    Column("properties", Text, nullable=False, default="{}"),
    Column("recorded_at", Instant, nullable=False),
    PrimaryKeyConstraint("edge_id", "chunk_id"),
)

merges = Table(
    "merges",
    metadata,
    Column("merge_id", Sequence, primary_key=True, autoincrement=True),
    Column("namespace", String, nullable=False, index=True),
    Column("kept_id", String, nullable=False, index=True),
    Column("absorbed_id", String, nullable=False, index=True),
    Column("decision", String, nullable=False),  # merge | review | rejected | undone
    Column("score", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Column("decided_at", Instant, nullable=False),
)

extractions = Table(
    "extractions",
    metadata,
    Column("chunk_id", String, nullable=False, index=True),
    Column("extractor", String, nullable=False),
    Column("payload", Text, nullable=False),
    PrimaryKeyConstraint("chunk_id", "extractor"),
)

journal = Table(
    "journal",
    metadata,
    Column("seq", Sequence, primary_key=True, autoincrement=True),
    Column("tier", String, nullable=False),
    Column("namespace", String, nullable=False),
    Column("document_key", String, nullable=False, index=True),
    Column("chunk_ids", Text, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("not_before", Instant, nullable=False, default=0.0),
    Column("error", Text),
    Index("journal_by_tier", "tier", "seq"),
)

receipts = Table(
    "receipts",
    metadata,
    Column("receipt_id", String, primary_key=True),
    Column("document_digest", String, nullable=False),  # a forgotten document's id is not kept in clear
    Column("forgotten_at", Instant, nullable=False),
    Column("counts", Text, nullable=False),
)


def _keys_clustered(connection: Connection) -> None:
    """Version 2: tables that are read by key hold their rows in the key's own tree, occurrences know their chunk's length, edges are found by predicate."""
    _rebuilt(connection, documents)
    _rebuilt(connection, permissions)
    _rebuilt(connection, versions)
    _rebuilt(connection, edges)
    tokens = select(chunks.c.tokens).where(chunks.c.chunk_id == literal_column("occurrences_old.chunk_id")).scalar_subquery()
    _rebuilt(connection, occurrences, tokens=tokens)


def _sizes_and_blocks_kept(connection: Connection) -> None:
    """Version 3: namespaces know how many chunks they show; what entity resolution finds entities by is kept, and it looks at all of them once more."""
    published = and_(occurrences.c.document_key == documents.c.document_key, occurrences.c.version == documents.c.live_version)
    live = select(func.count(occurrences.c.chunk_id.distinct())).select_from(documents.join(occurrences, published))
    _rebuilt(
        connection,
        namespaces,
        live_chunks=live.where(documents.c.namespace == literal_column("namespaces_old.namespace")).scalar_subquery(),
    )
    own = select(chunks.c.tokens).where(chunks.c.chunk_id == occurrences.c.chunk_id).scalar_subquery()
    connection.execute(update(occurrences).values(tokens=own))  # a registry lifted from version 1 had one length everywhere
    blocks.create(connection)
    _mentions_with_properties.create(connection)
    connection.execute(update(entities).values(compared=False))


def _rebuilt(connection: Connection, table: Table, **added: ScalarSelect[Any]) -> None:
    """Give a table its present definition; `added` computes the columns that it did not have."""
    old = f"{table.name}_old"
    for index in table.indexes:
        connection.execute(DropIndex(index, if_exists=True))
    connection.exec_driver_sql(f"ALTER TABLE {table.name} RENAME TO {old}")
    table.create(connection)
    names = [item.name for item in table.columns]
    values = [added[name] if name in added else column(name) for name in names]
    connection.execute(insert(table).from_select(names, select(*values).select_from(text(old))))
    connection.exec_driver_sql(f"DROP TABLE {old}")


MIGRATIONS: dict[int, Callable[[Connection], None]] = {2: _keys_clustered, 3: _sizes_and_blocks_kept}
"""What lifts a registry from the version before to the key's version, inside one transaction."""


def prepare(connection: Connection) -> None:
    """Create the tables in an empty registry, or migrate an older one.

    Raises:
        SchemaVersionError: If a newer release wrote it.
    """
    metadata.create_all(connection, tables=[meta])
    found = connection.execute(select(meta.c.value).where(meta.c.key == "schema_version")).scalar()
    if found is None:
        metadata.create_all(connection)
        connection.execute(insert(meta).values(key="schema_version", value=str(SCHEMA_VERSION)))
        return
    if int(found) > SCHEMA_VERSION:
        raise SchemaVersionError(found=int(found), supported=SCHEMA_VERSION)
    for version in range(int(found) + 1, SCHEMA_VERSION + 1):
        MIGRATIONS[version](connection)
    connection.execute(update(meta).where(meta.c.key == "schema_version").values(value=str(SCHEMA_VERSION)))
