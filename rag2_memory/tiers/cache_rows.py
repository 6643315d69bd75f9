"""Cache entries as rows of the semantic cache's SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag2_memory.records import CacheEntry, Dependencies
from rag2_memory.tiers.cache_columns import ColumnEntry
from rag2_memory.types import Hit

SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, namespace TEXT NOT NULL, partition TEXT NOT NULL, used INTEGER NOT NULL,
    expires REAL NOT NULL, size INTEGER NOT NULL, created REAL NOT NULL, vector BLOB NOT NULL, watches BLOB NOT NULL, reach TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS contents (
    id INTEGER PRIMARY KEY, query TEXT NOT NULL, tokens INTEGER NOT NULL, seconds REAL NOT NULL, evidence TEXT NOT NULL,
    dependencies TEXT NOT NULL, payload TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS outcomes (name TEXT PRIMARY KEY, count INTEGER NOT NULL, tokens INTEGER NOT NULL, seconds REAL NOT NULL);
"""
ALL_COLUMNS = "SELECT key, namespace, partition, used, expires, size, vector, watches, reach FROM entries"
"""What `column_entry` reads."""

_WHOLE = (
    "SELECT key, namespace, partition, used, expires, size, created, vector, watches, reach, query, tokens, seconds, evidence, dependencies, "
    "payload FROM entries JOIN contents USING (id)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An entry with what is kept beside it."""

    entry: CacheEntry
    """With its age and size."""
    used: int
    """Larger is later."""
    expires: float
    """Seconds since 1970."""
    vector: NDArray[np.float32]
    texts: tuple[str, str, str]
    """As JSON: whom and what new chunks are compared with, the evidence, the other dependencies."""

    @classmethod
    def of(cls, entry: CacheEntry, *, now: float, ttl: float, used: int) -> Record:
        """Return the record of an entry that is put."""
        created = entry.created_at.timestamp() if entry.created_at else now
        vector = np.asarray(entry.vector, dtype=np.float32)
        depends = entry.dependencies
        texts = (
            json.dumps([dict(depends.floors), sorted(depends.principals)]),
            json.dumps(entry.evidence),
            json.dumps(
                {
                    "generation": depends.generation,
                    "nearest": [(hit.id, hit.score) for hit in depends.nearest],
                    "valid_until": None if depends.valid_until is None else depends.valid_until.isoformat(),
                }
            ),
        )
        written = (entry.key, entry.namespace, entry.partition, entry.query, entry.payload, *texts)
        size = sum(len(text.encode()) for text in written) + vector.nbytes + 4 * len(depends.watches)
        expires = created + ttl if depends.valid_until is None else min(created + ttl, depends.valid_until.timestamp())
        whole = replace(entry, created_at=datetime.fromtimestamp(created, timezone.utc), size_bytes=size)
        return cls(entry=whole, used=used, expires=expires, vector=vector, texts=texts)

    @classmethod
    def read(cls, row: Sequence[Any]) -> Record:
        """Return the record that a row of `_WHOLE` holds."""
        key, namespace, partition, used, expires, size, created, vector, watches, reach, query, tokens, seconds, *texts, payload = row
        evidence, dependencies = texts
        floors, principals = json.loads(reach)
        fields = json.loads(dependencies)
        until, numbers = fields["valid_until"], np.frombuffer(vector, dtype=np.float32)
        entry = CacheEntry(
            key=key,
            namespace=namespace,
            partition=partition,
            query=query,
            vector=tuple(numbers.tolist()),
            payload=payload,
            evidence=tuple(json.loads(evidence)),
            dependencies=Dependencies(
                generation=fields["generation"],
                floors=floors,
                watches=tuple(np.frombuffer(watches, dtype=np.uint32).tolist()),
                principals=frozenset(principals),
                nearest=tuple(Hit(*hit) for hit in fields["nearest"]),
                valid_until=None if until is None else datetime.fromisoformat(until),
            ),
            created_at=datetime.fromtimestamp(created, timezone.utc),
            tokens=tokens,
            seconds=seconds,
            size_bytes=size,
        )
        return cls(entry=entry, used=used, expires=expires, vector=numbers, texts=(reach, evidence, dependencies))

    @property
    def size(self) -> int:
        """What the entry takes of the cache's bound, in bytes."""
        return self.entry.size_bytes

    @property
    def watches(self) -> NDArray[np.uint32]:
        """The watch codes, shape (n,)."""
        return np.asarray(self.entry.dependencies.watches, dtype=np.uint32)

    def columns(self) -> ColumnEntry:
        """Return what is searched in the process."""
        entry = self.entry
        return ColumnEntry(
            key=entry.key,
            namespace=entry.namespace,
            partition=entry.partition,
            used=self.used,
            expires=self.expires,
            size=self.size,
            vector=self.vector,
            watches=self.watches,
            floors=entry.dependencies.floors,
            principals=entry.dependencies.principals,
        )


def records(db: sqlite3.Connection, keys: Sequence[str]) -> dict[str, Record]:
    """Return the records of those keys that the file holds."""
    rows = db.execute(f"{_WHOLE} WHERE key IN ({', '.join('?' * len(keys))})", keys) if keys else ()
    return {row[0]: Record.read(row) for row in rows}


def column_entry(row: Sequence[Any]) -> ColumnEntry:
    """Return what is searched in the process, from a row of `ALL_COLUMNS`."""
    key, namespace, partition, used, expires, size, vector, watches, reach = row
    floors, principals = json.loads(reach)
    return ColumnEntry(
        key=key,
        namespace=namespace,
        partition=partition,
        used=used,
        expires=expires,
        size=size,
        vector=np.frombuffer(vector, dtype=np.float32),
        watches=np.frombuffer(watches, dtype=np.uint32),
        floors=floors,
        principals=frozenset(principals),
    )


def insert(db: sqlite3.Connection, records: Iterable[Record]) -> None:
    """Write records whose keys the file does not hold."""
    for record in records:
        entry, (reach, evidence, dependencies) = record.entry, record.texts
        assert entry.created_at is not None
        held = (entry.key, entry.namespace, entry.partition, record.used, record.expires, record.size, entry.created_at.timestamp())
        held_bytes = (record.vector.tobytes(), record.watches.tobytes(), reach)
        added = db.execute("INSERT INTO entries VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*held, *held_bytes)).lastrowid
        contents = (added, entry.query, entry.tokens, entry.seconds, evidence, dependencies, entry.payload)
        db.execute("INSERT INTO contents VALUES (?, ?, ?, ?, ?, ?, ?)", contents)


def delete(db: sqlite3.Connection, keys: Iterable[str]) -> None:
    """Delete the rows of some keys."""
    dropped = [(key,) for key in keys]
    db.executemany("DELETE FROM contents WHERE id = (SELECT id FROM entries WHERE key = ?)", dropped)
    db.executemany("DELETE FROM entries WHERE key = ?", dropped)
