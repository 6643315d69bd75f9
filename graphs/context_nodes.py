"""The nodes around the search: looking a request up in the cache, fitting what was found to the budget, storing the result."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from rag2_memory.context import Context, compile_context
from rag2_memory.graphs import cache_access
from rag2_memory.graphs.services import RecallServices, stage
from rag2_memory.graphs.state import RecallState, Request, request_of


def cache_lookup(state: RecallState, services: RecallServices) -> dict[str, Any]:
    """Serve a stored context where it still holds. Reads: every input, looked_up. Writes: context, facts, cache_key, partition, generation, stale, vector, trace."""
    if services.cache is None:
        return {"cache_key": "", "trace": [{"stage": "cache_lookup", "outcome": "off", "ms": 0.0}]}
    request, done = request_of(state), state.get("looked_up")
    found, record = done if isinstance(done, LookedUp) else looked_up(request, services)
    if found is None:
        return {"cache_key": "", "trace": [record]}
    written: dict[str, Any] = {
        "cache_key": found.key,
        "partition": found.partition,
        "generation": found.generation,
        "stale": found.outcome == "stale",
    }
    if found.vector is not None:
        written["vector"] = found.vector
    if found.entry is not None:
        context = cache_access.context_of(found.entry, request)
        written |= {"context": context, "facts": list(context.facts)}
    return written | {"trace": [record]}


class LookedUp(NamedTuple):
    """What a look-up came to."""

    found: cache_access.Found | None
    """`None` where the cache failed."""
    record: dict[str, Any]
    """For the trace."""


def looked_up(request: Request, services: RecallServices) -> LookedUp:
    """Ask the cache, which must be there; a failure of it costs the answer nothing."""
    cache = services.cache
    assert cache is not None
    with stage("cache_lookup") as current:
        found = cache_access.answering_anyway(cache, lambda: cache_access.look_up(cache, request, services), otherwise=None)
        if found is None:
            current.note(outcome="failed")
        else:
            current.note(outcome=found.outcome, **({"reason": found.reason} if found.reason else {}))
            if found.outcome == "semantic" and found.entry is not None:
                current.note(question=found.entry.query)
    return LookedUp(found, current.record)


def fit_budget(state: RecallState, services: RecallServices) -> dict[str, Any]:
    """Compile the context within its budget. Reads: passages, facts, every input. Writes: context, trace."""
    request = request_of(state)
    passages = state.get("passages") or []
    with stage("fit_budget") as current:
        parents = services.registry.parents({passage.parent_id for passage in passages}, request.scope, request.as_of)
        context = compile_context(
            request.query,
            passages=passages,
            facts=state.get("facts") or [],
            history=request.history,
            guidelines=request.guidelines,
            budget=request.budget,
            counter=services.counter,
            parents=parents,
            format=request.format,
            summarizer=services.summarizer,
        )
        current.note(tokens=context.tokens, blocks=len(context.blocks), dropped=len(context.dropped))
    return {"context": context, "trace": [current.record]}


def cache_store(state: RecallState, services: RecallServices) -> dict[str, Any]:
    """Count the look-up, and store a freshly compiled context with what it depended on. Reads: context, arms, passages, facts, subgraph, plan, vector, cache_key,
    partition, generation, stale, degraded. Writes: trace."""
    if services.cache is None or not state.get("cache_key"):
        return {}
    with stage("cache_store") as current:
        whole = not (state.get("degraded") or _summarised_badly(state["context"], services) or _reranked_badly(state))
        cache = services.cache
        settle = partial(cache_access.settle, cache, state, request_of(state), services, whole=whole)
        current.note(**cache_access.answering_anyway(cache, settle, otherwise={"stored": False}))
    return {"trace": [current.record]} if whole else {}


def _summarised_badly(context: Context, services: RecallServices) -> bool:
    """Whether the summarizer failed, so that asking again may give a better context."""
    return services.summarizer is not None and str(context.trace["budget"].get("summary", "")).startswith("extractive:")


def _reranked_badly(state: RecallState) -> bool:
    """Whether the reranker failed or took too long, so that asking again may give a better order."""
    return any(str(record.get("reranker", "")).startswith("kept the fused order") for record in state.get("trace") or ())
