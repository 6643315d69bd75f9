"""The budget's own account: what each segment was allotted, used, borrowed and lent. The CLI draws its bar from it."""

from __future__ import annotations

import math
from typing import Any

from rag2_memory.context.budget import FILLABLE, ContextBudget, Limits


def budget_account(
    budget: ContextBudget,
    room: Limits,
    *,
    counter: str,
    whole: int,
    query: int,
    frame: int,
    graph: int,
    history: int,
    images: int,
    summary: str,
) -> dict[str, Any]:
    """Return the account as JSON values, in tokens.

    `guidelines` holds the frame as well; `passages` is what remains of the counted whole. `allotted` is a segment's own share, rounded down;
    what it used beyond that it borrowed, from what nobody was allotted first, then from the segments with most left.
    """
    used = {"guidelines": frame, "graph": graph, "history": history}
    used["passages"] = max(0, whole + images - sum(used.values()))
    allotted: dict[str, int] = {name: math.floor(room.shares[name]) for name in FILLABLE}
    allotted["guidelines"] = math.floor(budget.share("guidelines").tokens(budget.window_tokens))
    segments = {
        name: {"allotted": allotted[name], "used": used[name], "borrowed": max(0, used[name] - allotted[name]), "lent": 0}
        for name in ("guidelines", "graph", "passages", "history")
    }
    unassigned = max(0, budget.input_tokens - query - sum(allotted.values()))
    owed = max(0, sum(entry["borrowed"] for entry in segments.values()) - unassigned)
    for entry in sorted(segments.values(), key=lambda entry: entry["used"] - entry["allotted"]):
        entry["lent"] = min(owed, max(0, entry["allotted"] - entry["used"]))
        owed -= entry["lent"]
    segments["response"] = {"allotted": budget.response_tokens, "used": 0, "borrowed": 0, "lent": 0}
    return {
        "window": budget.window_tokens,
        "input": budget.input_tokens,
        "used": whole,
        "query": query,
        "images": images,
        "unused": budget.input_tokens - whole - query - images,
        "counter": counter,
        "flow": list(budget.flow),
        "segments": segments,
        **({"summary": summary} if summary else {}),
    }
