"""Conversions and small helpers that the registry's SQL files share."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, Table
from sqlalchemy.dialects import postgresql, sqlite

Item = TypeVar("Item")

BATCH = 4_000
"""Values per IN list, well below the parameter limits of SQLite (32,766) and PostgreSQL (65,535)."""


def batched(items: Sequence[Item], size: int = BATCH) -> Iterator[list[Item]]:
    """Yield consecutive slices of at most `size`."""
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part


def seconds(moment: datetime | None) -> float | None:
    """Return a moment as stored."""
    return None if moment is None else moment.timestamp()


def from_seconds(value: float | None) -> datetime | None:
    """Return a stored moment as aware UTC."""
    return None if value is None else datetime.fromtimestamp(value, timezone.utc)


def from_microseconds(value: int | None) -> datetime | None:
    """Return a moment that was read as whole microseconds as aware UTC."""
    return None if value is None else from_seconds(value / 1_000_000)


def to_json(value: Any) -> str:
    """Return compact JSON with sorted keys; what JSON cannot hold is stored as its text."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)


def pairs(connection: Connection, query: Select[Any]) -> dict[str, Any]:
    """Return the rows of a two-column query as a mapping from the first to the second."""
    return {row[0]: row[1] for row in connection.execute(query)}


def insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, leaving those whose key exists as they are."""
    if not rows:
        return
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    connection.execute(dialect.insert(table).on_conflict_do_nothing(), [dict(row) for row in rows])
