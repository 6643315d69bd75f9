"""Measures the semantic cache: times by size, through a whole memory, what coherence costs an ingest, and how well the guard decides.

Run: python -m tests.benchmarks.bench_cache [--entries 10000 100000] [--data BENCH] [--cache FOLDER] [--list]

Without --data only the times are measured, on clustered random vectors and a fake embedder, whose few hundredths of a millisecond per question stand
for the embedding. BENCH/paraphrase/pairs.jsonl holds question pairs (a, b, label);
their vectors are computed once and kept in the cache folder. --list prints every false hit of the guarded cache.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from rag2_memory import Document, Memory
from rag2_memory.config import MemoryConfig
from rag2_memory.embedders import SentenceTransformerEmbedder
from rag2_memory.graphs import cache_access
from rag2_memory.graphs.cache_access import follow_writes, look_up
from rag2_memory.graphs.services import RecallServices
from rag2_memory.graphs.state import request_of
from rag2_memory.records import CacheEntry
from rag2_memory.retrieval.cache_guard import EVIDENCE_COSINE, guard
from rag2_memory.retrieval.coherence import Addition, RequestKey, affected, dependencies, request_key
from rag2_memory.testing.fakes import FakeEmbedder
from rag2_memory.tiers.cache_semantic import SemanticCache
from rag2_memory.types import Scope

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
DIMENSIONS = 384
CLUSTERS = 2_000
"""Topics of the random vectors; two of one topic have a cosine of about 0.5."""

WATCHED = 250
"""Chunks and entities that an entry watches: a hundred candidates per arm, with overlaps."""

PAYLOAD = "x" * 8_000
"""A context of about 2,000 tokens."""

CHUNKS = 1_000
CHUNKS_PER_SECOND = 40
"""Ingestion's speed, bound by embedding on two cores."""

SITES = 1_000
"""Documents of the memory that is asked, some ten times what an arm returns."""

ASKED = 200
BUDGET = 4_000
ROUNDS = 4
"""Times that the questions about the example corpus are missed: a recall takes ten times what the cache adds, and varies by more."""

THRESHOLDS = (0.85, 0.9, 0.95)


