"""The SQLite registry passes the registry's contract, on disk and in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import event

from rag2_memory import AsOf, Scope
from rag2_memory.errors import BackendUnavailableError, SchemaVersionError
from rag2_memory.testing.registry import RegistryContract
from rag2_memory.tiers.registry_sql import SqlRegistry
from rag2_memory.tiers.sql_dropping import drop_embeddings


class TestOnDisk(RegistryContract):
    @pytest.fixture
    def registry(self, tmp_path: Path) -> Iterator[SqlRegistry]:
        registry = SqlRegistry(tmp_path / "registry.sqlite")
        yield registry
        registry.close()


class TestInMemory(RegistryContract):
    @pytest.fixture
    def registry(self) -> Iterator[SqlRegistry]:
        registry = SqlRegistry(None)
        yield registry
        registry.close()


def test_a_registry_of_a_newer_release_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "registry.sqlite"
    SqlRegistry(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(SchemaVersionError, match="schema version 99"):
        SqlRegistry(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("scope", [Scope(), Scope(user="ann", groups=frozenset({"staff"}))], ids=["anonymous", "known"])
@pytest.mark.parametrize(
    "as_of", [None, AsOf(valid=datetime(2025, 1, 1, tzinfo=timezone.utc)), AsOf(recorded=datetime(2025, 1, 1, tzinfo=timezone.utc))]
)
def test_looking_up_ids_never_walks_a_namespace(tmp_path: Path, scope: Scope, as_of: AsOf | None) -> None:
    registry = SqlRegistry(tmp_path / "registry.sqlite")
    asked = _traced(registry)
    registry.visible(["a"], scope, as_of)
    registry.outlines(["a"], scope, as_of)
    registry.chunks(["a"], scope, as_of)
    registry.parents(["a"], scope, as_of)
    registry.assertions(scope, entity_ids=["a"], as_of=as_of)
    registry.assertions(scope, edge_ids=["a"], as_of=as_of)
    registry.surface_names(["a"], scope, as_of)
    registry.seen_entities(["a"], scope, as_of)
    registry.close()
    plans = _plans(asked, tmp_path / "registry.sqlite")
    assert len(plans) == 8
    steps = [step for plan in plans for step in plan]
    assert any("occurrences_by_chunk" in step for step in steps)
    scanned = [step for step in steps if step.startswith("SCAN") and not step.startswith(("SCAN json_each", "SCAN named"))]
    assert not scanned and not [step for step in steps if "documents_by" in step]


def test_no_write_walks_all_embeddings_or_documents(tmp_path: Path) -> None:
    registry = SqlRegistry(tmp_path / "registry.sqlite")
    registry.store_vectors({"hash": np.ones(4, dtype=np.float32)}, "model")
    asked = _traced(registry)
    registry.chunk_vectors([f"chunk-{number}" for number in range(500)], "model")
    registry.cached_vectors([f"hash-{number}" for number in range(500)], "model")
    assert not list(registry.states(document_ids=["a"]))
    assert registry.publish(now=datetime(2025, 1, 1, tzinfo=timezone.utc), keep_versions=1) == []
    with registry._engine.begin() as writing:
        assert drop_embeddings(writing, ["hash"]) == 1
    registry.close()
    steps = [step for plan in _plans(asked, tmp_path / "registry.sqlite") for step in plan]
    read_whole = [step for step in steps if step.startswith("SCAN") or step.endswith(("(embedder=?)", "(namespace=?)"))]
    assert len(steps) >= 5
    assert not read_whole


def test_stated_aliases_are_found_by_the_few_mentions_with_properties(tmp_path: Path) -> None:
    registry = SqlRegistry(tmp_path / "registry.sqlite")
    asked = _traced(registry)
    assert registry.stated_aliases("default") == registry.stated_aliases("default", compared=False) == {}
    registry.close()
    assert [plan[0] for plan in _plans(asked, tmp_path / "registry.sqlite")] == ["SCAN mentions USING INDEX mentions_with_properties"] * 2


def test_a_failing_read_names_the_registry_whichever_way_it_is_read(tmp_path: Path) -> None:
    registry = SqlRegistry(tmp_path / "registry.sqlite")
    with closing(sqlite3.connect(tmp_path / "registry.sqlite")) as connection:
        connection.executescript("DROP TABLE namespaces; DROP TABLE receipts")
    for read in (lambda: registry.generation("default"), registry.counts):
        with pytest.raises(BackendUnavailableError, match="no such table"):
            read()
    registry.close()


def _traced(registry: SqlRegistry) -> list[str]:
    """Return the list to which every further statement is added as SQLite runs it."""
    asked: list[str] = []
    event.listen(registry._engine, "checkout", lambda connection, *_: connection.set_trace_callback(asked.append))
    return asked


def _plans(asked: list[str], path: Path) -> list[list[str]]:
    """Return the steps of each statement that reads or writes rows."""
    with closing(sqlite3.connect(path)) as connection:
        return [
            [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
            for statement in asked
            if statement.startswith(("SELECT", "INSERT", "UPDATE", "DELETE"))
        ]
