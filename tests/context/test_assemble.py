from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rag2_memory.context import Context, ContextBudget, Share, compile_context, offline_token_counter
from rag2_memory.context.blocks import PROMOTED_BLOCKS, best_at_the_edges, joined
from rag2_memory.errors import BudgetTooSmallError, InvalidRequestError
from rag2_memory.types import Fact, Parent, Passage, Turn, utc

COUNTER = offline_token_counter()
TOPICS = ("billing", "search", "login", "maps", "export", "mail", "audit", "cache", "queue", "theme", "chart", "backup")


def passage(number: int, *, words: int = 30, **options: Any) -> Passage:
    topic = TOPICS[number % len(TOPICS)]
    text = " ".join(f"{topic}{number}x{at}" for at in range(words))
    fields: dict[str, Any] = {
        "chunk_id": f"k{number}",
        "document_id": f"d{number}",
        "title": f"About {topic}",
        "text": text,
        "score": 1 / number,
        "tokens": COUNTER.count(text),
    }
    return Passage(**(fields | options))


def compiled(passages: list[Passage], budget: ContextBudget | int = 16_000, **options: Any) -> Context:
    return compile_context("What happened?", passages=passages, budget=budget, counter=COUNTER, **options)


def kept(context: Context) -> set[str]:
    return {chunk_id for block in context.blocks for chunk_id in block.chunk_ids}


def reasons(context: Context) -> dict[str, str]:
    return {item.id: item.reason for item in context.dropped}


def test_everything_that_fits_is_kept_and_nothing_dropped() -> None:
    context = compiled([passage(number) for number in range(1, 9)])
    assert kept(context) == {f"k{number}" for number in range(1, 9)}
    assert context.dropped == ()
    assert context.tokens == COUNTER.count(context.text)


def test_relevance_per_token_decides_and_the_best_is_kept_in_any_case() -> None:
    long_best = passage(1, words=200, score=1.0)
    long_weak = passage(2, words=200, score=0.5)
    short = [passage(number, words=10, score=0.4) for number in range(3, 9)]
    needed = long_best.tokens + sum(passage.tokens for passage in short)
    context = compiled([long_best, long_weak, *short], needed + 700)
    assert kept(context) == {"k1", *(f"k{number}" for number in range(3, 9))}
    assert reasons(context) == {"k2": "no room left for passages"}


def test_the_best_passage_is_shortened_where_it_is_larger_than_all_room() -> None:
    best = passage(1, words=400)
    context = compiled([best, passage(2, words=150)], 1_200)
    (block,) = context.blocks
    assert block.chunk_ids == ("k1",)
    assert block.truncated
    assert block.text.endswith(" […]")
    assert best.text.startswith(block.text.removesuffix(" […]"))
    assert context.budget.input_tokens * 0.8 <= context.tokens <= context.budget.input_tokens


def test_a_budget_that_holds_only_the_frame_gives_an_empty_context_with_everything_dropped() -> None:
    with pytest.raises(BudgetTooSmallError) as caught:
        compiled([passage(1)], 10)
    smallest = caught.value.needed_tokens
    assert str(smallest) in str(caught.value)
    facts = [Fact(subject="Ada", predicate="leads", object="Alpha")]
    context = compiled([passage(1), passage(2)], smallest, facts=facts, history=[("user", "Hello there")])
    assert (context.blocks, context.facts, context.history, context.citations) == ((), (), (), {})
    assert sorted(item.kind for item in context.dropped) == ["fact", "message", "passage", "passage"]
    with pytest.raises(BudgetTooSmallError):
        compiled([], smallest - 1)


def test_guidelines_are_kept_whole_and_may_exceed_their_share() -> None:
    guidelines = " ".join(f"rule{number}." for number in range(150))
    context = compiled([passage(number) for number in range(1, 20)], 2_000, guidelines=guidelines)
    segments = context.trace["budget"]["segments"]
    assert guidelines in context.text
    assert segments["guidelines"]["used"] > segments["guidelines"]["allotted"] == 300
    assert segments["guidelines"]["borrowed"] > 0
    assert context.tokens <= 1_800


def test_guidelines_beyond_their_own_maximum_are_refused() -> None:
    budget = ContextBudget(window_tokens=8_000, guidelines=Share(0.15, maximum=100))
    with pytest.raises(InvalidRequestError, match="maximum=100"):
        compiled([], budget, guidelines="word " * 200)


def test_near_duplicates_go_once_and_the_better_one_stays() -> None:
    text = "The nightly import moved the damaged files into the quarantine folder and told the owner."
    found = [passage(1, text=text), passage(2, text=text.upper()), passage(3, text="A different passage."), passage(1, text=text)]
    context = compiled(found)
    assert kept(context) == {"k1", "k3"}
    assert reasons(context) == {"k2": "near-duplicate of k1", "k1": "the same chunk twice"}


