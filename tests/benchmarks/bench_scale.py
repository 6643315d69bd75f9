"""What a large memory costs: resident memory while documents stream in, look-ups by id, and searches by people who see little.

python -m tests.benchmarks.bench_scale --chunks 100000

Embeddings come from a cheap fake, for the speed of a model is not the question. Of every hundred documents one is for `ann` alone, ten are for the
group `staff`, thirty for the group `third`, the others for `everybody`.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from rag2_memory import Document, Memory, Scope
from rag2_memory.testing.fakes import FakeEmbedder
from tests.benchmarks.timing import timed

WORDS = 20_000
LOOKED_UP = 300
QUERIES = 60
RESIDENT_LIMIT_MB = 1_500


def documents(count: int) -> Iterator[Document]:
    """Yield documents of one chunk each: words by Zipf's law, a code of its own, one of a thousand names."""
    rng = random.Random(7)
    words = [f"w{number}" for number in range(WORDS)]
    weights = np.cumsum([1 / (rank + 1) for rank in range(WORDS)]).tolist()
    for number in range(count):
        text = " ".join(rng.choices(words, cum_weights=weights, k=70))
        yield Document(
            id=f"d{number}", text=f"Item PX-{number:06d}. {text} seen by Agent{number % 997} Smith.", acl=frozenset({reader(number)})
        )


def reader(number: int) -> str:
    """Return who may read a document, by its place in a hundred."""
    place = number % 100
    return "user:ann" if place == 0 else "group:staff" if place <= 10 else "group:third" if place <= 40 else "group:everybody"


READERS = {
    "100 %": Scope(user="ann", groups=frozenset({"everybody", "third", "staff"})),
    "59 %": Scope(groups=frozenset({"everybody"})),
    "30 %": Scope(groups=frozenset({"third"})),
    "10 %": Scope(groups=frozenset({"staff"})),
    "1 %": Scope(user="ann"),
}
"""Scopes by the share of documents that they see."""


def resident_mb() -> float:
    """Return the resident memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20


class Watch:
    """Samples resident memory while a block runs."""

    def __enter__(self) -> Watch:
        self.peak_mb, self._done = resident_mb(), threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._done.wait(0.5):
            self.peak_mb = max(self.peak_mb, resident_mb())


def main() -> int:
    """Measure and print; returns 1 where a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=100_000)
    chunks = parser.parse_args().chunks
    rng = random.Random(5)
    queries = [" ".join(f"w{min(int(rng.paretovariate(0.6)), WORDS - 1)}" for _ in range(6)) for _ in range(QUERIES)]
    with tempfile.TemporaryDirectory() as folder, Memory.open(folder, embedder=FakeEmbedder(384), cache=False) as memory:
        started = time.perf_counter()
        with Watch() as watch:
            memory.ingest(documents(chunks))
        print(f"{chunks:,} chunks streamed in {time.perf_counter() - started:.0f} s, resident memory at most {watch.peak_mb:,.0f} MB")
        registry = memory.services.registry
        ids = sorted(registry.indexable())
        samples = [rng.sample(ids, LOOKED_UP) for _ in range(QUERIES)]
        print(f"  registry.visible of {LOOKED_UP} ids         {timed(lambda sample: registry.visible(sample, READERS['100 %']), samples)}")
        for share, scope in READERS.items():
            search = partial(memory.search, scope=scope)
            search("w1")
            print(f"  search by one who sees {share:<10}   {timed(search, queries)}")
    return int(watch.peak_mb > RESIDENT_LIMIT_MB)


if __name__ == "__main__":
    raise SystemExit(main())
