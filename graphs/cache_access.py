"""How the recall graph uses the cache tier: look a request up, say whether what was stored still holds, store what was compiled, drop what a write
changed. What is guaranteed stands in `rag2_memory.retrieval.coherence`."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache as once
from functools import lru_cache
from threading import Lock
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from rag2_memory.context import Context
from rag2_memory.errors import BackendUnavailableError, CorruptIndexError
from rag2_memory.graphs.services import RecallServices
from rag2_memory.graphs.state import RecallState, Request
from rag2_memory.knowledge.question_time import question_window
from rag2_memory.records import CacheEntry
from rag2_memory.retrieval import coherence
from rag2_memory.retrieval.cache_guard import EVIDENCE_COSINE, judge
from rag2_memory.retrieval.cache_reading import read
from rag2_memory.tiers.analysis import Analyzer
from rag2_memory.tiers.base import CacheTier
from rag2_memory.types import Hit

NEAREST = 3
"""Cached questions that the guard is asked about, nearest first."""

EVIDENCE_HITS = 40
"""Dense hits compared with those of a cached question; ten visible ones are needed."""

CHARACTERS_READ = 16_000_000
"""Length of the contexts kept as read, so that a question asked often is not parsed each time; they take some three times as much memory."""

WRITTEN_SINCE = "something was written since it was stored: the search is done again, without embedding the question"

T = TypeVar("T")

logger = logging.getLogger(__name__)

_analyzer = lru_cache(maxsize=1)(Analyzer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a look-up came to."""

    key: str
    partition: str
    generation: int
    outcome: str
    """`exact`, `semantic`, `stale` (to be revalidated) or `miss`."""
    reason: str = ""
    entry: CacheEntry | None = None
    """What is served."""
    vector: list[float] | None = None
    """The query's embedding, where it was needed or a stale entry holds it."""


def answering_anyway(cache: CacheTier, call: Callable[[], T], *, otherwise: T) -> T:
    """Use the cache without letting it cost the answer: a failure is logged, and a cache that cannot be read is emptied."""
    try:
        return call()
    except CorruptIndexError as exc:
        logger.warning("%s It is emptied.", exc)
        try:
            cache.clear()
        except Exception as failure:
            logger.warning("the cache cannot be emptied: %s", failure)
    except Exception as exc:  # any engine, a user's subclass included
        logger.warning("the cache failed: %s", exc)
    return otherwise


def look_up(cache: CacheTier, request: Request, services: RecallServices, *, counted: bool = True) -> Found:
    """Find a context that answers the request and still holds. A miss and a stale entry are counted when the new context is settled.

    Args:
        cache: The cache.
        request: What is asked.
        services: Tiers.
        counted: Whether statistics take note; not where somebody only looks.
    """
    generation = services.registry.generation(request.scope.namespace)
    named = _named(request, services)
    miss = Found(key=named.key, partition=named.partition, generation=generation, outcome="miss")
    entry = cache.get(named.key)
    if entry is not None and _may_serve(entry, generation, request, services):
        return _served(cache, replace(miss, outcome="exact", entry=entry), counted=counted)
    if entry is not None:
        return replace(miss, outcome="stale", reason=WRITTEN_SINCE, vector=list(entry.vector) or None)
    vector = services.embedder.embed([request.query])[0]
    miss = replace(miss, vector=vector.tolist())
    evidence = once(lambda: _dense_evidence(vector, request, services))
    for candidate, cosine in cache.nearest(vector, partition=named.partition, k=NEAREST, minimum=EVIDENCE_COSINE):
        if not _may_serve(candidate, generation, request, services):
            continue
        verdict = judge(
            request.query,
            candidate.query,
            cosine=cosine,
            similarity=services.config.cache_similarity,
            nearest=candidate.dependencies.nearest,
            search=evidence,
        )
        if verdict.allowed:
            reason = f"as {candidate.query!r} (cosine {cosine:.2f}): {verdict.reason}"
            return _served(cache, replace(miss, outcome="semantic", reason=reason, entry=candidate), counted=counted)
        if not miss.reason:
            if counted:
                cache.record(f"rejected:{verdict.rule or 'cosine'}")
            miss = replace(miss, reason=f"not as {candidate.query!r} (cosine {cosine:.2f}): {verdict.reason}")
    return miss


def context_of(entry: CacheEntry, request: Request) -> Context:
    """Return an entry's context for a request."""
    return replace(_own(_contexts_read.of(entry.payload)), query=request.query)


def _own(context: Context) -> Context:
    """Return a context whose mappings nobody else holds."""
    return replace(context, trace=dict(context.trace), citations=dict(context.citations))


