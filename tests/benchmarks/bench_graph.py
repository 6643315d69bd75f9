"""Measures the graph tier: loading, opening, neighbourhoods, a hub, paths, updates, memory.

Run: python -m tests.benchmarks.bench_graph [--driver kuzu|ladybug] [--entities 100000] [--edges 500000]
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path

from rag2_memory.records import GraphEdge, GraphLink, GraphPassage
from rag2_memory.tiers.graph_kuzu import Driver, KuzuGraphTier

NAMESPACE = "default"
MENTIONS = 4
EDGES = 5
"""Edges that one passage states."""

HUB_EDGES = 100_000


def digest(text: str) -> str:
    """Return an id of the length that the registry gives."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def graph(*, entities: int, edges: int, seed: int = 0) -> Iterator[GraphPassage]:
    """Yield passages, each about one entity, that mention four at random and state five edges between entities at random."""
    rng = random.Random(seed)
    names = [digest(f"entity {n}") for n in range(entities)]
    for number in range(edges // EDGES):
        key = digest(f"passage {number}")
        about = GraphLink(passage_id=key, entity_id=names[number % entities], kind="subject")
        mentions = [GraphLink(passage_id=key, entity_id=name, kind="mention") for name in rng.sample(names, MENTIONS)]
        ends = [rng.sample(names, 2) for _ in range(EDGES)]
        stated = tuple(edge(key, subject, target, rng) for subject, target in ends)
        yield GraphPassage(id=key, namespace=NAMESPACE, links=(about, *mentions), edges=stated)


def hub(name: str, *, edges: int) -> Iterator[GraphPassage]:
    """Yield passages that tie one entity to as many others as there are edges."""
    rng = random.Random(1)
    for start in range(0, edges, EDGES):
        key = digest(f"hub passage {start}")
        stated = [edge(key, name, digest(f"around {number}"), rng) for number in range(start, start + EDGES)]
        yield GraphPassage(
            id=key, namespace=NAMESPACE, links=(GraphLink(passage_id=key, entity_id=name, kind="mention"),), edges=tuple(stated)
        )


def edge(passage: str, subject: str, target: str, rng: random.Random) -> GraphEdge:
    """Return an edge that began in some year and, every other time, ended."""
    start = rng.randrange(2000, 2020)
    return GraphEdge(
        edge_id=digest(f"{subject}{target}{start}"),
        subject_id=subject,
        predicate="WORKS_ON",
        object_id=target,
        passage_id=passage,
        valid_from=datetime(start, 1, 1, tzinfo=timezone.utc),
        valid_to=datetime(start + 5, 1, 1, tzinfo=timezone.utc) if rng.random() < 0.5 else None,
    )


def timed(name: str, call: Callable[[], object], *, times: int) -> None:
    """Print median and 95th percentile of several calls."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        taken.append((time.perf_counter() - start) * 1_000)
    taken.sort()
    print(f"{name:58s} p50 {taken[len(taken) // 2]:8.2f} ms   p95 {taken[int(len(taken) * 0.95)]:8.2f} ms", flush=True)


def once(name: str, call: Callable[[], object]) -> None:
    """Print how long one call takes."""
    start = time.perf_counter()
    call()
    print(f"{name:58s}     {time.perf_counter() - start:8.2f} s", flush=True)


def load(tier: KuzuGraphTier, passages: Sequence[GraphPassage], *, batch: int) -> None:
    """Upsert in batches."""
    for start in range(0, len(passages), batch):
        tier.upsert(passages[start : start + batch])


def resident_mib() -> float:
    """Return the process's memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def measure(path: Path, *, driver: Driver, entities: int, edges: int, batch: int, times: int) -> None:
    """Print all measurements of one driver."""
    rng = random.Random(2)
    passages = list(graph(entities=entities, edges=edges))
    ids, names = [passage.id for passage in passages], [digest(f"entity {n}") for n in range(entities)]
    before = resident_mib()
    tier = KuzuGraphTier(path, driver=driver)
    once(f"load {entities:,} entities, {edges:,} edges, {len(ids) * (1 + MENTIONS):,} links", lambda: load(tier, passages, batch=batch))
    print(f"{'memory taken by the tier':58s}     {resident_mib() - before:8.0f} MiB")
    some = rng.sample(passages, 200)
    passages.clear()
    gc.collect()
    once("close", tier.close)
    print(f"{'files':58s}     {sum(f.stat().st_size for f in path.parent.iterdir()) / 2**20:8.0f} MiB")
    tier = KuzuGraphTier(path, driver=driver)
    once("first query after opening", lambda: tier.neighbourhood(namespace=NAMESPACE, passages=ids[:1]))

    def near(passages: int, entities: int, hops: int, **options: object) -> Callable[[], object]:
        return lambda: tier.neighbourhood(
            namespace=NAMESPACE,
            passages=rng.sample(ids, passages),
            entities=rng.sample(names, entities),
            hops=hops,
            **options,  # type: ignore[arg-type]
        )

    timed("1 entity, 1 hop", near(0, 1, 1), times=times)
    timed("1 entity, 2 hops", near(0, 1, 2), times=times)
    timed("1 entity, 2 hops, window", near(0, 1, 2, valid_from=datetime(2010, 1, 1, tzinfo=timezone.utc)), times=times)
    timed("5 entities, 2 hops", near(0, 5, 2), times=times)
    timed("10 passages, 3 entities, 1 hop", near(10, 3, 1), times=times)
    timed("100 passages, 3 entities, 1 hop", near(100, 3, 1), times=times)
    timed("100 passages, 3 entities, 1 hop, subjects only", near(100, 3, 1, mentions_per_entity=0), times=times)
    timed("100 passages, 3 entities, 2 hops", near(100, 3, 2), times=times)
    timed("100 passages, 3 entities, 2 hops, subjects only", near(100, 3, 2, mentions_per_entity=0), times=times)
    timed("paths, 3 hops", lambda: tier.paths(namespace=NAMESPACE, source=rng.choice(names), target=rng.choice(names)), times=10)
    timed("upsert of 5 passages that change", lambda: tier.upsert([_changed(p) for p in rng.sample(some[:100], 5)]), times=10)
    timed("upsert of 5 passages that do not", lambda: tier.upsert(rng.sample(some[100:], 5)), times=10)
    once("verification: every passage read back", lambda: tier.passages(ids))
    name = "hub"
    load(tier, list(hub(name, edges=HUB_EDGES)), batch=batch)
    timed(f"hub of {HUB_EDGES:,} edges, 1 hop", lambda: tier.neighbourhood(namespace=NAMESPACE, entities=[name]), times=times)
    timed(f"hub of {HUB_EDGES:,} edges, 2 hops", lambda: tier.neighbourhood(namespace=NAMESPACE, entities=[name], hops=2), times=times)
    around = digest("around 7")
    timed("2 hops across the hub", lambda: tier.neighbourhood(namespace=NAMESPACE, entities=[around], hops=2), times=times)
    timed("paths across the hub", lambda: tier.paths(namespace=NAMESPACE, source=around, target=digest("around 8")), times=5)
    timed("upsert of a passage of the hub", lambda: tier.upsert([_changed(p) for p in hub(name, edges=EDGES)]), times=5)
    tier.close()


def _changed(passage: GraphPassage) -> GraphPassage:
    return GraphPassage(id=passage.id, namespace=passage.namespace, links=passage.links, edges=passage.edges[1:])


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--driver", choices=["kuzu", "ladybug"], default="kuzu")
    parser.add_argument("--entities", type=int, default=100_000)
    parser.add_argument("--edges", type=int, default=500_000)
    parser.add_argument("--batch", type=int, default=512, help="passages per upsert; 512 is what ingestion takes")
    parser.add_argument("--times", type=int, default=50)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(
            Path(folder) / "graph", driver=asked.driver, entities=asked.entities, edges=asked.edges, batch=asked.batch, times=asked.times
        )


if __name__ == "__main__":
    main()