def vectors(count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return unit vectors in clusters."""
    centres = rng.normal(size=(CLUSTERS, DIMENSIONS)).astype(np.float32)
    found = centres[rng.integers(0, CLUSTERS, count)] + rng.normal(size=(count, DIMENSIONS)).astype(np.float32)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), dtype=np.float32)


def timed(name: str, calls: Sequence[Callable[[], object]]) -> None:
    """Print what calls took one after another: median and 95th percentile, and the median of the processor time of this thread alone."""
    taken, busy = [], []
    for call in calls:
        start, thread = time.perf_counter(), time.thread_time()
        call()
        taken.append(1_000 * (time.perf_counter() - start))
        busy.append(1_000 * (time.thread_time() - thread))
    middle, late = np.percentile(taken, (50, 95))
    print(f"  {name:46} p50 {middle:8.3f} ms   p95 {late:8.3f} ms   cpu {np.median(busy):8.3f} ms", flush=True)


def filling(matrix: NDArray[np.float32], rng: np.random.Generator) -> list[CacheEntry]:
    """Return one entry per vector, all of one partition."""
    watched = rng.integers(0, 50 * len(matrix), (len(matrix), WATCHED))
    entries = []
    for number, vector in enumerate(matrix):
        key, asked = question_key(number)
        chunks = [f"chunk-{at}" for at in watched[number].tolist()]
        entries.append(
            CacheEntry(
                key=key.key,
                namespace="default",
                partition=key.partition,
                query=asked,
                vector=tuple(vector.tolist()),
                payload=PAYLOAD,
                dependencies=dependencies(generation=1, scope=Scope(), floors={"chunks": 0.45}, chunks=chunks),
            )
        )
    return entries


def question_key(number: int) -> tuple[RequestKey, str]:
    """Return a question and its key."""
    asked = f"question {number}?"
    return request_key(asked, scope=Scope()), asked


def exact_hit(cache: SemanticCache, number: int) -> CacheEntry | None:
    """Name a request and look it up."""
    return cache.get(question_key(number)[0].key)


def measure_times(entries: int, folder: Path) -> None:
    """Fill a cache on disk and time what a query and an ingest do with it."""
    rng = np.random.default_rng(0)
    matrix = vectors(entries, rng)
    path = folder / f"cache-{entries}.sqlite"
    bounds = {"max_entries": entries + 1_000, "max_bytes": 1 << 40}
    print(f"{entries:,} entries")
    cache = SemanticCache(path, **bounds)  # type: ignore[arg-type]
    timed("put", [partial(cache.put, entry) for entry in filling(matrix, rng)])
    cache.close()
    cache = SemanticCache(path, **bounds)  # type: ignore[arg-type]
    measure_queries(cache, matrix, rng)
    measure_coherence(cache, rng)
    cache.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"  peak memory {peak:.0f} MB, file {path.stat().st_size / 2**20:.0f} MB", flush=True)


def measure_queries(cache: SemanticCache, matrix: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Time look-ups in a cache that was just opened."""
    partition = question_key(0)[0].partition
    find = partial(cache.nearest, partition=partition, k=5, minimum=EVIDENCE_COSINE)
    timed("open and first exact hit", [partial(cache.get, question_key(0)[0].key)])
    timed("first semantic look-up (loads the columns)", [partial(find, matrix[0])])
    asked = rng.integers(0, len(matrix), 500).tolist()
    timed("exact hit, key included", [partial(exact_hit, cache, at) for at in asked])
    near = vectors(500, rng)
    moved = matrix[asked] + 0.3 * near
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    timed("semantic look-up that finds", [partial(find, vector) for vector in moved])
    timed("semantic look-up that finds nothing", [partial(find, vector) for vector in near])
    timed("guard on an unread pair", [partial(guard, f"How is part {at} made?", f"How do we make part {at}?") for at in range(500)])


def measure_coherence(cache: SemanticCache, rng: np.random.Generator) -> None:
    """Time what a write does to the cache."""
    added = [Addition(vectors={"chunks": vector}, entities=[f"entity-{at}"]) for at, vector in enumerate(vectors(CHUNKS, rng))]
    removed = [f"chunk-{at}" for at in range(CHUNKS)]
    compare = partial(affected, cache.watchlist(), namespace="default")
    timed("one new chunk compared", [partial(compare, added=[addition], removed=["chunk-1"]) for addition in added[:50]])
    start, thread = time.perf_counter(), time.thread_time()
    hit = compare(added=added, removed=removed)
    compared = time.perf_counter() - start
    cache.invalidate(hit)
    total, busy = time.perf_counter() - start, time.thread_time() - thread
    share = total * CHUNKS_PER_SECOND / CHUNKS
    told = f"compared {1_000 * compared:.0f} ms, {len(hit):,} invalidated, {1_000 * total:.0f} ms (cpu {1_000 * busy:.0f}) in all"
    print(f"  ingest of {CHUNKS:,} chunks: {told}: {share:.1%} of the ingest", flush=True)


def site(number: int) -> Document:
    """Return a document that one question asks for."""
    return Document(
        id=f"site-{number}", text=f"The gateway of site {number} listens on port {8000 + number}. It is looked after by team {number % 7}."
    )


def question(number: int, *, reworded: bool = False) -> str:
    """Ask for a site's port."""
    return f"On which port does site {number} listen?" if reworded else f"Which port does site {number} listen on?"


def measure_recall(entries: int, folder: Path) -> None:
    """Time whole recalls with a cache that holds so many questions of the same kind of request."""
    rng = np.random.default_rng(1)
    config = MemoryConfig(cache_max_entries=entries + 2_000, cache_max_bytes=1 << 40)
    with Memory.open(folder / f"memory-{entries}", embedder=FakeEmbedder(DIMENSIONS), config=config) as memory:
        memory.ingest([site(number) for number in range(SITES)])
        cache = memory.services.cache
        assert isinstance(cache, SemanticCache)
        partition = look_up(cache, request_of({"query": question(0), "budget": BUDGET}), memory.services).partition
        for entry in filling(vectors(entries, rng), rng):
            cache.put(replace(entry, partition=partition))
        print(f"recall with {entries:,} cached questions, {SITES:,} documents")
        asked = range(ASKED)
        recall = partial(memory.recall, budget=BUDGET)
        recall(question(SITES - 1))  # loads what is loaded late
        measure_misses(recall, folder / f"uncached-{entries}")
        for at in asked:
            recall(question(at))
        timed("exact hit", [partial(recall, question(at)) for at in asked])
        timed("embedding alone", [partial(memory.services.embedder.embed, [question(at)]) for at in asked])
        timed("semantic hit", [partial(recall, question(at, reworded=True)) for at in asked])
        print(f"  outcomes {told(memory)}")
        measure_writes(memory, asked)


def measure_misses(recall: Callable[[str], object], folder: Path) -> None:
    """Time recalls that miss, all among questions of one template, beside those of a memory without a cache."""
    with Memory.open(folder, embedder=FakeEmbedder(DIMENSIONS), cache=False) as memory:
        memory.ingest([site(number) for number in range(SITES)])
        uncached = partial(memory.recall, budget=BUDGET)
        uncached(question(SITES - 1))
        pairs = [(question(at), question(at + 1)) for at in range(ASKED, 3 * ASKED, 2)]
        compared("one template", uncached, recall, pairs)


def compared(
    name: str,
    uncached: Callable[[str], object],
    cached: Callable[[str], object],
    pairs: Sequence[tuple[str, str]],
    *,
    afterwards: Callable[[], object] = lambda: None,
) -> None:
    """Print what two memories take for pairs of questions, asked in turn, and the median of the differences; `afterwards` is not timed."""
    taken: list[tuple[float, float]] = []
    for at, pair in enumerate(pairs):
        times = [0.0, 0.0]
        for side in (0, 1) if at % 2 else (1, 0):
            started = time.perf_counter()
            (uncached, cached)[side](pair[side])
            times[side] = 1_000 * (time.perf_counter() - started)
        taken.append((times[0], times[1]))
        afterwards()
    without, missed = np.median(taken, axis=0)
    extra = np.median([after - before for before, after in taken])
    print(f"  miss, {name + ':':40} p50 {missed:8.3f} ms   without a cache {without:8.3f} ms   difference {extra:+.2f} ms", flush=True)


def measure_corpus(entries: int, folder: Path) -> None:
    """Time misses and rewordings of the questions about the example corpus, embedded by MiniLM, with so many others cached."""
    rng, embedder = np.random.default_rng(2), SentenceTransformerEmbedder()
    config = MemoryConfig(cache_max_entries=entries + 2_000, cache_max_bytes=1 << 40)
    asked = [json.loads(line)["query"] for line in (EXAMPLES / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
    with (
        Memory.open(folder / f"corpus-{entries}", embedder=embedder, config=config) as memory,
        Memory.open(folder / f"corpus-uncached-{entries}", embedder=embedder, cache=False) as other,
    ):
        for one in (memory, other):
            one.ingest(EXAMPLES / "corpus")
        cache = memory.services.cache
        assert isinstance(cache, SemanticCache)
        partition = look_up(cache, request_of({"query": question(0), "budget": BUDGET}), memory.services).partition
        for entry in filling(vectors(entries, rng), rng):
            cache.put(replace(entry, partition=partition))
        uncached, cached = partial(other.recall, budget=BUDGET), partial(memory.recall, budget=BUDGET)
        for recall in (uncached, cached):
            recall(question(0))
        print(f"example corpus, MiniLM, {entries:,} cached questions")
        filled = {entry.key for entry in cache.entries()}

        def forget() -> None:
            cache.invalidate(set(cache.watchlist().keys) - filled)

        compared("example questions", uncached, cached, [(each, each) for each in asked * ROUNDS], afterwards=forget)
        for each in asked:
            cached(each)
        timed("exact hit", [partial(cached, each) for each in asked])
        timed("embedding alone", [partial(embedder.embed, [f"{each} please"]) for each in asked])
        timed("reworded: `please` added", [partial(cached, f"{each} please") for each in asked])
        print(f"  outcomes {told(memory)}")


def measure_writes(memory: Memory, asked: Sequence[int]) -> None:
    """Print what unrelated writes leave of the cache, and what following a large ingest costs."""
    recall = partial(memory.recall, budget=BUDGET)
    before = told(memory)
    memory.ingest(Document(id="zoo", text="Zebras graze near rivers, and nobody minds them."))
    timed("after an unrelated document", [partial(recall, question(at)) for at in asked])
    after = told(memory)
    print(f"  kept {after['revalidated'] - before['revalidated']} of {len(asked)}, searched again and found right; {after}")
    timed("and once more", [partial(recall, question(at)) for at in asked])
    memory.ingest(Document(id="zoo-2", text="Zebras rest at noon."))
    allowed = partial(recall, max_stale_seconds=3_600)
    timed("after another, an hour's age allowed", [partial(allowed, question(at)) for at in asked])
    texts = [" ".join(f"w{word}" for word in words) for words in np.random.default_rng(2).integers(0, 5_000, (CHUNKS, 90)).tolist()]
    taken: list[float] = []

    def follow(services: RecallServices) -> int:
        started = time.perf_counter()
        dropped = follow_writes(services)
        taken.append(time.perf_counter() - started)
        return dropped

    with patch.object(cache_access, "follow_writes", follow):
        report_of = memory.ingest([Document(id=f"bulk-{at}", text=text) for at, text in enumerate(texts)])
    share = sum(taken) * CHUNKS_PER_SECOND / report_of.chunks
    print(f"  following an ingest of {report_of.chunks:,} chunks: {1_000 * sum(taken):.0f} ms, {share:.1%} of its time", flush=True)


def told(memory: Memory) -> Counter[str]:
    """Return what look-ups came to so far."""
    assert memory.services.cache is not None
    outcomes = memory.services.cache.statistics().outcomes
    return Counter({name: count for name, count in outcomes.items() if name in ("exact", "semantic", "revalidated", "miss", "invalidated")})


def pair_vectors(pairs: Sequence[dict[str, str]], folder: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the vectors of both sides, computed once."""
    found = []
    for side in ("a", "b"):
        path = folder / f"paraphrase.{side}.npy"
        if not path.exists():
            np.save(path, SentenceTransformerEmbedder().embed([pair[side] for pair in pairs]))
        found.append(np.load(path))
    return found[0], found[1]


def measure_quality(data: Path, folder: Path, *, list_false: bool) -> None:
    """Compare cosine alone with the guarded cache on labelled question pairs."""
    pairs = [json.loads(line) for line in (data / "paraphrase" / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    one, other = pair_vectors(pairs, folder)
    cosines, labels = (one * other).sum(axis=1), np.array([pair["label"] == 1 for pair in pairs])
    print(f"{len(pairs):,} question pairs, {labels.mean():.0%} labelled the same")
    for threshold in THRESHOLDS:
        report(f"cosine alone from {threshold}", cosines >= threshold, labels)
    similarity, rules = MemoryConfig().cache_similarity, Counter[str]()
    hit = np.zeros(len(pairs), dtype=bool)
    for at in np.flatnonzero(cosines >= similarity - 0.1).tolist():
        verdict = guard(pairs[at]["a"], pairs[at]["b"])
        hit[at] = cosines[at] >= verdict.required_cosine(similarity)
        if not verdict.allowed and cosines[at] >= similarity:
            rules[f"{verdict.rule}, {'same' if labels[at] else 'different'}"] += 1
    report(f"guarded, similarity {similarity}", hit, labels)
    for half in (0, 1):
        report(f"  half {half}", hit[half::2], labels[half::2])
    print(f"  refused above {similarity}, by label: {dict(sorted(rules.items()))}")
    for at in np.flatnonzero(hit & ~labels).tolist() if list_false else ():
        print(f"  {cosines[at]:.3f}  {pairs[at]['a']}  |  {pairs[at]['b']}")


def report(name: str, hit: NDArray[np.bool_], labels: NDArray[np.bool_]) -> None:
    """Print precision and recall of what would be served."""
    right = int((hit & labels).sum())
    print(f"  {name:28} served {int(hit.sum()):5}   precision {right / max(1, int(hit.sum())):.3f}   found {right / int(labels.sum()):.3f}")


def main() -> None:
    """Measure what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for entries in options.entries:
            measure_times(entries, Path(temporary))
            measure_recall(entries, Path(temporary))
            measure_corpus(entries, Path(temporary))
        if options.data is not None:
            folder = options.cache or Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            measure_quality(options.data, folder, list_false=options.list)


if __name__ == "__main__":
    main()