class _ContextsRead:
    """Contexts by their JSON, the least recently used first to go."""

    def __init__(self) -> None:
        self._contexts: OrderedDict[str, Context] = OrderedDict()
        self._characters = 0
        self._lock = Lock()

    def of(self, payload: str) -> Context:
        with self._lock:
            if (known := self._contexts.get(payload)) is not None:
                self._contexts.move_to_end(payload)
                return known
        context = Context.from_json(payload)
        self.keep(payload, context)
        return context

    def keep(self, payload: str, context: Context) -> None:
        with self._lock:
            if payload not in self._contexts:
                self._contexts[payload] = context
                self._characters += len(payload)
            while self._characters > CHARACTERS_READ:
                self._characters -= len(self._contexts.popitem(last=False)[0])


_contexts_read = _ContextsRead()


def _named(request: Request, services: RecallServices) -> coherence.RequestKey:
    return coherence.request_key(
        request.query,
        scope=request.scope,
        as_of=request.as_of,
        budget=request.budget,
        history=request.history,
        guidelines=request.guidelines,
        route=request.route,
        config_fingerprint=services.fingerprint,
        format=request.format,
        now=services.clock(),
    )


def _may_serve(entry: CacheEntry, generation: int, request: Request, services: RecallServices) -> bool:
    """Whether an entry may be served without a search; an age is allowed only once every write has been followed."""
    if entry.dependencies.generation == generation:
        return True
    allowed = request.max_stale_seconds
    if allowed <= 0 or not coherence.is_fresh(entry, generation=generation, now=services.clock(), max_stale_seconds=allowed):
        return False
    return not services.registry.pending("cache", limit=1)


def _served(cache: CacheTier, found: Found, *, counted: bool = True) -> Found:
    assert found.entry is not None
    if counted:
        cache.record(found.outcome, tokens=found.entry.tokens, seconds=found.entry.seconds)
    return found


def _dense_evidence(vector: NDArray[np.float32], request: Request, services: RecallServices) -> list[Hit]:
    """Return the dense hits that the scope sees, enough of them to compare evidence."""
    hits = services.vector.search(vector, k=EVIDENCE_HITS, namespace=request.scope.namespace)
    seen = services.registry.visible([hit.id for hit in hits], request.scope, request.as_of)
    return [hit for hit in hits if hit.id in seen]


def settle(cache: CacheTier, state: RecallState, request: Request, services: RecallServices, *, whole: bool) -> dict[str, bool]:
    """Count a look-up that ended in a search, and keep what was compiled.

    Args:
        cache: The cache.
        state: The state at the end of the graph.
        request: What was asked.
        services: Tiers.
        whole: Whether every arm answered and the context is worth keeping.

    Returns:
        What happened, for the trace.
    """
    before = cache.get(state["cache_key"]) if state.get("stale") else None
    context = state["context"]
    same = before is not None and content(context_of(before, request)) == content(context)
    seconds = sum(float(record.get("ms", 0.0)) for record in state.get("trace") or ()) / 1000
    saved = max(0.0, before.seconds - seconds) if before is not None and same else 0.0
    cache.record("revalidated" if same else "miss", seconds=saved)
    stored = whole and store(cache, state, request, services, seconds=before.seconds if before is not None else seconds)
    return {"stored": stored, **({"revalidated": same} if before is not None else {})}


def content(context: Context) -> tuple[frozenset[object], frozenset[object]]:
    """Return what must be equal for two contexts to say the same: their passages and their facts, in whatever order."""
    passages = frozenset((block.chunk_ids, block.text, block.title, block.heading_path, block.version) for block in context.blocks)
    facts = frozenset((str(fact), fact.valid_from, fact.valid_to, fact.retracted_at, frozenset(fact.evidence)) for fact in context.facts)
    return passages, facts


