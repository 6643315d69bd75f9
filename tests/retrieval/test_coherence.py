"""What a cached context depends on, which writes drop it, and when it ends by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag2_memory.errors import InvalidRequestError
from rag2_memory.knowledge.question_time import question_window
from rag2_memory.records import CacheEntry, Dependencies
from rag2_memory.retrieval import coherence
from rag2_memory.retrieval.coherence import (
    Addition,
    RequestKey,
    affected,
    clock_boundary,
    dependencies,
    is_fresh,
    request_key,
    shown_floor,
    watch_codes,
)
from rag2_memory.testing.cache import direction, entry
from rag2_memory.tiers.cache_semantic import SemanticCache
from rag2_memory.types import AsOf, Scope

NOW = datetime(2026, 6, 30, 12, tzinfo=timezone.utc)


# The rules one by one.


def watching(**dependencies: Any) -> SemanticCache:
    cache = SemanticCache(None)
    cache.put(entry("e", degrees=0, dependencies=Dependencies(**dependencies)))
    return cache


@pytest.mark.parametrize(
    ("degrees", "hit"), [(20, True), (29.9, True), (31, False), (90, False)], ids=["inside", "just inside", "just outside", "far"]
)
def test_a_new_vector_matters_above_the_floor_alone(degrees: float, hit: bool) -> None:
    cache = watching(floors={"chunks": math.cos(math.radians(30))})
    added = [Addition(vectors={"chunks": direction(170)}), Addition(vectors={"chunks": direction(degrees)})]
    assert affected(cache.watchlist(), namespace="default", added=added) == ({"e"} if hit else set())


def test_a_floor_counts_in_its_own_space() -> None:
    cache = watching(floors={"chunks": 0.9, "windows": 0.1})
    assert affected(cache.watchlist(), namespace="default", added=[Addition(vectors={"windows": direction(60)})]) == {"e"}
    assert affected(cache.watchlist(), namespace="default", added=[Addition(vectors={"chunks": direction(60)})]) == set()


def test_the_floor_is_the_weakest_passage_that_is_shown() -> None:
    hits = [("a", 0.9), ("b", 0.5), ("c", 0.2)]
    assert shown_floor(hits, {"a", "b", "elsewhere"}) == 0.5
    assert shown_floor(hits, {"elsewhere"}) is None
    held = dependencies(generation=1, scope=Scope(), floors={"chunks": 0.5, "windows": None}, chunks=["a", "b", "c"])
    assert held.floors == {"chunks": 0.5}


def test_a_chunk_that_the_scope_cannot_see_does_not_matter() -> None:
    cache = watching(floors={"chunks": -1.0}, principals=frozenset({"user:ada"}))
    near = {"chunks": direction(0)}
    watchlist = cache.watchlist()
    assert affected(watchlist, namespace="default", added=[Addition(vectors=near, acl=frozenset({"user:ben"}))]) == set()
    assert affected(watchlist, namespace="default", added=[Addition(vectors=near, acl=frozenset({"user:ada"}))]) == {"e"}
    assert affected(watchlist, namespace="default", added=[Addition(vectors=near)]) == {"e"}


def test_watched_chunks_entities_and_terms_matter() -> None:
    cache = watching(watches=watch_codes(chunks=["c1"], entities=["n1"], terms=["t1"]))
    watchlist = cache.watchlist()
    assert affected(watchlist, namespace="default", removed=["c1"]) == {"e"}
    assert affected(watchlist, namespace="default", removed=["n1", "t1", *(f"c{n}" for n in range(2, 40))]) == set()
    assert affected(watchlist, namespace="default", entities=["n1"]) == {"e"}
    assert affected(watchlist, namespace="default", added=[Addition(entities=["n1"])]) == {"e"}
    assert affected(watchlist, namespace="default", added=[Addition(terms=["t1"])]) == {"e"}
    assert affected(watchlist, namespace="default", added=[Addition(terms=["c1"], entities=["t1"])]) == set()


def test_other_namespaces_are_untouched() -> None:
    cache = watching(floors={"chunks": -1.0}, watches=watch_codes(chunks=["c1"]))
    added = [Addition(vectors={"chunks": direction(0)})]
    assert affected(cache.watchlist(), namespace="elsewhere", added=added, removed=["c1"]) == set()


def test_vectors_of_another_length_count_as_reaching() -> None:
    cache = watching(floors={"chunks": 0.99})
    assert affected(cache.watchlist(), namespace="default", added=[Addition(vectors={"chunks": np.ones(3, dtype=np.float32)})]) == {"e"}


@settings(max_examples=50, deadline=None)
@given(
    queries=st.lists(st.tuples(st.integers(0, 359), st.floats(-1, 1)), min_size=1, max_size=20),
    vectors=st.lists(st.integers(0, 359), min_size=1, max_size=20),
)
def test_a_batch_is_compared_as_one_by_one(queries: list[tuple[int, float]], vectors: list[int]) -> None:
    cache = SemanticCache(None)
    for number, (angle, floor) in enumerate(queries):
        cache.put(entry(f"{number}", degrees=angle, dependencies=Dependencies(floors={"chunks": floor})))
    hit = affected(cache.watchlist(), namespace="default", added=[Addition(vectors={"chunks": direction(angle)}) for angle in vectors])
    for number, (angle, floor) in enumerate(queries):
        best = max(math.cos(math.radians(angle - other)) for other in vectors)
        if abs(best - floor) > 2 * coherence.FLOOR_TOLERANCE:
            assert (f"{number}" in hit) == (best >= floor)
    cache.close()


# Time.


def test_an_entry_is_fresh_at_its_generation_or_while_an_age_is_allowed() -> None:
    kept = CacheEntry(key="k", namespace="n", partition="p", query="q", created_at=NOW, dependencies=Dependencies(generation=3))
    assert is_fresh(kept, generation=3, now=NOW + timedelta(days=1))
    assert not is_fresh(kept, generation=4, now=NOW + timedelta(seconds=20))
    assert is_fresh(kept, generation=4, now=NOW + timedelta(seconds=20), max_stale_seconds=30)
    assert not is_fresh(kept, generation=4, now=NOW + timedelta(seconds=40), max_stale_seconds=30)
    assert not is_fresh(kept, generation=4, now=NOW - timedelta(seconds=1), max_stale_seconds=30)


def read(question: str) -> Callable[[datetime], tuple[datetime | None, datetime | None] | None]:
    def window(moment: datetime) -> tuple[datetime | None, datetime | None] | None:
        found = question_window(question, now=moment)
        return (found.start, found.end) if found is not None else None

    return window


@pytest.mark.parametrize(
    ("question", "boundary"),
    [
        ("What happened on 3 March 2026?", None),
        ("Who leads Alpha?", None),
        ("What happened yesterday?", datetime(2026, 7, 1, tzinfo=timezone.utc)),
        ("What happened in July?", datetime(2026, 7, 1, tzinfo=timezone.utc)),
        ("Who is currently the lead?", datetime(2026, 7, 1, tzinfo=timezone.utc)),
    ],
    ids=["a date", "no time", "yesterday", "a month without a year", "the present"],
)
def test_a_context_ends_when_its_question_means_another_time(question: str, boundary: datetime | None) -> None:
    assert clock_boundary(read(question), now=NOW) == boundary


def test_a_context_about_the_present_ends_with_the_next_bound_of_a_fact() -> None:
    soon, late = NOW + timedelta(hours=2), NOW + timedelta(days=9)
    asked = read("Who is currently the lead?")
    assert clock_boundary(asked, now=NOW, facts=[(None, late), (soon, None), (NOW - timedelta(hours=1), None)]) == soon


def test_a_week_that_moves_on_later_than_tomorrow_is_found() -> None:
    def weekly(moment: datetime) -> tuple[datetime | None, datetime | None]:
        monday = moment.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=moment.weekday())
        return monday, monday + timedelta(days=7)

    assert clock_boundary(weekly, now=NOW) == datetime(2026, 7, 6, tzinfo=timezone.utc)


def test_a_window_that_moves_with_the_minutes_is_not_kept() -> None:
    assert clock_boundary(lambda moment: (moment - timedelta(hours=2), moment), now=NOW) == NOW


# Keys.


def key(query: str = "What is new?", **changes: Any) -> RequestKey:
    return request_key(query, **{"scope": Scope()} | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"scope": Scope(namespace="other")},
        {"scope": Scope(user="ada")},
        {"scope": Scope(groups=frozenset({"eng"}))},
        {"as_of": "2026-01-01"},
        {"as_of": AsOf(recorded=NOW)},
        {"budget": 1_000},
        {"history": ["We talked about Alpha."]},
        {"history": [("user", "We talked about Alpha.")]},
        {"guidelines": "Be brief."},
        {"route": "graph"},
        {"config_fingerprint": "other"},
        {"k": 5},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_whatever_the_context_depends_on_makes_another_partition(changes: Mapping[str, Any]) -> None:
    assert key(**changes).partition != key().partition
    assert key(**changes).key != key().key


def test_another_wording_is_another_key_in_the_same_partition() -> None:
    assert key("What's new?").key != key().key
    assert key("What's new?").partition == key().partition


def test_white_space_and_unicode_form_do_not_count() -> None:
    assert key("  What is\n new? ") == key()
    assert key("Cafe\u0301?") == key("Caf\u00e9?")
    assert key("what is new?").key != key().key


def test_equal_requests_have_equal_keys_however_they_are_written() -> None:
    assert key(as_of=AsOf()) == key(as_of=None)
    assert key(as_of="2026-01-01") == key(as_of=datetime(2026, 1, 1, tzinfo=timezone.utc))
    assert key(scope=Scope(groups=frozenset({"a", "b"}))) == key(scope=Scope(groups=frozenset({"b", "a"})))
    assert key(history=[{"role": "user", "text": "hi"}]) == key(history=[{"text": "hi", "role": "user"}])


@pytest.mark.parametrize(
    ("query", "later", "same"),
    [
        ("What happened last week?", timedelta(days=1), False),
        ("What happened last week?", timedelta(hours=3), True),
        ("Who joined recently?", timedelta(days=1), False),
        ("What failed in the last two hours?", timedelta(minutes=1), False),
        ("Who leads Alpha?", timedelta(days=400), True),
    ],
    ids=lambda value: str(value),
)
def test_a_question_about_relative_time_is_another_one_later(query: str, later: timedelta, same: bool) -> None:
    assert (key(query, now=NOW) == key(query, now=NOW + later)) is same


def test_messages_count_by_role_and_content() -> None:
    from langchain_core.messages import AIMessage, HumanMessage

    assert key(history=[HumanMessage("hi")]) == key(history=[HumanMessage("hi", id="1")])
    assert key(history=[HumanMessage("hi")]) != key(history=[AIMessage("hi")])


def test_a_value_without_a_canonical_form_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="cached request"):
        key(budget=object())
