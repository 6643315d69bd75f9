"""The systems that `rag2 eval` compares, all on the same chunks of one memory and behind the same permission check.

The three baselines are built here from the tiers alone, so that nothing of the pipeline can flatter or hurt them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rag2_memory.errors import InvalidRequestError

if TYPE_CHECKING:
    from rag2_memory.config import MemoryConfig
    from rag2_memory.evaluation.datasets import Query
    from rag2_memory.evaluation.report import Found
    from rag2_memory.memory import Memory

DEPTH = 100
"""Hits that a baseline takes from each index, as many as the pipeline's arms contribute."""

RANKED = 10
"""Passages asked of the pipeline; it returns more where it has ranked more, so that ten distinct documents are among them."""

System = Callable[["Query"], "Found"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A system as `--systems` names it."""

    title: str
    what: str


KINDS = {
    "naive": Kind(title="naive dense", what="the nearest chunks by cosine"),
    "bm25": Kind(title="BM25", what="the best chunks by words"),
    "rrf": Kind(title="plain RRF", what="reciprocal rank fusion of these two"),
    "adaptive": Kind(title="layers, no graph", what="the pipeline's fusion, graph ranking off"),
    "full": Kind(title="layers", what="the whole pipeline"),
}


def names_in(value: str) -> list[str]:
    """Read a list of systems such as `naive,full`.

    Raises:
        InvalidRequestError: If a name is unknown or none is given.
    """
    names = list(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))
    unknown = [name for name in names if name not in KINDS]
    if unknown or not names:
        raise InvalidRequestError(f"got --systems {value}; needed some of {','.join(KINDS)}, separated by commas.")
    return names


def systems_of(memory: Memory, names: Sequence[str]) -> dict[str, System]:
    """Return systems over a memory, by title, in the order of the names."""
    config = memory.services.config
    makers: dict[str, Callable[[], System]] = {
        "naive": lambda: _baseline(memory, ("dense",)),
        "bm25": lambda: _baseline(memory, ("lexical",)),
        "rrf": lambda: _baseline(memory, ("dense", "lexical")),
        "adaptive": lambda: _pipeline(memory, config.but(graph_ranking=False)),
        "full": lambda: _pipeline(memory, config),
    }
    return {KINDS[name].title: makers[name]() for name in names}


def _baseline(memory: Memory, arms: Sequence[str]) -> System:
    """Rank by one index alone, or by plain reciprocal rank fusion of both."""
    from rag2_memory.evaluation.report import Found
    from rag2_memory.retrieval.fusion import reciprocal_rank_fusion
    from rag2_memory.types import AsOf

    services = memory.services

    def search(query: Query) -> Found:
        stages: dict[str, float] = {}
        rankings: list[list[str]] = []
        namespace = query.scope.namespace
        if "dense" in arms:
            with _timed(stages, "embed"):
                vector = services.embedder.embed([query.text])[0]
            with _timed(stages, "search_dense"):
                rankings.append([hit.id for hit in services.vector.search(vector, k=DEPTH, namespace=namespace)])
        if "lexical" in arms:
            with _timed(stages, "search_lexical"):
                rankings.append([hit.id for hit in services.lexical.search(query.text, k=DEPTH, namespace=namespace)])
        with _timed(stages, "fuse"):
            ranked = [chunk_id for chunk_id, _ in reciprocal_rank_fusion(rankings)]
            chunks = services.registry.chunks(ranked, query.scope, AsOf.of(query.as_of))
        return Found(documents=[chunks[chunk_id].document_id for chunk_id in ranked if chunk_id in chunks], stages=stages)

    return search


@contextmanager
def _timed(stages: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    stages[name] = time.perf_counter() - started


def _pipeline(memory: Memory, config: MemoryConfig) -> System:
    """Return the memory's search under a configuration."""
    from rag2_memory.evaluation.report import Found
    from rag2_memory.graphs.direct import search_directly
    from rag2_memory.types import AsOf

    services = replace(memory.services, config=config)

    def search(query: Query) -> Found:
        state = search_directly({"query": query.text, "scope": query.scope, "as_of": AsOf.of(query.as_of), "k": RANKED}, services)
        stages = {record["stage"]: record["ms"] / 1000 for record in state["trace"]}
        return Found(documents=[passage.document_id for passage in state["passages"]], stages=stages)

    return search
