"""The search arms and their one guard: what the registry does not let the scope see never enters a ranking, and an arm that lost hits is widened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag2_memory.graphs.services import RecallServices
from rag2_memory.graphs.state import Request
from rag2_memory.records import Outline
from rag2_memory.tiers.base import FilteringLexicalTier, LexicalField, VectorSpace
from rag2_memory.types import Hit

Hits = list[tuple[str, float]]

OVERFETCH = 1.2
"""Hits asked for per hit wanted once a scope has met hits that it does not see (old versions, other people's documents), so that a few of them cost no
second search."""

EXACT_IDS = 20_000
"""Up to so many visible chunks, a scope that sees little is served by the exact ranking of just those (`bench_scale` times it)."""

SMALL_SHARE = 0.2
"""Share of visible hits below which widening would take longer than the exact ranking."""

MAX_FIRST = 1_000
"""Bound on a first search for a scope that sees little of much."""

MAX_WIDENED = 50_000
"""Bound on a widened search."""

UNLIMITED = 10_000_000
"""More chunks than a memory holds."""

SPACES: dict[str, VectorSpace] = {"dense": "chunks", "dense_window": "windows"}
FIELDS: dict[str, LexicalField] = {"lexical": "text", "lexical_window": "window"}


@dataclass(frozen=True, slots=True)
class _Look:
    """How an engine is asked first."""

    k: int
    among: tuple[str, ...] | None = None
    """Everything that the scope sees, where that is little."""

    @property
    def asked(self) -> int:
        """Hits asked for; 0 where the ranking is of what the scope sees, and thus complete."""
        return self.k if self.among is None else 0


def dense_hits(vector: NDArray[np.float32], request: Request, services: RecallServices) -> tuple[dict[str, Hits], dict[str, int]]:
    """Search chunks and conversation windows by vector; returns hits, of which nothing is checked yet, and how many each arm asked for."""
    look = _first_look(request, services)
    return _told({arm: _vector_search(vector, space, look, request, services) for arm, space in SPACES.items()}, look, always="dense")


def lexical_hits(request: Request, services: RecallServices) -> tuple[dict[str, Hits], dict[str, int]]:
    """Search chunks and conversation windows by words; returns hits, of which nothing is checked yet, and how many each arm asked for."""
    look = _first_look(request, services)
    if not isinstance(services.lexical, FilteringLexicalTier):
        look = _Look(look.k)
    return _told({arm: _word_search(field, look, request, services) for arm, field in FIELDS.items()}, look, always="lexical")


def _first_look(request: Request, services: RecallServices) -> _Look:
    """Look as deep as the scope's searches needed lately, or among the little that it sees."""
    depth, share = services.config.arm_depth, services.reach.share(request.scope) if request.as_of is None else 1.0
    few = services.registry.visible_ids(request.scope, limit=EXACT_IDS) if share < SMALL_SHARE else None
    if few is not None or share == 1.0:
        return _Look(depth, few)
    return _Look(max(int(depth * OVERFETCH), min(MAX_FIRST, int(depth * OVERFETCH / max(share, 0.01)))))


def _told(found: dict[str, Hits], look: _Look, *, always: str) -> tuple[dict[str, Hits], dict[str, int]]:
    """Leave out an arm without hits, such as that of conversation windows where there are no conversations."""
    hits = {arm: hits for arm, hits in found.items() if hits or arm == always}
    return hits, dict.fromkeys(hits, look.asked)


def outlines_of(arms: Mapping[str, Hits], request: Request, services: RecallServices) -> dict[str, Outline]:
    """Return the outlines of each arm's first hits, as far as the scope sees them."""
    first = {chunk_id for hits in arms.values() for chunk_id, _ in hits[: services.config.arm_depth]}
    return dict(services.registry.outlines(first, request.scope, request.as_of)) if first else {}


def visible_arms(
    arms: Mapping[str, Hits],
    asked: Mapping[str, int],
    request: Request,
    services: RecallServices,
    *,
    vector: NDArray[np.float32],
    known: Mapping[str, Outline] | None = None,
) -> tuple[dict[str, Hits], dict[str, Outline], dict[str, Any]]:
    """Return the arms with what the scope sees, each as long as the exact filtered ranking up to `arm_depth`; the outlines of all hits; what it took.

    Args:
        arms: Hits by arm, best first.
        asked: How many hits each arm asked for; 0 where its list is complete.
        request: Who asks.
        services: The memory.
        vector: The query's embedding, for a second search.
        known: What `outlines_of` returned for these arms, where it was asked already.
    """
    depth, registry, scope, as_of = services.config.arm_depth, services.registry, request.scope, request.as_of
    outlines = dict(known) if known is not None else outlines_of(arms, request, services)
    spare = {chunk_id for hits in arms.values() if any(hit[0] not in outlines for hit in hits[:depth]) for chunk_id, _ in hits[depth:]}
    seen = outlines.keys() | (registry.visible(spare - outlines.keys(), scope, as_of) if spare else set())
    wide = _WideSearch(request, services, vector)
    kept: dict[str, Hits] = {}
    looked_at, found, widened = 0, 0, []
    for arm, hits in arms.items():
        visible = [hit for hit in hits if hit[0] in seen]
        kept[arm] = visible[:depth]
        if asked[arm]:
            looked_at += len(hits) if spare else min(depth, len(hits))
            found += len(visible) if spare else len(kept[arm])
        if len(kept[arm]) < min(depth, len(hits)) and len(hits) >= asked[arm] > 0:
            kept[arm] = wide.visible(arm, kept[arm], asked=len(hits))
            widened.append(arm)
    if looked_at and as_of is None:
        services.reach.note(scope, found / looked_at)
    late = {chunk_id for hits in kept.values() for chunk_id, _ in hits} - outlines.keys()
    outlines |= registry.outlines(late, scope, as_of) if late else {}
    checks: dict[str, Any] = {"found": {arm: len(hits) for arm, hits in kept.items()}}
    return kept, outlines, checks | ({"widened": widened} if widened else {})


class _WideSearch:
    """Finds `arm_depth` visible hits where the first search met too many that the scope does not see."""

    def __init__(self, request: Request, services: RecallServices, vector: NDArray[np.float32]) -> None:
        self._request = request
        self._services = services
        self._vector = vector

    def visible(self, arm: str, kept: Hits, *, asked: int) -> Hits:
        """Rank just what the scope sees where that is little; else search further until enough hits are visible or there are no more."""
        depth, share = self._services.config.arm_depth, len(kept) / asked
        if share < SMALL_SHARE and self._filters(arm) and self._few is not None:
            return self._search_among(arm, self._few)
        found = asked
        while len(kept) < depth and found >= asked and asked < MAX_WIDENED:
            asked = min(MAX_WIDENED, max(asked * 4, int(depth / max(share, 0.01) * OVERFETCH)))
            hits = self._search(arm, asked)
            seen = self._services.registry.visible([chunk_id for chunk_id, _ in hits], self._request.scope, self._request.as_of)
            kept, found = [hit for hit in hits if hit[0] in seen], len(hits)
        if len(kept) < depth and found >= asked and self._filters(arm):
            everything = self._services.registry.visible_ids(self._request.scope, self._request.as_of, limit=UNLIMITED)
            kept = self._search_among(arm, everything or ())
        return kept[:depth]

    @cached_property
    def _few(self) -> tuple[str, ...] | None:
        return self._services.registry.visible_ids(self._request.scope, self._request.as_of, limit=EXACT_IDS)

    def _filters(self, arm: str) -> bool:
        return arm in SPACES or isinstance(self._services.lexical, FilteringLexicalTier)

    def _search(self, arm: str, k: int) -> Hits:
        return self._look(arm, _Look(k))

    def _search_among(self, arm: str, ids: tuple[str, ...]) -> Hits:
        return self._look(arm, _Look(self._services.config.arm_depth, ids))

    def _look(self, arm: str, look: _Look) -> Hits:
        if arm in SPACES:
            return _vector_search(self._vector, SPACES[arm], look, self._request, self._services)
        return _word_search(FIELDS[arm], look, self._request, self._services)


def _vector_search(vector: NDArray[np.float32], space: VectorSpace, look: _Look, request: Request, services: RecallServices) -> Hits:
    return _pairs(services.vector.search(vector, k=look.k, namespace=request.scope.namespace, space=space, among=look.among))


def _word_search(field: LexicalField, look: _Look, request: Request, services: RecallServices) -> Hits:
    tier, namespace = services.lexical, request.scope.namespace
    if look.among is None:
        return _pairs(tier.search(request.query, k=look.k, namespace=namespace, field=field))
    assert isinstance(tier, FilteringLexicalTier)
    return _pairs(tier.search_among(request.query, ids=look.among, k=look.k, namespace=namespace, field=field))


def _pairs(hits: Sequence[Hit]) -> Hits:
    return [(hit.id, hit.score) for hit in hits]
