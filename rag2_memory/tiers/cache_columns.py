"""What the semantic cache holds of every entry in the process: columns that grow by doubling, rows that are reused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rag2_memory.records import Watchlist
from rag2_memory.tiers.dot_products import dot_products

COARSE_DIMENSIONS = 32
"""Principal directions that screen a large cache: a third of the energy of MiniLM's vectors at a twelfth of the memory traffic."""

GATHER_BELOW = 4
"""Rows per wanted row from which the wanted ones are copied together before they are multiplied."""

COARSE_FROM_ROWS = 8_192
"""Below this the exact matrix-vector product takes about a millisecond and nothing needs screening."""

SCREENED_ROWS = 512
"""Rows that screening leaves, about; their cosine is then computed exactly. A near question that it loses, which is rare,
is a miss and no false hit."""

SAMPLED_BOUNDS = 4_096
"""Bounds that the cut is taken from: partitioning all of them would take as long as computing them."""

SAMPLED_ROWS = 8_192
"""Rows that the principal directions are taken from."""

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
        mine = self._partition_codes[:n] == code
        if np.count_nonzero(mine) > COARSE_FROM_ROWS:
            rows = self._screened(vector, mine, minimum)
        else:
            rows = np.flatnonzero(mine)
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

    def _screened(self, vector: Floats, mine: NDArray[np.bool_], minimum: float) -> NDArray[np.intp]:
        n = len(self._keys)
        if self._screen is None or self._screen.fitted_rows * 2 <= n:
            self._screen = _Screen(self._vectors, n)
        return self._screen.survivors(vector, mine, minimum)


class _Screen:
    """Bounds cosines from above in few dimensions.

    With an orthonormal basis, q·x = q₁·x₁ + q₂·x₂ ≤ q₁·x₁ + |q₂||x₂| (Cauchy–Schwarz), where ₁ is the part inside the span of the basis.
    """

    def __init__(self, vectors: Floats, rows: int) -> None:
        self.fitted_rows = rows
        sample = vectors[: rows : max(1, rows // SAMPLED_ROWS)]
        _, basis = np.linalg.eigh(sample.T @ sample)
        self._basis = np.ascontiguousarray(basis[:, -COARSE_DIMENSIONS:], dtype=np.float32)
        self._inside = vectors @ self._basis
        self._outside = np.sqrt(np.maximum(0.0, 1.0 - np.square(self._inside).sum(axis=1)))

    def set(self, row: int, vector: Floats) -> None:
        if row >= len(self._inside):
            more = max(len(self._inside), row + 1)
            self._inside = np.concatenate([self._inside, np.zeros((more, self._inside.shape[1]), dtype=np.float32)])
            self._outside = np.concatenate([self._outside, np.zeros(more, dtype=np.float32)])
        inside = vector @ self._basis
        self._inside[row] = inside
        self._outside[row] = np.sqrt(max(0.0, 1.0 - float(inside @ inside)))

    def survivors(self, vector: Floats, mine: NDArray[np.bool_], minimum: float) -> NDArray[np.intp]:
        """Return the rows whose bound reaches the minimum, or about the best `SCREENED_ROWS` of them."""
        n = len(mine)
        inside = vector @ self._basis
        outside = np.float32(np.sqrt(max(0.0, 1.0 - float(inside @ inside))))
        bounds = dot_products(self._inside[:n], inside)
        bounds += outside * self._outside[:n]
        bounds[~mine] = -UNREACHABLE
        sample = bounds[:: max(1, n // SAMPLED_BOUNDS)]
        share = len(sample) - max(1, round(SCREENED_ROWS * len(sample) / n))
        return np.flatnonzero(bounds >= max(np.float32(minimum - 1e-5), np.partition(sample, share)[share]))


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
