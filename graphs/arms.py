"""The search arms and their one guard: what the registry does not let the scope see never enters a ranking, and an arm that lost hits is widened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
"""Hits asked for per hit wanted, so that a few invisible ones (old versions, other people's documents) cost no second search."""

EXACT_IDS = 8_000
"""Up to so many visible chunks, a scope that sees little is served by the exact ranking of just those."""

SMALL_SHARE = 0.2
"""Share of visible hits below which widening would take longer than the exact ranking."""

MAX_WIDENED = 50_000
"""Bound on a widened search."""

UNLIMITED = 10_000_000
"""More chunks than a memory holds."""

SPACES: dict[str, VectorSpace] = {"dense": "chunks", "dense_window": "windows"}
FIELDS: dict[str, LexicalField] = {"lexical": "text", "lexical_window": "window"}


def dense_hits(vector: NDArray[np.float32], request: Request, services: RecallServices) -> dict[str, Hits]:
    """Search chunks and conversation windows by vector; nothing is checked yet."""
    k = _first_k(services)
    found = {arm: _vector_search(vector, space, k, request, services) for arm, space in SPACES.items()}
    return {arm: hits for arm, hits in found.items() if hits or arm == "dense"}


def lexical_hits(request: Request, services: RecallServices) -> dict[str, Hits]:
    """Search chunks and conversation windows by words; nothing is checked yet."""
    k = _first_k(services)
    found = {arm: _word_search(field, k, request, services) for arm, field in FIELDS.items()}
    return {arm: hits for arm, hits in found.items() if hits or arm == "lexical"}


def visible_arms(
    arms: Mapping[str, Hits], request: Request, services: RecallServices, *, vector: NDArray[np.float32]
) -> tuple[dict[str, Hits], dict[str, Outline], dict[str, Any]]:
    """Return the arms with what the scope sees, each as long as the exact filtered ranking up to `arm_depth`; the outlines of all hits; what it took."""
    depth, asked = services.config.arm_depth, _first_k(services)
    seen = services.registry.outlines({chunk_id for hits in arms.values() for chunk_id, _ in hits[:depth]}, request.scope, request.as_of)
    spare = {chunk_id for hits in arms.values() if any(hit[0] not in seen for hit in hits[:depth]) for chunk_id, _ in hits[depth:]}
    seen |= services.registry.outlines(spare - seen.keys(), request.scope, request.as_of) if spare else {}
    wide = _WideSearch(request, services, vector)
    kept: dict[str, Hits] = {}
    widened = []
    for arm, hits in arms.items():
        kept[arm] = [hit for hit in hits if hit[0] in seen][:depth]
        if len(kept[arm]) < min(depth, len(hits)) and len(hits) >= asked:
            kept[arm] = wide.visible(arm, kept[arm], asked=len(hits))
            widened.append(arm)
    late = {chunk_id for arm in widened for chunk_id, _ in kept[arm]} - seen.keys()
    seen |= services.registry.outlines(late, request.scope, request.as_of) if late else {}
    checks: dict[str, Any] = {"found": {arm: len(hits) for arm, hits in kept.items()}}
    return kept, seen, checks | ({"widened": widened} if widened else {})


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
            kept = self._search_among(arm, everything or [])
        return kept[:depth]

    @cached_property
    def _few(self) -> list[str] | None:
        return self._services.registry.visible_ids(self._request.scope, self._request.as_of, limit=EXACT_IDS)

    def _filters(self, arm: str) -> bool:
        return arm in SPACES or isinstance(self._services.lexical, FilteringLexicalTier)

    def _search(self, arm: str, k: int) -> Hits:
        if arm in SPACES:
            return _vector_search(self._vector, SPACES[arm], k, self._request, self._services)
        return _word_search(FIELDS[arm], k, self._request, self._services)

    def _search_among(self, arm: str, ids: Sequence[str]) -> Hits:
        services, namespace, depth = self._services, self._request.scope.namespace, self._services.config.arm_depth
        if arm in SPACES:
            return _pairs(services.vector.search(self._vector, k=depth, namespace=namespace, space=SPACES[arm], among=ids))
        assert isinstance(services.lexical, FilteringLexicalTier)
        return _pairs(services.lexical.search_among(self._request.query, ids=ids, k=depth, namespace=namespace, field=FIELDS[arm]))


def _first_k(services: RecallServices) -> int:
    return int(services.config.arm_depth * OVERFETCH)


def _vector_search(vector: NDArray[np.float32], space: VectorSpace, k: int, request: Request, services: RecallServices) -> Hits:
    return _pairs(services.vector.search(vector, k=k, namespace=request.scope.namespace, space=space))


def _word_search(field: LexicalField, k: int, request: Request, services: RecallServices) -> Hits:
    return _pairs(services.lexical.search(request.query, k=k, namespace=request.scope.namespace, field=field))


def _pairs(hits: Sequence[Hit]) -> Hits:
    return [(hit.id, hit.score) for hit in hits]
