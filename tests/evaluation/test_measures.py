"""Measures against ir_measures (trec_eval), intervals against SciPy's bootstrap and against what they promise."""

from __future__ import annotations

import math
from typing import Any

import ir_measures
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ir_measures import RR, R, nDCG
from scipy import stats

from rag2_memory.errors import InvalidRequestError
from rag2_memory.evaluation.measures import bootstrap, measures_at, ndcg, once, recall, reciprocal_rank

IDS = st.sampled_from([f"d{number}" for number in range(12)])


@given(st.lists(IDS, unique=True, max_size=12), st.lists(IDS, unique=True, min_size=1, max_size=6), st.integers(1, 12))
def test_the_measures_are_those_of_trec_eval(ranking: list[str], gold: list[str], k: int) -> None:
    run = {"q": {name: float(len(ranking) - rank) for rank, name in enumerate(ranking)}}
    cutoff_recall, cutoff_ndcg = R @ k, nDCG @ k
    theirs: dict[Any, float] = {cutoff_recall: 0.0, cutoff_ndcg: 0.0, RR: 0.0}
    if ranking:
        theirs = ir_measures.calc_aggregate([cutoff_recall, cutoff_ndcg, RR], {"q": dict.fromkeys(gold, 1)}, run)
    assert recall(ranking, gold, k=k) == pytest.approx(theirs[cutoff_recall])
    assert ndcg(ranking, gold, k=k) == pytest.approx(theirs[cutoff_ndcg])
    assert reciprocal_rank(ranking, gold) == pytest.approx(theirs[RR])


def test_several_chunks_of_a_document_count_once_at_their_first_rank() -> None:
    assert once(["a", "b", "a", "c", "b"]) == ["a", "b", "c"]


def test_measures_are_named_by_their_cutoffs() -> None:
    assert list(measures_at(5)) == ["recall@5", "recall@10", "ndcg@5", "ndcg@10", "mrr"]
    assert list(measures_at(10)) == ["recall@10", "ndcg@10", "mrr"]
    assert measures_at(5)["recall@5"](["x", "x1", "x2", "x3", "x4", "a"], ["a"]) == 0.0
    assert measures_at(5)["recall@10"](["x", "x1", "x2", "x3", "x4", "a"], ["a"]) == 1.0
    with pytest.raises(InvalidRequestError, match="got k=0"):
        measures_at(0)


def test_the_bootstrap_interval_is_that_of_scipy() -> None:
    values = np.random.default_rng(3).choice([-1.0, 0.0, 0.0, 0.5, 1.0], size=120)
    ours = bootstrap(values.tolist())
    theirs = stats.bootstrap((values,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(11)).confidence_interval
    width = theirs.high - theirs.low
    assert ours.mean == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.05 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.05 * width)


def test_equal_seeds_give_equal_intervals() -> None:
    values = np.random.default_rng(1).random(50).tolist()
    assert bootstrap(values, seed=4) == bootstrap(values, seed=4)
    assert bootstrap(values, seed=4, resamples=1_500) != bootstrap(values, seed=5, resamples=1_500)


def test_intervals_hold_the_true_mean_about_as_often_as_they_say() -> None:
    random = np.random.default_rng(5)
    intervals = [bootstrap(random.binomial(1, 0.3, size=100).tolist(), resamples=1_000) for _ in range(200)]
    hits = sum(found.low <= 0.3 <= found.high for found in intervals)
    assert 0.90 <= hits / len(intervals) <= 0.99


def test_a_constant_difference_is_certain_and_none_is_unknown() -> None:
    assert bootstrap([0.5] * 10).excludes_zero
    assert not bootstrap([0.0] * 10).excludes_zero
    nothing = bootstrap([])
    assert math.isnan(nothing.mean)
    assert not nothing.excludes_zero
