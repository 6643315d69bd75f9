"""What a vector tier keeps in memory beside its engine: vectors lately asked for, and identical vectors that would break an HNSW graph."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rag2_memory.tiers.dot_products import dot_products
from rag2_memory.types import Hit

Vector = NDArray[np.float32]

MAX_COPIES = 8
"""Identical vectors that HNSW is given. Copies fill each other's neighbour lists and cut the graph: with 1,000 of them among 9,000 MiniLM
vectors recall@100 fell from 99.7 to between 54 and 97 %, with 5,000 to 66 % and to nothing for some queries; 30 do no harm."""

SKETCH_SLOTS = 1 << 22
"""One byte each. Ten million distinct vectors in one session make one in a thousand look like a copy, which costs time only."""

SCORE_DECIMALS = 6
"""Cosines of equal vectors agree in this many decimals of their 32-bit sums."""

TINY = float(np.finfo(np.float32).tiny)


def best_hits(scored: Iterable[tuple[str, float]], k: int) -> list[Hit]:
    """Return the k best by score, then by id; scores are held within [-1, 1]."""
    pairs = list(scored)
    negated = -np.clip([score for _, score in pairs], -1.0, 1.0).round(SCORE_DECIMALS)
    ranked = sorted(zip(negated.tolist(), (key for key, _ in pairs), strict=True))
    return [Hit(key, -score) for score, key in ranked[:k]]


class Selection(NamedTuple):
    """Some vectors of a collection, ready to be compared with a query."""

    ids: tuple[str, ...]
    rows: NDArray[np.float32]
    """Shape (n, dimensions)."""
    lengths: NDArray[np.float32]
    """Shape (n,); never 0."""

    @classmethod
    def of(cls, vectors: Mapping[str, Vector]) -> Selection:
        """Stack vectors; at least one."""
        rows = np.array(list(vectors.values()), dtype=np.float32)
        lengths = np.maximum(np.sqrt(np.einsum("ij,ij->i", rows, rows)), TINY)
        return cls(tuple(vectors), rows, lengths)

    def nearest(self, query: Vector, k: int) -> list[Hit]:
        """Return the exact k best by cosine, then by id."""
        scores = (dot_products(self.rows, query) / (self.lengths * max(float(np.linalg.norm(query)), TINY))).round(SCORE_DECIMALS)
        kept = np.flatnonzero(scores >= np.partition(scores, -k)[-k]) if k < len(self.ids) else np.arange(len(self.ids))
        return best_hits(((self.ids[i], float(scores[i])) for i in kept.tolist()), k)


class CopySketch:
    """Counts how often each vector was seen since it was made, in constant memory; it may count too many, never too few."""

    def __init__(self) -> None:
        self._seen = np.zeros(SKETCH_SLOTS, dtype=np.uint8)

    def are_surplus(self, name: str, rows: NDArray[np.float32]) -> list[bool]:
        """Count the rows of a collection and say which of them have MAX_COPIES equals before them."""
        surplus = []
        for row in rows:
            slot = hash((name, row.tobytes())) % SKETCH_SLOTS
            surplus.append(bool(self._seen[slot] >= MAX_COPIES))
            self._seen[slot] += not surplus[-1]
        return surplus


class Copies:
    """The surplus copies of one collection, compared one by one: they are many ids on few distinct vectors."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: dict[bytes, dict[str, None]] = {}
        self._vectors: dict[str, Vector] = {}
        self._distinct: tuple[list[tuple[str, ...]], Selection] | None = None

    def put(self, vectors: Mapping[str, Vector]) -> None:
        """Add copies, replacing those of the same id."""
        with self._lock:
            for key, vector in vectors.items():
                self._drop(key)
                self._vectors[key] = vector
                self._slots.setdefault(vector.tobytes(), {})[key] = None
            self._distinct = None

    def drop(self, ids: Iterable[str]) -> None:
        """Remove copies; absent ones are no error."""
        with self._lock:
            for key in ids:
                self._drop(key)
            self._distinct = None

    def held(self, ids: Iterable[str]) -> dict[str, Vector]:
        """Return those of the ids that are held here."""
        with self._lock:
            return {key: self._vectors[key] for key in ids if key in self._vectors}

    def ids(self) -> list[str]:
        """Return every id held here."""
        with self._lock:
            return list(self._vectors)

    def nearest(self, query: Vector, k: int) -> list[Hit]:
        """Return the exact k best."""
        with self._lock:
            if not self._vectors:
                return []
            if self._distinct is None:
                groups = [tuple(sorted(ids)) for ids in self._slots.values()]
                self._distinct = groups, Selection.of({str(at): self._vectors[ids[0]] for at, ids in enumerate(groups)})
            groups, distinct = self._distinct
        return best_hits(((key, hit.score) for hit in distinct.nearest(query, k) for key in groups[int(hit.id)][:k]), k)

    def _drop(self, key: str) -> None:
        vector = self._vectors.pop(key, None)
        if vector is not None:
            ids = self._slots[vector.tobytes()]
            del ids[key]
            if not ids:
                del self._slots[vector.tobytes()]


class VectorCache:
    """Vectors lately read, by collection and id, and selections of them; the oldest go first. A write makes what was read before it unfit to be kept.

    Args:
        size: Vectors kept at most, and the same number again in selections.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._vectors: dict[tuple[str, str], Vector] = {}
        self._selections: dict[tuple[str, int], tuple[tuple[str, ...], Selection]] = {}
        """By collection and identity of the ids asked for, which stand beside it: as long as they do, no other object has their identity."""
        self._generation = 0
        self._lock = threading.Lock()

    def take(self, name: str, ids: Sequence[str]) -> tuple[dict[str, Vector], list[str], int]:
        """Return what is known, what is not, and the generation to hand to `put`."""
        with self._lock:
            found = {key: vector for key in ids if (vector := self._vectors.get((name, key))) is not None}
            missing = [key for key in ids if key not in found] if len(found) < len(ids) else []
            return found, missing, self._generation

    def put(self, name: str, vectors: Mapping[str, Vector], generation: int) -> None:
        """Keep vectors that were read in a generation, unless it has passed."""
        with self._lock:
            if generation != self._generation:
                return
            for key, vector in vectors.items():
                self._vectors[name, key] = vector
            surplus = max(0, len(self._vectors) - self._size)
            for oldest in list(islice(self._vectors, surplus)):
                del self._vectors[oldest]

    def selection(self, name: str, asked: Collection[str]) -> Selection | None:
        """Return what was selected when this very tuple was asked for before."""
        with self._lock:
            known = self._selections.get((name, id(asked)))
            return known[1] if known is not None else None

    def keep(self, name: str, asked: Collection[str], selection: Selection, generation: int) -> None:
        """Keep a selection for a caller who asks for the same tuple again, unless the generation has passed; a list may change and is not kept."""
        with self._lock:
            if generation != self._generation or not isinstance(asked, tuple) or len(selection.ids) > self._size:
                return
            self._selections[name, id(asked)] = (asked, selection)
            while sum(len(kept.ids) for _, kept in self._selections.values()) > self._size:
                del self._selections[next(iter(self._selections))]

    def forget(self, name: str, ids: Sequence[str]) -> None:
        """Start a generation without these vectors, nor any selection of their collection."""
        with self._lock:
            self._generation += 1
            for key in ids:
                self._vectors.pop((name, key), None)
            self._selections = {key: kept for key, kept in self._selections.items() if key[0] != name}

    def clear(self) -> None:
        """Start a generation without any."""
        with self._lock:
            self._generation += 1
            self._vectors.clear()
            self._selections.clear()