def store(cache: CacheTier, state: RecallState, request: Request, services: RecallServices, *, seconds: float) -> bool:
    """Keep a compiled context unless something changed while it was compiled, or an index still lags; returns whether it was kept."""
    context, arms = state["context"], state.get("arms") or {}
    shown = {chunk_id for block in context.blocks for chunk_id in block.chunk_ids}
    facts = state.get("facts") or []
    evidence = shown | {chunk_id for fact in context.facts for chunk_id in fact.evidence}
    looked_at = {chunk_id for hits in arms.values() for chunk_id, _ in hits} | {p.chunk_id for p in state.get("passages") or ()}
    subgraph = state.get("subgraph")
    reached = {entity for edge in subgraph.edges for entity in (edge.subject_id, edge.object_id)} if subgraph is not None else set()
    entry = CacheEntry(
        key=state["cache_key"],
        namespace=request.scope.namespace,
        partition=state["partition"],
        query=request.query,
        vector=tuple(state.get("vector") or ()),
        payload=context.to_json(),
        evidence=tuple(sorted(evidence)),
        dependencies=coherence.dependencies(
            generation=state["generation"],
            scope=request.scope,
            floors={
                space: coherence.shown_floor(arms.get(arm, ()), shown) for arm, space in (("dense", "chunks"), ("dense_window", "windows"))
            },
            chunks=looked_at | evidence | {chunk_id for fact in facts for chunk_id in fact.evidence},
            entities={entity for entity, _ in state["plan"].entities} | reached | ({coherence.SHOWN_FACTS} if facts else set()),
            terms=_analyzer().identifiers(request.query),
            nearest=[Hit(chunk_id, score) for chunk_id, score in arms.get("dense", ())],
            valid_until=_valid_until(state, request, services),
        ),
        created_at=services.clock(),
        tokens=context.tokens,
        seconds=seconds,
    )
    with services.cache_lock:
        if services.registry.generation(request.scope.namespace) != state["generation"] or services.registry.backlog():
            return False
        cache.put(entry)
    _contexts_read.keep(entry.payload, _own(context))
    read(request.query)  # kept as well: the next rewording is compared with it
    return True


def _valid_until(state: RecallState, request: Request, services: RecallServices) -> datetime | None:
    """Return when the context changes because time passes."""
    now, decided = services.clock(), state["plan"]
    bounds: list[datetime | None] = []
    if services.config.half_life_days is not None:
        bounds.append(now + timedelta(days=services.config.half_life_days * coherence.AGE_STEP))
    if decided.valid_from is not None or decided.valid_to is not None:

        def window(moment: datetime) -> tuple[datetime | None, datetime | None] | None:
            found = question_window(request.query, now=moment)
            return (found.start, found.end) if found is not None else None

        facts = [(fact.valid_from, fact.valid_to) for fact in state.get("facts") or ()]
        bounds.append(coherence.clock_boundary(window, now=now, facts=facts))
    return min((bound for bound in bounds if bound is not None), default=None)


def follow_writes(services: RecallServices) -> int:
    """Drop the entries that the writes in the journal changed, and settle the journal; returns how many were dropped.

    A cache that cannot be written keeps its debts in the journal: until they are paid, nothing in it is served beyond its generation.
    """
    registry, cache, dropped = services.registry, services.cache, 0
    while True:
        with services.cache_lock:
            owed = registry.pending("cache", limit=1_000)
            if not owed:
                return dropped
            for namespace in sorted({entry.namespace for entry in owed}) if cache is not None else ():
                assert cache is not None
                ids = {chunk_id for entry in owed if entry.namespace == namespace for chunk_id in entry.chunk_ids if chunk_id}
                try:
                    dropped += cache.invalidate(_affected(cache, namespace, ids, services))
                except CorruptIndexError as exc:
                    logger.warning("%s It is emptied.", exc)
                    cache.clear()
                except BackendUnavailableError as exc:
                    logger.warning("cached contexts could not be dropped: %s", exc)
                    return dropped
            registry.settle(owed)


def drop(services: RecallServices, namespaces: Collection[str]) -> int:
    """Drop every entry of some namespaces; returns how many there were."""
    cache = services.cache
    if cache is None:
        return 0
    with services.cache_lock:
        try:
            return cache.invalidate([entry.key for namespace in namespaces for entry in cache.entries(namespace=namespace)])
        except CorruptIndexError as exc:
            logger.warning("%s It is emptied.", exc)
            cache.clear()
            return 0


def _affected(cache: CacheTier, namespace: str, ids: set[str], services: RecallServices) -> set[str]:
    """Return the keys of the entries that a change of these chunks dropped."""
    watchlist, registry = cache.watchlist(), services.registry
    if namespace not in watchlist.namespaces:
        return set()
    present = registry.indexable(ids)
    surfaces = {mention.entity_id for mention in registry.mentions_in(present)}
    entities = surfaces | set(registry.canonical(namespace, surfaces).values())
    if len(present) < len(ids):
        entities.add(coherence.SHOWN_FACTS)
    vectors = registry.chunk_vectors(present, services.embedder.name)
    documents = registry.lexical_documents(present)
    identify = _analyzer().identifiers
    added = [
        coherence.Addition(
            vectors={"chunks": vectors[chunk_id], "windows": vectors[chunk_id]} if chunk_id in vectors else {},
            terms=identify(documents[chunk_id].text) if chunk_id in documents else (),
        )
        for chunk_id in present
    ]
    return coherence.affected(watchlist, namespace=namespace, added=added, removed=ids, entities=entities)
