"""When a cached context may still be served: request keys, what a context depends on, and which entries a write affects. No I/O.

A served context equals what the pipeline would compute now. Three mechanisms hold that, each for what the others cannot see:

1. *Watches and floors* (`dependencies`, `affected`). A context is a function of what each arm returned. A chunk, entity or term that was looked at is
   watched by its code; a new vector matters only above the floor of its space. One matrix product compares a batch of writes with every entry.
2. *Drifting arms* (`still_ranks`). BM25 scores move with every write, through document frequencies and the average length. An entry that was kept
   across a write has those arms run again, once, before it is served: same ids in the same order, scores within the slack that keeps the selection.
3. *Generations* (`freshness`). An entry without such a record is served only at the generation it was compiled at, unless the caller
   allows an age.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rag2_memory.errors import InvalidRequestError
from rag2_memory.records import ArmRanking, CacheEntry, Dependencies, Watchlist
from rag2_memory.types import AsOf, AsOfLike, Hit, Scope

FLOOR_TOLERANCE = 1e-4
"""Subtracted from every floor: engines compute cosines in float32 or less, and a needless recomputation is harmless."""

SCORE_TOLERANCE = 1e-9
"""Drift that counts as none."""

ROWS_AT_ONCE = 4_096
"""Cached queries per matrix product; with 1,000 new vectors the product takes 16 MB."""

FEW_CODES = 8
"""Up to so many codes are looked for one by one, each pass ten times as fast as looking for all of them at once."""

_RELATIVE_DAY = re.compile(
    r"\b(?:today|yesterday|tomorrow|tonight|ago|recent(?:ly)?|lately|(?:this|last|next|past|coming|previous|current)\s+(?:\w+\s+){0,2}"
    r"(?:day|week|weekend|fortnight|month|quarter|year|decade|spring|summer|autumn|fall|winter|season|"
    r"(?:mon|tues|wednes|thurs|fri|satur|sun)day|january|february|march|april|may|june|july|august|september|october|november|december)s?)\b",
    re.IGNORECASE,
)
_RELATIVE_MINUTE = re.compile(r"\b(?:right now|just now|(?:hour|minute|second)s?\b|this (?:morning|afternoon|evening))", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestKey:
    """What identifies a request to the cache."""

    key: str
    """Equal keys ask exactly the same."""
    partition: str
    """Equal partitions differ in nothing but the question's wording."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """A chunk that became visible, or whose title, permissions, entities or edges changed."""

    vectors: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """Per vector space its unit vectors, shape (d,) or (m, d)."""
    terms: Collection[str] = ()
    """Analysed terms; needed only where entries watch terms."""
    entities: Collection[str] = ()
    """Ids of the entities that it mentions or states an edge of, before and after the change."""
    acl: frozenset[str] = frozenset()
    """Who may see it; empty: everyone."""


def request_key(
    query: str,
    *,
    scope: Scope,
    as_of: AsOfLike = None,
    budget: Any = None,
    history: Sequence[Any] = (),
    guidelines: str = "",
    route: Any = "auto",
    config_fingerprint: str = "",
    now: datetime | None = None,
    **others: Any,
) -> RequestKey:
    """Name a request.

    The question is compared after Unicode normalisation and with runs of white space as one blank; case counts, since names are read from it.
    The whole history and the guidelines count, since both stand in the context and the history can change what the question means.

    Args:
        query: The question.
        scope: Who asks; scopes with the same namespace and principals share entries.
        as_of: The point in time asked about; `None` and an empty `AsOf` are the same.
        budget: Token budget: a number or a dataclass.
        history: Earlier messages: strings, mappings, (role, text) pairs, or objects with `type` and `content`.
        guidelines: Instructions that go into the context.
        route: How the question is to be routed.
        config_fingerprint: Changes with the configuration and with every component that ranks or renders.
        now: The caller's clock; a question about "last week" is another one tomorrow.
        others: Whatever else the context depends on, such as the number of results; JSON-like values.

    Raises:
        InvalidRequestError: If a value has no canonical form.
    """
    point = AsOf.of(as_of)
    text = " ".join(unicodedata.normalize("NFC", query).split())
    parts = {
        "namespace": scope.namespace,
        "principals": sorted(scope.principals),
        "as_of": None if point == AsOf() else point,
        "budget": budget,
        "history": list(history),
        "guidelines": guidelines,
        "route": route,
        "config": config_fingerprint,
        "clock": _clock_part(text, now),
        **others,
    }
    partition = _digest(_canonical(parts))
    return RequestKey(key=_digest([partition, text]), partition=partition)


