"""Tier 1: compiled contexts in one SQLite file, their query vectors in the process."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rag2_memory.errors import BackendUnavailableError, CorruptIndexError, InvalidRequestError
from rag2_memory.records import CacheEntry, CacheStatistics, Watchlist
from rag2_memory.tiers import cache_rows
from rag2_memory.tiers.base import CacheTier
from rag2_memory.tiers.cache_columns import CacheColumns
from rag2_memory.tiers.cache_rows import Record

SCHEMA_VERSION = 2
"""Kept in the file's `user_version`; a file of another version is emptied, since everything in it can be computed again."""

PENDING_USES = 1_024
"""Uses remembered in the process before they are written; a crash forgets them, which only ages an entry."""


class SemanticCache(CacheTier):
    """Contexts by exact key and by cosine of the query, bounded by entries, bytes and age, least recently used first to go.

    A crash may lose the latest puts, but never an invalidation. Vectors of another length than those held come from
    another embedder, whose requests have other partitions: putting one empties the cache.
    """

    def __init__(
        self,
        path: Path | str | None = None,
        *,
        max_entries: int = 10_000,
        max_bytes: int = 256 * 1024 * 1024,
        ttl_seconds: float = 7 * 24 * 3600.0,
        puts_per_write: int = 1,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open a cache; nothing is read before the first use.

        Args:
            path: The SQLite file; `None` keeps everything in the process.
            max_entries: Entries kept, at least 1.
            max_bytes: Bytes kept, counting payloads, vectors and what coherence needs.
            ttl_seconds: Age at which an entry is no longer served, above 0.
            puts_per_write: Entries gathered before they are written in one transaction, at least 1. A process that ends without `close` forgets those
                that are not yet written.
            clock: Seconds since 1970.

        Raises:
            InvalidRequestError: If a bound is not positive.
        """
        bounds = {"max_entries": max_entries, "max_bytes": max_bytes, "ttl_seconds": ttl_seconds, "puts_per_write": puts_per_write}
        for name, bound in bounds.items():
            if bound <= 0:
                raise InvalidRequestError(
                    f"got {name}={bound!r}; needed a positive number. To do without a cache pass cache=False to Memory.open."
                )
        self._path = Path(path) if path is not None else None
        self._max_entries, self._max_bytes, self._ttl, self._clock = max_entries, max_bytes, ttl_seconds, clock
        self._puts_per_write = puts_per_write
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._columns: CacheColumns | None = None
        self._unwritten: dict[str, Record] = {}
        self._dropped: set[str] = set()  # keys whose rows are still in the file
        self._uses: dict[str, int] = {}
        self._counts: Counter[str] = Counter()
        self._saved: dict[str, tuple[int, float]] = {}
        self._tick = 0

    def get(self, key: str) -> CacheEntry | None:
        with self._engine() as db:
            record = self._held([key], db).get(key)
            if record is None or record.expires <= self._clock():
                return None
            self._use(key, db)
            return record.entry

    def nearest(self, vector: NDArray[np.float32], *, partition: str, k: int, minimum: float = -1.0) -> list[tuple[CacheEntry, float]]:
        with self._engine() as db:
            columns = self._loaded(db)
            found = columns.nearest(np.asarray(vector, dtype=np.float32), partition=partition, k=k, minimum=minimum, now=self._clock())
            records = self._held([key for key, _ in found], db)
            return [(records[key].entry, score) for key, score in found if key in records]

    def put(self, entry: CacheEntry) -> None:
        now = self._clock()
        record = Record.of(entry, now=now, ttl=self._ttl, used=self._next_tick())
        with self._engine() as db:
            columns = self._loaded(db)
            if record.vector.size and columns.dimensions not in (0, record.vector.size):
                self._empty(db)
                columns = self._loaded(db)
            self._make_room(entry.key, record.size, now, db)
            if record.size <= self._max_bytes and record.expires > now:
                self._unwritten[entry.key] = record
                columns.add(record.columns())
                self._counts["stored"] += 1
            if max(len(self._unwritten), len(self._dropped)) >= self._puts_per_write:
                self._flush(db)

    def invalidate(self, keys: Collection[str]) -> int:
        with self._engine() as db:
            columns = self._loaded(db)
            present = [key for key in set(keys) if key in columns]
            if present or self._dropped:
                db.execute("PRAGMA synchronous = FULL")
                self._remove(present, columns)
                self._counts["invalidated"] += len(present)
                self._flush(db)
                db.execute("PRAGMA synchronous = NORMAL")
                self._wipe(db)
            return len(present)

    def entries(self, *, namespace: str | None = None) -> Iterator[CacheEntry]:
        with self._engine() as db:
            self._flush(db)
            where = "expires > ?" if namespace is None else "expires > ? AND namespace = ?"
            bound = (self._clock(),) if namespace is None else (self._clock(), namespace)
            keys = [key for (key,) in db.execute(f"SELECT key FROM entries WHERE {where} ORDER BY key", bound)]
        for key in keys:
            with self._engine() as db:
                held = self._held([key], db)
            for record in held.values():
                yield record.entry

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
            db.executescript(cache_rows.SCHEMA)
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
        self._forget_unwritten()

    def _abandon(self) -> None:
        """Drop what a failed statement may have left half done; the next call reads the file anew."""
        if self._path is not None:
            with suppress(sqlite3.Error):
                self._disconnect()
            self._connection = self._columns = None
        elif self._connection is not None:
            self._connection.rollback()
            self._columns = None
            self._forget_unwritten()

    def _forget_unwritten(self) -> None:
        self._unwritten.clear()
        self._dropped.clear()
        self._uses.clear()

    def _loaded(self, db: sqlite3.Connection) -> CacheColumns:
        if self._columns is None:
            columns = CacheColumns()
            for row in db.execute(cache_rows.ALL_COLUMNS):
                columns.add(cache_rows.column_entry(row))
            for key, tick in self._uses.items():
                columns.use(key, tick)
            self._columns = columns
        return self._columns

    def _empty(self, db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM entries")
        db.execute("DELETE FROM contents")
        db.commit()
        self._forget_unwritten()
        self._columns = CacheColumns()

    def _held(self, keys: Sequence[str], db: sqlite3.Connection) -> dict[str, Record]:
        """Return entries as the process or the file holds them."""
        unwritten = {key: self._unwritten[key] for key in keys if key in self._unwritten}
        return unwritten | cache_rows.records(db, [key for key in keys if key not in unwritten and key not in self._dropped])

    def _make_room(self, key: str, size: int, now: float, db: sqlite3.Connection) -> None:
        """Remove what an entry of this key and size replaces, what is past its time, and what goes beyond the bounds."""
        columns = self._loaded(db)
        gone = columns.expired(now)
        self._remove([*gone, key], columns)
        evicted = []
        if size <= self._max_bytes:
            evicted = columns.least_recently_used(max_entries=self._max_entries - 1, max_bytes=self._max_bytes - size)
            self._remove(evicted, columns)
        self._counts.update({"expired": len(gone), "evicted": len(evicted)})

    def _remove(self, keys: Sequence[str], columns: CacheColumns) -> None:
        """Remove entries; their rows go with the next flush."""
        for key in keys:
            if columns.discard(key) and self._unwritten.pop(key, None) is None:
                self._dropped.add(key)
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
        """Write in one transaction what was gathered since the last time: removals, entries, uses, counts."""
        cache_rows.delete(db, self._dropped)
        cache_rows.insert(db, self._unwritten.values())
        db.executemany("UPDATE entries SET used = ? WHERE key = ?", [(tick, key) for key, tick in self._uses.items()])
        db.executemany(
            "INSERT INTO outcomes VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
            "count = count + excluded.count, tokens = tokens + excluded.tokens, seconds = seconds + excluded.seconds",
            [(name, count, *self._saved.get(name, (0, 0.0))) for name, count in self._counts.items()],
        )
        db.commit()
        self._forget_unwritten()
        self._counts.clear()
        self._saved.clear()
