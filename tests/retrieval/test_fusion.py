"""Fusion as formula: independent recomputation, invariants, and what identifiers, titles and lengths change."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag2_memory.errors import InvalidRequestError
from rag2_memory.retrieval.features import query_features
from rag2_memory.retrieval.fusion import Arm, FusionConfig, fuse, reciprocal_rank_fusion

PLAIN = query_features("who leads the observatory")


def order(arms: Mapping[str, Arm], query: str = PLAIN.text, **options: Any) -> list[str]:
    return [chunk_id for chunk_id, _ in fuse(arms, query_features(query), **options).ranking]


rankings = st.lists(st.permutations(list("abcdefgh")).flatmap(lambda ids: st.integers(0, 8).map(lambda n: ids[:n])), max_size=4)


@settings(deadline=None)
@given(rankings, st.integers(1, 100))
def test_reciprocal_rank_fusion_is_the_sum_of_inverse_ranks(lists: list[list[str]], k: int) -> None:
    fused = reciprocal_rank_fusion(lists, k=k)
    expected = {key: sum(1 / (k + ids.index(key) + 1) for ids in lists if key in ids) for ids in lists for key in ids}
    assert dict(fused) == pytest.approx(expected)
    assert [score for _, score in fused] == sorted((score for _, score in fused), reverse=True)


def test_ties_of_ranks_keep_the_order_of_first_appearance() -> None:
    assert [key for key, _ in reciprocal_rank_fusion([["b", "a"], ["a", "b"]])] == ["b", "a"]


def test_a_weight_of_nothing_silences_a_ranking() -> None:
    assert [key for key, _ in reciprocal_rank_fusion([["a", "b"], ["b", "a"]], weights=[0.0, 1.0])] == ["b", "a"]


@pytest.mark.parametrize("options", [{"k": 0}, {"weights": [1.0]}, {"weights": [1.0, -1.0]}, {"weights": [1.0, math.nan]}])
def test_impossible_rank_fusions_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        reciprocal_rank_fusion([["a"], ["b"]], **options)


def test_calibrated_fusion_adds_cosine_and_bm25_in_their_units() -> None:
    arms = {"dense": [("a", 0.6), ("b", 0.4)], "lexical": [("b", 20.0), ("c", 5.0)]}
    result = fuse(arms, PLAIN, config=FusionConfig(dense_unit=1.0, lexical_unit=50.0))
    assert dict(result.ranking) == pytest.approx({"a": 0.6, "b": 0.4 + 20 / 50, "c": 5 / 50})
    assert [key for key, _ in result.ranking] == ["b", "a", "c"]
    assert result.sources == {"a": ("dense",), "b": ("dense", "lexical"), "c": ("lexical",)}


def test_an_arm_cut_at_its_depth_credits_what_it_left_out_with_its_last_score() -> None:
    arms = {"dense": [("a", 0.6), ("b", 0.4)], "lexical": [("c", 20.0)]}
    scores = dict(fuse(arms, PLAIN, config=FusionConfig(depth=2, lexical_unit=50.0)).ranking)
    assert scores == pytest.approx({"a": 0.2, "b": 0.0, "c": 20 / 50})


def test_an_identifier_makes_the_lexical_arm_decide() -> None:
    arms = {"dense": [("v1", 0.71), ("v2", 0.60)], "lexical": [("v2", 9.0), ("v1", 6.0)]}
    assert order(arms, "which board is it")[0] == "v1"
    assert order(arms, "which board is X-402-V2")[0] == "v2"
    result = fuse(arms, query_features("which board is X-402-V2"))
    assert result.weights["lexical"] == FusionConfig().identifier_factor
    assert any("'X-402-V2'" in reason for reason in result.reasons)


def test_a_quoted_string_counts_less_than_an_identifier() -> None:
    weight = fuse({"lexical": [("a", 1.0)]}, query_features('who sang "get low"')).weights["lexical"]
    assert 1 < weight < FusionConfig().identifier_factor


def test_a_heading_alone_loses_to_the_paragraph_that_it_heads() -> None:
    arms = {"dense": [("heading", 0.62), ("paragraph", 0.58)]}
    assert order(arms) == ["heading", "paragraph"]
    assert order(arms, token_counts={"heading": 2, "paragraph": 90}) == ["paragraph", "heading"]


def test_length_beyond_the_bound_changes_nothing() -> None:
    arms = {"dense": [("a", 0.6), ("b", 0.5)]}
    plain = fuse(arms, PLAIN).ranking
    assert fuse(arms, PLAIN, token_counts={"a": 42, "b": 4000}).ranking == plain


def test_a_chunk_whose_whole_title_the_query_holds_gains() -> None:
    arms = {"dense": [("a", 0.6), ("b", 0.5), ("c", 0.45)]}
    titles = {"a": "Glory (1989 film)", "b": "Ed Wood (film)", "c": "Wood"}
    result = fuse(arms, query_features("who directed ed wood?"), titles=titles)
    assert dict(result.ranking) == pytest.approx({"a": 0.6, "b": 0.7, "c": 0.65})
    assert any("whole title" in reason for reason in result.reasons)


def test_an_arm_of_unknown_scale_is_measured_by_its_best_hit() -> None:
    scores = dict(fuse({"custom": [("a", 800.0), ("b", 200.0)]}, PLAIN).ranking)
    assert scores == pytest.approx({"a": 1.0, "b": 0.25})


def test_a_failed_arm_is_left_out_and_no_arm_gives_no_ranking() -> None:
    assert order({"lexical": [("a", 3.0), ("b", 1.0)]}) == ["a", "b"]
    assert fuse({}, PLAIN).ranking == ()
    assert fuse({"dense": []}, PLAIN).ranking == ()


@pytest.mark.parametrize("method", ["rrf", "weighted_rrf"])
def test_rank_fusion_by_method_equals_the_plain_function(method: Any) -> None:
    arms: dict[str, Arm] = {"dense": [("a", 0.9), ("b", 0.8)], "lexical": [("b", 9.0), ("c", 3.0)]}
    expected = reciprocal_rank_fusion([[key for key, _ in hits] for hits in arms.values()])
    fused = fuse(arms, PLAIN, config=FusionConfig(method=method)).ranking
    assert [key for key, _ in fused] == [key for key, _ in expected]
    assert dict(fused) == pytest.approx(dict(expected))


scored = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 1), max_size=8).map(
    lambda found: sorted(found.items(), key=lambda item: (-item[1], item[0]))
)


@settings(deadline=None)
@given(scored, scored)
def test_a_hit_that_is_better_in_every_arm_is_better_fused(dense: list[tuple[str, float]], lexical: list[tuple[str, float]]) -> None:
    scores = dict(fuse({"dense": dense, "lexical": lexical}, PLAIN).ranking)
    one, other = dict(dense), dict(lexical)
    for left in scores:
        for right in scores:
            if one.get(left, 0) >= one.get(right, 0) and other.get(left, 0) >= other.get(right, 0):
                assert scores[left] >= scores[right]


@settings(deadline=None)
@given(scored, scored)
def test_the_order_of_the_arms_does_not_change_the_scores(dense: list[tuple[str, float]], lexical: list[tuple[str, float]]) -> None:
    one = dict(fuse({"dense": dense, "lexical": lexical}, PLAIN).ranking)
    other = dict(fuse({"lexical": lexical, "dense": dense}, PLAIN).ranking)
    assert one == pytest.approx(other)


@pytest.mark.parametrize(
    "options",
    [
        {"method": "max"},
        {"lexical_unit": 0.0},
        {"dense_unit": -1.0},
        {"depth": 0},
        {"rrf_k": 0},
        {"arm_weights": {"dense": -1.0}},
        {"title_weight": math.nan},
    ],
)
def test_impossible_configurations_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        FusionConfig(**options)
