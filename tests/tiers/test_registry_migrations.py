"""A registry of an earlier release is lifted to the present tables with everything in it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from rag2_memory import Document, Memory, Scope
from rag2_memory.config import REGISTRY_FILE
from rag2_memory.testing.fakes import FakeEmbedder
from rag2_memory.tiers import sql_schema

FIRST_SCHEMA = {
    "namespaces": "namespace VARCHAR NOT NULL, generation INTEGER NOT NULL, PRIMARY KEY (namespace)",
    "documents": """document_key VARCHAR NOT NULL, namespace VARCHAR NOT NULL, document_id VARCHAR NOT NULL, uri TEXT, root TEXT,
        state VARCHAR NOT NULL, restricted BOOLEAN NOT NULL, live_version INTEGER, pending_version INTEGER, pending_acl TEXT,
        source_acl TEXT NOT NULL, thread_id VARCHAR, turn_ordinal INTEGER, PRIMARY KEY (document_key)""",
    "permissions": "document_key VARCHAR NOT NULL, principal VARCHAR NOT NULL, PRIMARY KEY (document_key, principal)",
    "versions": """document_key VARCHAR NOT NULL, version INTEGER NOT NULL, content_hash VARCHAR NOT NULL, title TEXT NOT NULL,
        media_type VARCHAR NOT NULL, metadata TEXT NOT NULL, speaker VARCHAR, spoken_at FLOAT, modified_at FLOAT, recorded_at FLOAT,
        retired_at FLOAT, effective_from FLOAT, PRIMARY KEY (document_key, version)""",
    "occurrences": """document_key VARCHAR NOT NULL, version INTEGER NOT NULL, ordinal INTEGER NOT NULL, chunk_id VARCHAR NOT NULL,
        parent_id VARCHAR NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL, PRIMARY KEY (document_key, version, ordinal)""",
}
FIRST_INDEXES = (
    "CREATE INDEX documents_by_uri ON documents (namespace, uri)",
    "CREATE INDEX documents_by_thread ON documents (namespace, thread_id, turn_ordinal)",
    "CREATE INDEX documents_pending ON documents (pending_version)",
    "CREATE UNIQUE INDEX documents_by_id ON documents (namespace, document_id)",
    "CREATE INDEX documents_by_root ON documents (namespace, root)",
    "CREATE INDEX occurrences_by_chunk ON occurrences (chunk_id, version)",
)


def lower_to_first_schema(path: Path) -> None:
    """Give the tables that changed the shape and contents that schema version 1 had."""
    with sqlite3.connect(path) as connection:
        for table, columns in FIRST_SCHEMA.items():
            connection.execute(f"CREATE TABLE first ({columns})")
            names = ", ".join(f'"{row[1]}"' for row in connection.execute("PRAGMA table_info(first)"))
            connection.execute(f"INSERT INTO first ({names}) SELECT {names} FROM {table}")
            connection.execute(f"DROP TABLE {table}")
            connection.execute(f"ALTER TABLE first RENAME TO {table}")
        connection.execute("DROP TABLE blocks")
        connection.execute("DROP INDEX mentions_with_properties")
        for statement in FIRST_INDEXES:
            connection.execute(statement)
        connection.execute("UPDATE meta SET value = '1' WHERE key = 'schema_version'")
    connection.close()


def definitions(path: Path) -> set[tuple[str, str]]:
    with sqlite3.connect(path) as connection:
        found = set(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
    connection.close()
    return found


def lengths(path: Path) -> list[tuple[str, int]]:
    """Return what outlines and links are weighed by: the tokens of chunks and the sizes of namespaces."""
    with sqlite3.connect(path) as connection:
        found = [
            *connection.execute("SELECT chunk_id, tokens FROM occurrences"),
            *connection.execute("SELECT namespace, live_chunks FROM namespaces"),
        ]
    connection.close()
    return sorted(found)


def seen(memory: Memory, scope: Scope) -> set[tuple[str, str, int]]:
    return {(passage.chunk_id, passage.text, passage.tokens) for passage in memory.search("crane", scope=scope)}


def test_a_registry_of_the_first_schema_is_lifted_with_everything_in_it(tmp_path: Path) -> None:
    embedder, staff = FakeEmbedder(), Scope(user="ann")
    documents = [
        Document(id="open", text="# Harbour\n\nThe crane lifts forty tonnes."),
        Document(id="closed", text="# Payroll\n\nThe crane driver earns well.", acl=frozenset({"user:ann"})),
    ]
    with Memory.open(tmp_path / "m", embedder=embedder) as memory:
        memory.ingest(documents)
        memory.ingest([Document(id="open", text="# Harbour\n\nThe crane lifts fifty tonnes.")])
        expected = [seen(memory, scope) for scope in (Scope(), staff)]
    path = tmp_path / "m" / REGISTRY_FILE
    present, counted = definitions(path), lengths(path)
    lower_to_first_schema(path)
    assert definitions(path) != present
    with Memory.open(tmp_path / "m", embedder=embedder) as memory:
        assert [seen(memory, scope) for scope in (Scope(), staff)] == expected
        assert memory.verify().ok
    assert definitions(path) == present
    assert lengths(path) == counted


def test_every_version_has_its_migration() -> None:
    assert set(sql_schema.MIGRATIONS) == set(range(2, sql_schema.SCHEMA_VERSION + 1))