def watch_codes(*, chunks: Iterable[str] = (), entities: Iterable[str] = (), terms: Iterable[str] = ()) -> tuple[int, ...]:
    """Return the sorted 32-bit codes under which ids and terms are watched; a collision makes an entry sensitive to one more id."""
    kinds = (("c", chunks), ("e", entities), ("t", terms))
    return tuple(sorted({zlib.crc32(f"{kind}:{name}".encode("utf-8", "surrogatepass")) for kind, names in kinds for name in names}))


def dense_floor(hits: Sequence[Hit], *, depth: int) -> float:
    """Return the cosine above which a new vector enters an arm's top `depth`; -1 where the arm was not full."""
    return hits[depth - 1].score if len(hits) >= depth else -1.0


def arm_ranking(hits: Sequence[Hit], *, slack: float = 0.0) -> ArmRanking:
    """Record what a drifting arm returned; `slack` as `selection_slack` gives it."""
    return ArmRanking(digest=_digest([hit.id for hit in hits]), scores=tuple(hit.score for hit in hits), slack=slack)


def selection_slack(ranked_scores: Sequence[float], *, selected: int, weight: float) -> float:
    """Return how far every min-max normalised score of one arm may drift without reordering what fusion selects.

    If the arm enters the fused score with `weight` and each normalised score drifts by at most s, each fused score drifts by at most weight · s; two
    neighbours keep their order while 2 · weight · s is below their gap.

    Args:
        ranked_scores: All fused scores, best first.
        selected: How many of them the next stage takes.
        weight: The largest factor by which the arm's normalised score can enter a fused score, propagation through the graph included.

    Returns:
        Slack in [0, 1]; 0 where neighbours tie.
    """
    gaps = [better - worse for better, worse in pairwise(ranked_scores[: selected + 1])]
    if weight <= 0.0 or not gaps:
        return 1.0
    return min(1.0, max(0.0, 0.499 * min(gaps) / weight))


def dependencies(
    *,
    generation: int,
    scope: Scope,
    floors: Mapping[str, float],
    chunks: Iterable[str],
    entities: Iterable[str] = (),
    terms: Iterable[str] = (),
    rankings: Mapping[str, ArmRanking] | None = None,
    nearest: Sequence[Hit] = (),
    valid_until: datetime | None = None,
) -> Dependencies:
    """Gather what a context depends on, when it is stored.

    Args:
        generation: The registry's generation when the query began; the entry must not be stored if it changed since.
        scope: Who asked.
        floors: Per vector space searched with the query's own vector, `dense_floor` of what it returned.
        chunks: Every id that any arm returned and the scope may see, selected or not: the loss of one changes ranks and normalisation.
        entities: Canonical ids of the entities that the query named or the graph arm reached.
        terms: The query's analysed terms; needed only where `rankings` holds no lexical arm, and no guard against drift.
        rankings: Drifting arms by name, each as `arm_ranking`.
        nearest: The dense arm's hits, best first; the first ten are kept.
        valid_until: When the context changes without a write: the next start or end of validity among the facts considered.
    """
    return Dependencies(
        generation=generation,
        floors=dict(floors),
        watches=watch_codes(chunks=chunks, entities=entities, terms=terms),
        principals=scope.principals,
        rankings=dict(rankings or {}),
        nearest=tuple(nearest[:10]),
        valid_until=valid_until,
    )


def affected(
    watchlist: Watchlist,
    *,
    namespace: str,
    added: Sequence[Addition] = (),
    removed: Collection[str] = (),
    entities: Collection[str] = (),
) -> set[str]:
    """Return the keys of the entries that a batch of writes to one namespace can have changed.

    Args:
        watchlist: The cache's entries in columns.
        namespace: Where the writes happened.
        added: What became visible or changed.
        removed: Chunk ids that became invisible, or changed for anyone.
        entities: Ids of entities that changed by themselves, for instance by a merge.
    """
    n = len(watchlist.namespace_codes)
    if namespace not in watchlist.namespaces or not n:
        return set()
    # The graph arm may count a passage before its permissions are known, so entities ignore who sees it.
    touched = {*entities, *(entity for addition in added for entity in addition.entities)}
    hit = _watching(watchlist, watch_codes(chunks=removed, entities=touched))
    by_acl: dict[frozenset[str], list[Addition]] = {}
    for addition in added:
        by_acl.setdefault(addition.acl, []).append(addition)
    for acl, group in by_acl.items():
        sees = np.array([not acl or not acl.isdisjoint(principals) for principals in watchlist.principals], dtype=bool)
        reached = _watching(watchlist, watch_codes(terms={term for addition in group for term in addition.terms}))
        for space, floors in watchlist.floors.items():
            vectors = [np.atleast_2d(addition.vectors[space]) for addition in group if space in addition.vectors]
            if vectors:
                reached |= _closer(watchlist.vectors, floors, np.concatenate(vectors))
        hit |= reached & sees[watchlist.principal_codes]
    hit &= watchlist.namespace_codes == watchlist.namespaces.index(namespace)
    return {watchlist.keys[row] for row in np.flatnonzero(hit).tolist() if watchlist.keys[row]}


