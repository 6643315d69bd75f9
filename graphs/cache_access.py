"""How the recall graph uses the cache tier: bring it up to date first, look a request up, store what was compiled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from rag2_memory.graphs.services import RecallServices
from rag2_memory.graphs.state import RecallState, Request
from rag2_memory.records import CacheEntry
from rag2_memory.retrieval import coherence
from rag2_memory.retrieval.cache_guard import EVIDENCE_COSINE, judge
from rag2_memory.tiers.base import CacheTier
from rag2_memory.types import Fact, Hit

NEAREST = 5
"""Cached questions that the guard is asked about, nearest first."""

EVIDENCE_HITS = 40
"""Dense hits compared with those of a cached question; ten visible ones are needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a look-up came to."""

    key: str
    partition: str
    generation: int
    outcome: str
    """`exact`, `semantic` or `miss`."""
    reason: str = ""
    entry: CacheEntry | None = None
    vector: list[float] | None = None
    """The query's embedding, where it was needed."""


def look_up(cache: CacheTier, request: Request, services: RecallServices) -> Found:
    """Find a context that answers the request and is still what the pipeline would compute."""
    namespace = request.scope.namespace
    generation = services.registry.generation(namespace)
    named = coherence.request_key(
        request.query,
        scope=request.scope,
        as_of=request.as_of,
        budget=request.budget,
        history=request.history,
        guidelines=request.guidelines,
        route=request.route,
        config_fingerprint=fingerprint(services),
        format=request.format,
        now=services.clock(),
    )
    miss = Found(key=named.key, partition=named.partition, generation=generation, outcome="miss")
    entry = cache.get(named.key)
    if entry is not None and _is_fresh(entry, generation, services):
        return _noted(cache, replace(miss, outcome="exact", entry=entry))
    vector = services.embedder.embed([request.query])[0]
    miss = replace(miss, vector=vector.tolist())
    for candidate, cosine in cache.nearest(vector, partition=named.partition, k=NEAREST, minimum=EVIDENCE_COSINE):
        if candidate.key == named.key or not _is_fresh(candidate, generation, services):
            continue
        verdict = judge(
            request.query,
            candidate.query,
            cosine=cosine,
            similarity=services.config.cache_similarity,
            nearest=candidate.dependencies.nearest,
            search=lambda: _dense_evidence(vector, request, services),
        )
        if verdict.allowed:
            reason = f"as {candidate.query!r} (cosine {cosine:.2f}): {verdict.reason}"
            return _noted(cache, replace(miss, outcome="semantic", reason=reason, entry=candidate))
        if not miss.reason:
            cache.record(f"rejected:{verdict.rule or 'cosine'}")
            miss = replace(miss, reason=f"not as {candidate.query!r} (cosine {cosine:.2f}): {verdict.reason}")
    return _noted(cache, miss)


def _noted(cache: CacheTier, found: Found) -> Found:
    entry = found.entry
    cache.record(found.outcome, tokens=entry.tokens if entry else 0, seconds=entry.seconds if entry else 0.0)
    return found


def _dense_evidence(vector: NDArray[np.float32], request: Request, services: RecallServices) -> list[Hit]:
    """Return the dense hits that the scope sees, enough of them to compare evidence."""
    hits = services.vector.search(vector, k=EVIDENCE_HITS, namespace=request.scope.namespace)
    seen = services.registry.visible([hit.id for hit in hits], request.scope, request.as_of)
    return [hit for hit in hits if hit.id in seen]


def fingerprint(services: RecallServices) -> str:
    """Name everything but the request that a context depends on: settings, models, schema."""
    parts = (
        services.config.fingerprint,
        services.embedder.name,
        services.counter.name,
        type(services.reranker).__name__,
        services.summarizer.name if services.summarizer is not None else "",
        services.schema.fingerprint,
    )
    return "|".join(parts)


def _is_fresh(entry: CacheEntry, generation: int, services: RecallServices) -> bool:
    return coherence.freshness(entry, generation=generation, now=services.clock()) == "current"


def store(cache: CacheTier, state: RecallState, request: Request, services: RecallServices) -> bool:
    """Keep a compiled context unless something changed while it was compiled; returns whether it was kept."""
    generation = services.registry.generation(request.scope.namespace)
    if generation != state.get("generation"):
        return False
    context = state["context"]
    payload = context.to_json()
    arms = state.get("arms") or {}
    dense = [Hit(chunk_id, score) for chunk_id, score in arms.get("dense", ())]
    chunks = {chunk_id for hits in arms.values() for chunk_id, _ in hits} | {p.chunk_id for p in state.get("passages") or ()}
    facts = state.get("facts") or []
    cache.put(
        CacheEntry(
            key=state["cache_key"],
            namespace=request.scope.namespace,
            partition=state["partition"],
            query=request.query,
            vector=tuple(state.get("vector") or ()),
            payload=payload,
            evidence=tuple(
                sorted({chunk for block in context.blocks for chunk in block.chunk_ids} | {c for f in facts for c in f.evidence})
            ),
            dependencies=coherence.dependencies(
                generation=generation,
                scope=request.scope,
                floors={"chunks": coherence.dense_floor(dense, depth=services.config.arm_depth)},
                chunks=chunks,
                entities=[entity for entity, _ in state["plan"].entities],
                nearest=dense,
                valid_until=_next_boundary(facts, services),
            ),
            created_at=services.clock(),
            tokens=context.tokens,
            seconds=sum(float(record.get("ms", 0.0)) for record in state.get("trace") or ()) / 1000,
        )
    )
    return True


def _next_boundary(facts: Sequence[Fact], services: RecallServices) -> datetime | None:
    """Return when a fact's window next opens or closes: the context may differ from then on."""
    now = services.clock()
    moments = [moment for fact in facts for moment in (fact.valid_from, fact.valid_to) if moment is not None and moment > now]
    return min(moments, default=None)
