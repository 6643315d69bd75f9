"""What a user feels: import, ingest against raw embedding, search against LangChain's EnsembleRetriever, memory of the process.

python -m tests.benchmarks.bench_memory --docs ../shared/bench/docs_prometheus/docs --chunks 10000
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from rag2_memory import Document, Memory
from rag2_memory.embedders import SentenceTransformerEmbedder
from rag2_memory.testing.fakes import FakeEmbedder
from tests.benchmarks.timing import timed

QUERIES = 60
EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "corpus"


def import_seconds() -> float:
    """Return the best of five imports in fresh processes."""
    code = "import time; t = time.perf_counter(); import rag2_memory; print(time.perf_counter() - t)"
    return min(float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout) for _ in range(5))


def ingest_against_encoding(docs: Path) -> None:
    """Print the time of an ingest beside that of embedding the same texts in one call, measured in turn and with the model loaded before."""
    embedder = SentenceTransformerEmbedder()
    embedder.embed(["warm up"])
    with tempfile.TemporaryDirectory() as folder, Memory.open(folder, embedder=embedder) as memory:
        started = time.perf_counter()
        report = memory.ingest(docs)
        ingest = time.perf_counter() - started
        registry = memory.services.registry
        texts = [text for _, text in registry.embed_texts(registry.indexable()).values()]
        started = time.perf_counter()
        embedder.embed(texts)
        raw = time.perf_counter() - started
        started = time.perf_counter()
        again = memory.ingest(docs)
        repeated = time.perf_counter() - started
    print(
        f"ingest of {docs.name}: {report.chunks} chunks in {ingest:.1f} s; SentenceTransformer.encode of the same texts {raw:.1f} s; ratio {ingest / raw:.2f}"
    )
    print(f"ingested again: {repeated:.2f} s, {again.embedded} texts embedded")


def synthetic(chunks: int) -> list[Document]:
    """Return documents of one chunk each: words by Zipf's law, a few names and codes."""
    rng = random.Random(7)
    words = [f"w{number}" for number in range(20_000)]
    weights = np.cumsum([1 / (rank + 1) for rank in range(len(words))]).tolist()
    return [
        Document(
            id=f"d{i}",
            text=f"Item PX-{i:06d}. " + " ".join(rng.choices(words, cum_weights=weights, k=70)) + f" seen by Agent{i % 997} Smith.",
        )
        for i in range(chunks)
    ]


def search_against_ensemble(chunks: int, *, ensemble: bool) -> None:
    """Print search times over synthetic chunks, embeddings from the same cheap fake on both sides."""
    documents = synthetic(chunks)
    rng = random.Random(11)
    queries = [" ".join(rng.sample(rng.choice(documents).text.split(), 6)) for _ in range(QUERIES)]
    embedder = FakeEmbedder(384)
    with tempfile.TemporaryDirectory() as folder, Memory.open(folder, embedder=embedder, cache=False) as memory:
        started = time.perf_counter()
        memory.ingest(iter(documents))
        print(f"{chunks:,} chunks: built in {time.perf_counter() - started:.0f} s")
        memory.search(queries[0])
        print(f"  rag2_memory search, all layers   {timed(lambda query: memory.search(query, k=5), queries)}")
        print(f"  rag2_memory search, no graph     {timed(lambda query: memory.search(query, k=5, route='hybrid'), queries)}")
        print(f"  rag2_memory recall, 4,000 tokens {timed(lambda query: memory.recall(query, budget=4_000), queries)}")
        with busy_thread():
            print(f"  rag2_memory search, busy process {timed(lambda query: memory.search(query, k=5), queries[:20])}")
            print(f"  rag2_memory recall, busy process {timed(lambda query: memory.recall(query, budget=4_000), queries[:20])}")
    print(f"  peak resident memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")
    if ensemble:
        _ensemble(documents, queries, embedder)


@contextmanager
def busy_thread() -> Iterator[None]:
    """Keep another thread in Python, as the rest of an application does: whatever gives the interpreter up then waits for its next turn."""
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            sum(range(1_000))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _ensemble(documents: Sequence[Document], queries: Sequence[str], embedder: FakeEmbedder) -> None:
    from langchain_chroma import Chroma
    from langchain_classic.retrievers import EnsembleRetriever
    from langchain_community.retrievers import BM25Retriever
    from langchain_core.documents import Document as LangChainDocument
    from langchain_core.embeddings import Embeddings

    class Same(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [[float(value) for value in row] for row in embedder.embed(texts)]

        def embed_query(self, text: str) -> list[float]:
            return self.embed_documents([text])[0]

    pages = [LangChainDocument(page_content=document.text) for document in documents]
    started = time.perf_counter()
    words = BM25Retriever.from_documents(pages, k=5)
    with tempfile.TemporaryDirectory() as folder:
        vectors = Chroma(embedding_function=Same(), persist_directory=folder)
        for start in range(0, len(pages), 5_000):
            vectors.add_documents(pages[start : start + 5_000])
        both = EnsembleRetriever(retrievers=[words, vectors.as_retriever(search_kwargs={"k": 5})], weights=[0.5, 0.5])
        print(f"  EnsembleRetriever built in {time.perf_counter() - started:.0f} s")
        both.invoke(queries[0])
        print(f"  EnsembleRetriever                {timed(both.invoke, queries[:20])}")
        with busy_thread():
            print(f"  EnsembleRetriever, busy process  {timed(both.invoke, queries[:20])}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--docs", type=Path, default=EXAMPLES)
    parser.add_argument("--chunks", type=int, nargs="*", default=[10_000])
    parser.add_argument("--no-ensemble", action="store_true")
    options = parser.parse_args()
    print(f"import rag2_memory: {import_seconds():.3f} s")
    ingest_against_encoding(options.docs)
    for chunks in options.chunks:
        search_against_ensemble(chunks, ensemble=not options.no_ensemble)


if __name__ == "__main__":
    main()
