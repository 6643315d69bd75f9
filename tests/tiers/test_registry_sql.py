"""The SQLite registry passes the registry's contract, on disk and in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag2_memory.errors import SchemaVersionError
from rag2_memory.testing.registry import RegistryContract
from rag2_memory.tiers.registry_sql import SqlRegistry


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