def test_neighbouring_chunks_become_one_block() -> None:
    found = [passage(number, document_id="d", title="T", heading_path=("T", "S"), ordinal=number) for number in (1, 2, 4)]
    other = passage(5, document_id="d", title="T", heading_path=("T", "Other"), ordinal=3)
    context = compiled([*found, other])
    merged = next(block for block in context.blocks if block.kind == "merged")
    assert merged.chunk_ids == ("k1", "k2")
    assert merged.text == f"{found[0].text}\n{found[1].text}"
    assert merged.score == found[0].score + found[1].score
    assert merged.citation_id == "c1"
    assert [block.chunk_ids for block in context.blocks] == [("k1", "k2"), ("k5",), ("k4",)], "one document, in reading order"
    assert context.citations["c1"].chunk_ids == ("k1", "k2")


def test_the_overlap_of_neighbours_is_shown_once() -> None:
    assert joined("one two three four five six", "two three four five six seven") == "one two three four five six seven"
    assert joined("ends in a", "a begins") == "ends in a\na begins"


def test_chunks_become_their_parent_where_there_is_room() -> None:
    found = [passage(number, document_id="d", parent_id="p", ordinal=number) for number in (1, 3)]
    text = f"{found[0].text}\nbetween them\n{found[1].text}"
    parent = Parent(id="p", document_key="key", heading_path=("Whole",), text=text, tokens=COUNTER.count(text), start=0, end=len(text))
    (block,) = compiled(found, parents={"p": parent}).blocks
    assert (block.kind, block.text, block.chunk_ids, block.heading_path) == ("parent", text, ("k1", "k3"), ("Whole",))
    assert {block.kind for block in compiled(found, 1_500, parents={"p": text * 9}).blocks} == {"chunk"}, "too large"


def test_a_parent_that_does_not_hold_the_passage_never_replaces_it() -> None:
    assert [block.kind for block in compiled([passage(1, parent_id="p")], parents={"p": "Another part of the document. " * 20}).blocks] == [
        "chunk"
    ]


def test_the_same_passage_handed_in_twice_is_accounted_for_twice() -> None:
    found = [passage(number) for number in range(1, 30)]
    context = compiled([*found, *found], 1_500)
    assert len(kept(context)) + len(context.dropped) == 58


def test_the_indentation_of_code_is_kept() -> None:
    code = "    def run(self):\n        return 1"
    assert compiled([passage(1, text=f"\n{code}\n\n")]).blocks[0].text == code
    assert f">\n{code}\n</passage>" in compiled([passage(1, text=code)]).text


def test_promotion_never_costs_another_passage_its_place() -> None:
    found = [passage(number, parent_id=f"p{number}") for number in range(1, 12)]
    parents = {f"p{number}": f"Before. {passage(number).text} {passage(number, words=60).text}" for number in range(1, 12)}
    for window in range(800, 9_000, 400):
        assert kept(compiled(found, window, parents=parents)) == kept(compiled(found, window))


def test_a_passage_that_found_no_room_but_stands_in_a_parent_is_dropped_with_that_reason() -> None:
    first, second = passage(1, document_id="d", parent_id="p"), passage(2, document_id="d", parent_id="p", ordinal=9, score=0.0)
    third = passage(3, words=100, score=0.9)
    text = f"{first.text} {second.text}"
    for window in range(400, 3_000, 10):
        context = compiled([first, second, third], window, parents={"p": text})
        if "k2" in reasons(context) and any(block.kind == "parent" for block in context.blocks):
            assert reasons(context)["k2"].startswith("already inside c1")
            return
    pytest.fail("no window shows the case")


def test_only_the_best_blocks_are_promoted() -> None:
    found = [passage(number, parent_id=f"p{number}") for number in range(1, 31)]
    context = compiled(found, 128_000, parents={f"p{number}": f"Around: {passage(number).text}" for number in range(1, 31)})
    promoted = {block.chunk_ids[0] for block in context.blocks if block.kind == "parent"}
    assert promoted == {f"k{number}" for number in range(1, PROMOTED_BLOCKS + 1)}


def test_the_best_documents_stand_at_the_edges() -> None:
    context = compiled([passage(number) for number in range(1, 8)])
    assert [block.chunk_ids[0] for block in context.blocks] == ["k1", "k3", "k5", "k7", "k6", "k4", "k2"]
    assert best_at_the_edges([]) == []


