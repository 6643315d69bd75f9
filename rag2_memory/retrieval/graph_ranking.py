"""Ranking passages over the entity–passage graph around the best hits of a first search. No engine, no language model.

Two signals carry it. A passage names an entity that another passage is about: some of the score of the first flows to the
second, one step forward, divided among all that it leads to. And a passage whose subject the query names is lifted. The
subgraph comes from the caller, so the functions know nothing of where it is stored and what a scope may see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from rag2_memory.errors import InvalidRequestError

STEP_SEEDS = 10
"""Best hits whose links are followed. Following 50 instead of 10 changed recall@5 by less than a point on every set."""

STEP_WEIGHT = 0.75
"""Share of a hit's score that flows along its subject links; between 0.5 and 1 recall@5 moves by less than two points."""

NAMED_WEIGHT = 0.5
"""Lift of a passage whose subject the query names, on the scale of calibrated fusion (its best hit is near 0.7)."""

Kind = Literal["step", "named"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphSlice:
    """The part of the graph around the best hits and the entities that the query names, already cut to what a scope may see."""

    mentions: Sequence[tuple[str, str, float]] = ()
    """`(passage id, entity id, weight)`: the passage names the entity; weight above 0, usually 1."""
    subjects: Sequence[tuple[str, str]] = ()
    """`(passage id, entity id)`: the passage is about the entity. For every entity here all its passages, or as many as the
    caller's cap allows (then `subject_counts` says how many there are)."""
    relations: Sequence[tuple[str, str, float]] = ()
    """`(entity id, entity id, weight)`: extracted relations and synonyms, read in both directions; weight in (0, 1]."""
    subject_counts: Mapping[str, int] = field(default_factory=dict)
    """Entity id to how many passages are about it, where that is more than the slice holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphConfig:
    """How strongly links count."""

    step_seeds: int = STEP_SEEDS
    step_weight: float = STEP_WEIGHT
    named_weight: float = NAMED_WEIGHT

    def __post_init__(self) -> None:
        if self.step_seeds < 0 or not self.step_weight >= 0 or not self.named_weight >= 0:
            raise InvalidRequestError(
                f"got step_seeds={self.step_seeds!r}, step_weight={self.step_weight!r}, named_weight={self.named_weight!r}; "
                "needed numbers of at least 0."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lift:
    """Why a passage rose."""

    passage_id: str
    kind: Kind
    """`step`: a better hit names what this passage is about. `named`: the query names it."""
    entity_id: str
    from_passage: str | None
    """The hit that led here; `None` where the query did."""
    amount: float
    """What this link added to the score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphResult:
    """The ranking after the graph had its say."""

    ranking: tuple[tuple[str, float], ...]
    """`(passage id, score)`, best first; every seed and every passage that was reached."""
    lifts: Mapping[str, tuple[Lift, ...]]
    """For each lifted passage its links, the strongest first."""


def rank_with_graph(
    seeds: Mapping[str, float],
    graph: GraphSlice,
    *,
    query_entities: Mapping[str, float] | None = None,
    config: GraphConfig | None = None,
) -> GraphResult:
    """Rank the seeds and what they lead to.

    Args:
        seeds: Passage id to fused score, at least 0; higher is better.
        graph: The subgraph around the best seeds and the query's entities.
        query_entities: Entities that the query names, each with a certainty in (0, 1].
        config: Weights; the defaults are the measured ones for calibrated fusion.

    Returns:
        The ranking with the links that lifted each passage. Without links it is the seeds' own ranking. Ties go by the
        order of `seeds`, then by id.
    """
    config = config or GraphConfig()
    lifts = [*_step(seeds, graph, config), *_named(graph, query_entities or {}, config)]
    scores = dict(seeds)
    by_passage: dict[str, list[Lift]] = {}
    for lift in sorted(lifts, key=lambda item: (-item.amount, item.passage_id, item.entity_id)):
        scores[lift.passage_id] = scores.get(lift.passage_id, 0.0) + lift.amount
        by_passage.setdefault(lift.passage_id, []).append(lift)
    position = {passage: place for place, passage in enumerate(seeds)}
    ranking = sorted(scores.items(), key=lambda item: (-item[1], position.get(item[0], len(position)), item[0]))
    return GraphResult(ranking=tuple(ranking), lifts={passage: tuple(items) for passage, items in by_passage.items()})


def _passages_about(graph: GraphSlice) -> dict[str, list[str]]:
    about: dict[str, list[str]] = {}
    for passage, entity in dict.fromkeys(graph.subjects):
        about.setdefault(entity, []).append(passage)
    return about


def _step(seeds: Mapping[str, float], graph: GraphSlice, config: GraphConfig) -> list[Lift]:
    """Let a share of each best hit's score flow to the passages about what it names, divided by how many those are."""
    about = _passages_about(graph)
    best = set(sorted(seeds, key=lambda passage: -seeds[passage])[: config.step_seeds])
    links: dict[str, dict[str, tuple[float, str]]] = {}
    for passage, entity, weight in graph.mentions:
        if passage not in best:
            continue
        targets = about.get(entity, ())
        share = weight / max(len(targets), graph.subject_counts.get(entity, 0), 1)
        for target in targets:
            if target != passage and share > links.setdefault(passage, {}).get(target, (0.0, ""))[0]:
                links[passage][target] = (share, entity)
    return [
        Lift(
            passage_id=target,
            kind="step",
            entity_id=entity,
            from_passage=passage,
            amount=config.step_weight * seeds[passage] * share / sum(other for other, _ in reached.values()),
        )
        for passage, reached in links.items()
        for target, (share, entity) in reached.items()
    ]


def _named(graph: GraphSlice, query_entities: Mapping[str, float], config: GraphConfig) -> list[Lift]:
    """Lift the passages about what the query names, by the entity that says most for each."""
    about = _passages_about(graph)
    strongest: dict[str, tuple[float, str]] = {}
    for entity, certainty in query_entities.items():
        passages = about.get(entity, ())
        share = certainty / max(len(passages), graph.subject_counts.get(entity, 0), 1)
        for passage in passages:
            if share > strongest.get(passage, (0.0, ""))[0]:
                strongest[passage] = (share, entity)
    return [
        Lift(passage_id=passage, kind="named", entity_id=entity, from_passage=None, amount=config.named_weight * share)
        for passage, (share, entity) in strongest.items()
    ]
