"""When a cached context may still be served: request keys, what a context depends on, and which entries a write drops. No I/O.

The words are those of HTTP caching (RFC 9111): an entry is *fresh* or *stale*, and a stale one is *revalidated*. What is guaranteed:

1. An entry is served without a search only while it is fresh: the registry's generation of its namespace is the one that it was compiled at, and the
   clock has not passed `valid_until`. Every change of what a reader may see raises the generation, nothing is stored while an index lags behind the
   registry, and remaking or repairing an index drops everything; so a fresh entry is what the pipeline would compute.
2. A stale entry is revalidated, never guessed about: BM25's document frequencies and lengths, the graph's weights and the cut-offs of the arms depend
   on every chunk of a namespace, so whether an "unrelated" write changed a context can only be told by searching again. That search uses the
   entry's own query vector and embeds nothing; where passages and facts are the same the entry was right and counts as `revalidated`, else the new
   context takes its place. Either way the answer is the newly computed one. A stale entry never stands in for another wording.
3. A write drops at once the entries that it certainly or probably changed (`affected`): those that looked at a chunk or an entity that it touched, and
   those whose query is nearer to a new vector than the weakest passage that they show. The first part is exact: a chunk that was changed, hidden,
   deleted or closed to somebody stands in no entry afterwards. The second is a prediction, and only matters where staleness is allowed.
4. Where the caller allows an age (`max_stale_seconds`), a stale entry up to that age is served without a search, unless a write dropped it or is
   still being followed. It can then lack what would have come in from elsewhere (words, links, cut-offs); it never holds what was withdrawn.

Left out of the guarantee: between the indexing of a new version and its publication BM25 scores move before the generation does; vector engines that
search approximately may answer the same question differently after a restart; with a half-life, scores may have aged by up to 0.07 % (`AGE_STEP`); a
question about the present moment is compiled anew each day, and within it whenever a fact that it shows begins or ends.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag2_memory.errors import InvalidRequestError
from rag2_memory.records import CacheEntry, Dependencies, Watchlist
from rag2_memory.types import AsOf, AsOfLike, Hit, Scope

FLOOR_TOLERANCE = 1e-4
"""Subtracted from every floor: engines compute cosines in float32 or less, and a needless recomputation is harmless."""

AGE_STEP = 0.001
"""Share of a half-life for which a context is kept where passages age: within it no score falls by more than 0.07 %."""

SHOWN_FACTS = "*"
"""Watched as an entity by every context that shows facts: the names in them may come from any chunk, also from one that is gone."""

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


def shown_floor(hits: Iterable[tuple[str, float]], shown: Collection[str]) -> float | None:
    """Return the lowest cosine of an arm's hits that a context shows; `None` where it shows none of them."""
    return min((score for chunk_id, score in hits if chunk_id in shown), default=None)


def dependencies(
    *,
    generation: int,
    scope: Scope,
    floors: Mapping[str, float | None],
    chunks: Iterable[str],
    entities: Iterable[str] = (),
    terms: Iterable[str] = (),
    nearest: Sequence[Hit] = (),
    valid_until: datetime | None = None,
) -> Dependencies:
    """Gather what a context depends on, when it is stored.

    Args:
        generation: The registry's generation when the query began; the entry must not be stored if it changed since.
        scope: Who asked.
        floors: Per vector space searched with the query's own vector, `shown_floor` of what it returned.
        chunks: Every id that any arm returned and the scope may see, selected or not: what is left out is named in the context as well.
        entities: Canonical ids of the entities that the query named or the graph arm reached; `SHOWN_FACTS` where facts are shown.
        terms: Terms of the query that must be found letter by letter; a new chunk that holds one drops the entry.
        nearest: The dense arm's hits, best first; the first ten are kept.
        valid_until: When the context changes without a write.
    """
    return Dependencies(
        generation=generation,
        floors={space: floor for space, floor in floors.items() if floor is not None},
        watches=watch_codes(chunks=chunks, entities=entities, terms=terms),
        principals=scope.principals,
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


def is_fresh(entry: CacheEntry, *, generation: int, now: datetime, max_stale_seconds: float = 0.0) -> bool:
    """Whether an entry may be served without a search.

    Args:
        entry: The entry.
        generation: The registry's generation now.
        now: The caller's clock.
        max_stale_seconds: Age up to which the caller accepts an entry whatever was written since; 0 also where a write is still being followed.
    """
    if entry.dependencies.generation == generation:
        return True
    return entry.created_at is not None and timedelta(0) <= now - entry.created_at < timedelta(seconds=max_stale_seconds)


def clock_boundary(
    window: Callable[[datetime], tuple[datetime | None, datetime | None] | None],
    *,
    now: datetime,
    facts: Iterable[tuple[datetime | None, datetime | None]] = (),
    horizon_days: int = 8,
) -> datetime | None:
    """Return when a context changes because time passes, by reading its question at later moments.

    Args:
        window: The window of time that the question speaks of, as read at a moment.
        now: When the context was compiled; aware UTC.
        facts: Validity windows of the facts considered.
        horizon_days: Days looked ahead; an entry does not get older.

    Returns:
        The first midnight at which the question means another window, `now` where it does so within the hour (the last two hours), and for the
        present moment the next midnight or bound of a fact; `None` where its meaning stays.
    """
    today = window(now)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    if window(now + timedelta(minutes=1)) != today and now + timedelta(minutes=1) < midnight:
        start, end = today or (None, None)
        if start != now or end is None or end - start > timedelta(minutes=1):
            return now
        bounds = [moment for bound in facts for moment in bound if moment is not None and now < moment < midnight]
        return min([midnight, *bounds])
    if window(midnight) != today:
        return midnight
    if window(midnight + timedelta(days=horizon_days)) == today:
        return None
    return next((day for n in range(1, horizon_days + 1) if window(day := midnight + timedelta(days=n)) != today), None)


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
        return [type(value).__name__, {each.name: _canonical(getattr(value, each.name)) for each in fields(value)}]
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
