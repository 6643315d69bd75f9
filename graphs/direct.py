"""Search without LangGraph: the same nodes from plan to reranking, called one after the other.

LangGraph takes several milliseconds for eight nodes of which three run in parallel. An agent's recall is worth that: it is checkpointed, streamed and
drawn. A search is a function call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from rag2_memory.graphs.arm_nodes import search_arms
from rag2_memory.graphs.search_nodes import follow_links, fuse_arms, plan, rerank_passages
from rag2_memory.graphs.services import RecallServices, run_node
from rag2_memory.graphs.state import RecallState

NODES = (plan, search_arms, fuse_arms, follow_links, rerank_passages)


def search_directly(request: Mapping[str, Any], services: RecallServices) -> RecallState:
    """Return the state that the recall graph has behind `rerank`, without cache and budget.

    Args:
        request: What `RecallInput` holds.
        services: The memory.

    Raises:
        InvalidRequestError: If an input is unusable.
    """
    state: dict[str, Any] = dict(request)
    trace: list[dict[str, Any]] = []
    for node in NODES:
        update = run_node(node, state, services)
        trace += update.pop("trace", [])
        degraded = {**state.get("degraded", {}), **update.pop("degraded", {})}
        state |= update | {"degraded": degraded}
    return cast(RecallState, {**state, "trace": trace})
