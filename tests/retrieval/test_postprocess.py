"""After ranking: age, parents, repetitions and diversity, each compared with its definition."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag2_memory.retrieval.postprocess import decay, drop_near_duplicates, mmr, promote_parents
from rag2_memory.types import Passage, Turn

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def passage(chunk_id: str, score: float = 1.0, *, text: str = "", title: str = "", days: float | None = None, parent: str = "") -> Passage:
    return Passage(
        chunk_id=chunk_id,
        document_id=chunk_id,
        title=title,
        text=text or f"text of {chunk_id}",
        score=score,
        parent_id=parent,
        modified_at=None if days is None else NOW - timedelta(days=days),
    )


def ids(passages: list[Passage]) -> list[str]:
    return [item.chunk_id for item in passages]


# Decay


def test_no_half_life_leaves_everything_as_it_was() -> None:
    passages = [passage("a", 2.0, days=1_000), passage("b", 1.0)]
    assert decay(passages, half_life_days=None, now=NOW) == passages


def test_what_a_passage_leads_by_halves_with_each_half_life() -> None:
    passages = [passage("old", 9.0, days=60), passage("new", 4.0, days=0), passage("last", 1.0, days=0)]
    aged = decay(passages, half_life_days=30, now=NOW)
    assert [(item.chunk_id, item.score) for item in aged] == [("new", 4.0), ("old", 1.0 + 8.0 / 4), ("last", 1.0)]


@pytest.mark.parametrize("days", [None, -400.0])
def test_passages_without_a_date_or_from_the_future_do_not_age(days: float | None) -> None:
    aged = decay([passage("a", 3.0, days=days), passage("b", 2.0, days=100), passage("c", 1.0)], half_life_days=100, now=NOW)
    assert ids(aged) == ["a", "b", "c"]
    assert aged[0].score == 3.0


def test_an_only_match_stays_however_old_it_is() -> None:
    only = passage("a", 0.5, days=40_000)
    assert decay([only], half_life_days=1, now=NOW) == [only]


def test_of_equal_scores_the_younger_comes_first() -> None:
    passages = [passage("old", 1.0, days=90), passage("undated", 1.0), passage("new", 1.0, days=3)]
    assert ids(decay(passages, half_life_days=30, now=NOW)) == ["undated", "new", "old"]


def test_a_turn_ages_from_when_it_was_said() -> None:
    turn = replace(
        passage("turn", 2.0, days=0),
        turn=Turn(thread_id="t", ordinal=0, speaker="Ada", at=NOW - timedelta(days=30)),
    )
    assert decay([turn, passage("last", 0.0)], half_life_days=30, now=NOW)[0].score == pytest.approx(1.0)


SCORES = st.floats(-50, 50, allow_nan=False)
RANKINGS = st.lists(st.tuples(SCORES, st.one_of(st.none(), st.floats(-10, 5_000))), max_size=12)


@given(RANKINGS, st.floats(0.5, 500), st.floats(0.1, 10), st.floats(-20, 20))
def test_decay_reorders_and_never_removes_whatever_the_scale(
    ranking: list[tuple[float, float | None]], half_life: float, scale: float, shift: float
) -> None:
    passages = [passage(str(place), score, days=days) for place, (score, days) in enumerate(ranking)]
    aged = decay(passages, half_life_days=half_life, now=NOW)
    assert sorted(ids(aged)) == sorted(ids(passages))
    assert [item.score for item in aged] == sorted((item.score for item in aged), reverse=True)
    moved = [replace(item, score=item.score * scale + shift) for item in passages]
    by_id = {item.chunk_id: item.score for item in aged}
    for item in decay(moved, half_life_days=half_life, now=NOW):
        assert item.score == pytest.approx(by_id[item.chunk_id] * scale + shift, abs=1e-6)


# Parents


def test_the_best_child_stands_for_its_parent() -> None:
    passages = [
        passage("a1", 3.0, parent="A"),
        passage("b1", 2.5, parent="B"),
        passage("a2", 2.0, parent="A"),
        passage("c", 1.0),
    ]
    kept, dropped = promote_parents(passages)
    assert ids(kept) == ["a1", "b1", "c"]
    assert [(item.passage.chunk_id, item.kept, item.reason) for item in dropped] == [("a2", "a1", "same parent as a better passage")]
    assert [item.score for item in kept] == [3.0, 2.5, 1.0]


@given(st.lists(st.sampled_from(["", "A", "B", "C"]), max_size=20))
def test_at_most_one_passage_per_parent_and_none_lost(parents: list[str]) -> None:
    passages = [passage(str(place), parent=parent) for place, parent in enumerate(parents)]
    kept, dropped = promote_parents(passages)
    named = [item.parent_id for item in kept if item.parent_id]
    assert len(named) == len(set(named)) == len(set(parents) - {""})
    assert sorted(ids(kept) + [item.passage.chunk_id for item in dropped]) == sorted(ids(passages))


# Repetitions

LONG = " ".join(f"word{number}" for number in range(60))


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (LONG, LONG),
        (LONG, LONG.upper().replace(" ", "\n") + "!"),
        (f"Before it. {LONG} And after it.", f"**{LONG}**"),
        (f"{LONG}\none\ntwo", f"> {LONG}\n- one\n- *two*"),
    ],
)
def test_a_long_text_that_stands_in_a_better_one_is_dropped(better: str, worse: str) -> None:
    first, second = passage("a", text=better, title="One"), passage("b", text=worse, title="Another")
    kept, dropped = drop_near_duplicates([first, second])
    assert ids(kept) == ["a"]
    assert [(item.passage.chunk_id, item.kept) for item in dropped] == [("b", "a")]


@pytest.mark.parametrize(
    "worse",
    [
        LONG.replace("word30", "other"),
        f"{LONG} not",
        " ".join(reversed(LONG.split())),
        LONG.replace("word30", "-40"),
        f"{LONG} and one more sentence",
    ],
)
def test_one_different_word_makes_a_different_passage(worse: str) -> None:
    passages = [passage("a", text=LONG.replace("word30", "40") if "-40" in worse else LONG), passage("b", text=worse)]
    assert ids(drop_near_duplicates(passages)[0]) == ["a", "b"]


def test_short_texts_under_different_headings_are_different() -> None:
    passages = [
        passage("a", text="Status: accepted", title="ADR 1"),
        passage("b", text="Status: accepted", title="ADR 2"),
        passage("c", text="Status: **accepted**.", title="ADR 1"),
    ]
    kept, dropped = drop_near_duplicates(passages)
    assert ids(kept) == ["a", "b"]
    assert [item.passage.chunk_id for item in dropped] == ["c"]


def test_turns_that_repeat_each_other_all_stay() -> None:
    turns = [replace(passage(str(place), text="Thanks!"), turn=Turn(thread_id="t", ordinal=place, speaker="Ada")) for place in range(3)]
    assert ids(drop_near_duplicates(turns)[0]) == ["0", "1", "2"]


def test_passages_without_words_all_stay() -> None:
    assert ids(drop_near_duplicates([passage("a", text="—"), passage("b", text="***")])[0]) == ["a", "b"]


# Diversity


def values_left(chosen: list[Passage], left: list[Passage], vectors: dict[str, list[float]], weight: float) -> list[float]:
    """Marginal relevance of what is left, as Carbonell and Goldstein state it, without NumPy."""
    scores = [item.score for item in chosen + left]
    low, high = min(scores), max(scores)

    def cosine(one: Passage, other: Passage) -> float:
        pairs = zip(vectors.get(one.chunk_id, ()), vectors.get(other.chunk_id, ()), strict=False)
        return sum(x * y for x, y in pairs)

    def value(item: Passage) -> float:
        relevance = (item.score - low) / (high - low) if high > low else 1.0
        return relevance if not chosen else (1 - weight) * relevance - weight * max(cosine(item, one) for one in chosen)

    return [value(item) for item in left]


@given(
    st.lists(st.tuples(st.integers(0, 20), st.one_of(st.none(), st.floats(0, 6.25))), min_size=1, max_size=8),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)
def test_every_choice_of_mmr_is_the_best_by_its_definition(items: list[tuple[int, float | None]], weight: float) -> None:
    passages = [passage(str(place), float(score)) for place, (score, _) in enumerate(items)]
    vectors = {
        str(place): [round(math.cos(angle), 3), round(math.sin(angle), 3)] for place, (_, angle) in enumerate(items) if angle is not None
    }
    passages.sort(key=lambda item: -item.score)
    ordered = mmr(passages, {key: np.array(vector) for key, vector in vectors.items()}, weight=weight)
    assert sorted(ids(ordered)) == sorted(ids(passages))
    for place in range(len(ordered)):
        values = values_left(ordered[:place], ordered[place:], vectors, weight)
        assert values[0] == pytest.approx(max(values))


def test_diversity_brings_forward_what_is_different() -> None:
    passages = [passage("a", 1.0), passage("copy", 0.95), passage("other", 0.6), passage("last", 0.0)]
    vectors = {"a": np.array([1.0, 0.0]), "copy": np.array([1.0, 0.0]), "other": np.array([0.0, 1.0])}
    assert ids(mmr(passages, vectors, weight=0.5))[:2] == ["a", "other"]
    assert ids(mmr(passages, vectors, weight=0.0)) == ids(passages)


# Speed


@pytest.mark.parametrize("name", ["decay", "promote_parents", "drop_near_duplicates", "mmr"])
def test_a_hundred_passages_take_a_few_milliseconds_of_processor_time(name: str) -> None:
    random = np.random.default_rng(7)
    passages = [
        passage(
            str(number),
            1.0 / (number + 1),
            parent=str(number % 60),
            days=number,
            title=f"Title {number}",
            text=" ".join(f"w{word}" for word in random.integers(0, 500, 100)),
        )
        for number in range(100)
    ]
    vectors = {str(number): row / np.linalg.norm(row) for number, row in enumerate(random.normal(size=(100, 384)))}
    calls: dict[str, Callable[[], object]] = {
        "decay": lambda: decay(passages, half_life_days=30, now=NOW),
        "promote_parents": lambda: promote_parents(passages),
        "drop_near_duplicates": lambda: drop_near_duplicates(passages),
        "mmr": lambda: mmr(passages, vectors, weight=0.5),
    }
    times = []
    for _ in range(20):
        started = time.thread_time()
        calls[name]()
        times.append(time.thread_time() - started)
    assert min(times) < 0.005, f"{name}: {1000 * min(times):.2f} ms"
