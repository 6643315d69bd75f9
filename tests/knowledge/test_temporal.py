"""Facts at a point of both time axes, and edges as JSON."""

from __future__ import annotations

from datetime import datetime

import pytest

from rag2_memory.knowledge.schema import DEFAULT_SCHEMA
from rag2_memory.knowledge.temporal import fact_json, facts_at
from rag2_memory.records import Assertion, Entity
from rag2_memory.types import AsOf, Fact, utc

LEAD = "LEAD_ARCHITECT_OF"
ENTITIES = {
    key: Entity(id=key, namespace="n", key=key, name=name, type=node_type)
    for key, name, node_type in [
        ("vatsal", "Vatsal Shah", "Developer"),
        ("priya", "Priya Raman", "Developer"),
        ("alpha", "Project Alpha", "Project"),
        ("cache", "token-cache", "Component"),
    ]
}


def says(
    subject: str, predicate: str, target: str, start: str | None = None, *, chunk: str = "c1", recorded: str = "2026-02-10", **more: object
) -> Assertion:
    return Assertion(
        edge_id=f"{subject}-{predicate}-{target}-{start}",
        namespace="n",
        subject_id=subject,
        predicate=predicate,
        object_id=target,
        chunk_id=chunk,
        valid_from=utc(start) if start else None,
        recorded_at=utc(recorded),
        **more,  # type: ignore[arg-type]
    )


HISTORY = [
    says("vatsal", LEAD, "alpha", "2025-04-01", recorded="2025-04-02"),
    says("vatsal", LEAD, "alpha", "2025-04-01", chunk="c2", recorded="2025-05-01"),
    says("priya", LEAD, "alpha", "2026-02-02", recorded="2026-02-10"),
]


def ask(as_of: AsOf | str | None = None, during: tuple[datetime | None, datetime | None] | None = None) -> list[Fact]:
    return facts_at(
        HISTORY, entities=ENTITIES, schema=DEFAULT_SCHEMA, as_of=AsOf.of(as_of), during=during, documents={"c1": "d1", "c2": "d2"}
    )


def test_the_whole_history_is_shown_open_facts_first_with_all_their_evidence() -> None:
    now, before = ask()
    assert (now.subject, now.status, now.valid_to) == ("Priya Raman", "active", None)
    assert (before.subject, before.status, before.valid_to) == ("Vatsal Shah", "inactive", utc("2026-02-02"))
    assert before.evidence == ("c1", "c2")
    assert before.documents == ("d1", "d2")
    assert before.recorded_at == utc("2025-04-02")


@pytest.mark.parametrize(
    ("day", "lead"), [("2025-03-31", []), ("2025-04-01", ["Vatsal Shah"]), ("2026-02-01", ["Vatsal Shah"]), ("2026-02-02", ["Priya Raman"])]
)
def test_a_point_of_valid_time_shows_what_held_then(day: str, lead: list[str]) -> None:
    assert [fact.subject for fact in ask(day)] == lead


def test_what_the_memory_knew_back_then_has_no_successor_yet() -> None:
    (fact,) = ask(AsOf(recorded=utc("2026-02-05")))
    assert (fact.subject, fact.valid_to, fact.status) == ("Vatsal Shah", None, "active")
    assert ask(AsOf(recorded=utc("2025-01-01"))) == []
    assert [fact.subject for fact in ask(AsOf(recorded=utc("2026-02-05"), valid=utc("2026-03-01")))] == ["Vatsal Shah"]


def test_a_window_shows_what_held_at_some_moment_of_it() -> None:
    assert {fact.subject for fact in ask(during=(utc("2026-01-01"), utc("2026-03-01")))} == {"Vatsal Shah", "Priya Raman"}
    assert {fact.subject for fact in ask(during=(utc("2026-03-01"), None))} == {"Priya Raman"}


def test_a_momentary_fact_is_in_a_window_only_if_it_happened_there() -> None:
    updates = [says("cache", "UPDATED_BY", "priya", "2026-05-22"), says("cache", "UPDATED_BY", "vatsal", "2026-03-01")]
    found = facts_at(updates, entities=ENTITIES, schema=DEFAULT_SCHEMA, during=(utc("2026-05-20"), None))
    assert [fact.object for fact in found] == ["Priya Raman"]


def test_an_edge_whose_endpoint_the_scope_does_not_know_does_not_exist() -> None:
    unknown = {key: entity for key, entity in ENTITIES.items() if key != "priya"}
    assert [fact.subject for fact in facts_at(HISTORY, entities=unknown, schema=DEFAULT_SCHEMA)] == ["Vatsal Shah"]


def test_an_edge_that_a_merge_has_bent_into_a_loop_is_not_shown() -> None:
    assert facts_at([says("vatsal", "RELATED_TO", "priya")], entities=ENTITIES, schema=DEFAULT_SCHEMA, canonical={"vatsal": "priya"}) == []


def test_a_name_that_stands_for_unlike_things_takes_the_type_its_predicate_asks_for() -> None:
    homonym = ENTITIES | {"vatsal": Entity(id="vatsal", namespace="n", key="vatsal", name="Vatsal", type="Component")}
    (fact,) = facts_at([HISTORY[0]], entities=homonym, schema=DEFAULT_SCHEMA)
    assert (fact.subject_type, fact.object_type) == ("Developer", "Project")


def test_an_ended_edge_reads_as_json_with_status_and_end() -> None:
    edge = fact_json(ask()[1])
    assert (edge["source"], edge["predicate"], edge["target"]) == ("Vatsal Shah", LEAD, "Project Alpha")
    assert edge["properties"] == {
        "created_at": "2025-04-01T00:00:00Z",
        "updated_at": "2026-02-02T00:00:00Z",
        "ended_at": "2026-02-02T00:00:00Z",
        "recorded_at": "2025-04-02T00:00:00Z",
        "status": "inactive",
        "confidence": 1.0,
        "evidence": ["c1", "c2"],
    }


def test_an_open_edge_has_no_end_and_an_undated_one_begins_when_it_was_recorded() -> None:
    properties = fact_json(ask()[0])["properties"]
    assert properties["status"] == "active"
    assert "ended_at" not in properties
    (undated,) = facts_at([says("priya", "CONTRIBUTES_TO", "alpha")], entities=ENTITIES, schema=DEFAULT_SCHEMA)
    assert fact_json(undated)["properties"]["created_at"] == "2026-02-10T00:00:00Z"


def test_an_end_in_the_future_leaves_the_edge_active_until_then() -> None:
    ended = ask()[1]
    assert fact_json(ended, now=utc("2026-01-01"))["properties"]["status"] == "active"
    assert fact_json(ended, now=utc("2026-03-01"))["properties"]["status"] == "inactive"
