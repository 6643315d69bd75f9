"""Deciding how a query is answered: a pure function of its features, of what the graph knows by name, and of the time it speaks of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from rag2_memory.retrieval.features import QueryFeatures

Route = Literal["auto", "hybrid", "dense", "lexical", "graph"]
ROUTES: tuple[str, ...] = get_args(Route)
"""`auto` takes what the query calls for; the others force their arms."""

ARMS_BY_ROUTE = {
    "hybrid": ("dense", "lexical"),
    "dense": ("dense",),
    "lexical": ("lexical",),
    "graph": ("graph",),
    "auto": ("dense", "lexical", "graph"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is searched, how far, and why."""

    arms: tuple[str, ...]
    """Among `dense`, `lexical`, `graph`."""
    features: QueryFeatures
    entities: tuple[tuple[str, str], ...] = ()
    """`(canonical entity id, name as the query writes it)` for what the query names and the scope may know."""
    hops: int = 1
    """How far the graph is walked from the entities."""
    valid_from: datetime | None = None
    """Start of the time that the query speaks of; facts outside the window are left out."""
    valid_to: datetime | None = None
    """End of it, exclusive."""
    reasons: tuple[str, ...] = ()
    """Why, for people: one sentence each."""


def make_plan(
    features: QueryFeatures,
    *,
    route: str,
    graph_enabled: bool,
    max_hops: int,
    entities: tuple[tuple[str, str], ...] = (),
    window: tuple[datetime | None, datetime | None] | None = None,
    window_reason: str = "",
) -> Plan:
    """Choose arms, hops and the time window.

    Args:
        features: What can be read off the query's words.
        route: One of `ROUTES`; anything but `auto` forces its arms.
        graph_enabled: Whether the configuration ranks by the graph.
        max_hops: The configured bound on hops.
        entities: What the query names.
        window: Half-open interval of valid time, either end open; `None` where the query says nothing of time.
        window_reason: The words of the query that the window was read from.

    Returns:
        The plan; the same arguments give the same plan.
    """
    reasons = [f"route {route!r} was asked for"] if route != "auto" else []
    arms = ARMS_BY_ROUTE[route]
    if route == "auto" and not graph_enabled:
        arms = ARMS_BY_ROUTE["hybrid"]
        reasons.append("graph ranking is switched off")
    if features.exact:
        reasons.append(f"identifiers or quotes ({', '.join(features.exact[:3])}) lean on lexical search")
    hops = 1
    if entities and "graph" in arms:
        names = ", ".join(name for _, name in entities[:5])
        relational = bool(features.relation_words) or len(entities) > 1 or window is not None
        hops = max_hops if relational else 1
        why = f"it asks for a link ({', '.join(features.relation_words[:3])})" if features.relation_words else "of what it names"
        reasons.append(f"the graph knows {names}; {hops} hop{'s' if hops > 1 else ''} because {why}")
    elif "graph" in arms:
        reasons.append("the query names nothing that the graph knows; links are followed from the best hits only")
    if window is not None:
        start, end = (moment.date().isoformat() if moment else "…" for moment in window)
        reasons.append(f"{window_reason!r} means {start} to {end}; facts outside are left out")
    return Plan(
        arms=arms,
        features=features,
        entities=entities,
        hops=hops,
        valid_from=window[0] if window else None,
        valid_to=window[1] if window else None,
        reasons=tuple(reasons),
    )
