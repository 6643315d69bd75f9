"""Measures analysis, indexing and keyword search as the number of chunks grows, before and after updates.

Run with `python -m tests.benchmarks.bench_lexical --chunks 10000 100000`. The text is made: words by Zipf's law over 50,000 pseudo-words, one in
twenty an identifier, 100 words a chunk; queries take six words of a chunk. With `--reference` rank-bm25 is measured beside tantivy.
"""

from __future__ import annotations

import argparse
import random
import string
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

from rag2_memory.records import LexicalDocument
from rag2_memory.tiers.analysis import Analyzer
from rag2_memory.tiers.base import LexicalTier
from rag2_memory.tiers.lexical_rank_bm25 import RankBM25LexicalTier
from rag2_memory.tiers.lexical_tantivy import TantivyLexicalTier

WORDS_PER_CHUNK = 100
VOCABULARY = 50_000
BATCH = 512
"""Chunks per write, as ingestion writes them."""
QUERIES = 300


class Text:
    """Chunks of made text, the same for the same seed."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        letters = string.ascii_lowercase
        self._words = ["".join(self._random.choices(letters, k=self._random.randint(3, 10))) for _ in range(VOCABULARY)]
        self._weights = list(accumulate(1 / (rank + 2) for rank in range(VOCABULARY)))

    def chunk(self) -> str:
        """Return one chunk."""
        words = self._random.choices(self._words, cum_weights=self._weights, k=WORDS_PER_CHUNK)
        for i in range(0, WORDS_PER_CHUNK, 20):
            words[i] = f"{words[i][:3].upper()}-{self._random.randint(100, 9999)}"
        return " ".join(words)

    def query(self, chunk: str) -> str:
        """Return six words of a chunk."""
        return " ".join(self._random.sample(chunk.split(), 6))


def batches(documents: Sequence[LexicalDocument]) -> Iterator[Sequence[LexicalDocument]]:
    """Yield documents as ingestion writes them."""
    for start in range(0, len(documents), BATCH):
        yield documents[start : start + BATCH]


def milliseconds(tier: LexicalTier, queries: Sequence[str]) -> str:
    """Return median and 95th percentile of the time that 100 hits take."""
    spent = []
    for query in queries:
        started = time.perf_counter()
        tier.search(query, k=100, namespace="bench")
        spent.append((time.perf_counter() - started) * 1_000)
    spent.sort()
    return f"{spent[len(spent) // 2]:7.2f} ms  p95 {spent[int(len(spent) * 0.95)]:7.2f} ms"


def measure(tier: LexicalTier, documents: Sequence[LexicalDocument], queries: Sequence[str], name: str) -> None:
    """Print what writing, searching and updating cost."""
    started = time.perf_counter()
    for batch in batches(documents):
        tier.upsert(batch)
    print(f"{name}: {len(documents) / (time.perf_counter() - started):,.0f} chunks/s written, {len(documents):,} chunks")
    print(f"  search                      {milliseconds(tier, queries)}")
    started = time.perf_counter()
    for batch in batches(documents[: len(documents) // 4]):
        tier.delete([document.id for document in batch])
        tier.upsert(batch)
    print(f"  a quarter written again     {len(documents) / 4 / (time.perf_counter() - started):,.0f} chunks/s")
    print(f"  search after that           {milliseconds(tier, queries)}")
    started = time.perf_counter()
    known = tier.digests([document.id for document in documents[:BATCH]])
    print(f"  {len(known)} digests                 {(time.perf_counter() - started) * 1_000:7.2f} ms")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--chunks", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--reference", action="store_true", help="measure rank-bm25 as well, at the first size only")
    options = parser.parse_args(arguments)
    text = Text()
    chunks = [text.chunk() for _ in range(max(options.chunks))]
    queries = [text.query(random.Random(i).choice(chunks)) for i in range(QUERIES)]
    analyzer, started = Analyzer(), time.process_time()
    for chunk in chunks[:10_000]:
        analyzer.terms(chunk)
    print(f"analysis: {min(len(chunks), 10_000) / (time.process_time() - started):,.0f} chunks per second of one core")
    for count in options.chunks:
        documents = [LexicalDocument(id=f"c{i:07}", namespace="bench", text=chunk) for i, chunk in enumerate(chunks[:count])]
        with tempfile.TemporaryDirectory() as folder:
            tier = TantivyLexicalTier(Path(folder))
            measure(tier, documents, queries, "tantivy")
            tier.close()
        if options.reference and count == options.chunks[0]:
            measure(RankBM25LexicalTier(), documents, queries[:20], "rank-bm25")


if __name__ == "__main__":
    main()
