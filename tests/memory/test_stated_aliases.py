"""Other names that documents state: they join entities for as long as an open document states them, and never what is merely called alike."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rag2_memory import Document, Memory, Scope
from rag2_memory.ingestion.stated_aliases import StatedAliases
from rag2_memory.knowledge.assembly import entity_id
from rag2_memory.records import Entity

Open = Callable[..., Memory]
FACTS = [
    Document(id="long", text="Priya Raman leads Project Nightingale since 2 February 2026."),
    Document(id="short", text="Jonas Weber maintains Project Owl."),
]
STATES = Document(id="names", text="Project Nightingale, also known as Project Owl, is a service for hospitals.")


def subjects(memory: Memory, name: str, scope: Scope | None = None) -> set[str]:
    return {fact.subject for fact in memory.facts(name, scope=scope)} | {fact.object for fact in memory.facts(name, scope=scope)}


def joined(memory: Memory) -> bool:
    return {"Priya Raman", "Jonas Weber"} <= subjects(memory, "Project Owl") | subjects(memory, "Project Nightingale") and (
        subjects(memory, "Project Owl") == subjects(memory, "Project Nightingale")
    )


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)], ids=str)
def test_a_stated_alias_joins_two_names_in_whichever_order_they_come(memory: Memory, order: tuple[int, ...]) -> None:
    documents = [*FACTS, STATES]
    for number in order:
        memory.ingest(documents[number])
    assert joined(memory)
    assert [record.decision for record in memory.services.registry.merges() if "another name" in record.reason] == ["merge"]


def test_without_it_they_are_two(memory: Memory) -> None:
    memory.ingest(FACTS)
    assert not joined(memory)


def test_what_only_some_may_know_joins_nothing(memory: Memory) -> None:
    memory.ingest([*FACTS, Document(id="names", text=STATES.text, acl=frozenset({"user:ada"}))])
    assert not joined(memory)


def test_forgetting_the_page_that_states_it_takes_the_merge_back(open_memory: Open) -> None:
    memory = open_memory()
    memory.ingest([*FACTS, STATES])
    assert joined(memory)
    memory.forget("names")
    assert not joined(memory)
    assert all("another name" not in record.reason for record in memory.services.registry.merges())
    assert memory.verify().ok
    memory.ingest(STATES)
    assert joined(memory)


def test_another_page_that_states_it_keeps_the_merge(memory: Memory) -> None:
    memory.ingest([*FACTS, STATES, Document(id="again", text=STATES.text)])
    memory.forget("names")
    assert joined(memory)


def test_restricting_the_page_takes_the_merge_back(memory: Memory) -> None:
    memory.ingest([*FACTS, STATES])
    memory.set_acl("names", ["user:ada"])
    assert not joined(memory)
    memory.set_acl("names", [])
    memory.ingest(Document(id="more", text="Nothing of note happened."))
    assert joined(memory)


def test_a_removed_page_is_noticed_at_night(memory: Memory) -> None:
    memory.ingest([*FACTS, STATES])
    memory.remove(["names"])
    report = memory.consolidate()
    assert len(report.withdrawn) == 1
    assert not joined(memory)
    assert memory.consolidate().withdrawn == ()


def test_a_merge_that_a_person_refused_stays_refused(memory: Memory) -> None:
    memory.ingest([*FACTS, STATES])
    (merge,) = [record.merge_id for record in memory.services.registry.merges(decision="merge") if "another name" in record.reason]
    memory.decide_merge(merge, "undone")
    memory.ingest(Document(id="again", text=STATES.text))
    memory.consolidate()
    assert not joined(memory)


def test_a_pair_that_waits_for_review_is_merged_once_a_page_states_it(memory: Memory) -> None:
    registry = memory.services.registry
    memory.ingest(FACTS)
    pair = [entity_id("default", key) for key in ("project nightingale", "project owl")]
    from rag2_memory.records import MergeRecord

    queued = MergeRecord(
        merge_id=0, namespace="default", kept_id=pair[0], absorbed_id=pair[1], decision="review", score=0.8, reason="a hunch"
    )
    registry.record_merges([queued], now=memory.services.clock())
    memory.ingest(STATES)
    assert joined(memory)
    assert registry.merges(decision="review") == []


def entity(name: str, type: str = "") -> Entity:
    return Entity(id=entity_id("n", name), namespace="n", key=name, name=name, type=type)


def test_one_acronym_for_two_things_joins_neither() -> None:
    aliases = StatedAliases("n", {entity("event bus").id: [{"EB"}], entity("elastic beanstalk").id: [{"EB", "Beanstalk"}]})
    assert aliases.of(entity("event bus"), {}) == frozenset()
    assert aliases.of(entity("elastic beanstalk"), {}) == frozenset({"beanstalk"})
    same = {entity("elastic beanstalk").id: entity("event bus").id}
    assert "eb" in aliases.of(entity("event bus"), same)


def test_a_label_that_several_titles_use_names_none_of_them() -> None:
    titles = [{"Sessions in Redis", "ADR 7: Sessions in Redis"}, {"A new font", "ADR 7: A new font"}]
    aliases = StatedAliases("n", {entity("adr 7").id: titles})
    assert aliases.of(entity("adr 7", "Document"), {}) == frozenset()
    assert aliases.of(entity("a new font", "Document"), {}) == frozenset()
    one = StatedAliases("n", {entity("adr 7").id: titles[:1] * 2})
    assert len(one.of(entity("adr 7", "Document"), {})) == 2
    assert "adr 7 sessions in redis" in one.of(entity("sessions in redis", "Document"), {})


def test_names_that_several_statements_join_are_all_other_names_of_each() -> None:
    aliases = StatedAliases(
        "n",
        {
            entity("adr 7").id: [{"Sessions in Redis", "ADR 7: Sessions in Redis"}],
            entity("adr 7 sessions in redis").id: [{"seventh page"}],
        },
    )
    assert {"sessions in redis", "adr 7 sessions in redis"} <= aliases.of(entity("seventh page"), {})
    assert "seventh page" in aliases.of(entity("adr 7"), {})
    assert "seventh page" in aliases.of(entity("sessions in redis"), {})