def test_turns_of_a_thread_stand_together_in_their_order() -> None:
    turns = [passage(n, turn=Turn(thread_id="t", ordinal=9 - n, speaker="Ada", at=utc("2026-01-01"))) for n in (1, 3, 5)]
    context = compiled([turns[0], passage(2), turns[1], passage(4), turns[2]])
    order = [block.chunk_ids[0] for block in context.blocks]
    at = order.index("k5")
    assert order[at : at + 3] == ["k5", "k3", "k1"]


def test_scores_below_zero_count_as_low_relevance_not_as_harm() -> None:
    context = compiled([passage(number, score=-float(number)) for number in range(1, 5)])
    assert kept(context) == {"k1", "k2", "k3", "k4"}
    assert context.blocks[0].chunk_ids == ("k1",)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf")])
def test_a_score_that_is_no_number_counts_as_nothing(score: float) -> None:
    context = compiled([passage(1, score=0.5), passage(2, score=score)])
    assert context.blocks[0].chunk_ids == ("k1",)
    assert Context.from_json(context.to_json()) == context


def test_wrong_or_missing_token_counts_never_break_the_budget() -> None:
    for tokens in (0, 1, 100_000):
        context = compiled([replace(passage(number), tokens=tokens) for number in range(1, 40)], 3_000)
        assert COUNTER.count(context.text) <= 2_700


def test_facts_are_kept_in_their_order_and_once() -> None:
    led = Fact(subject="Ada", predicate="leads", object="Alpha", edge_id="e1", evidence=("k1",), documents=("d1",))
    facts = [led, replace(led, edge_id="e2"), *(replace(led, object=f"Project {number}", edge_id=f"e{number}") for number in range(3, 40))]
    context = compiled([], 1_000, facts=facts)
    assert context.facts[0] == led
    assert [fact.edge_id for fact in context.facts] == sorted((fact.edge_id for fact in context.facts), key=lambda name: int(name[1:]))
    assert reasons(context)["e2"] == "the same fact twice"
    assert len(context.facts) + len(context.dropped) == len(facts)
    assert context.citations["f1"].chunk_ids == ("k1",)
    assert context.citations["f1"].statement == "Ada –leads→ Alpha"


def test_the_account_adds_up() -> None:
    facts = [Fact(subject="Ada", predicate="leads", object=f"Project {number}") for number in range(200)]
    context = compiled([passage(number) for number in range(1, 60)], 4_000, facts=facts, history=[("user", "Hi")], guidelines="Be brief.")
    account = context.trace["budget"]
    segments = account["segments"]
    assert account["window"] == 4_000
    assert account["used"] == context.tokens == sum(segments[name]["used"] for name in ("guidelines", "graph", "passages", "history"))
    assert account["used"] + account["query"] + account["unused"] == account["input"] == 3_600
    assert segments["response"] == {"allotted": 400, "used": 0, "borrowed": 0, "lent": 0}
    assert segments["passages"]["borrowed"] > 0
    assert segments["graph"]["used"] <= segments["graph"]["allotted"] == 1_000
    assert sum(entry["borrowed"] for entry in segments.values()) <= sum(entry["lent"] for entry in segments.values())


@pytest.mark.parametrize(
    ("trace", "expected"), [([{"stage": "fuse"}], {"stages": [{"stage": "fuse"}]}), ({"route": "auto"}, {"route": "auto"}), (None, {})]
)
def test_the_callers_trace_is_kept_beside_the_account(trace: Any, expected: dict[str, Any]) -> None:
    told = dict(compiled([], trace=trace).trace)
    assert set(told.pop("budget")["segments"]) == {"guidelines", "graph", "passages", "history", "response"}
    assert told == expected


def test_an_over_budget_rendering_is_reduced_until_it_fits() -> None:
    class Growing:
        """Counts a long text higher than its parts together: no estimate from parts holds."""

        name = "growing"

        def count(self, text: str) -> int:
            return len(text) // 4 + (len(text) // 100) ** 2

    context = compile_context("q", passages=[passage(number) for number in range(1, 20)], budget=3_000, counter=Growing())
    assert context.blocks
    assert Growing().count(context.text) <= 2_700
    assert any("over budget" in item.reason for item in context.dropped)


def test_two_thousand_candidates_get_distinct_citations() -> None:
    context = compiled(
        [passage(number, words=3, text=f"note {number} of {TOPICS[number % 12]}", title="") for number in range(1, 2_001)], 200_000
    )
    assert len(context.citations) == len(context.blocks) == 2_000
    assert context.cite("[c2000]").citations == (context.citations["c2000"],)
    assert context.cite("[c2001]").unknown == ("c2001",)
