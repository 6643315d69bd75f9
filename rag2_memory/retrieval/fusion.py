"""Fusing the rankings of several arms into one: a pure function of the arms and the query's features.

Default: calibrated score fusion. Each arm's raw score is brought to one scale by a fixed transform, and a candidate's fused
score is the weighted sum of its gains over the last hit that each arm listed, plus a prior against very short chunks. A fixed
scale keeps what normalising within the query throws away: whether the best hit of an arm is good or only the best of a bad
lot. That is all the adaptation that held up: weights learnt per query from score shapes, agreement of the arms, query length
and rare terms did not beat fixed ones on a set left out. Derived by tests/benchmarks/derive_fusion.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from rag2_memory.errors import InvalidRequestError
from rag2_memory.knowledge.mentions import normalize_name, subject_names
from rag2_memory.retrieval.features import QueryFeatures

RRF_K = 60
"""Rank offset of Cormack, Clarke & Büttcher (SIGIR 2009); the first rank is 1."""

DENSE_UNIT = 1.0
"""Cosine that counts as one unit of evidence, for MiniLM. An embedder whose cosines spread less needs a smaller unit, in
proportion to the standard deviation of the cosine between random chunks (MiniLM on the development sets: about 0.10)."""

LEXICAL_UNIT = 50.0
"""BM25 score (k1 = 1.2, b = 0.75, with the factor k1 + 1) that counts as one unit of evidence. BM25 adds up log-odds, so it needs
no normalising by query or corpus: the best unit stayed between 40 and 75 when the corpus was made 15 times larger."""

IDENTIFIER_FACTOR = 4.0
"""How much more the lexical arms count when the query holds a code, version, path or code name: embeddings hardly tell `X-402-V2`
from `X-402-V1`, BM25 does."""

QUOTED_FACTOR = 1.5
"""The same for quoted strings, which are often titles that embeddings know: 1.5 gains a point on them, 4 loses three."""

SHORT_CHUNK_TOKENS = 42
"""Below this length (about 32 English words) a chunk is taken to say less than it promises: headings, greetings, lone titles."""

SHORT_CHUNK_WEIGHT = 0.1
"""What a chunk loses for each factor e by which it is shorter: a prior by length (Kraaij, Westerveld & Hiemstra, SIGIR 2002).
Recall@5 on passages with headings of their own (TimeQA) rises by 13 points, on turns (LoCoMo) by 1, elsewhere by up to 1."""

TITLE_WEIGHT = 0.2
"""What a chunk gains whose whole title stands in the query. Recall@5 rises by one to two points where titles are names, and
changes nowhere else; 0.1 to 0.5 do the same."""

Arm = Sequence[tuple[str, float]]
"""One arm's hits, `(chunk id, raw score)`, best first, no id twice."""

Method = Literal["calibrated", "weighted_rrf", "rrf"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionConfig:
    """How rankings are fused."""

    method: Method = "calibrated"
    rrf_k: int = RRF_K
    dense_unit: float = DENSE_UNIT
    """Cosine per unit of evidence; above 0."""
    lexical_unit: float = LEXICAL_UNIT
    """BM25 score per unit of evidence; above 0."""
    arm_weights: Mapping[str, float] = field(
        default_factory=lambda: {"dense": 1.0, "lexical": 1.0, "dense_window": 0.5, "lexical_window": 1.0}
    )
    """Weight of each arm before the query is looked at; an arm not named here weighs 1."""
    identifier_factor: float = IDENTIFIER_FACTOR
    quoted_factor: float = QUOTED_FACTOR
    short_chunk_tokens: int = SHORT_CHUNK_TOKENS
    short_chunk_weight: float = SHORT_CHUNK_WEIGHT
    """0 turns the prior by length off."""
    title_weight: float = TITLE_WEIGHT
    """0 turns the title match off."""
    depth: int = 100
    """How many hits an arm was asked for. A shorter list is complete: what it lacks scored nothing there."""

    def __post_init__(self) -> None:
        if self.method not in ("calibrated", "weighted_rrf", "rrf"):
            raise InvalidRequestError(f"got method={self.method!r}; needed 'calibrated', 'weighted_rrf' or 'rrf'.")
        for name in ("rrf_k", "dense_unit", "lexical_unit", "depth", "short_chunk_tokens"):
            value = getattr(self, name)
            if not value > 0:
                raise InvalidRequestError(f"got {name}={value!r}; needed a number above 0.")
        for name in ("identifier_factor", "quoted_factor", "short_chunk_weight", "title_weight"):
            value = getattr(self, name)
            if not value >= 0:
                raise InvalidRequestError(f"got {name}={value!r}; needed a number of at least 0.")
        if any(not weight >= 0 for weight in self.arm_weights.values()):
            raise InvalidRequestError(f"got arm_weights={dict(self.arm_weights)!r}; needed weights of at least 0.")


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionResult:
    """One ranking, and how it came about."""

    ranking: tuple[tuple[str, float], ...]
    """`(chunk id, fused score)`, best first; comparable within this call only. The prior can take a score below 0."""
    sources: Mapping[str, tuple[str, ...]]
    """For each id, the arms that listed it."""
    weights: Mapping[str, float]
    """The weight each arm had for this query."""
    reasons: tuple[str, ...]
    """Why, for people: one sentence each."""


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[str]], *, k: int = RRF_K, weights: Sequence[float] | None = None
) -> list[tuple[str, float]]:
    """Fuse rankings by the weighted sum of 1 / (k + rank).

    Only ranks count, so cosine and BM25 scores need no calibration. Ties keep the order of first appearance.

    Args:
        rankings: R rankings of chunk ids, best first, no repeats; they need not share ids or length.
        k: Rank offset, dimensionless; larger values flatten the lead of the top ranks.
        weights: One weight per ranking, at least 0; 1 each if left out.

    Returns:
        One `(id, score)` per distinct id, best first; comparable within this call only.

    Raises:
        InvalidRequestError: If `k` is below 1 or the weights do not fit the rankings.
    """
    if k < 1:
        raise InvalidRequestError(f"got k={k!r}; needed at least 1 (60 is usual).")
    factors = [1.0] * len(rankings) if weights is None else list(weights)
    if len(factors) != len(rankings) or any(not factor >= 0 for factor in factors):
        raise InvalidRequestError(f"got weights={weights!r} for {len(rankings)} rankings; needed one number of at least 0 for each.")
    scores: dict[str, float] = {}
    for ranking, factor in zip(rankings, factors, strict=True):
        for rank, chunk_id in enumerate(ranking, start=1):
            scores[chunk_id] = scores.get(chunk_id, 0.0) + factor / (k + rank)
    return sorted(scores.items(), key=lambda item: -item[1])


