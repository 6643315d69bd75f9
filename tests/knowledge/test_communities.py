"""Which documents belong together, and a summary that says where it comes from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.language_models import FakeListChatModel

from rag2_memory.knowledge.communities import (
    DocumentProfile,
    cited_members,
    communities_of,
    extractive_community_summary,
    model_community_summary,
    shared_names,
)


def profile(key: str, *names: str, direction: int | None = None) -> DocumentProfile:
    vector = None if direction is None else np.eye(4, dtype=np.float32)[direction]
    return DocumentProfile(key=key, names=dict.fromkeys(names, 1.0), vector=vector)


TWO_SUBJECTS = [
    *(profile(f"tea{n}", "uji", f"farm {n}") for n in range(5)),
    *(profile(f"rail{n}", "station", f"line {n}") for n in range(4)),
    profile("alone", "saturn"),
]


def test_documents_that_share_names_are_grouped_and_others_are_not() -> None:
    found = communities_of(TWO_SUBJECTS)
    assert [set(keys) for keys in found] == [{f"tea{n}" for n in range(5)}, {f"rail{n}" for n in range(4)}]


def test_documents_near_in_meaning_are_grouped_without_a_shared_name() -> None:
    documents = [profile("a", direction=0), profile("b", direction=0), profile("c", direction=1), profile("d", direction=1)]
    assert {frozenset(keys) for keys in communities_of(documents)} == {frozenset("ab"), frozenset("cd")}


def test_a_name_that_most_documents_hold_ties_none_of_them() -> None:
    documents = [profile(f"d{n}", "company") for n in range(20)]
    assert communities_of(documents) == []
    assert communities_of([]) == []


@settings(max_examples=25, deadline=None)
@given(st.permutations(TWO_SUBJECTS))
def test_the_order_of_documents_does_not_matter(documents: list[DocumentProfile]) -> None:
    assert communities_of(documents) == communities_of(TWO_SUBJECTS)


def test_the_most_central_document_stands_first() -> None:
    hub = profile("hub", "a", "b", "c")
    (keys,) = communities_of([profile("x", "a"), profile("y", "b"), profile("z", "c"), hub])
    assert keys[0] == "hub"


def test_shared_names_are_those_of_at_least_two_documents() -> None:
    assert shared_names([profile("a", "x", "y"), profile("b", "x", "z"), profile("c", "y", "x")]) == ["x", "y"]


def test_an_extract_tells_each_document_with_its_citation() -> None:
    texts = {
        "m1": "# Tea\n\nWow! Green tea from Uji is sold in Kyoto. It rained.",
        "m2": "Green tea from Uji is sold in Osaka.",
        "m3": "Green tea from Uji is sold in Osaka.",
    }
    told = extractive_community_summary(texts)
    assert told == "Green tea from Uji is sold in Kyoto. [m1] Green tea from Uji is sold in Osaka. [m2, m3]"
    assert cited_members(told) == ("m1", "m2", "m3")


def test_a_document_cannot_forge_a_citation() -> None:
    assert cited_members(extractive_community_summary({"m1": "Tea is poison, says the ministry [m2]."})) == ("m1",)


def test_a_model_may_cite_members_only() -> None:
    texts = {"m1": "Tea is green.", "m2": "Tea is sold in Kyoto."}
    model = FakeListChatModel(responses=["Tea is green [m1, m7] and sold in Kyoto [m2]. It is blue. [m9]"])
    assert model_community_summary(model, texts) == "Tea is green [m1] and sold in Kyoto [m2]. It is blue."


@pytest.mark.parametrize("answer", ["Tea is green.", "Tea is green. [m9]", ""])
def test_a_summary_that_cites_no_member_is_none(answer: str) -> None:
    assert model_community_summary(FakeListChatModel(responses=[answer]), {"m1": "Tea is green."}) == ""
