"""What the semantic cache holds of every entry in the process: columns that grow by doubling, rows that are reused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rag2_memory.records import Watchlist
from rag2_memory.tiers.dot_products import dot_products

SIGNS = 192
"""Random projections whose signs screen a large cache, a multiple of 64: a sixty-fourth of the memory that vectors of 384 dimensions take."""

GATHER_BELOW = 4
"""Rows per wanted row from which the wanted ones are copied together before they are multiplied."""

SCREENED_FROM_ROWS = 8_192
"""Below this the exact matrix-vector product takes about a millisecond and nothing needs screening."""

SCREENED_ROWS = 256
"""Rows that screening leaves, about; their cosine is then computed exactly. A near question that it loses, which is rare,
is a miss and no false hit."""

SAMPLED_DISTANCES = 4_096
"""Distances that the cut is taken from: partitioning all of them would take as long as computing them."""

ROWS_AT_ONCE = 4_096
"""Vectors whose signs are computed in one matrix product."""

UNREACHABLE = 2.0
"""A floor that no cosine reaches."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnEntry:
    """The searchable part of a cache entry."""

    key: str
    namespace: str
    partition: str
    used: int
    """Larger is later."""
    expires: float
    """Seconds since 1970."""
    size: int
    vector: Floats
    """Empty where the query was never embedded."""
    watches: NDArray[np.uint32]
    floors: Mapping[str, float] = field(default_factory=dict)
    principals: frozenset[str] = frozenset()