def fuse(
    arms: Mapping[str, Arm],
    features: QueryFeatures,
    *,
    token_counts: Mapping[str, int] | None = None,
    titles: Mapping[str, str] | None = None,
    config: FusionConfig | None = None,
) -> FusionResult:
    """Fuse the arms of one query.

    An arm is lexical if its name starts with `lexical` (BM25 scores), dense if it starts with `dense` (cosines); any other
    arm is scaled by its own best score. A failed arm is simply left out. Ties go to the id listed first by the first arm.

    Args:
        arms: Hits by arm name, each best first; a conversation brings `dense_window` and `lexical_window` as well.
        features: The query's features.
        token_counts: Chunk id to tokens of its text, for the prior by length; a chunk not named here has no prior.
        titles: Chunk id to its document's title, for the title match.
        config: Method and constants; the defaults are the measured ones.

    Returns:
        The fused ranking over the union of the arms, with weights, sources and reasons.
    """
    config = config or FusionConfig()
    weights, reasons = _weights(arms, features, config)
    scores: dict[str, float] = {}
    sources: dict[str, list[str]] = {}
    for name, hits in arms.items():
        for (chunk_id, _), gain in zip(hits, _gains(name, hits, config), strict=True):
            scores[chunk_id] = scores.get(chunk_id, 0.0) + weights[name] * gain
            sources.setdefault(chunk_id, []).append(name)
    if config.method == "calibrated":
        short = {chunk_id: tokens for chunk_id, tokens in (token_counts or {}).items() if tokens < config.short_chunk_tokens}
        for chunk_id in scores.keys() & short.keys():
            scores[chunk_id] += _length_prior(short[chunk_id], config)
        named = _named_in_title(features.text, {chunk_id: (titles or {})[chunk_id] for chunk_id in scores if chunk_id in (titles or {})})
        for chunk_id in named:
            scores[chunk_id] += config.title_weight
        if named:
            reasons.append(f"{len(named)} chunks gain {config.title_weight:g}: the query holds their whole title")
    ranking = tuple(sorted(scores.items(), key=lambda item: -item[1]))
    return FusionResult(
        ranking=ranking,
        sources={chunk_id: tuple(names) for chunk_id, names in sources.items()},
        weights=weights,
        reasons=tuple(reasons),
    )


def _weights(arms: Mapping[str, Arm], features: QueryFeatures, config: FusionConfig) -> tuple[dict[str, float], list[str]]:
    if config.method == "rrf":
        return dict.fromkeys(arms, 1.0), [f"plain reciprocal rank fusion of {', '.join(arms) or 'no arm'}"]
    weights = {name: config.arm_weights.get(name, 1.0) for name in arms}
    reasons = [f"{config.method} fusion of {', '.join(arms) or 'no arm'}"]
    factor, exact = (config.identifier_factor, features.identifiers) if features.identifiers else (config.quoted_factor, features.quoted)
    if exact:
        for name in weights:
            if name.startswith("lexical"):
                weights[name] *= factor
        shown = ", ".join(repr(text) for text in exact[:3])
        reasons.append(f"lexical arms weigh {factor:g} times more: {shown} must be found letter by letter")
    return weights, reasons


def _gains(name: str, hits: Arm, config: FusionConfig) -> list[float]:
    """Turn one arm's raw scores into gains over its last listed hit (over nothing, if the list is complete)."""
    if config.method != "calibrated":
        return [1.0 / (config.rrf_k + rank) for rank in range(1, len(hits) + 1)]
    if name.startswith("dense"):
        unit = config.dense_unit
    elif name.startswith("lexical"):
        unit = config.lexical_unit
    else:
        unit = max((score for _, score in hits), default=0.0) or 1.0
    floor = min((score for _, score in hits), default=0.0) if len(hits) >= config.depth else 0.0
    return [max(score - floor, 0.0) / unit for _, score in hits]


def _length_prior(tokens: int, config: FusionConfig) -> float:
    return config.short_chunk_weight * math.log(max(tokens, 1) / config.short_chunk_tokens)


def _named_in_title(query: str, titles: Mapping[str, str]) -> list[str]:
    words, named = f" {normalize_name(query)} ", []
    for chunk_id, title in titles.items():
        for key in _title_keys(title):
            if key in words:
                named.append(chunk_id)
                break
    return named


@lru_cache(maxsize=20_000)
def _title_keys(title: str) -> tuple[str, ...]:
    """Return a title's keys as they stand between words; a title seen once is seen again."""
    return tuple(f" {normalize_name(name)} " for name in subject_names(title))
