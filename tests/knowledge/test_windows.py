"""Validity windows: exclusive facts close one another, others never do, whatever the order of arrival."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag2_memory.knowledge.assembly import edge_id
from rag2_memory.knowledge.schema import DEFAULT_SCHEMA, Predicate
from rag2_memory.knowledge.temporal import Window, exclusive_slots, known_at, resolve_windows
from rag2_memory.knowledge.windows import ENDED_BY, FROM_PRECISION, OBSERVED_AT, TO_PRECISION
from rag2_memory.records import Assertion
from rag2_memory.types import utc

LEAD, DEPENDS, UPDATED = "LEAD_ARCHITECT_OF", "DEPENDS_ON", "UPDATED_BY"


def says(
    subject: str,
    predicate: str,
    target: str,
    start: str | None = None,
    end: str | None = None,
    *,
    chunk: str = "c",
    seen: str = "",
    **notes: str,
) -> Assertion:
    valid_from, valid_to = (utc(each) if each else None for each in (start, end))
    properties = notes | ({OBSERVED_AT: utc(seen).isoformat()} if seen else {})
    return Assertion(
        edge_id=edge_id("n", subject, predicate, target, valid_from, valid_to),
        namespace="n",
        subject_id=subject,
        predicate=predicate,
        object_id=target,
        chunk_id=chunk,
        valid_from=valid_from,
        valid_to=valid_to,
        properties=properties,
        recorded_at=utc("2026-06-01"),
    )


def windows_of(*assertions: Assertion, canonical: dict[str, str] | None = None) -> dict[str, tuple[str | None, str | None]]:
    """Effective windows by subject, as days."""
    windows = resolve_windows(assertions, DEFAULT_SCHEMA, canonical=canonical)

    def day(moment: datetime | None) -> str | None:
        return moment.date().isoformat() if moment else None

    return {a.subject_id: (day(windows[a.edge_id].valid_from), day(windows[a.edge_id].valid_to)) for a in assertions}


ADA, BOB, CY = (
    says("ada", LEAD, "alpha", "2025-04-01"),
    says("bob", LEAD, "alpha", "2026-02-02"),
    says("cy", LEAD, "alpha", "2025-10-01"),
)


@pytest.mark.parametrize("order", [(ADA, BOB, CY), (BOB, CY, ADA), (CY, ADA, BOB)])
def test_a_new_holder_closes_the_one_before_in_whatever_order_they_become_known(order: tuple[Assertion, ...]) -> None:
    assert windows_of(*order) == {
        "ada": ("2025-04-01", "2025-10-01"),
        "cy": ("2025-10-01", "2026-02-02"),
        "bob": ("2026-02-02", None),
    }


def test_one_person_may_lead_two_projects() -> None:
    both = windows_of(says("ada", LEAD, "alpha", "2025-01-01")) | {}
    windows = resolve_windows([says("ada", LEAD, "alpha", "2025-01-01"), says("ada", LEAD, "beta", "2026-01-01")], DEFAULT_SCHEMA)
    assert both["ada"] == ("2025-01-01", None)
    assert {window.valid_to for window in windows.values()} == {None}


def test_a_predicate_that_is_exclusive_for_its_subject_closes_by_subject() -> None:
    schema = DEFAULT_SCHEMA.extended(predicates=[Predicate(name="SITS_IN", exclusive="subject")])
    first, second = says("ada", "SITS_IN", "pune", "2025-01-01"), says("ada", "SITS_IN", "bristol", "2026-01-01")
    windows = resolve_windows([second, first], schema)
    assert windows[first.edge_id].valid_to == utc("2026-01-01")
    assert windows[second.edge_id].valid_to is None


def test_facts_that_are_not_exclusive_never_retire_one_another() -> None:
    windows = resolve_windows(
        [says("alpha", DEPENDS, "redis", "2024-01-01"), says("alpha", DEPENDS, "kafka", "2025-01-01")], DEFAULT_SCHEMA
    )
    assert {window.valid_to for window in windows.values()} == {None}


def test_a_stated_end_wins_over_a_successors_start() -> None:
    assert windows_of(says("ada", LEAD, "alpha", "2025-01-01", "2025-06-01"), says("bob", LEAD, "alpha", "2025-03-01"))["ada"] == (
        "2025-01-01",
        "2025-06-01",
    )


def test_an_end_stated_by_the_month_gives_way_to_a_successor_within_it() -> None:
    ended = says("ada", LEAD, "alpha", "2025-01-01", "2025-04-01", **{TO_PRECISION: "month"})
    assert windows_of(ended, says("bob", LEAD, "alpha", "2025-03-10"))["ada"] == ("2025-01-01", "2025-03-10")
    assert windows_of(ended, says("bob", LEAD, "alpha", "2025-02-10"))["ada"] == ("2025-01-01", "2025-04-01")


def test_an_end_and_a_start_from_two_sources_make_one_window() -> None:
    start, end = says("ada", LEAD, "alpha", "2025-01-10", chunk="a"), says("ada", LEAD, "alpha", None, "2026-02-02", chunk="b")
    windows = resolve_windows([end, start], DEFAULT_SCHEMA)
    assert windows[start.edge_id] == windows[end.edge_id] == Window(valid_from=utc("2025-01-10"), valid_to=utc("2026-02-02"))


def test_a_month_and_a_day_within_it_are_one_start() -> None:
    month = says("ada", LEAD, "alpha", "2025-01-01", chunk="a", **{FROM_PRECISION: "month"})
    day = says("ada", LEAD, "alpha", "2025-01-10", chunk="b")
    windows = resolve_windows([month, day], DEFAULT_SCHEMA)
    assert windows[month.edge_id] == windows[day.edge_id] == Window(valid_from=utc("2025-01-10"))


def test_two_exact_starts_contradict_each_other_and_both_stay() -> None:
    one, other = says("alpha", DEPENDS, "redis", "2025-01-10", chunk="a"), says("alpha", DEPENDS, "redis", "2025-03-10", chunk="b")
    windows = resolve_windows([one, other], DEFAULT_SCHEMA)
    assert windows[one.edge_id].valid_from != windows[other.edge_id].valid_from


def test_two_holders_from_the_same_day_contradict_each_other_and_both_stay() -> None:
    assert windows_of(says("ada", LEAD, "alpha", "2025-01-01"), says("bob", LEAD, "alpha", "2025-01-01")) == {
        "ada": ("2025-01-01", None),
        "bob": ("2025-01-01", None),
    }


def test_undated_holders_follow_one_another_as_their_sources_were_written() -> None:
    old, new = says("ada", LEAD, "alpha", seen="2025-06-01"), says("bob", LEAD, "alpha", seen="2026-06-01")
    assert windows_of(new, old) == {"ada": (None, "2026-06-01"), "bob": ("2026-06-01", None)}


def test_an_undated_statement_joins_the_stretch_in_which_it_was_made() -> None:
    dated, undated = says("ada", LEAD, "alpha", "2025-04-01", chunk="a"), says("ada", LEAD, "alpha", seen="2025-09-01", chunk="b")
    windows = resolve_windows([undated, dated, BOB], DEFAULT_SCHEMA)
    assert windows[undated.edge_id] == windows[dated.edge_id] == Window(valid_from=utc("2025-04-01"), valid_to=utc("2026-02-02"))


def test_a_fact_told_in_the_past_tense_was_over_by_then_and_closes_nobody() -> None:
    told = says("ada", LEAD, "alpha", None, "2026-06-01", **{TO_PRECISION: ENDED_BY})
    assert windows_of(told, BOB) == {"ada": (None, "2026-02-02"), "bob": ("2026-02-02", None)}
    assert windows_of(told)["ada"] == (None, "2026-06-01")


def test_somebody_who_returns_holds_two_stretches() -> None:
    first, again = says("ada", LEAD, "alpha", "2024-01-01"), says("ada", LEAD, "alpha", "2026-01-01")
    between = says("bob", LEAD, "alpha", "2025-01-01")
    windows = resolve_windows([again, between, first], DEFAULT_SCHEMA)
    assert windows[first.edge_id] == Window(valid_from=utc("2024-01-01"), valid_to=utc("2025-01-01"))
    assert windows[between.edge_id] == Window(valid_from=utc("2025-01-01"), valid_to=utc("2026-01-01"))
    assert windows[again.edge_id] == Window(valid_from=utc("2026-01-01"))


def test_merged_entities_count_as_one() -> None:
    short, full = says("v-shah", LEAD, "alpha", "2025-04-01"), says("vatsal-shah", LEAD, "project-alpha", "2026-02-02")
    canonical = {"v-shah": "vatsal-shah", "alpha": "project-alpha"}
    assert windows_of(short, full)["v-shah"][1] is None
    windows = resolve_windows([short, full, says("bob", LEAD, "alpha", "2025-10-01")], DEFAULT_SCHEMA, canonical=canonical)
    assert windows[short.edge_id].valid_to == utc("2025-10-01")
    assert windows[full.edge_id] == Window(valid_from=utc("2026-02-02"))


def test_a_momentary_fact_keeps_its_moment() -> None:
    windows = resolve_windows([says("cache", UPDATED, "ada", "2026-05-01"), says("cache", UPDATED, "bob", "2026-05-22")], DEFAULT_SCHEMA)
    assert sorted(str(window.valid_from)[:10] for window in windows.values()) == ["2026-05-01", "2026-05-22"]
    assert {window.valid_to for window in windows.values()} == {None}


def test_what_was_not_known_yet_or_was_retracted_does_not_count() -> None:
    early = Assertion(
        edge_id="1", namespace="n", subject_id="a", predicate=LEAD, object_id="p", chunk_id="c", recorded_at=utc("2026-01-01")
    )
    late = Assertion(edge_id="2", namespace="n", subject_id="b", predicate=LEAD, object_id="p", chunk_id="c", recorded_at=utc("2026-03-01"))
    gone = Assertion(
        edge_id="3",
        namespace="n",
        subject_id="c",
        predicate=LEAD,
        object_id="p",
        chunk_id="c",
        recorded_at=utc("2026-01-01"),
        retracted_at=utc("2026-02-01"),
    )
    everything = [early, late, gone]
    assert known_at(everything, None) == [early, late]
    assert known_at(everything, utc("2026-01-15")) == [early, gone]
    assert known_at(everything, utc("2025-12-31")) == []


def test_the_slots_name_what_else_must_be_loaded() -> None:
    slots = exclusive_slots([ADA, says("x", DEPENDS, "y")], DEFAULT_SCHEMA, canonical={"alpha": "project-alpha"})
    assert slots == {(LEAD, "object", "project-alpha")}


days = st.integers(0, 40).map(lambda day: (datetime(2025, 1, 1, tzinfo=timezone.utc) + timedelta(days=10 * day)).date().isoformat())
holders = st.lists(st.tuples(st.sampled_from("abcd"), days), min_size=1, max_size=8, unique=True)


@settings(deadline=None)
@given(holders, st.integers(0, 1_000))
def test_dated_holders_are_closed_as_a_simple_sweep_says(stated: list[tuple[str, str]], seed: int) -> None:
    """Compared with an independent rule: a stretch ends at the earliest later start of somebody else."""
    assertions = [says(holder, LEAD, "alpha", day) for holder, day in stated]
    random.Random(seed).shuffle(assertions)
    windows = resolve_windows(assertions, DEFAULT_SCHEMA)
    for holder, day in stated:
        later = [other for name, other in stated if name != holder and other > day]
        expected = utc(min(later)) if later else None
        window = windows[edge_id("n", holder, LEAD, "alpha", utc(day), None)]
        assert window == Window(valid_from=utc(day), valid_to=expected)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.sampled_from([LEAD, DEPENDS]),
            st.none() | days,
            st.none() | days,
            st.sampled_from(["", "2025-06-01", "2026-01-01"]),
        ),
        max_size=10,
    ),
    st.randoms(use_true_random=False),
)
def test_windows_do_not_depend_on_the_order_of_the_assertions(
    stated: list[tuple[str, str, str | None, str | None, str]], chance: random.Random
) -> None:
    assertions = [
        says(subject, predicate, "p", start, end if not (start and end and end <= start) else None, seen=seen, chunk=str(number))
        for number, (subject, predicate, start, end, seen) in enumerate(stated)
    ]
    once = resolve_windows(assertions, DEFAULT_SCHEMA)
    chance.shuffle(assertions)
    assert resolve_windows(assertions, DEFAULT_SCHEMA) == once
    assert set(once) == {assertion.edge_id for assertion in assertions}
