"""Tier 1: compiled contexts in one SQLite file, their query vectors in the process."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag2_memory.errors import BackendUnavailableError, CorruptIndexError, InvalidRequestError
from rag2_memory.records import CacheEntry, CacheStatistics, Dependencies, Watchlist
from rag2_memory.tiers.base import CacheTier
from rag2_memory.tiers.cache_columns import CacheColumns, ColumnEntry
from rag2_memory.types import Hit

SCHEMA_VERSION = 2
"""Kept in the file's `user_version`; a file of another version is emptied, since everything in it can be computed again."""

PENDING_USES = 1_024
"""Uses remembered in the process before they are written; a crash forgets them, which only ages an entry."""

_SCHEMA = """
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
_INDEXED = "key, namespace, partition, used, expires, size, vector, watches, reach"
_WHOLE = (
    "key, namespace, partition, expires, size, created, vector, watches, reach, query, tokens, seconds, evidence, dependencies, payload"
)
_ONE = f"SELECT {_WHOLE} FROM entries JOIN contents USING (id) WHERE key = ?"


class SemanticCache(CacheTier):
    """Contexts by exact key and by cosine of the query, bounded by entries, bytes and age, least recently used first to go.

    The file may lose the latest puts when the machine loses power, but never an invalidation. Vectors of another length than those held come from
    another embedder, whose requests have other partitions: putting one empties the cache.
    """

    def __init__(
        self,
        path: Path | str | None = None,
        *,
        max_entries: int = 10_000,
        max_bytes: int = 256 * 1024 * 1024,
        ttl_seconds: float = 7 * 24 * 3600.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open a cache; nothing is read before the first use.

        Args:
            path: The SQLite file; `None` keeps everything in the process.
            max_entries: Entries kept, at least 1.
            max_bytes: Bytes kept, counting payloads, vectors and what coherence needs.
            ttl_seconds: Age at which an entry is no longer served, above 0.
            clock: Seconds since 1970.

        Raises:
            InvalidRequestError: If a bound is not positive.
        """
        for name, bound in (("max_entries", max_entries), ("max_bytes", max_bytes), ("ttl_seconds", ttl_seconds)):
            if bound <= 0:
                raise InvalidRequestError(
                    f"got {name}={bound!r}; needed a positive number. To do without a cache pass cache=False to Memory.open."
                )
        self._path = Path(path) if path is not None else None
        self._max_entries, self._max_bytes, self._ttl, self._clock = max_entries, max_bytes, ttl_seconds, clock
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._columns: CacheColumns | None = None
        self._uses: dict[str, int] = {}
        self._counts: Counter[str] = Counter()
        self._saved: dict[str, tuple[int, float]] = {}
        self._tick = 0

    def get(self, key: str) -> CacheEntry | None:
        with self._engine() as db:
            row = db.execute(_ONE, (key,)).fetchone()
            if row is None or row[3] <= self._clock():
                return None
            self._use(key, db)
            return _entry(row)

    def nearest(self, vector: NDArray[np.float32], *, partition: str, k: int, minimum: float = -1.0) -> list[tuple[CacheEntry, float]]:
        with self._engine() as db:
            columns = self._loaded(db)
            found = columns.nearest(np.asarray(vector, dtype=np.float32), partition=partition, k=k, minimum=minimum, now=self._clock())
            rows = {key: db.execute(_ONE, (key,)).fetchone() for key, _ in found}
            return [(_entry(rows[key]), score) for key, score in found if rows[key] is not None]

    def put(self, entry: CacheEntry) -> None:
        now = self._clock()
        created = entry.created_at.timestamp() if entry.created_at else now
        vector = np.asarray(entry.vector, dtype=np.float32)
        watches = np.asarray(entry.dependencies.watches, dtype=np.uint32)
        reach = json.dumps([dict(entry.dependencies.floors), sorted(entry.dependencies.principals)])
        texts = (entry.query, json.dumps(entry.evidence), _dependencies_json(entry.dependencies), entry.payload)
        size = (
            sum(len(text.encode()) for text in (entry.key, entry.namespace, entry.partition, reach, *texts))
            + vector.nbytes
            + watches.nbytes
        )
        expires = created + self._ttl
        if entry.dependencies.valid_until is not None:
            expires = min(expires, entry.dependencies.valid_until.timestamp())
        with self._engine() as db:
            columns = self._loaded(db)
            if vector.size and columns.dimensions not in (0, vector.size):
                self._empty(db)
                columns = self._loaded(db)
            self._make_room(entry.key, size, now, db)
            if size <= self._max_bytes and expires > now:
                row = (entry.key, entry.namespace, entry.partition, self._next_tick(), expires, size)
                held = (*row, created, vector.tobytes(), watches.tobytes(), reach)
                added = db.execute(f"INSERT INTO entries VALUES (NULL, {', '.join('?' * len(held))})", held).lastrowid
                query, evidence, dependencies, payload = texts
                contents = (added, query, entry.tokens, entry.seconds, evidence, dependencies, payload)
                db.execute(f"INSERT INTO contents VALUES ({', '.join('?' * len(contents))})", contents)
                columns.add(
                    ColumnEntry(
                        key=entry.key,
                        namespace=entry.namespace,
                        partition=entry.partition,
                        used=row[3],
                        expires=expires,
                        size=size,
                        vector=vector,
                        watches=watches,
                        floors=entry.dependencies.floors,
                        principals=entry.dependencies.principals,
                    )
                )
                self._counts["stored"] += 1
            self._flush(db)

    def invalidate(self, keys: Collection[str]) -> int:
        with self._engine() as db:
            columns = self._loaded(db)
            present = [key for key in set(keys) if key in columns]
            if present:
                db.execute("PRAGMA synchronous = FULL")
                self._remove(present, db)
                self._counts["invalidated"] += len(present)
                self._flush(db)
                db.execute("PRAGMA synchronous = NORMAL")
                self._wipe(db)
            return len(present)

    def entries(self, *, namespace: str | None = None) -> Iterator[CacheEntry]:
        with self._engine() as db:
            where = "expires > ?" if namespace is None else "expires > ? AND namespace = ?"
            bound = (self._clock(),) if namespace is None else (self._clock(), namespace)
            keys = [key for (key,) in db.execute(f"SELECT key FROM entries WHERE {where} ORDER BY key", bound)]
        for key in keys:
            with self._engine() as db:
                row = db.execute(_ONE, (key,)).fetchone()
            if row is not None:
                yield _entry(row)

    def watchlist(self) -> Watchlist:
        with self._engine() as db:
            return self._loaded(db).watchlist()

    def record(self, outcome: str, *, tokens: int = 0, seconds: float = 0.0) -> None:
        with self._lock:
            self._counts[outcome] += 1
            if tokens or seconds:
                saved = self._saved.get(outcome, (0, 0.0))
                self._saved[outcome] = (saved[0] + tokens, saved[1] + seconds)

    def statistics(self) -> CacheStatistics:
        with self._engine() as db:
            self._flush(db)
            rows = db.execute("SELECT name, count, tokens, seconds FROM outcomes ORDER BY name").fetchall()
            entries, size = db.execute(
                "SELECT COUNT(*), COALESCE(SUM(size), 0) FROM entries WHERE expires > ?", (self._clock(),)
            ).fetchone()
        return CacheStatistics(
            entries=entries,
            size_bytes=size,
            outcomes={name: count for name, count, _, _ in rows if count},
            tokens_saved=sum(tokens for _, _, tokens, _ in rows),
            seconds_saved=sum(seconds for _, _, _, seconds in rows),
        )

    def clear(self) -> None:
        with self._lock:
            try:
                with self._engine() as db:
                    self._empty(db)
                    db.execute("DELETE FROM outcomes")
                    db.commit()
                    db.execute("VACUUM")
                    self._wipe(db)
            except BackendUnavailableError:
                self._disconnect()
                if self._path is None:
                    raise
                for suffix in ("", "-wal", "-shm", "-journal"):
                    self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            self._counts.clear()
            self._saved.clear()

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                with suppress(BackendUnavailableError), self._engine() as db:
                    self._flush(db)
            self._disconnect()

    @contextmanager
    def _engine(self) -> Iterator[sqlite3.Connection]:
        """Hold the lock and yield the connection, its errors translated."""
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._connect()
                yield self._connection
            except sqlite3.OperationalError as exc:
                self._abandon()
                raise BackendUnavailableError(
                    f"the cache {self._name} cannot be used ({exc}). Check the folder's permissions and free space."
                ) from exc
            except (sqlite3.Error, json.JSONDecodeError) as exc:
                self._abandon()
                raise CorruptIndexError(tier="cache", problem=f"{self._name}: {exc}") from exc

    @property
    def _name(self) -> str:
        return str(self._path) if self._path is not None else "in memory"

    def _connect(self) -> sqlite3.Connection:
        target = ":memory:" if self._path is None else self._path
        db = sqlite3.connect(target, timeout=10.0, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA secure_delete = ON")  # what is forgotten is overwritten
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version not in (0, SCHEMA_VERSION):
                for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                    db.execute(f'DROP TABLE "{table}"')
            db.executescript(_SCHEMA)
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            db.commit()
        except sqlite3.Error:
            db.close()
            raise
        return db

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = self._columns = None
        self._uses.clear()

    def _abandon(self) -> None:
        """Drop what a failed statement may have left half done; the next call reads the file anew."""
        if self._path is not None:
            with suppress(sqlite3.Error):
                self._disconnect()
            self._connection = self._columns = None
        elif self._connection is not None:
            self._connection.rollback()
            self._columns = None

    def _loaded(self, db: sqlite3.Connection) -> CacheColumns:
        if self._columns is None:
            columns = CacheColumns()
            for key, namespace, partition, used, expires, size, vector, watches, reach in db.execute(f"SELECT {_INDEXED} FROM entries"):
                floors, principals = json.loads(reach)
                columns.add(
                    ColumnEntry(
                        key=key,
                        namespace=namespace,
                        partition=partition,
                        used=self._uses.get(key, used),
                        expires=expires,
                        size=size,
                        vector=np.frombuffer(vector, dtype=np.float32),
                        watches=np.frombuffer(watches, dtype=np.uint32),
                        floors=floors,
                        principals=frozenset(principals),
                    )
                )
            self._columns = columns
        return self._columns

    def _empty(self, db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM entries")
        db.execute("DELETE FROM contents")
        db.commit()
        self._uses.clear()
        self._columns = CacheColumns()

    def _make_room(self, key: str, size: int, now: float, db: sqlite3.Connection) -> None:
        """Remove what an entry of this key and size replaces, what is past its time, and what goes beyond the bounds."""
        columns = self._loaded(db)
        gone = columns.expired(now)
        self._remove([*gone, key], db)
        evicted = []
        if size <= self._max_bytes:
            evicted = columns.least_recently_used(max_entries=self._max_entries - 1, max_bytes=self._max_bytes - size)
            self._remove(evicted, db)
        self._counts.update({"expired": len(gone), "evicted": len(evicted)})

    def _remove(self, keys: Sequence[str], db: sqlite3.Connection) -> None:
        columns = self._loaded(db)
        held = [(key,) for key in keys if columns.discard(key)]
        db.executemany("DELETE FROM contents WHERE id = (SELECT id FROM entries WHERE key = ?)", held)
        db.executemany("DELETE FROM entries WHERE key = ?", held)
        for (key,) in held:
            self._uses.pop(key, None)

    def _wipe(self, db: sqlite3.Connection) -> None:
        """Leave nothing of what was deleted in the write-ahead log."""
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _next_tick(self) -> int:
        self._tick = max(self._tick + 1, time.time_ns())
        return self._tick

    def _use(self, key: str, db: sqlite3.Connection) -> None:
        self._uses[key] = tick = self._next_tick()
        if self._columns is not None:
            self._columns.use(key, tick)
        if len(self._uses) >= PENDING_USES:
            self._flush(db)

    def _flush(self, db: sqlite3.Connection) -> None:
        """Write the uses and counts gathered since the last time, together with the caller's transaction."""
        db.executemany("UPDATE entries SET used = ? WHERE key = ?", [(tick, key) for key, tick in self._uses.items()])
        db.executemany(
            "INSERT INTO outcomes VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
            "count = count + excluded.count, tokens = tokens + excluded.tokens, seconds = seconds + excluded.seconds",
            [(name, count, *self._saved.get(name, (0, 0.0))) for name, count in self._counts.items()],
        )
        db.commit()
        self._uses.clear()
        self._counts.clear()
        self._saved.clear()


def _entry(row: Sequence[Any]) -> CacheEntry:
    key, namespace, partition, _, size, created, vector, watches, reach, query, tokens, seconds, evidence, dependencies, payload = row
    floors, principals = json.loads(reach)
    fields = json.loads(dependencies)
    until = fields["valid_until"]
    return CacheEntry(
        key=key,
        namespace=namespace,
        partition=partition,
        query=query,
        vector=tuple(np.frombuffer(vector, dtype=np.float32).tolist()),
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


def _dependencies_json(dependencies: Dependencies) -> str:
    """Write what stands in no column of its own."""
    return json.dumps(
        {
            "generation": dependencies.generation,
            "nearest": [(hit.id, hit.score) for hit in dependencies.nearest],
            "valid_until": None if dependencies.valid_until is None else dependencies.valid_until.isoformat(),
        }
    )
