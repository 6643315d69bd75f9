"""The second step of a question: facts lead to what the question does not name, days to the passages that state them."""

from __future__ import annotations

import pytest

from rag2_memory import Document, Memory, MemoryConfig, Scope
from rag2_memory.testing.fakes import FakeEmbedder

NOISE = [
    Document(
        id=f"noise-{place}",
        title=f"Ward round {place}",
        text=f"On round {place} the office of the lead nurse was closed and nobody could sit.",
    )
    for place in range(8)
]


def hospital(*, config: MemoryConfig | None = None) -> Memory:
    """A small wiki of a hospital, in which one step of a question stands in each document."""
    memory = Memory.in_memory(embedder=FakeEmbedder(256), config=config)
    memory.ingest(
        [
            *NOISE,
            Document(id="heron", title="Project Heron", text="Infusion pumps that report by themselves.\n\nLead: Odile Marchand"),
            Document(id="rooms", title="Where people sit", text="Marchand, Odile has the corner room on the third floor of the east wing."),
            Document(id="tern", title="Project Tern", text="New beds.\n\nLead: Viktor Salo"),
            Document(id="floor", title="Who sits where", text="Viktor Salo: basement, next to the boiler room."),
        ]
    )
    return memory


def found(memory: Memory, question: str, *, scope: Scope | None = None) -> list[str]:
    return [passage.document_id for passage in memory.search(question, k=3, scope=scope)]


def test_a_fact_leads_to_the_passage_about_what_the_question_does_not_name() -> None:
    with hospital() as memory:
        assert set(found(memory, "In which room does the lead of Project Heron work?")[:2]) == {"heron", "rooms"}
        assert set(found(memory, "In which room does the lead of Project Tern work?")[:2]) == {"tern", "floor"}


def test_what_is_asked_of_the_far_end_is_searched_for_though_it_is_a_name_too() -> None:
    with hospital() as memory:
        memory.ingest(
            [
                Document(id="desk", title="Office", text="The Office answers letters."),
                Document(
                    id="directory",
                    title="Directory",
                    text="# Directory\n\n| Name | Office | Extension |\n|---|---|---|\n| Odile Marchand | Ghent | 12 |\n| Viktor Salo | Leuven | 14 |",
                ),
            ]
        )
        question = "In which office does the lead of Project Heron sit?"
        planned = memory.recall(question).trace["stages"][1]
        assert {"office", "project heron"} <= set(planned["entities"])
        assert set(found(memory, question)[:2]) == {"heron", "directory"}


def test_the_best_hits_give_the_facts_where_the_question_names_nothing() -> None:
    with hospital() as memory:
        memory.ingest(
            [
                Document(
                    id="pumps",
                    title="Note on alarms",
                    text="`drip-scheduler` decides when an empty bag rings. It was designed by Agnes Toth.",
                ),
                Document(id="leaving", title="Goodbyes in spring", text="Agnes Toth left in April to sail around the world."),
                Document(id="other", title="More goodbyes", text="Paula Renn left in May to keep bees."),
            ]
        )
        assert found(memory, "Has the person left who designed what rings when a bag is empty?")[:2] == ["pumps", "leaving"]


def test_what_the_scope_cannot_see_leads_nowhere() -> None:
    with hospital() as memory:
        memory.set_acl("heron", ["user:odile"])
        question = "In which room does the lead of Project Heron work?"
        state = memory.graph.invoke({"query": question})
        bridges = next(record for record in state["trace"] if record["stage"] == "follow_links").get("bridges", [])
        assert "Odile Marchand" not in bridges
        assert "heron" in found(memory, question, scope=Scope(user="odile"))


@pytest.mark.parametrize("day", ["3 March 2024", "2024-03-03", "March 3rd, 2024"])
def test_a_passage_that_states_the_day_in_another_form_goes_first(day: str) -> None:
    with Memory.in_memory(embedder=FakeEmbedder(256)) as memory:
        memory.ingest(
            [
                Document(
                    id=f"log-{number}",
                    title=f"Log of the ferry, sheet {number}",
                    text=f"Engine failure off the pier on {date}, towed home.",
                )
                for number, date in enumerate(["03/03/2024", "14 June 2023", "5 May 2024", "1 March 2024", "3 April 2024"])
            ]
        )
        assert found(memory, f"What does the ferry's log say of the engine failure of {day}?")[0] == "log-0"


def test_a_statement_is_not_bridged() -> None:
    with hospital() as memory:
        state = memory.graph.invoke({"query": "The lead of Project Heron works in a corner room."})
        follow = next(record for record in state["trace"] if record["stage"] == "follow_links")
        assert follow["bridges"] == []


def test_a_document_that_a_fact_leads_to_is_found_by_what_it_is_about() -> None:
    with hospital() as memory:
        memory.ingest(
            [
                Document(
                    id="fall", title="Incident: a bed rolled away", text="On 3 March 2024 a bed rolled away. See [ADR 7](0007-brakes.md)."
                ),
                Document(id="adr/0007-brakes.md", title="ADR 7: Brakes on two wheels", text="Four are dearer. Written by Agnes Toth."),
            ]
        )
        assert set(found(memory, "Which decision record is mentioned in the report on the bed that rolled away?")[:2]) == {
            "fall",
            "adr/0007-brakes.md",
        }


def test_without_the_graph_nothing_is_bridged() -> None:
    with hospital(config=MemoryConfig(graph_ranking=False)) as memory:
        state = memory.graph.invoke({"query": "In which room does the lead of Project Heron work?"})
        assert "bridges" not in str(state["trace"])
