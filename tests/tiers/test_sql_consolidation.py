"""The SQL registry passes the contract of consolidation, on disk and in memory, and makes its tables in registries of before."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag2_memory.testing.consolidation import ConsolidationContract
from rag2_memory.tiers.registry_sql import SqlRegistry
from rag2_memory.tiers.sql_derived import DERIVED


class TestOnDisk(ConsolidationContract):
    @pytest.fixture
    def registry(self, tmp_path: Path) -> Iterator[SqlRegistry]:
        registry = SqlRegistry(tmp_path / "registry.sqlite")
        yield registry
        registry.close()


class TestInMemory(ConsolidationContract):
    @pytest.fixture
    def registry(self) -> Iterator[SqlRegistry]:
        registry = SqlRegistry(None)
        yield registry
        registry.close()


def test_a_registry_without_these_tables_gets_them(tmp_path: Path) -> None:
    path = tmp_path / "registry.sqlite"
    SqlRegistry(path).close()
    with sqlite3.connect(path) as connection:
        for table in DERIVED:
            connection.execute(f"DROP TABLE {table.name}")
    connection.close()
    registry = SqlRegistry(path)
    assert registry.communities("default") == []
    assert registry.unread("default") == []
    registry.close()
