"""The search arms and their one guard: what the registry does not let the scope see never enters a ranking, and an arm that lost hits is widened."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rag2_memory.graphs.services import RecallServices
from rag2_memory.graphs.state import Request
from rag2_memory.records import Outline
from rag2_memory.tiers.base import LexicalField, VectorSpace
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

Arm = Literal["dense", "lexical", "dense_window", "lexical_window"]
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
    kept: dict[str, Hits] = {}
    widened = []
    for arm, hits in arms.items():
        kept[arm] = [hit for hit in hits if hit[0] in seen][:depth]
        if len(kept[arm]) < min(depth, len(hits)) and len(hits) >= asked:
            search = _searcher(arm, vector, request, services)
            kept[arm] = _widen(arm, hits, kept[arm], search, request, services, vector)
            widened.append(arm)
    late = {chunk_id for arm in widened for chunk_id, _ in kept[arm]} - seen.keys()
    seen |= services.registry.outlines(late, request.scope, request.as_of) if late else {}
    checks: dict[str, Any] = {"found": {arm: len(hits) for arm, hits in kept.items()}}
    return kept, seen, checks | ({"widened": widened} if widened else {})


def _first_k(services: RecallServices) -> int:
    return int(services.config.arm_depth * OVERFETCH)


def _searcher(arm: str, vector: NDArray[np.float32], request: Request, services: RecallServices) -> Callable[[int], Hits]:
    if arm in SPACES:
        return lambda k: _vector_search(vector, SPACES[arm], k, request, services)
    return lambda k: _word_search(FIELDS[arm], k, request, services)


def _widen(
    arm: str,
    hits: Hits,
    kept: Hits,
    search: Callable[[int], Hits],
    request: Request,
    services: RecallServices,
    vector: NDArray[np.float32],
) -> Hits:
    """Search further until `arm_depth` hits are visible or there are no more."""
    depth = services.config.arm_depth
    share = len(kept) / max(len(hits), 1)
    if arm in SPACES and share < SMALL_SHARE:
        exact = _exact(arm, vector, request, services)
        if exact is not None:
            return exact
    k = len(hits)
    while len(kept) < depth and len(hits) >= k and k < MAX_WIDENED:
        k = min(MAX_WIDENED, max(k * 4, int(depth / max(share, 0.01) * OVERFETCH)))
        hits = search(k)
        seen = services.registry.visible([chunk_id for chunk_id, _ in hits], request.scope, request.as_of)
        kept = [hit for hit in hits if hit[0] in seen]
    if len(kept) < depth and len(hits) >= k and arm in SPACES:
        exact = _exact(arm, vector, request, services, limit=None)
        kept = kept if exact is None else exact
    return kept[:depth]


def _exact(
    arm: str, vector: NDArray[np.float32], request: Request, services: RecallServices, *, limit: int | None = EXACT_IDS
) -> Hits | None:
    """Rank exactly what the scope sees, or return `None` where that is too much."""
    ids = services.registry.visible_ids(request.scope, request.as_of, limit=limit or 10_000_000)
    if ids is None:
        return None
    found = services.vector.search(vector, k=services.config.arm_depth, namespace=request.scope.namespace, space=SPACES[arm], among=ids)
    return _pairs(found)


def _vector_search(vector: NDArray[np.float32], space: VectorSpace, k: int, request: Request, services: RecallServices) -> Hits:
    return _pairs(services.vector.search(vector, k=k, namespace=request.scope.namespace, space=space))


def _word_search(field: LexicalField, k: int, request: Request, services: RecallServices) -> Hits:
    return _pairs(services.lexical.search(request.query, k=k, namespace=request.scope.namespace, field=field))


def _pairs(hits: Sequence[Hit]) -> Hits:
    return [(hit.id, hit.score) for hit in hits]
