"""A cached context equals what the pipeline would compute now, whatever was written in between."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag2_memory.errors import InvalidRequestError
from rag2_memory.records import CacheEntry, Dependencies
from rag2_memory.retrieval import coherence
from rag2_memory.retrieval.coherence import Addition, RequestKey, affected, dense_floor, request_key, still_ranks, watch_codes
from rag2_memory.testing.cache import direction, entry
from rag2_memory.tiers.cache_semantic import SemanticCache
from rag2_memory.types import AsOf, Hit, Scope

NOW = datetime(2026, 6, 30, 12, tzinfo=timezone.utc)
DEPTH, SELECTED, SEEDS, LEXICAL_WEIGHT = 4, 3, 2, 0.5
WORDS, NAMES, USERS = "abcdef", ("x", "y", "z"), (None, "ada", "ben")


# A small pipeline: dense and BM25 arms of bounded depth, a graph boost normalised by degree, min-max fusion.


@dataclass(frozen=True)
class Passage:
    id: str
    angle: float
    words: tuple[str, ...]
    names: frozenset[str]
    acl: frozenset[str]

    def visible_to(self, scope: Scope) -> bool:
        return not self.acl or not self.acl.isdisjoint(scope.principals)


@dataclass
class World:
    passages: dict[str, Passage] = field(default_factory=dict)
    generation: int = 0

    def dense(self, angle: float, scope: Scope) -> list[Hit]:
        scored = [Hit(p.id, float(direction(p.angle) @ direction(angle))) for p in self.passages.values() if p.visible_to(scope)]
        return sorted(scored, key=lambda hit: (-hit.score, hit.id))[:DEPTH]

    def lexical(self, words: Sequence[str], scope: Scope) -> list[Hit]:
        """BM25 with statistics over all passages, as an index knows no permissions."""
        if not self.passages:
            return []
        average = sum(len(p.words) for p in self.passages.values()) / len(self.passages)
        frequency = Counter(word for p in self.passages.values() for word in set(p.words))
        scored = []
        for passage in self.passages.values():
            score = 0.0
            for word in set(words):
                count = passage.words.count(word)
                idf = math.log(1 + (len(self.passages) - frequency[word] + 0.5) / (frequency[word] + 0.5))
                score += idf * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * len(passage.words) / average))
            if score > 0 and passage.visible_to(scope):
                scored.append(Hit(passage.id, score))
        return sorted(scored, key=lambda hit: (-hit.score, hit.id))[:DEPTH]


@dataclass(frozen=True)
class Question:
    angle: float
    words: tuple[str, ...]
    names: frozenset[str]


@dataclass(frozen=True)
class Answer:
    selected: tuple[str, ...]
    dependencies: Dependencies


def normalised(hits: Sequence[Hit]) -> dict[str, float]:
    low, high = min((hit.score for hit in hits), default=0.0), max((hit.score for hit in hits), default=0.0)
    return {hit.id: (hit.score - low) / (high - low) if high > low else 1.0 for hit in hits}


def compute(world: World, question: Question, scope: Scope) -> Answer:
    dense, lexical = world.dense(question.angle, scope), world.lexical(question.words, scope)
    reached = question.names.union(*(world.passages[hit.id].names for hit in [*dense[:SEEDS], *lexical[:SEEDS]]))
    linked = {name: [p for p in world.passages.values() if name in p.names and p.visible_to(scope)] for name in reached}
    boosts: Counter[str] = Counter()
    for passages in linked.values():
        for passage in passages:
            boosts[passage.id] += 0.3 / len(passages)  # type: ignore[assignment]
    arms = normalised(dense), normalised(lexical)
    candidates = {*arms[0], *arms[1], *boosts}
    fused = {key: (1 - LEXICAL_WEIGHT) * arms[0].get(key, 0) + LEXICAL_WEIGHT * arms[1].get(key, 0) + boosts[key] for key in candidates}
    ranked = sorted(fused, key=lambda key: (-fused[key], key))
    slack = coherence.selection_slack([fused[key] for key in ranked], selected=SELECTED, weight=LEXICAL_WEIGHT)
    return Answer(
        tuple(ranked[:SELECTED]),
        coherence.dependencies(
            generation=world.generation,
            scope=scope,
            floors={"chunks": dense_floor(dense, depth=DEPTH)},
            chunks=candidates,
            entities=reached,
            rankings={"lexical": coherence.arm_ranking(lexical, slack=slack)},
        ),
    )


def changed(world: World, cache: SemanticCache, *, removed: Sequence[Passage] = (), added: Sequence[Passage] = ()) -> None:
    """Write to the world, then invalidate what the write can have changed."""
    for passage in removed:
        del world.passages[passage.id]
    world.passages |= {passage.id: passage for passage in added}
    world.generation += 1
    additions = [Addition(vectors={"chunks": direction(p.angle)}, entities=p.names, acl=p.acl) for p in added]
    cache.invalidate(affected(cache.watchlist(), namespace="default", added=additions, removed=[p.id for p in removed]))


def ask(world: World, cache: SemanticCache, question: Question, scope: Scope) -> tuple[tuple[str, ...], bool]:
    """Answer from the cache where it may, as the recall graph does; returns the passages and whether the cache served."""
    named = request_key(repr(question), scope=scope)
    found = cache.get(named.key)
    if found is not None:
        state = coherence.freshness(found, generation=world.generation, now=NOW)
        if state == "rerun" and still_ranks(found.dependencies.rankings["lexical"], world.lexical(question.words, scope)):
            cache.put(replace(found, dependencies=replace(found.dependencies, generation=world.generation)))
            state = "current"
        if state == "current":
            return tuple(found.evidence), True
    answer = compute(world, question, scope)
    cache.put(
        CacheEntry(
            key=named.key,
            namespace="default",
            partition=named.partition,
            query=repr(question),
            vector=tuple(direction(question.angle).tolist()),
            evidence=answer.selected,
            dependencies=answer.dependencies,
        )
    )
    return answer.selected, False


def some_passage(rng: random.Random, number: int) -> Passage:
    """Most passages lie in a small sector and share words, so that arms are full and scores are close."""
    return Passage(
        id=f"c{number}",
        angle=rng.choice([rng.uniform(0, 60), rng.uniform(0, 360)]),
        words=tuple(rng.choices(WORDS, weights=(8, 4, 2, 2, 1, 1), k=rng.randint(1, 9))),
        names=frozenset(rng.sample(NAMES, k=rng.choice([0, 0, 0, 1]))),
        acl=frozenset(rng.choice([(), (), ("user:ada",), ("user:ben",)])),
    )


def some_question(rng: random.Random) -> Question:
    return Question(
        rng.uniform(0, 60), tuple(rng.sample(WORDS, k=rng.randint(0, 3))), frozenset(rng.sample(NAMES, k=rng.choice([0, 0, 1])))
    )


@settings(max_examples=80, deadline=None)
@given(rng=st.randoms(use_true_random=True))
def test_what_is_served_equals_what_would_be_computed(rng: random.Random) -> None:
    world, cache = World(), SemanticCache(None)
    changed(world, cache, added=[some_passage(rng, number) for number in range(rng.randint(4, 30))])
    questions = [some_question(rng) for _ in range(6)]
    for number in range(100, 160):
        present = list(world.passages.values())
        kind = rng.choices(("ask", "add", "remove", "permit"), weights=(7, 2, 1, 1))[0]
        if kind == "add":
            changed(world, cache, added=[some_passage(rng, number)])
        elif kind == "remove" and present:
            changed(world, cache, removed=[rng.choice(present)])
        elif kind == "permit" and present:
            passage = rng.choice(present)
            changed(world, cache, removed=[passage], added=[replace(passage, acl=some_passage(rng, 0).acl)])
        elif kind == "ask":
            question, scope = rng.choice(questions), Scope(user=rng.choice(USERS))
            assert ask(world, cache, question, scope)[0] == compute(world, question, scope).selected
    cache.close()


def test_writes_that_cannot_matter_leave_entries_in_place() -> None:
    world, cache = World(), SemanticCache(None)
    near = [Passage(f"c{n}", 8 * n, ("a",) * (9 - n) + ("b",) * n, frozenset(), frozenset()) for n in range(6)]
    changed(world, cache, added=near)
    question = Question(0, ("a",), frozenset())
    computed, _ = ask(world, cache, question, Scope())
    assert ask(world, cache, question, Scope()) == (computed, True)
    changed(world, cache, added=[Passage("elsewhere", 180, ("f",), frozenset({"z"}), frozenset())])
    assert ask(world, cache, question, Scope()) == (computed, True)
    cache.close()


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


def test_an_arm_that_was_not_full_takes_any_vector() -> None:
    hits = [Hit("a", 0.9), Hit("b", 0.5)]
    assert dense_floor(hits, depth=2) == 0.5
    assert dense_floor(hits, depth=3) == -1.0
    cache = watching(floors={"chunks": dense_floor(hits, depth=3)})
    assert affected(cache.watchlist(), namespace="default", added=[Addition(vectors={"chunks": direction(180)})]) == {"e"}


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


# Drift.

RANKED = [Hit("a", 10.0), Hit("b", 6.0), Hit("c", 2.0)]


@pytest.mark.parametrize(
    ("hits", "slack", "same"),
    [
        (RANKED, 0.0, True),
        ([Hit("a", 11.0), Hit("b", 6.6), Hit("c", 2.2)], 0.0, True),
        ([Hit("a", 10.0), Hit("b", 6.1), Hit("c", 2.0)], 0.0, False),
        ([Hit("a", 10.0), Hit("b", 6.1), Hit("c", 2.0)], 0.02, True),
        ([Hit("a", 10.0), Hit("b", 7.0), Hit("c", 2.0)], 0.02, False),
        ([Hit("b", 10.0), Hit("a", 6.0), Hit("c", 2.0)], 1.0, False),
        (RANKED[:2], 1.0, False),
        ([*RANKED, Hit("d", 1.0)], 1.0, False),
    ],
    ids=["equal", "scaled", "drifted", "within the slack", "beyond the slack", "reordered", "one fewer", "one more"],
)
def test_an_arm_that_was_run_again_must_rank_the_same(hits: list[Hit], slack: float, same: bool) -> None:
    assert still_ranks(coherence.arm_ranking(RANKED, slack=slack), hits) is same


@settings(max_examples=200)
@given(
    scores=st.lists(st.floats(0, 1), min_size=2, max_size=10),
    selected=st.integers(1, 5),
    weight=st.floats(0.05, 1),
    drift=st.lists(st.floats(-1, 1), min_size=10, max_size=10),
)
def test_drift_within_the_slack_never_changes_the_selection(scores: list[float], selected: int, weight: float, drift: list[float]) -> None:
    ranked = sorted(scores, reverse=True)
    slack = coherence.selection_slack(ranked, selected=selected, weight=weight)
    moved = [score + weight * slack * by for score, by in zip(ranked, drift, strict=False)]
    order = sorted(range(len(moved)), key=lambda at: (-moved[at], at))
    assert order[:selected] == list(range(len(ranked)))[:selected]


def test_an_entry_is_current_at_its_generation_or_while_staleness_is_allowed() -> None:
    kept = CacheEntry(key="k", namespace="n", partition="p", query="q", created_at=NOW, dependencies=Dependencies(generation=3))
    assert coherence.freshness(kept, generation=3, now=NOW + timedelta(days=1)) == "current"
    assert coherence.freshness(kept, generation=4, now=NOW + timedelta(seconds=20)) == "stale"
    assert coherence.freshness(kept, generation=4, now=NOW + timedelta(seconds=20), staleness_seconds=30) == "current"
    assert coherence.freshness(kept, generation=4, now=NOW + timedelta(seconds=40), staleness_seconds=30) == "stale"
    drifting = replace(kept, dependencies=Dependencies(generation=3, rankings={"lexical": coherence.arm_ranking(RANKED)}))
    assert coherence.freshness(drifting, generation=4, now=NOW) == "rerun"


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
