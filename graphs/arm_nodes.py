"""The nodes of the three search arms. Each runs on a worker under a time limit; its failure is recorded, and the others answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import Any

import numpy as np

from rag2_memory.graphs.arms import dense_hits, lexical_hits, outlines_of
from rag2_memory.graphs.links import SUBJECTS_PER_ENTITY, visible_subgraph
from rag2_memory.graphs.services import RecallServices
from rag2_memory.graphs.state import RecallState, Request, request_of
from rag2_memory.retrieval.fact_relevance import ranked_facts
from rag2_memory.retrieval.facts import facts_about
from rag2_memory.retrieval.plan import Plan
from rag2_memory.types import Fact

logger = logging.getLogger(__name__)

Search = Callable[[RecallState, RecallServices], dict[str, Any]]

MERGED = ("arms", "asked", "degraded", "outlines")
"""Keys of which each arm writes its own part."""

STAGES = {"dense": "search_dense", "lexical": "search_lexical", "graph": "walk_graph"}
"""Arms by name, each with its node."""


def search_dense(state: RecallState, services: RecallServices) -> dict[str, Any]:
    """Search by meaning. Reads: plan, vector. Writes: arms, asked, degraded, trace."""
    return _finished([_started("dense", state, services)], services)


def search_lexical(state: RecallState, services: RecallServices) -> dict[str, Any]:
    """Search by words. Reads: plan, query. Writes: arms, asked, degraded, trace."""
    return _finished([_started("lexical", state, services)], services)


def walk_graph(state: RecallState, services: RecallServices) -> dict[str, Any]:
    """Walk the graph from what the query names. Reads: plan, scope, as_of. Writes: subgraph, facts, degraded, trace."""
    return _finished([_started("graph", state, services)], services)


def search_arms(state: RecallState, services: RecallServices) -> dict[str, Any]:
    """Do what the three nodes do, side by side. Reads and writes what they read and write, and the outlines of what was found."""
    return _finished([_started(arm, state, services, search=_outlined(search)) for arm, search in _SEARCHES.items()], services)


def _outlined(search: Search) -> Search:
    """Let an arm look up the outlines of its hits, beside the other arms."""

    def outlined(state: RecallState, services: RecallServices) -> dict[str, Any]:
        found = search(state, services)
        return found | {"outlines": outlines_of(found.get("arms", {}), request_of(state), services)}

    return outlined


@dataclass(frozen=True, slots=True)
class _Run:
    """An arm under way."""

    arm: str
    future: Future[dict[str, Any]]
    started: float


def _started(arm: str, state: RecallState, services: RecallServices, *, search: Search | None = None) -> _Run | None:
    """Hand an arm to a worker, if the plan wants it."""
    if arm not in state["plan"].arms or (arm == "graph" and not state["plan"].entities):
        return None
    return _Run(arm, services.workers.submit(search or _SEARCHES[arm], state, services), time.perf_counter())


def _finished(runs: Sequence[_Run | None], services: RecallServices) -> dict[str, Any]:
    """Wait for arms, each within its time limit."""
    return _joined([_result(run, services) for run in runs if run is not None])


def _joined(updates: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    joined: dict[str, Any] = {}
    for update in filter(None, updates):
        joined |= {key: value for key, value in update.items() if key not in (*MERGED, "trace")}
        for key in update.keys() & set(MERGED):
            joined[key] = {**joined.get(key, {}), **update[key]}
        joined["trace"] = [*joined.get("trace", ()), *update["trace"]]
    return joined


def _result(run: _Run, services: RecallServices) -> dict[str, Any]:
    limit, found = services.config.arm_timeout_seconds, dict[str, Any]()
    try:
        found = run.future.result(timeout=max(0.0, run.started + limit - time.perf_counter()))
    except FutureTimeout:
        reason = f"no answer within {limit:g} s"
    except Exception as exc:  # an arm is any engine, a user's subclass included; its failure degrades the answer instead of preventing it
        logger.warning("the %s arm failed: %s", run.arm, exc)
        reason = f"{type(exc).__name__}: {exc}"
    else:
        reason = ""
    record: dict[str, Any] = {"stage": STAGES[run.arm], "ms": round((time.perf_counter() - run.started) * 1000, 3)}
    if reason:
        return {"degraded": {run.arm: reason}, "trace": [record | {"degraded": reason}]}
    counted = {"facts": len(found["facts"])} if "facts" in found else {"found": {arm: len(hits) for arm, hits in found["arms"].items()}}
    return {**found, "trace": [record | counted]}


def _dense(state: RecallState, services: RecallServices) -> dict[str, Any]:
    hits, asked = dense_hits(np.asarray(state["vector"], dtype=np.float32), request_of(state), services)
    return {"arms": hits, "asked": asked}


def _lexical(state: RecallState, services: RecallServices) -> dict[str, Any]:
    hits, asked = lexical_hits(request_of(state), services)
    return {"arms": hits, "asked": asked}


def _graph(state: RecallState, services: RecallServices) -> dict[str, Any]:
    request, decided = request_of(state), state["plan"]
    entities = [entity for entity, _ in decided.entities]
    found = services.graph.neighbourhood(
        namespace=request.scope.namespace,
        entities=entities,
        hops=decided.hops,
        valid_from=decided.valid_from,
        valid_to=decided.valid_to,
        subjects_per_entity=SUBJECTS_PER_ENTITY,
        mentions_per_entity=0,
    )
    subgraph = visible_subgraph(found, request, services)
    facts = facts_about(
        services.registry,
        services.schema,
        scope=request.scope,
        as_of=request.as_of,
        during=(decided.valid_from, decided.valid_to) if decided.valid_from or decided.valid_to else None,
        edge_ids={edge.edge_id for edge in subgraph.edges},
    )
    return {"subgraph": subgraph, "facts": [fact for fact, _ in with_relevance(facts, request, decided, services)]}


def with_relevance(facts: Sequence[Fact], request: Request, decided: Plan, services: RecallServices) -> list[tuple[Fact, float]]:
    """Return facts with their relevance to the question, the most relevant first."""
    return ranked_facts(facts, request.query, asks_who=decided.features.question_type == "who", schema=services.schema)


_SEARCHES: dict[str, Search] = {"dense": _dense, "lexical": _lexical, "graph": _graph}