def still_ranks(ranking: ArmRanking, hits: Sequence[Hit]) -> bool:
    """Return whether an arm that was run again still yields the same selection: same ids, same order, scores within the slack."""
    if _digest([hit.id for hit in hits]) != ranking.digest or len(hits) != len(ranking.scores):
        return False
    drift = np.abs(_normalised([hit.score for hit in hits]) - _normalised(ranking.scores))
    return bool(drift.max(initial=0.0) <= max(ranking.slack, SCORE_TOLERANCE))


def freshness(entry: CacheEntry, *, generation: int, now: datetime, staleness_seconds: float = 0.0) -> Literal["current", "rerun", "stale"]:
    """Say what must happen before an entry that no write affected is served.

    Args:
        entry: The entry, found after the journal's cache entries were applied.
        generation: The registry's generation now.
        now: The caller's clock.
        staleness_seconds: Age up to which the caller accepts an entry whatever was written since.

    Returns:
        `current`: serve it; `rerun`: run the arms in `dependencies.rankings` again and serve if all of them pass `still_ranks`, then put the entry
        with the new generation; `stale`: compute anew.
    """
    if entry.dependencies.generation == generation:
        return "current"
    if entry.created_at is not None and timedelta(0) <= now - entry.created_at < timedelta(seconds=staleness_seconds):
        return "current"
    return "rerun" if entry.dependencies.rankings else "stale"


def _watching(watchlist: Watchlist, codes: Sequence[int]) -> NDArray[np.bool_]:
    """Return which entries watch any of the sorted codes."""
    hit = np.zeros(len(watchlist.namespace_codes), dtype=bool)
    if codes:
        wanted = np.asarray(codes, dtype=np.uint32)
        if len(wanted) <= FEW_CODES:
            found = np.concatenate([np.flatnonzero(watchlist.codes == code) for code in wanted])
        else:
            low_bits = np.zeros(1 << 16, dtype=bool)  # rules out nearly every code at the price of one look-up
            low_bits[wanted & 0xFFFF] = True
            likely = np.flatnonzero(low_bits[watchlist.codes & np.uint32(0xFFFF)])
            at = np.searchsorted(wanted, watchlist.codes[likely])
            found = likely[wanted[np.minimum(at, len(wanted) - 1)] == watchlist.codes[likely]]
        rows = watchlist.rows[found]
        hit[rows[rows >= 0]] = True
    return hit


def _closer(queries: NDArray[np.float32], floors: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which queries have a cosine of at least their floor with any of the vectors."""
    searched = floors <= 1.0
    if vectors.shape[1] != queries.shape[1]:
        return searched  # another embedder's vectors cannot be compared: assume the worst
    closer = np.zeros(len(queries), dtype=bool)
    for start in range(0, len(queries), ROWS_AT_ONCE):
        block = slice(start, start + ROWS_AT_ONCE)
        closer[block] = (queries[block] @ vectors.T).max(axis=1) >= floors[block] - FLOOR_TOLERANCE
    return closer & searched


def _normalised(scores: Sequence[float]) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    spread = float(np.ptp(values)) if len(values) else 0.0
    return (values - values.min()) / spread if spread > 0.0 else np.ones_like(values)


def _clock_part(query: str, now: datetime | None) -> str | None:
    if now is None:
        return None
    if _RELATIVE_MINUTE.search(query):
        return now.isoformat(timespec="minutes")
    return now.date().isoformat() if _RELATIVE_DAY.search(query) else None


def _canonical(value: Any) -> Any:
    """Return a value as JSON can hold it, equal for equal values."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, datetime | date):
        return ["moment", value.isoformat()]
    if is_dataclass(value) and not isinstance(value, type):
        return [type(value).__name__, _canonical(asdict(value))]
    if isinstance(value, Mapping):
        return {str(name): _canonical(value[name]) for name in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, set | frozenset):
        return ["set", *sorted(json.dumps(_canonical(item), sort_keys=True) for item in value)]
    if hasattr(value, "type") and hasattr(value, "content"):
        return [_canonical(value.type), _canonical(value.content)]
    raise InvalidRequestError(
        f"got {value!r} as a part of a cached request; needed text, numbers, dates, dataclasses, messages, or collections of those."
    )


def _digest(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
