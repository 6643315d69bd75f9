"""Facts under scope and time: what a successor closes, what a scope cannot see."""

from __future__ import annotations

import pytest

from rag2_memory import AsOf, Document, Memory, Scope
from rag2_memory.testing.clock import FakeClock

HISTORY = [
    Document(id="first", text="Vatsal Shah leads Project Alpha since 1 April 2025."),
    Document(id="second", text="Priya Raman took over Project Alpha from Vatsal Shah on 2 February 2026."),
    Document(id="third", text="Tomasz Wierzbicki leads Project Alpha since 8 June 2026.", acl=frozenset({"user:ada"})),
]
LEADS = "LEAD_ARCHITECT_OF"


def told(memory: Memory, **options: object) -> list[tuple[str, str, str]]:
    """Return who led Project Alpha from when to when."""
    facts = memory.facts("Project Alpha", predicate=LEADS, **options)  # type: ignore[arg-type]
    return sorted((fact.subject, str(fact.valid_from)[:10], str(fact.valid_to)[:10]) for fact in facts)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)], ids=["in order", "backwards", "back-dated last"])
def test_a_new_holder_closes_the_old_edge_whatever_the_order(memory: Memory, order: tuple[int, ...]) -> None:
    for place in order:
        memory.ingest(HISTORY[place])
    assert told(memory, scope=Scope(user="ada")) == [
        ("Priya Raman", "2026-02-02", "2026-06-08"),
        ("Tomasz Wierzbicki", "2026-06-08", "None"),
        ("Vatsal Shah", "2025-04-01", "2026-02-02"),
    ]


def test_a_successor_that_a_scope_cannot_see_closes_nothing_for_it(memory: Memory) -> None:
    memory.ingest(HISTORY)
    assert told(memory) == [("Priya Raman", "2026-02-02", "None"), ("Vatsal Shah", "2025-04-01", "2026-02-02")]


def test_forgetting_the_successor_opens_the_edge_again(memory: Memory) -> None:
    memory.ingest(HISTORY[:2])
    memory.forget("second")
    assert told(memory) == [("Vatsal Shah", "2025-04-01", "None")]


def test_valid_time_and_transaction_time_are_two_questions(memory: Memory, clock: FakeClock) -> None:
    memory.ingest(HISTORY[0])
    before = clock.now
    clock.advance(days=1)
    memory.ingest(HISTORY[1])
    assert told(memory, as_of="2025-06-01") == [("Vatsal Shah", "2025-04-01", "2026-02-02")]
    assert told(memory, as_of="2026-03-15") == [("Priya Raman", "2026-02-02", "None")]
    assert told(memory, as_of=AsOf(recorded=before)) == [("Vatsal Shah", "2025-04-01", "None")]


def test_a_recalled_fact_shows_its_whole_window(memory: Memory) -> None:
    memory.ingest(HISTORY)
    context = memory.recall("Who was leading Project Alpha in March 2026?", scope=Scope(user="ada"), budget=3_000)
    leads = [fact for fact in context.facts if fact.predicate == LEADS]
    assert [(fact.subject, str(fact.valid_to)[:10]) for fact in leads] == [("Priya Raman", "2026-06-08")]


def test_other_names_of_a_person_lead_to_the_same_facts(memory: Memory) -> None:
    memory.ingest([*HISTORY[:1], Document(id="talk", text="V. Shah works on Project Lantern. Shah, Vatsal signed it.")])
    assert {str(fact) for fact in memory.facts("V. Shah")} == {str(fact) for fact in memory.facts("Vatsal Shah")} != set()


def test_a_merge_can_be_undone(memory: Memory) -> None:
    memory.ingest([*HISTORY[:1], Document(id="talk", text="V. Shah works on Project Lantern.")])
    registry = memory.services.registry
    joined = registry.merges("default", decision="merge")
    assert joined
    for record in joined:
        registry.decide_merge(record.merge_id, "undone", now=memory.services.clock())
    assert [fact.object for fact in memory.facts("V. Shah")] == ["Project Lantern"]
    assert [fact.object for fact in memory.facts("Vatsal Shah")] == ["Project Alpha"]