class CacheColumns:
    """Rows of entries, found by key, by cosine, by age and by use. Not safe for use by several threads at once."""

    def __init__(self) -> None:
        self.dimensions = 0
        self.total_bytes = 0
        self._row: dict[str, int] = {}
        self._keys: list[str] = []
        self._free: list[int] = []
        self._partitions: dict[str, int] = {}
        self._namespaces: dict[str, int] = {}
        self._principals: dict[frozenset[str], int] = {}
        self._partition_codes = np.zeros(0, dtype=np.int32)
        self._namespace_codes = np.zeros(0, dtype=np.int32)
        self._principal_codes = np.zeros(0, dtype=np.int32)
        self._used = np.zeros(0, dtype=np.int64)
        self._expires = np.zeros(0)
        self._sizes = np.zeros(0, dtype=np.int64)
        self._vectors = np.zeros((0, 0), dtype=np.float32)
        self._floors: dict[str, Floats] = {}
        self._watches = _Watches()
        self._screen: _Screen | None = None

    def __len__(self) -> int:
        return len(self._row)

    def __contains__(self, key: str) -> bool:
        return key in self._row

    def add(self, entry: ColumnEntry) -> None:
        """Add an entry whose key is not there; a vector must be as long as the others."""
        row = self._free.pop() if self._free else len(self._keys)
        if row == len(self._keys):
            self._keys.append("")
            self._grow(row + 1)
        self._keys[row] = entry.key
        self._row[entry.key] = row
        searchable = bool(entry.vector.size)
        if searchable and not self.dimensions:
            self.dimensions = entry.vector.size
            self._vectors = np.zeros((len(self._used), self.dimensions), dtype=np.float32)
        self._partition_codes[row] = self._partitions.setdefault(entry.partition, len(self._partitions)) if searchable else -1
        self._namespace_codes[row] = self._namespaces.setdefault(entry.namespace, len(self._namespaces))
        self._principal_codes[row] = self._principals.setdefault(entry.principals, len(self._principals))
        self._used[row], self._expires[row], self._sizes[row] = entry.used, entry.expires, entry.size
        self.total_bytes += entry.size
        if searchable:
            self._vectors[row] = entry.vector
            if self._screen is not None:
                self._screen.set(row, entry.vector)
        for space, floor in entry.floors.items():
            if space not in self._floors:
                self._floors[space] = np.full(len(self._used), UNREACHABLE, dtype=np.float32)
            self._floors[space][row] = floor
        self._watches.add(row, entry.watches)

    def discard(self, key: str) -> bool:
        """Remove an entry; returns whether it was there."""
        row = self._row.pop(key, None)
        if row is None:
            return False
        self.total_bytes -= int(self._sizes[row])
        self._keys[row] = ""
        self._partition_codes[row] = -1
        self._sizes[row] = 0
        self._used[row] = np.iinfo(np.int64).max
        self._expires[row] = np.inf
        for floors in self._floors.values():
            floors[row] = UNREACHABLE
        if self.dimensions:
            self._vectors[row] = 0.0
        self._watches.discard(row)
        self._free.append(row)
        return True

    def use(self, key: str, tick: int) -> None:
        """Mark an entry used."""
        if (row := self._row.get(key)) is not None:
            self._used[row] = tick

    def expired(self, now: float) -> list[str]:
        """Return the keys whose time is over."""
        return [self._keys[row] for row in np.flatnonzero(self._expires[: len(self._keys)] <= now)]

    def least_recently_used(self, *, max_entries: int, max_bytes: int) -> list[str]:
        """Return the keys to evict, oldest use first, so that what is left stays within both bounds."""
        surplus, total = len(self) - max_entries, self.total_bytes
        used = self._used[: len(self._keys)]
        evicted: list[str] = []
        order = iter(used.argsort(kind="stable")) if surplus > 1 or total > max_bytes else iter([used.argmin()] if surplus == 1 else [])
        while surplus > len(evicted) or total > max_bytes:
            row = int(next(order))
            evicted.append(self._keys[row])
            total -= int(self._sizes[row])
        return evicted

    def nearest(self, vector: Floats, *, partition: str, k: int, minimum: float, now: float) -> list[tuple[str, float]]:
        """Return up to k (key, cosine) of the partition with a cosine of at least `minimum`, best first, ties by key."""
        code = self._partitions.get(partition)
        if code is None or vector.shape != (self.dimensions,) or k < 1:
            return []
        n = len(self._keys)
        rows = np.flatnonzero(self._partition_codes[:n] == code)
        if len(rows) > SCREENED_FROM_ROWS:
            if self._screen is None:
                self._screen = _Screen(self._vectors[:n])
            near = self._screen.near(vector, rows)
            rows = near[self._partition_codes[near] == code]
        rows = rows[self._expires[rows] > now]
        # Gathering rows costs several times their product, so that where most are wanted all are multiplied in place.
        scores = (
            dot_products(self._vectors[:n], vector)[rows]
            if n <= GATHER_BELOW * len(rows)
            else dot_products(self._vectors.take(rows, axis=0), vector)
        )
        close = np.flatnonzero(scores >= minimum)
        if len(close) > 4 * k:
            close = close[np.argpartition(-scores[close], 4 * k)[: 4 * k]]
        ranked = sorted((-float(scores[at]), self._keys[rows[at]]) for at in close)
        return [(key, -score) for score, key in ranked[:k]]

    def watchlist(self) -> Watchlist:
        """Return the columns that coherence reads, without copying them."""
        n = len(self._keys)
        codes, rows = self._watches.columns()
        return Watchlist(
            keys=self._keys,
            namespaces=tuple(self._namespaces),
            namespace_codes=self._namespace_codes[:n],
            principals=tuple(self._principals),
            principal_codes=self._principal_codes[:n],
            vectors=self._vectors[:n],
            floors={space: floors[:n] for space, floors in self._floors.items()},
            codes=codes,
            rows=rows,
        )

    def _grow(self, rows: int) -> None:
        capacity = len(self._used)
        if rows <= capacity:
            return
        larger = max(64, 2 * capacity)
        for name in (
            "_partition_codes",
            "_namespace_codes",
            "_principal_codes",
            "_used",
            "_expires",
            "_sizes",
            "_vectors",
        ):
            column = getattr(self, name)
            grown = np.zeros((larger, *column.shape[1:]), dtype=column.dtype)
            grown[:capacity] = column
            setattr(self, name, grown)
        for space, floors in self._floors.items():
            self._floors[space] = np.concatenate([floors, np.full(larger - capacity, UNREACHABLE, dtype=np.float32)])


