"""How much a fact has to do with a question: relation, role, type, unit, nearness in time."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from rag2_memory.knowledge.schema import DEFAULT_SCHEMA
from rag2_memory.retrieval.fact_relevance import ASKED, asks_for_relation, may_ask_for, ranked_facts, relevance, says, without_relation
from rag2_memory.retrieval.facts import of_predicate
from rag2_memory.types import Fact


def fact(subject: str, predicate: str, target: str, **fields: object) -> Fact:
    fields.setdefault("properties", {})
    return Fact(subject=subject, predicate=predicate, object=target, evidence=("c1",), **fields)  # type: ignore[arg-type]


OWNER = fact("kiln-driver", "DEVELOPED_BY", "Carla Venn", properties={"role": "owner"}, subject_type="Component", object_type="Developer")
MAKER = fact("kiln-driver", "DEVELOPED_BY", "Ibo Lund", properties={"role": "author"}, subject_type="Component", object_type="Developer")
LEAD = fact("Carla Venn", "LEAD_ARCHITECT_OF", "Project Glaze", subject_type="Developer", object_type="Project")
NEEDS = fact("Project Glaze", "DEPENDS_ON", "kiln-driver", subject_type="Project", object_type="Component")
KEPT = fact("parcel slips", "RELATED_TO", "21 days", properties={"phrase": "kept for"})
PORT = fact("kiln-driver", "RELATED_TO", "7450", properties={"phrase": "default port"})


def first(question: str, *facts: Fact) -> Fact:
    return ranked_facts(facts, question, asks_who=question.startswith("Who"), schema=DEFAULT_SCHEMA)[0][0]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Who owns kiln-driver?", OWNER),
        ("Who wrote kiln-driver?", MAKER),
        ("Who is in charge of Project Glaze?", LEAD),
        ("What does Project Glaze need?", NEEDS),
        ("After how many days are parcel slips thrown away?", KEPT),
        ("On which port does kiln-driver answer by default?", PORT),
    ],
    ids=["owner", "maker", "lead", "needs", "unit", "phrase"],
)
def test_the_fact_that_a_question_asks_for_comes_first(question: str, expected: Fact) -> None:
    assert first(question, NEEDS, KEPT, PORT, LEAD, OWNER, MAKER) is expected
    assert relevance(expected, question, asks_who=question.startswith("Who"), schema=DEFAULT_SCHEMA) >= ASKED


def test_the_wrong_role_is_not_asked_for() -> None:
    assert relevance(OWNER, "the person who designed it", asks_who=False, schema=DEFAULT_SCHEMA) < ASKED


def test_what_still_holds_goes_before_what_has_ended() -> None:
    ended = fact("Ibo Lund", "LEAD_ARCHITECT_OF", "Project Glaze", valid_to=datetime(2020, 1, 1, tzinfo=timezone.utc))
    assert first("Who leads Project Glaze?", ended, LEAD) is LEAD


def test_a_text_nearby_may_say_what_the_question_leaves_out() -> None:
    question = "Who must agree?"
    assert relevance(LEAD, question, asks_who=True, schema=DEFAULT_SCHEMA) < ASKED
    assert relevance(LEAD, question, asks_who=True, schema=DEFAULT_SCHEMA, nearby="Longer ones need the lead of the project.") >= ASKED


def test_relevance_stays_in_its_range() -> None:
    question = "Who is the lead in charge of Project Glaze, Carla Venn? Which project does she head?"
    assert 0 <= relevance(LEAD, question, asks_who=True, schema=DEFAULT_SCHEMA) <= 1


@pytest.mark.parametrize(
    ("predicate", "expected"),
    [
        ("DEVELOPED_BY", [OWNER, MAKER]),
        ("owned by", [OWNER, MAKER]),
        ("boss", [LEAD]),
        ("kept for", [KEPT]),
        ("port", [PORT]),
        ("default port", [PORT]),
        ("invented word", []),
    ],
)
def test_facts_are_asked_for_by_predicate_alias_phrase_or_word(predicate: str, expected: list[Fact]) -> None:
    assert of_predicate([OWNER, MAKER, LEAD, NEEDS, KEPT, PORT], predicate, DEFAULT_SCHEMA) == expected


def test_what_facts_explain_is_taken_out_of_a_question() -> None:
    words = "In which room does the lead of Project Glaze work".split()
    assert "room" in without_relation(words, [LEAD], DEFAULT_SCHEMA, covered="a work day")
    assert not {"lead", "Glaze", "work"} & set(without_relation(words, [LEAD], DEFAULT_SCHEMA, covered="a work day"))


def test_words_tell_which_relations_are_asked_for() -> None:
    assert asks_for_relation("Who heads it?", DEFAULT_SCHEMA)
    assert not asks_for_relation("Is it blue?", DEFAULT_SCHEMA)
    assert may_ask_for("RELATED_TO", "anything", DEFAULT_SCHEMA)
    assert not may_ask_for("DEPRECATED", "Who heads it?", DEFAULT_SCHEMA)
    assert says(KEPT, "kept")
    assert not says(LEAD, "kept")
