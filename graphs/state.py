"""The state of the recall graph: who writes each key, and how a request is read from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import add
from typing import Annotated, Any, TypedDict, get_args

from rag2_memory.context import Context, ContextBudget
from rag2_memory.context.compiled import Format
from rag2_memory.errors import InvalidRequestError
from rag2_memory.records import Outline, Subgraph
from rag2_memory.retrieval.plan import ROUTES, Plan
from rag2_memory.types import AsOf, Fact, Passage, Scope


def merged(left: Mapping[str, Any] | None, right: Mapping[str, Any] | None) -> dict[str, Any]:
    """Join what parallel nodes wrote; later keys win."""
    return {**(left or {}), **(right or {})}


class RecallInput(TypedDict, total=False):
    """What a caller puts in."""

    query: str
    """The question; required."""
    scope: Scope | Mapping[str, Any] | None
    """Who asks; a mapping has the fields of `Scope`. Default: the default namespace, anonymous."""
    as_of: Any
    """Point in time: `AsOf`, a moment, or ISO text."""
    budget: ContextBudget | int | None
    """Token budget of the context."""
    history: Sequence[Any]
    """Earlier messages, oldest first."""
    guidelines: str
    """Instructions that go into the context."""
    route: str
    """`auto` or a forced route."""
    format: Format
    """Rendering of the context: `xml` (default), `markdown` or `json`."""
    max_stale_seconds: float
    """Age up to which a cached context may be served although something was written since; default 0: never. What was withdrawn is never served."""
    k: int
    """Passages wanted; only the search graph reads it."""


class RecallOutput(TypedDict, total=False):
    """What the graph returns."""

    context: Context
    """Written by `cache_lookup` (hit) or `fit_budget`."""
    passages: list[Passage]
    """Written by `rerank`: best first."""
    facts: list[Fact]
    """Written by `walk_graph`: facts about what the query names."""
    trace: Annotated[list[dict[str, Any]], add]
    """Every node adds one record: stage, ms, decisions."""


class RecallState(RecallInput, RecallOutput, total=False):
    """The whole state; what stands only here is private to the graph."""

    plan: Plan
    """Written by `plan`."""
    vector: list[float]
    """The query's embedding, written by `cache_lookup` or `plan`."""
    looked_up: Any
    """Never written: handed to `cache_lookup` by `Memory.recall`, which has asked the cache already."""
    cache_key: str
    """Written by `cache_lookup`: the exact request's key."""
    partition: str
    """Written by `cache_lookup`: the cache partition of the request."""
    generation: int
    """Written by `cache_lookup`: the registry's generation when the request began."""
    stale: bool
    """Written by `cache_lookup`: whether a context of exactly this request is cached and has to be revalidated."""
    arms: Annotated[dict[str, list[tuple[str, float]]], merged]
    """Written by the search nodes: hits by arm name, best first; replaced by `fuse` with what the scope sees of them."""
    asked: Annotated[dict[str, int], merged]
    """Written by the search nodes: hits that each arm asked its engine for, 0 where it ranked just what the scope sees."""
    outlines: Mapping[str, Outline]
    """Never written in the graph: where search is called directly, what is known already of the arms' hits."""
    degraded: Annotated[dict[str, str], merged]
    """Written by the search nodes: why an arm gave nothing."""
    subgraph: Subgraph
    """Written by `walk_graph`: the neighbourhood of what the query names, as far as the scope sees it."""
    ranking: list[tuple[str, float]]
    """Written by `fuse`, refined by `follow_links`: visible chunk ids, best first."""
    sources: dict[str, tuple[str, ...]]
    """Written by `fuse` and `follow_links`: which arms found each id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The inputs of a state, checked and typed."""

    query: str
    scope: Scope
    as_of: AsOf | None
    budget: ContextBudget
    history: tuple[Any, ...]
    guidelines: str
    route: str
    format: Format
    k: int
    max_stale_seconds: float = 0.0


def request_of(state: RecallState) -> Request:
    """Read the request from a state.

    Raises:
        InvalidRequestError: If an input is of the wrong kind; the message names it.
    """
    query = state.get("query")
    if not isinstance(query, str) or not query.strip():
        raise InvalidRequestError(f"got query={query!r}; needed a non-empty question.")
    k = state.get("k", 5)
    if not isinstance(k, int) or isinstance(k, bool) or k < 1:
        raise InvalidRequestError(f"got k={k!r}; needed a whole number of at least 1.")
    route = state.get("route") or "auto"
    if route not in ROUTES:
        raise InvalidRequestError(f"got route={route!r}; needed one of {', '.join(ROUTES)}.")
    form = state.get("format") or "xml"
    if form not in get_args(Format):
        raise InvalidRequestError(f"got format={form!r}; needed one of {', '.join(get_args(Format))}.")
    max_stale = state.get("max_stale_seconds") or 0.0
    if not isinstance(max_stale, (int, float)) or not 0.0 <= max_stale < float("inf"):
        raise InvalidRequestError(f"got max_stale_seconds={max_stale!r}; needed a number of seconds, at least 0.")
    return Request(
        query=query,
        scope=_scope(state.get("scope")),
        as_of=AsOf.of(state.get("as_of")),
        budget=ContextBudget.of(state.get("budget")),
        history=tuple(state.get("history") or ()),
        guidelines=state.get("guidelines") or "",
        route=route,
        format=form,
        k=k,
        max_stale_seconds=float(max_stale),
    )


def _scope(value: Any) -> Scope:
    if value is None:
        return Scope()
    if isinstance(value, Scope):
        return value
    if isinstance(value, Mapping) and set(value) <= {"namespace", "user", "groups"}:
        return Scope(**value)
    raise InvalidRequestError(f"got scope={value!r}; needed a Scope or a mapping with namespace, user and groups.")
