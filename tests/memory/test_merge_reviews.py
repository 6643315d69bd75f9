"""Pairs of names that a person decides about: who sees them, what a decision does, and that it can be taken back."""

from __future__ import annotations

import pytest

from rag2_memory import Document, InvalidRequestError, Memory, Scope


@pytest.fixture
def ambiguous(memory: Memory) -> Memory:
    """A memory where V. Shah may be either of two."""
    memory.ingest(
        [
            Document(id="alpha", text="Vatsal Shah leads Project Alpha since 1 January 2026."),
            Document(id="beta", text="Viktor Shah leads Project Beta since 1 January 2026.", acl=frozenset({"user:ada"})),
            Document(id="gamma", text="V. Shah leads Project Gamma since 3 March 2026."),
        ]
    )
    return memory


def pairs(memory: Memory, scope: Scope | None = None) -> dict[str, int]:
    """Return the merge id by the name that would be kept."""
    return {review.kept.names[0]: review.merge_id for review in memory.merge_reviews(scope=scope)}


def led(memory: Memory, name: str) -> set[str]:
    """Return what the graph says a person leads."""
    return {fact.object for fact in memory.facts(name)}


def test_a_pair_is_shown_with_what_tells_its_sides_apart(ambiguous: Memory) -> None:
    (review,) = ambiguous.merge_reviews()
    assert (review.kept.names, review.absorbed.names) == (("Vatsal Shah",), ("V. Shah",))
    assert "Project Alpha" in review.kept.facts[0] and "Project Gamma" in review.absorbed.facts[0]
    assert review.reason and 0.75 <= review.score <= 1


def test_a_name_known_only_from_hidden_pages_is_not_up_for_review(ambiguous: Memory) -> None:
    assert "Viktor" not in str(ambiguous.merge_reviews(scope=Scope(user="bob")))
    seen = pairs(ambiguous, Scope(user="ada"))
    assert set(seen) == {"Vatsal Shah", "Viktor Shah"}
    with pytest.raises(InvalidRequestError, match="does not wait"):
        ambiguous.decide_merge(seen["Viktor Shah"], "merge", scope=Scope(user="bob"))
    assert pairs(ambiguous, Scope(user="ada")) == seen


def test_an_accepted_pair_answers_as_one_and_rules_the_other_out(ambiguous: Memory) -> None:
    ada = Scope(user="ada")
    ambiguous.decide_merge(pairs(ambiguous, ada)["Vatsal Shah"], "merge", scope=ada)
    assert led(ambiguous, "V. Shah") == led(ambiguous, "Vatsal Shah") == {"Project Alpha", "Project Gamma"}
    assert pairs(ambiguous, ada) == {}
    assert ambiguous.verify().ok


def test_a_rejected_pair_is_never_proposed_again(ambiguous: Memory) -> None:
    ambiguous.decide_merge(pairs(ambiguous)["Vatsal Shah"], "rejected")
    assert ambiguous.merge_reviews() == []
    ambiguous.ingest(Document(id="delta", text="V. Shah and Vatsal Shah met in Project Delta."))
    assert ambiguous.merge_reviews() == []
    assert led(ambiguous, "V. Shah") == {"Project Gamma"}


def test_an_undone_merge_leaves_no_trace(ambiguous: Memory) -> None:
    merge_id = pairs(ambiguous)["Vatsal Shah"]
    before = led(ambiguous, "Vatsal Shah"), led(ambiguous, "V. Shah")
    ambiguous.decide_merge(merge_id, "merge")
    ambiguous.decide_merge(merge_id, "undone")
    assert (led(ambiguous, "Vatsal Shah"), led(ambiguous, "V. Shah")) == before
    assert ambiguous.verify().ok


def test_a_cached_context_follows_a_decision(ambiguous: Memory) -> None:
    question = "What does V. Shah lead?"
    before = ambiguous.recall(question, budget=2_000)
    ambiguous.decide_merge(pairs(ambiguous)["Vatsal Shah"], "merge")
    after = ambiguous.recall(question, budget=2_000)
    assert "Project Alpha" not in str(before.facts) and "Project Alpha" in str(after.facts)
