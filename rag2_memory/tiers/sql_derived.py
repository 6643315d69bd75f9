"""Tables of what is derived from recorded chunks, and their removal together with the chunks."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Column, Connection, Integer, PrimaryKeyConstraint, String, Table, Text, delete, select

from rag2_memory.tiers import sql_schema as t
from rag2_memory.tiers.sql_values import batched

ALIASES = "aliases"
"""Mention property: other names that the chunk gives the entity."""

readings = Table(
    "readings",
    t.metadata,
    Column("chunk_id", String, nullable=False),
    Column("extractor", String, nullable=False),  # whose knowledge of the chunk has been recorded
    PrimaryKeyConstraint("chunk_id", "extractor"),
    sqlite_with_rowid=False,
)

communities = Table(
    "communities",
    t.metadata,
    Column("community_id", String, primary_key=True),
    Column("namespace", String, nullable=False, index=True),
    Column("names", Text, nullable=False),  # JSON
    Column("summary", Text, nullable=False),
    Column("summarised_by", String, nullable=False),
    Column("made_at", t.Instant, nullable=False),
)

community_members = Table(
    "community_members",
    t.metadata,
    Column("community_id", String, nullable=False),
    Column("position", Integer, nullable=False),
    Column("document_key", String, nullable=False, index=True),
    Column("chunk_id", String, nullable=False, index=True),
    PrimaryKeyConstraint("community_id", "position"),
)

DERIVED = (readings, communities, community_members)


def prepare(connection: Connection) -> None:
    """Create these tables where they are missing."""
    t.metadata.create_all(connection, tables=list(DERIVED))


def drop_derived(connection: Connection, chunk_ids: Collection[str]) -> None:
    """Delete what was derived from chunks: answers, notes of who read them, and communities whose summary may quote them."""
    for part in batched(sorted(chunk_ids)):
        for table in (t.extractions, readings):
            connection.execute(delete(table).where(table.c.chunk_id.in_(part)))
        made_of = select(community_members.c.community_id).where(community_members.c.chunk_id.in_(part)).distinct()
        drop_communities(connection, list(connection.execute(made_of).scalars()))


def drop_answers_of(connection: Connection, document_key: str) -> None:
    """Delete every answer about a document, those to chunks that were never recorded included: chunk ids begin with their document's key."""
    connection.execute(delete(t.extractions).where(t.extractions.c.chunk_id.startswith(f"{document_key}-", autoescape=True)))


def drop_communities(connection: Connection, ids: Collection[str]) -> None:
    """Delete communities."""
    for part in batched(sorted(ids)):
        for table in (community_members, communities):
            connection.execute(delete(table).where(table.c.community_id.in_(part)))
