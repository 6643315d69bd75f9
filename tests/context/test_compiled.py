from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.messages import HumanMessage, SystemMessage

from rag2_memory.context import Context, ContextBudget, Share, compile_context, offline_token_counter
from rag2_memory.context.parse import parse_context
from rag2_memory.types import Fact, Passage, utc

COUNTER = offline_token_counter()


@pytest.fixture
def context() -> Context:
    found = [
        Passage(
            chunk_id=f"k{number}",
            document_id=f"d{number}",
            title=f"Title {number}",
            text=f"Passage number {number} says something of its own.",
            heading_path=("Top", "Sub"),
            score=1 / number,
            uri=f"docs/{number}.md",
            modified_at=utc("2026-03-15"),
            metadata={"team": "billing", "at": utc("2026-01-01"), "tags": ("a", "b")},
        )
        for number in (1, 2)
    ]
    led = Fact(subject="Ada", predicate="leads", object="Alpha", valid_from=utc("2024-01-01"), properties={"at": utc("2024-01-01")})
    return compile_context(
        "Who leads <Alpha>?",
        passages=found,
        facts=[led],
        history=[("user", "Hi"), HumanMessage("Still there?", id="m1")],
        guidelines="Cite <sources>.",
        budget=ContextBudget(window_tokens=8_000, response=Share(500)),
        counter=COUNTER,
        trace=[{"stage": "fuse", "ms": 0.5, "when": utc("2026-03-15")}],
        history_summary="They met.",
    )


def test_a_context_survives_json(context: Context) -> None:
    restored = Context.from_json(context.to_json())
    assert restored == context
    assert restored.to_json() == context.to_json()
    assert restored.messages() == context.messages()
    assert restored.cite("[c1]") == context.cite("[c1]")


def test_a_context_with_half_a_character_survives_json() -> None:
    context = compile_context("q \ud800", history=[HumanMessage("half \ud83d")], counter=COUNTER, budget=4_000)
    text = context.to_json()
    text.encode("utf-8")
    assert Context.from_json(text) == context


def test_a_number_that_exceeds_64_bits_survives_json() -> None:
    context = compile_context("q", trace=[{"stage": "fuse", "seed": 2**70}], counter=COUNTER, budget=4_000)
    restored = Context.from_json(context.to_json())
    assert restored == context
    assert restored.trace["stages"][0]["seed"] == 2**70


def test_messages_are_the_system_message_the_history_and_the_query(context: Context) -> None:
    system, first, second, question = context.messages()
    assert isinstance(system, SystemMessage)
    assert str(system.content).startswith("Cite <sources>.\n\n<context>")
    parsed = parse_context(str(system.content).removeprefix("Cite <sources>.\n\n"))
    assert (list(parsed.passages), list(parsed.facts), parsed.messages, parsed.summary) == (["c1", "c2"], ["f1"], (), "They met.")
    assert [first.content, second.content, second.id] == ["Hi", "Still there?", "m1"]
    assert isinstance(question, HumanMessage)
    assert question.content == "Who leads <Alpha>?"


@pytest.mark.parametrize("window", [200, 400, 1_000, 8_000])
def test_messages_together_stay_within_the_budget(window: int) -> None:
    found = [Passage(chunk_id=f"k{n}", document_id=f"d{n}", title="T", text=f"word{n} " * 40, score=1.0) for n in range(60)]
    history = [("user", f"question {n} " * 10) for n in range(20)]
    guidelines = "Use <b>tags</b> & cite."
    context = compile_context("What now? " * 5, passages=found, history=history, guidelines=guidelines, budget=window, counter=COUNTER)
    assert sum(COUNTER.count(str(message.content)) + 4 for message in context.messages()) <= context.budget.input_tokens


def test_citations_resolve_to_their_source(context: Context) -> None:
    citation = context.citations["c1"]
    assert (citation.document_id, citation.chunk_ids, citation.title, citation.uri) == ("d1", ("k1",), "Title 1", "docs/1.md")
    assert (citation.heading_path, citation.modified_at) == (("Top", "Sub"), utc("2026-03-15"))
    assert citation.metadata == {"team": "billing", "at": "2026-01-01T00:00:00+00:00", "tags": ["a", "b"]}
    assert context.citations["f1"].statement == "Ada –leads→ Alpha [2024-01-01/..]"


@pytest.mark.parametrize(
    ("answer", "found", "unknown"),
    [
        ("Ada leads it [f1], see [c2] and [c2].", ["f1", "c2"], []),
        ("[c2, C1; f1]", ["c2", "c1", "f1"], []),
        ("[c1][c2] 【c1】 [source: c2] [^c1]", ["c1", "c2"], []),
        ("[c9] [1] [doc3] [c1, c7]", ["c1"], ["c9", "1", "doc3", "c7"]),
        ("[c01]", [], ["c01"]),
        ("no citation, c1 alone, (c1), [see above], [2026], [x]", [], []),
        ("", [], []),
    ],
)
def test_the_ids_of_an_answer_are_resolved_and_unknown_ones_reported(
    context: Context, answer: str, found: list[str], unknown: list[str]
) -> None:
    cited = context.cite(answer)
    assert [citation.id for citation in cited.citations] == found
    assert list(cited.unknown) == unknown


def test_an_answer_of_brackets_is_searched_in_linear_time(context: Context) -> None:
    assert context.cite("[c1 " * 50_000 + "[1" * 50_000).citations == ()


@pytest.mark.parametrize("format", ["markdown", "json"])
def test_a_context_can_be_rendered_in_another_format(context: Context, format: Any) -> None:
    parsed = parse_context(context.render(format), format)
    original = parse_context(context.text)
    assert parsed == original
    assert context.render("xml") == context.text


def test_the_trace_holds_json_values_only(context: Context) -> None:
    assert json.loads(json.dumps(context.trace)) == context.trace
    assert context.trace["stages"] == [{"stage": "fuse", "ms": 0.5, "when": "2026-03-15T00:00:00+00:00"}]
