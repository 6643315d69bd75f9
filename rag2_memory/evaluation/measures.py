"""Measures of a ranking against its gold documents, and what a difference between two systems is worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rag2_memory.errors import InvalidRequestError

RESAMPLES = 10_000
"""Bootstrap resamples; the ends of a 95 % interval then vary by about 2 % of its width from seed to seed."""

BATCH = 1_000
"""Resamples drawn at once, which bounds the memory they take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean with its confidence interval."""

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


def once(ranking: Iterable[str]) -> list[str]:
    """Return the ids of a ranking at their first rank each: several chunks of one document count once."""
    return list(dict.fromkeys(ranking))


def recall(ranking: Sequence[str], gold: Sequence[str], *, k: int) -> float:
    """Share of the gold documents among the first k, in [0, 1]."""
    return len(set(ranking[:k]) & set(gold)) / len(gold)


def ndcg(ranking: Sequence[str], gold: Sequence[str], *, k: int) -> float:
    """Normalised discounted cumulative gain at k with binary gains (Järvelin & Kekäläinen, TOIS 2002), in [0, 1]."""
    wanted = set(gold)
    gain = sum(1 / math.log2(rank + 1) for rank, found in enumerate(ranking[:k], start=1) if found in wanted)
    return gain / sum(1 / math.log2(rank + 1) for rank in range(1, min(len(wanted), k) + 1))


def reciprocal_rank(ranking: Sequence[str], gold: Sequence[str]) -> float:
    """1 / rank of the first gold document, 0 where there is none."""
    wanted = set(gold)
    return next((1 / rank for rank, found in enumerate(ranking, start=1) if found in wanted), 0.0)


def measures_at(k: int) -> dict[str, Callable[[Sequence[str], Sequence[str]], float]]:
    """Return the measures that are reported, by name: recall and nDCG at k and at 10, and MRR over the whole ranking.

    Raises:
        InvalidRequestError: If `k` is below 1.
    """
    if k < 1:
        raise InvalidRequestError(f"got k={k}; needed at least 1.")
    cutoffs = sorted({k, 10})
    recalls = {f"recall@{cutoff}": _at(recall, cutoff) for cutoff in cutoffs}
    return recalls | {f"ndcg@{cutoff}": _at(ndcg, cutoff) for cutoff in cutoffs} | {"mrr": reciprocal_rank}


def _at(measure: Callable[..., float], cutoff: int) -> Callable[[Sequence[str], Sequence[str]], float]:
    return lambda ranking, gold: measure(ranking, gold, k=cutoff)


def bootstrap(values: Sequence[float], *, confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Percentile bootstrap interval of a mean (Efron & Tibshirani 1993, chapter 13).

    For a comparison pass the differences query by query: queries vary far more than systems do, and pairing takes that
    out.

    Args:
        values: One per query.
        confidence: In (0, 1).
        resamples: Resamples with replacement.
        seed: Equal seeds give equal intervals.
    """
    data: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        return Interval(mean=math.nan, low=math.nan, high=math.nan)
    random = np.random.default_rng(seed)
    means = np.concatenate(
        [
            data[random.integers(0, data.size, size=(min(BATCH, resamples - done), data.size))].mean(axis=1)
            for done in range(0, resamples, BATCH)
        ]
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(mean=float(data.mean()), low=float(low), high=float(high))
