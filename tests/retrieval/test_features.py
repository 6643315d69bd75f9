"""What is read off a query before anything is searched."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag2_memory.errors import InvalidRequestError
from rag2_memory.retrieval.features import query_features


def test_identifiers_and_quoted_strings_must_be_found_exactly() -> None:
    features = query_features('Which board replaced X-402-V2 in "Get Low", and X-402-V2 again?')
    assert features.identifiers == ("X-402-V2",)
    assert features.quoted == ("Get Low",)
    assert features.exact == ("X-402-V2", "Get Low")


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("Who directed it?", "who"),
        ("To whom does it belong?", "who"),
        ("In which year did it end?", "which"),
        ("When did it end?", "when"),
        ("Where is it?", "where"),
        ("Why?", "why"),
        ("How does it work?", "how"),
        ("How many boards are there?", "how_many"),
        ("What is it?", "what"),
        ("Were both of them American?", "yes_no"),
        ("Name the boards.", "what"),
        ("Boards inhibit growth.", "statement"),
        ("", "statement"),
    ],
)
def test_the_question_word_gives_the_type(query: str, kind: str) -> None:
    assert query_features(query).question_type == kind


def test_names_numbers_and_relation_words_are_given_as_written() -> None:
    features = query_features("Which service does Project Alpha depend on, owned by Ada Lovelace, after 3 audits and 2.5%?")
    assert features.names == ("Project Alpha", "Ada Lovelace")
    assert features.numbers == ("3", "2.5%")
    assert features.relation_words == ("owned",)


def test_rare_terms_carry_their_share_of_the_inverse_document_frequency() -> None:
    frequencies = {"gateway": 1, "service": 400, "restart": 50}
    features = query_features("restart the gateway service", document_frequency=lambda word: frequencies[word], chunks=1000)

    def idf(count: int) -> float:
        return math.log(1 + (1000 - count + 0.5) / (count + 0.5))

    assert features.rare_terms == ("gateway",)
    assert features.rare_term_share == pytest.approx(idf(1) / (idf(1) + idf(400) + idf(50)))


def test_without_frequencies_nothing_is_said_of_rare_terms() -> None:
    features = query_features("restart the gateway")
    assert features.rare_terms == ()
    assert features.rare_term_share is None


@pytest.mark.parametrize("chunks", [None, 0])
def test_frequencies_without_a_number_of_chunks_are_refused(chunks: int | None) -> None:
    with pytest.raises(InvalidRequestError, match="number of chunks"):
        query_features("gateway", document_frequency=lambda _: 1, chunks=chunks)


@settings(deadline=None)
@given(st.text(max_size=200), st.integers(1, 10_000))
def test_any_text_has_features_with_a_share_in_its_range(query: str, chunks: int) -> None:
    features = query_features(query, document_frequency=lambda word: len(word) ** 3, chunks=chunks)
    assert features.rare_term_share is not None
    assert 0 <= features.rare_term_share <= 1
    assert features == query_features(query, document_frequency=lambda word: len(word) ** 3, chunks=chunks)
