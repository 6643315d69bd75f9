"""The recall graph: how the nodes are wired."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from rag2_memory.errors import InvalidRequestError
from rag2_memory.graphs import arm_nodes, context_nodes, search_nodes
from rag2_memory.graphs.services import RecallContext, RecallServices, run_node
from rag2_memory.graphs.state import RecallInput, RecallOutput, RecallState

Node = Callable[[RecallState, RecallServices], dict[str, Any]]

SEARCHES: dict[str, Node] = {
    "search_dense": arm_nodes.search_dense,
    "search_lexical": arm_nodes.search_lexical,
    "walk_graph": arm_nodes.walk_graph,
}
"""The arms, run side by side between `plan` and `fuse`."""


def build_recall_graph(services: RecallServices | None = None) -> StateGraph[Any, Any, Any, Any]:
    """Return the recall graph, not yet compiled: cache, plan, three arms, fusion, links, reranking, budget, cache.

    Args:
        services: The memory that its nodes work on. Without them every run needs a `RecallContext` with some; with them a run may still bring others.
    """
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(
        RecallState, context_schema=RecallContext, input_schema=RecallInput, output_schema=RecallOutput
    )
    builder.add_node("cache_lookup", _bound(context_nodes.cache_lookup, services))
    builder.add_node("plan", _bound(search_nodes.plan, services))
    for name, node in SEARCHES.items():
        builder.add_node(name, _bound(node, services))
        builder.add_edge("plan", name)
    builder.add_node("fuse", _bound(search_nodes.fuse_arms, services))
    builder.add_node("follow_links", _bound(search_nodes.follow_links, services))
    builder.add_node("rerank", _bound(search_nodes.rerank_passages, services))
    builder.add_node("fit_budget", _bound(context_nodes.fit_budget, services))
    builder.add_node("cache_store", _bound(context_nodes.cache_store, services))
    builder.add_edge(START, "cache_lookup")
    builder.add_conditional_edges("cache_lookup", _hit_or_miss, {"hit": END, "miss": "plan"})
    builder.add_edge(list(SEARCHES), "fuse")
    builder.add_edge("fuse", "follow_links")
    builder.add_edge("follow_links", "rerank")
    builder.add_edge("rerank", "fit_budget")
    builder.add_edge("fit_budget", "cache_store")
    builder.add_edge("cache_store", END)
    return builder


def _hit_or_miss(state: RecallState) -> str:
    return "hit" if state.get("context") is not None else "miss"


def _bound(node: Node, default: RecallServices | None) -> Callable[..., dict[str, Any]]:
    """Give a node its services: those of the run where it brings some, else the default."""

    def bound(state: RecallState, runtime: Runtime[Any]) -> dict[str, Any]:
        context = runtime.context if isinstance(runtime.context, RecallContext) else RecallContext()
        services = context.services or default
        if services is None:
            raise InvalidRequestError(
                "got no services; build the graph from a memory (memory.graph) or run it with context=RecallContext(services=memory.services)."
            )
        given = {key: value for key in ("scope", "looked_up") if (value := getattr(context, key)) is not None}
        return run_node(node, {**state, **given} if given else state, services)

    bound.__name__, bound.__doc__ = node.__name__, node.__doc__  # not functools.wraps: LangGraph would read the wrapped signature
    return bound
