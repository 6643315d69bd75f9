"""Bringing the indexes up to date from the journal. Applying an entry makes an index agree with the registry for some chunks, however often it is done."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from rag2_memory.errors import CorruptIndexError
from rag2_memory.protocols import Embedder
from rag2_memory.records import JournalEntry
from rag2_memory.tiers.base import GraphTier, LexicalTier, RegistryTier, VectorTier
from rag2_memory.types import INDEX_TIERS, TierName

logger = logging.getLogger(__name__)

ENTRIES_PER_ROUND = 1_000
CHUNKS_PER_ROUND = 2_000
"""Bounds on the journal entries applied together, with one engine call and one commit; a single entry holds at most 500 chunks."""

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 60.0
"""Back-off between attempts: doubled each time, within these bounds."""


def embed_hash(text: str) -> str:
    """Return the key of the embedding cache for a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


@dataclass(slots=True)
class IndexSync:
    """Applies the journal to the three indexes. One thread at a time (the memory's writer) calls it."""

    registry: RegistryTier
    vector: VectorTier
    lexical: LexicalTier
    graph: GraphTier
    embedder: Embedder
    clock: Callable[[], datetime]
    attempts: int = 4
    embedded: int = 0
    """Texts embedded while applying: conversation windows, and what a rebuild did not find cached."""

    def drain(self) -> int:
        """Apply all that is owed, retrying with back-off; returns the number of entries that still fail.

        An engine that keeps failing leaves its entries in the journal with the error; the other indexes are served all the same.
        """
        return sum(self._drain_tier(tier) for tier in INDEX_TIERS)

    def _drain_tier(self, tier: TierName) -> int:
        failures, emptied = 0, False
        while True:
            entries = _one_round(self.registry.pending(tier, limit=ENTRIES_PER_ROUND))
            if not entries:
                return 0
            try:
                self._apply(tier, entries)
            except CorruptIndexError as exc:
                if emptied:
                    return self.registry.backlog().get(tier, 0)
                logger.warning("%s It is rebuilt from the registry.", exc)
                emptied = True
                self.start_anew(tier)
            except Exception as exc:  # any engine, ours or a subclass of a user: what it failed to do stays in the journal
                failures += 1
                pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**failures)
                logger.warning("the %s index failed (attempt %d of %d): %s", tier, failures, self.attempts, exc)
                self.registry.postpone(entries, error=f"{type(exc).__name__}: {exc}", until=self.clock() + timedelta(seconds=pause))
                if failures >= self.attempts:
                    return self.registry.backlog().get(tier, 0)
                time.sleep(pause)
            else:
                failures = 0
                self.registry.settle(entries)

    def start_anew(self, tier: TierName) -> None:
        """Empty an index and owe it everything. The debt is recorded first, so that whoever opens the memory after a kill pays it."""
        self.registry.owe(tier, list(self.registry.indexable()))
        (self.vector if tier == "vector" else self.lexical if tier == "lexical" else self.graph).clear()

    def _apply(self, tier: TierName, entries: Sequence[JournalEntry]) -> None:
        ids = dict.fromkeys((chunk_id for entry in entries for chunk_id in entry.chunk_ids), "")
        for entry in entries:
            ids.update(dict.fromkeys(entry.chunk_ids, entry.namespace))
        wanted = self.registry.indexable(ids)
        gone = {chunk_id: namespace for chunk_id, namespace in ids.items() if chunk_id not in wanted}
        if tier == "vector":
            self._apply_vector(wanted, gone)
        elif tier == "lexical":
            self.lexical.delete(list(gone))
            self.lexical.upsert(list(self.registry.lexical_documents(wanted).values()))
        else:
            self.graph.delete(list(gone))
            self.graph.upsert(list(self.registry.graph_passages(wanted).values()))

    def _apply_vector(self, wanted: Mapping[str, str], gone: Mapping[str, str]) -> None:
        for namespace, ids in by_namespace(gone).items():
            self.vector.delete(ids, namespace=namespace)
            self.vector.delete(ids, namespace=namespace, space="windows")
        if not wanted:
            return
        vectors = self.expected_vectors(wanted)
        windows = self.expected_windows(wanted)
        for namespace, ids in by_namespace(wanted).items():
            self.vector.upsert(ids, np.stack([vectors[chunk_id] for chunk_id in ids]), namespace=namespace)
            turns = [chunk_id for chunk_id in ids if chunk_id in windows]
            if turns:
                stacked = np.stack([windows[chunk_id] for chunk_id in turns])
                self.vector.upsert(turns, stacked, namespace=namespace, space="windows")

    def expected_vectors(self, ids: Mapping[str, str]) -> dict[str, NDArray[np.float32]]:
        """Return the vectors that the index should hold for indexable chunks, embedding what is not cached."""
        vectors = self.registry.chunk_vectors(ids, self.embedder.name)
        missing = self.registry.embed_texts([chunk_id for chunk_id in ids if chunk_id not in vectors])
        fresh = self.embedded_by_hash(dict(missing.values()))
        return vectors | {chunk_id: fresh[key] for chunk_id, (key, _) in missing.items()}

    def expected_windows(self, ids: Mapping[str, str]) -> dict[str, NDArray[np.float32]]:
        """Return the vectors of the windows of those chunks that are conversation turns."""
        texts = {key: document.window for key, document in self.registry.lexical_documents(ids).items() if document.window}
        hashes = {chunk_id: embed_hash(text) for chunk_id, text in texts.items()}
        vectors = self.embedded_by_hash({hashes[chunk_id]: text for chunk_id, text in texts.items()})
        if hashes:
            self.registry.set_windows(hashes)
        return {chunk_id: vectors[key] for chunk_id, key in hashes.items()}

    def embedded_by_hash(self, texts: Mapping[str, str]) -> dict[str, NDArray[np.float32]]:
        """Return the vectors of texts keyed by their hash, from the cache where it has them."""
        vectors = dict(self.registry.cached_vectors(list(texts), self.embedder.name))
        missing = [key for key in texts if key not in vectors]
        if missing:
            fresh = dict(zip(missing, self.embedder.embed([texts[key] for key in missing]), strict=True))
            self.registry.store_vectors(fresh, self.embedder.name)
            self.embedded += len(missing)
            vectors |= fresh
        return vectors


def _one_round(entries: Sequence[JournalEntry]) -> list[JournalEntry]:
    """Return the first entries that together concern no more than `CHUNKS_PER_ROUND` chunks, at least one."""
    taken: list[JournalEntry] = []
    chunks = 0
    for entry in entries:
        chunks += len(entry.chunk_ids)
        if taken and chunks > CHUNKS_PER_ROUND:
            break
        taken.append(entry)
    return taken


def by_namespace(ids: Mapping[str, str]) -> dict[str, list[str]]:
    """Group chunk ids by their namespace, both in a stable order."""
    grouped: dict[str, list[str]] = {}
    for chunk_id, namespace in sorted(ids.items()):
        grouped.setdefault(namespace, []).append(chunk_id)
    return grouped
