"""The nodes before and after the arms: plan, fusion, graph links, reranking. Each returns only the keys it writes."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import numpy as np

from rag2_memory.graphs.arm_nodes import with_relevance
from rag2_memory.graphs.arms import visible_arms
from rag2_memory.graphs.bridges import bridges, nearer_first
from rag2_memory.graphs.dated import dated_first
from rag2_memory.graphs.event_dates import event_dates
from rag2_memory.graphs.links import graph_slice
from rag2_memory.graphs.services import RecallServices, stage
from rag2_memory.graphs.state import RecallState, Request, request_of
from rag2_memory.knowledge.mentions import query_names
from rag2_memory.knowledge.question_time import question_window
from rag2_memory.records import Subgraph
from rag2_memory.retrieval.fact_relevance import asks_for_relation, evidence_lifts
from rag2_memory.retrieval.facts import known_to
from rag2_memory.retrieval.features import query_features
from rag2_memory.retrieval.fusion import FusionConfig, fuse
from rag2_memory.retrieval.graph_ranking import follows_links, rank_with_graph
from rag2_memory.retrieval.plan import make_plan
from rag2_memory.retrieval.postprocess import decay, drop_near_duplicates, mmr, promote_parents
from rag2_memory.retrieval.rerank import rerank
from rag2_memory.types import Chunk, Passage

logger = logging.getLogger(__name__)

MAX_QUERY_ENTITIES = 8
"""More names than this in one query are cut; the longest names come first."""

TURN_TOKENS, MAX_FILLING = 40, 200
"""Tokens of a short passage, such as a turn of a conversation, and how many passages are fetched at most to fill a context with such."""


def plan(state: RecallState, services: RecallServices) -> dict[str, Any]:
    """Read the query, decide what to search.

    Reads: query, scope, as_of, route, vector. Writes: plan, vector, trace.
    """
    request = request_of(state)
    with stage("plan") as current:
        route = request.route
        if route == "auto" and services.router is not None:
            route = request_of({**state, "route": services.router(request.query)}).route
        features = query_features(request.query)
        entities = _known_entities(request, services)
        window = question_window(request.query, now=services.clock(), event_dates=event_dates(request, services))
        decided = make_plan(
            features,
            route=route,
            graph_enabled=services.config.graph_ranking,
            max_hops=services.config.graph_hops,
            entities=entities,
            window=(window.start, window.end) if window else None,
            window_reason=window.phrase if window else "",
        )
        vector = state.get("vector") or _embedded(request.query, decided.arms, services)
        current.note(arms=list(decided.arms), entities=[name for _, name in entities], hops=decided.hops, reasons=list(decided.reasons))
    return {"plan": decided, "vector": vector, "trace": [current.record]}


def _embedded(query: str, arms: tuple[str, ...], services: RecallServices) -> list[float]:
    return services.embedder.embed([query])[0].tolist() if "dense" in arms else []


def _known_entities(request: Request, services: RecallServices) -> tuple[tuple[str, str], ...]:
    """Return what the query names, of the entities that the scope may know."""
    registry, scope = services.registry, request.scope
    known: dict[str, str] = {}

    def lookup(keys: Any) -> set[str]:
        known.update(registry.known_keys(scope.namespace, keys))
        visible = known_to(registry, set(known.values()), scope, request.as_of)
        return {key for key, entity in known.items() if entity in visible}

    named = query_names(request.query, lookup)
    return tuple(dict.fromkeys((known[key], key) for key in named))[:MAX_QUERY_ENTITIES]


def fuse_arms(state: RecallState, services: RecallServices) -> dict[str, Any]:
    """Check every hit with the registry, widen arms that lost hits, fuse. Reads: arms, asked, plan. Writes: arms, ranking, sources, trace."""
    request = request_of(state)
    with stage("fuse") as current:
        vector = np.asarray(state.get("vector") or (), dtype=np.float32)
        arms, outlines, checks = visible_arms(
            state.get("arms") or {}, state.get("asked") or {}, request, services, vector=vector, known=state.get("outlines")
        )
        config = FusionConfig(method="rrf" if services.config.fusion == "rrf" else "calibrated", depth=services.config.arm_depth)
        fused = fuse(
            arms,
            state["plan"].features,
            token_counts={chunk_id: outline.tokens for chunk_id, outline in outlines.items()},
            titles={chunk_id: outline.title for chunk_id, outline in outlines.items()},
            config=config,
        )
        current.note(
            candidates=len(fused.ranking), weights={k: round(v, 3) for k, v in fused.weights.items()}, reasons=list(fused.reasons), **checks
        )
    return {"arms": arms, "ranking": list(fused.ranking), "sources": dict(fused.sources), "trace": [current.record]}


def follow_links(state: RecallState, services: RecallServices) -> dict[str, Any]:
    """Let links and facts lead from the best hits to further passages. Reads: ranking, subgraph, facts, plan. Writes: ranking, sources, degraded, trace."""
    decided = state["plan"]
    if "graph" not in decided.arms:
        return {}
    request, ranking, facts = request_of(state), state["ranking"], state.get("facts") or []
    entities = [entity for entity, _ in decided.entities]
    with stage("follow_links") as current:
        walked = state.get("subgraph") or Subgraph()
        ranked = nearer_first(with_relevance(facts, request, decided, services), walked, entities)
        try:
            ranking = dated_first(ranking, request, decided, services)
            linked = follows_links(decided.features, asks_for_relation=asks_for_relation(request.query, services.schema))
            around = graph_slice(ranking if linked else (), walked, entities, request, services)
            result = rank_with_graph(dict(ranking), around, query_entities=dict.fromkeys(entities, 1.0), strength=float(linked))
            bridged = bridges(result.ranking, around, ranked, walked, request, decided, services)
        except Exception as exc:  # as for the arms: without the graph the fused ranking stands
            logger.warning("links could not be followed: %s", exc)
            current.note(degraded=f"{type(exc).__name__}: {exc}")
            return {"degraded": {"graph": f"{type(exc).__name__}: {exc}"}, "trace": [current.record]}
        stating = evidence_lifts([*ranked, *bridged.facts])
        for chunk_id, gain in bridged.lifts.items():
            stating[chunk_id] = stating.get(chunk_id, 0.0) + gain
        scores = {chunk_id: score + stating.get(chunk_id, 0.0) for chunk_id, score in result.ranking}
        scores |= {chunk_id: lift for chunk_id, lift in stating.items() if chunk_id not in scores}
        current.note(
            lifted=len(result.lifts), stating=len(stating), links=len(around.mentions) + len(around.subjects), bridges=list(bridged.names)
        )
    sources = dict(state["sources"])
    for chunk_id in (*result.lifts, *(chunk_id for chunk_id in stating if chunk_id not in result.lifts)):
        sources[chunk_id] = (*sources.get(chunk_id, ()), "graph")
    return {"ranking": sorted(scores.items(), key=lambda item: -item[1]), "sources": sources, "trace": [current.record]}


def rerank_passages(state: RecallState, services: RecallServices) -> dict[str, Any]:
    """Fetch the best passages, rerank where there is a reranker, then age, join and thin them. Reads: ranking, sources, k. Writes: passages, trace."""
    request, config = request_of(state), services.config
    filling = 0 if "k" in state else min(request.budget.window_tokens // TURN_TOKENS, MAX_FILLING)
    depth = max(config.rerank_depth, request.k * 4, filling)
    reorders = services.reranker is not None or config.half_life_days is not None or config.diversity > 0
    with stage("rerank") as current:
        if "k" in state and not reorders:
            thinned = _first_distinct(request.k, state, services, depth=depth)
        else:
            passages = _fetched(state, services, depth=depth)
            if services.reranker is not None:
                passages, note = rerank(
                    request.query, passages, services.reranker, depth=config.rerank_depth, timeout_seconds=config.rerank_timeout_seconds
                )
                current.note(reranker=note)
            thinned = _thinned(decay(passages, half_life_days=config.half_life_days, now=services.clock()))
        passages = thinned.passages
        if config.diversity > 0 and len(passages) > 1:
            vectors = services.registry.chunk_vectors([passage.chunk_id for passage in passages], services.embedder.name)
            passages = mmr(passages, vectors, weight=config.diversity)
        current.note(passages=len(passages), joined=thinned.joined, near_duplicates=thinned.near_duplicates)
    return {"passages": passages, "trace": [current.record]}


def _fetched(state: RecallState, services: RecallServices, *, depth: int) -> list[Passage]:
    """Return the best `depth` of the ranking with their texts."""
    request, best = request_of(state), state["ranking"][:depth]
    chunks = services.registry.chunks([chunk_id for chunk_id, _ in best], request.scope, request.as_of)
    sources = state["sources"]
    return [passage_of(chunks[chunk_id], score=score, sources=sources.get(chunk_id, ())) for chunk_id, score in best if chunk_id in chunks]


class _Thinned(NamedTuple):
    passages: list[Passage]
    joined: int
    near_duplicates: int


def _thinned(passages: list[Passage]) -> _Thinned:
    kept, joined = promote_parents(passages)
    kept, duplicates = drop_near_duplicates(kept)
    return _Thinned(kept, len(joined), len(duplicates))


def _first_distinct(k: int, state: RecallState, services: RecallServices, *, depth: int) -> _Thinned:
    """Thin as much of the ranking as k passages need: what stands further back changes none before it."""
    thinned = _thinned(_fetched(state, services, depth=min(depth, k * 2)))
    return thinned if len(thinned.passages) >= k else _thinned(_fetched(state, services, depth=depth))


def passage_of(chunk: Chunk, *, score: float, sources: tuple[str, ...]) -> Passage:
    """Return a chunk as a search result."""
    return Passage(
        chunk_id=chunk.id,
        document_id=chunk.document_id,
        title=chunk.title,
        text=chunk.text,
        heading_path=chunk.heading_path,
        score=score,
        sources=sources,
        uri=chunk.uri,
        parent_id=chunk.parent_id,
        version=chunk.version,
        tokens=chunk.tokens,
        ordinal=chunk.ordinal,
        modified_at=chunk.modified_at,
        metadata=chunk.metadata,
        turn=chunk.turn,
    )
