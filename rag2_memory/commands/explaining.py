"""How a context came about: the recall graph is run step by step and what each node decided is put into one JSON value.

Only what the scope may see is shown: ids that an arm returned are resolved through the registry, which leaves out everything else.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rag2_memory.commands.terminal import to_json

if TYPE_CHECKING:
    from rag2_memory.context import Context
    from rag2_memory.memory import Memory

SHOWN = 5
"""Hits shown per arm: what decides an answer stands among the first few."""

Updates = Mapping[str, Mapping[str, Any]]
"""What each node of the recall graph wrote, by node."""


def recall_plainly(memory: Memory, request: Mapping[str, Any]) -> tuple[Context, dict[str, Any]]:
    """Run a recall without an explanation."""
    return memory.recall(**request), {}


def recall_explained(memory: Memory, request: Mapping[str, Any]) -> tuple[Context, dict[str, Any]]:
    """Run a recall and return its context with the explanation, as JSON values.

    Args:
        memory: An open memory.
        request: The inputs of the recall graph.
    """
    started = time.perf_counter()
    memory.services.embedder.embed([request["query"]])  # loads the model, which would otherwise count as part of the first stage
    loading_ms = (time.perf_counter() - started) * 1000
    updates: dict[str, dict[str, Any]] = {}
    for step in memory.graph.stream(dict(request), stream_mode="updates"):
        for node, written in step.items():
            updates[node] = dict(written or {})
    context: Context = next(written["context"] for written in reversed(updates.values()) if written.get("context") is not None)
    told = explanation_of(memory, request, updates, context)
    return context, told | {"stages": [{"stage": "load_model", "ms": round(loading_ms, 3)}, *told["stages"]]}


def explanation_of(memory: Memory, request: Mapping[str, Any], updates: Updates, context: Context) -> dict[str, Any]:
    """Put together what the nodes wrote."""
    records = [record for written in updates.values() for record in written.get("trace", ())]
    of_stage = {record["stage"]: record for record in records}
    fused = updates.get("fuse", {})
    linked = updates.get("follow_links", {})
    arms = {name: hits for node in updates.values() for name, hits in (node.get("arms") or {}).items()}
    arms = {name: arms[name] for name in sorted(arms)}
    before, after = list(fused.get("ranking") or ()), list(linked.get("ranking") or ())
    ids = {chunk_id for hits in (*arms.values(), before, after) for chunk_id, _ in hits[: SHOWN * 4]}
    chunks = memory.services.registry.chunks(ids, request["scope"], request["as_of"]) if ids else {}
    names = {chunk_id: _place(chunk) for chunk_id, chunk in chunks.items()}
    checked = of_stage.get("fuse", {}).get("found", {})
    told: dict[str, Any] = to_json(
        {
            "question": context.query,
            "cache": {key: value for key, value in of_stage.get("cache_lookup", {}).items() if key in ("outcome", "reason")},
            "route": {key: value for key, value in of_stage.get("plan", {}).items() if key not in ("stage", "ms")},
            "arms": {name: {"found": checked.get(name, len(hits)), "best": _best(hits, names)} for name, hits in arms.items()}
            | _graph_arm(updates),
            "fusion": {key: value for key, value in of_stage.get("fuse", {}).items() if key not in ("stage", "ms", "found")}
            | {"best": _best(before, names)},
            "links": {key: value for key, value in of_stage.get("follow_links", {}).items() if key not in ("stage", "ms")}
            | {"risen": _risen(before, after, names)},
            "rerank": {key: value for key, value in of_stage.get("rerank", {}).items() if key not in ("stage", "ms")},
            "degraded": {arm: why for node in updates.values() for arm, why in (node.get("degraded") or {}).items()},
            "context": {
                "tokens": context.tokens,
                "passages": [
                    {"id": block.citation_id, "document": block.document_id, "tokens": block.tokens, "kind": block.kind}
                    for block in context.blocks
                ],
                "facts": [str(fact) for fact in context.facts],
            },
            "budget": context.trace.get("budget", {}),
            "dropped": context.dropped,
            "stages": [{"stage": record["stage"], "ms": record.get("ms", 0.0)} for record in records],
        }
    )
    return told


def _place(chunk: Any) -> dict[str, str]:
    return {"document": chunk.document_id, "heading": " › ".join(dict.fromkeys((chunk.title, *chunk.heading_path)))}


def _best(hits: Sequence[tuple[str, float]], names: Mapping[str, Mapping[str, str]]) -> list[dict[str, Any]]:
    """Return the first hits that the scope may see, with their places and scores."""
    seen = [(chunk_id, score) for chunk_id, score in hits if chunk_id in names]
    return [{"rank": rank, "score": round(score, 4), **names[chunk_id]} for rank, (chunk_id, score) in enumerate(seen[:SHOWN], start=1)]


def _graph_arm(updates: Updates) -> dict[str, Any]:
    """Return what walking the graph brought, where it was walked."""
    walked = updates.get("walk_graph") or {}
    if "facts" not in walked:
        return {}
    return {
        "graph": {
            "found": len(walked["facts"]),
            "best": [{"rank": rank, "fact": str(fact)} for rank, fact in enumerate(walked["facts"][:SHOWN], 1)],
        }
    }


def _risen(
    before: Sequence[tuple[str, float]], after: Sequence[tuple[str, float]], names: Mapping[str, Mapping[str, str]]
) -> list[dict[str, Any]]:
    """Return what following links brought into the first places, with the rank it had before (`None`: no arm had found it)."""
    ranks = {chunk_id: rank for rank, (chunk_id, _) in enumerate(before, start=1)}
    return [
        {"rank": rank, "was": ranks.get(chunk_id), **names[chunk_id]}
        for rank, (chunk_id, _) in enumerate(after[: SHOWN * 2], start=1)
        if chunk_id in names and ranks.get(chunk_id, len(before) + 1) > rank
    ]