class _Screen:
    """Finds vectors at a small angle by their signs under random projections: at an angle of θ a share of θ/π differs (SimHash; Charikar, STOC 2002)."""

    def __init__(self, vectors: Floats) -> None:
        self._planes = np.random.default_rng(0).standard_normal((SIGNS, vectors.shape[1]), dtype=np.float32)
        self._words = np.zeros((SIGNS // 64, len(vectors)), dtype=np.uint64)
        for start in range(0, len(vectors), ROWS_AT_ONCE):
            self._words[:, start : start + ROWS_AT_ONCE] = _packed(vectors[start : start + ROWS_AT_ONCE] @ self._planes.T)

    def set(self, row: int, vector: Floats) -> None:
        if row >= self._words.shape[1]:
            more = max(self._words.shape[1], row + 1)
            self._words = np.concatenate([self._words, np.zeros((len(self._words), more), dtype=np.uint64)], axis=1)
        self._words[:, row] = self._signs(vector)

    def near(self, vector: Floats, wanted: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return about the `SCREENED_ROWS` wanted rows that are nearest by their signs, and unwanted ones that are as near."""
        distances = np.zeros(int(wanted[-1]) + 1, dtype=np.uint8)
        for held, asked in zip(self._words, self._signs(vector), strict=True):
            distances += np.bitwise_count(held[: len(distances)] ^ asked)
        sample = distances[wanted[:: max(1, len(wanted) // SAMPLED_DISTANCES)]]
        rank = min(len(sample) - 1, SCREENED_ROWS * len(sample) // len(wanted))
        return np.flatnonzero(distances <= np.partition(sample, rank)[rank])

    def _signs(self, vector: Floats) -> NDArray[np.uint64]:
        return _packed(dot_products(self._planes, vector))


def _packed(projections: Floats) -> NDArray[np.uint64]:
    """Return signs as bits, shape (..., d) to (d / 64, ...)."""
    return np.moveaxis(np.packbits(projections > 0, axis=-1).view(np.uint64), -1, 0)


class _Watches:
    """Watch codes of all rows in one array; a row's codes are unlinked at once and squeezed out later."""

    def __init__(self) -> None:
        self._codes = np.zeros(0, dtype=np.uint32)
        self._rows = np.zeros(0, dtype=np.int32)
        self._size = 0
        self._dead = 0
        self._spans: dict[int, tuple[int, int]] = {}

    def add(self, row: int, codes: NDArray[np.uint32]) -> None:
        end = self._size + len(codes)
        if end > len(self._codes):
            self._make_room(end)
            end = self._size + len(codes)
        self._codes[self._size : end] = codes
        self._rows[self._size : end] = row
        self._spans[row] = (self._size, end)
        self._size = end

    def discard(self, row: int) -> None:
        start, end = self._spans.pop(row, (0, 0))
        self._rows[start:end] = -1
        self._dead += end - start

    def columns(self) -> tuple[NDArray[np.uint32], NDArray[np.int32]]:
        return self._codes[: self._size], self._rows[: self._size]

    def _make_room(self, end: int) -> None:
        live = self._rows[: self._size] >= 0
        codes, rows = self._codes[: self._size][live], self._rows[: self._size][live]
        wanted = end - self._dead
        capacity = max(1_024, len(self._codes), 2 * wanted)
        self._codes, self._rows = np.zeros(capacity, dtype=np.uint32), np.full(capacity, -1, dtype=np.int32)
        self._codes[: len(codes)], self._rows[: len(rows)] = codes, rows
        self._size, self._dead = len(codes), 0
        bounds = [*np.flatnonzero(np.diff(rows, prepend=-1)).tolist(), len(rows)]
        self._spans = {int(rows[start]): (start, end) for start, end in pairwise(bounds)}
