"""Ranking passages over the entity–passage graph around the best hits of a first search. No engine, no language model.

Four kinds of link, each one step of spreading activation (Crestani, AI Review 11, 1997), each told to the caller as a `Lift`:

- *named*: the query names what a passage is about;
- *related*: it is about, or names, something that extracted relations connect with what the query names (personalized PageRank
  over the relations, Haveliwala, WWW 2002, as HippoRAG, arXiv 2405.14831, uses it);
- *step*: one of the best hits names what it is about;
- *shared*: it was found by the first search and shares an entity with one of the best hits that the query did not name.

PageRank over the whole entity–passage graph was measured as well: alone it gained one to four points of recall@5 where `step`
gained four to twenty-five, and on top of these four links nothing. The subgraph comes from the caller, so the functions know nothing of where it is stored and what a scope may see.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from rag2_memory.errors import InvalidRequestError
from rag2_memory.retrieval.features import QueryFeatures

HITS = 3
"""Best passages whose links are followed. Between 2 and 4 recall@5 stays within a point on every set, 10 loses two on MuSiQue."""

STEP_WEIGHT = 0.85
"""Share of a hit's score that flows along its links; between 0.7 and 1 recall@5 stays within half a point on every set."""

NAMING_SHARE = 0.25
"""What naming an entity counts against being about it; up to 0.35 recall@5 stays within half a point, at 0 MuSiQue loses five."""

NAMED_WEIGHT = 0.5
"""Lift of a passage whose subject the query names, on the scale of calibrated fusion, where a best hit has about 0.7."""

RELATED_WEIGHT = 0.5
"""Lift of the passage about what is most closely related to what the query names."""

HUB_SHARE = 0.01
"""An entity that more than this share of the passages names or is about tells nothing about any pair of them."""

HUB_MINIMUM = 10
"""So many passages never make a hub, however small the memory."""

DAMPING = 0.5
"""Probability of walking on, as in HippoRAG: relations are followed one or two steps, not around the world."""

Kind = Literal["named", "related", "step", "shared"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphSlice:
    """The graph around the best hits and the entities that the query names, already cut to what the scope may see.

    Fetch, in this order: the pages about the query's entities; `mentions` and `subjects` of these pages and of the about 50
    best hits; for the entities that the ten best of them name, the `subjects` rows of the pages about them; `relations` within
    two steps of the query's entities and the `subjects` rows of what they reach. Cap each list; more never harms.
    """

    mentions: Sequence[tuple[str, str, float]] = ()
    """`(passage id, entity id, weight)`: the passage names the entity; weight in (0, 1], usually 1."""
    subjects: Sequence[tuple[str, str]] = ()
    """`(passage id, entity id)`: the passage is about the entity. Of a page with many passages the first is enough."""
    relations: Sequence[tuple[str, str, float]] = ()
    """`(entity id, entity id, weight)`: extracted relations and synonyms, read in both directions; weight in (0, 1]."""
    passages: int = 0
    """Number of passages in the whole memory; 0: those in the slice."""
    passage_counts: Mapping[str, int] = field(default_factory=dict)
    """Entity id to how many passages of the whole memory name it or are about it; a missing one is counted in the slice."""
    page_counts: Mapping[str, int] = field(default_factory=dict)
    """Entity id to how many pages are about it, where a cap left some out of `subjects`."""
    pages: Mapping[str, str] = field(default_factory=dict)
    """Passage id to page (parent or document) id; a missing passage is a page of its own. A link to a page lifts its best passage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphConfig:
    """How strongly links count; the defaults are measured on the scale of calibrated fusion."""

    hits: int = HITS
    step_weight: float = STEP_WEIGHT
    naming_share: float = NAMING_SHARE
    named_weight: float = NAMED_WEIGHT
    related_weight: float = RELATED_WEIGHT
    hub_share: float = HUB_SHARE
    damping: float = DAMPING
    """In [0, 1)."""

    def __post_init__(self) -> None:
        for name in ("hits", "step_weight", "naming_share", "named_weight", "related_weight", "hub_share"):
            value = getattr(self, name)
            if not value >= 0:
                raise InvalidRequestError(f"got {name}={value!r}; needed a number of at least 0.")
        _check_damping(self.damping)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lift:
    """Why a passage rose."""

    passage_id: str
    kind: Kind
    entities: tuple[str, ...]
    """The entities on the way: the one named or shared; for `related` from the query's entity to the one that led here."""
    from_passage: str | None
    """The hit that led here; `None` where the query did."""
    amount: float
    """What this link added to the score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphResult:
    """The ranking after the graph had its say."""

    ranking: tuple[tuple[str, float], ...]
    """`(passage id, score)`, best first: every seed and every passage that a link reached."""
    lifts: Mapping[str, tuple[Lift, ...]]
    """For each lifted passage its links, the strongest first."""


def rank_with_graph(
    seeds: Mapping[str, float],
    graph: GraphSlice,
    *,
    query_entities: Mapping[str, float] | None = None,
    strength: float = 1.0,
    config: GraphConfig | None = None,
) -> GraphResult:
    """Rank the seeds and what they lead to.

    Args:
        seeds: Passage id to fused score, best first; negative scores count as 0 when they flow.
        graph: The subgraph around the best seeds and the query's entities.
        query_entities: Entities that the query names, each with a certainty in (0, 1].
        strength: Factor on what flows from hits and along relations, at least 0; see `follows_links`.
        config: Weights; the defaults are the measured ones for calibrated fusion.

    Returns:
        The ranking with the links that lifted each passage. Without links it is the seeds' own ranking. Ties go by the
        order of `seeds`, then by id; the order of the slice's rows does not count.

    Raises:
        InvalidRequestError: If `strength` is negative.
    """
    if not strength >= 0:
        raise InvalidRequestError(f"got strength={strength!r}; needed a number of at least 0, usually 1.")
    if not (graph.mentions or graph.subjects or graph.relations):
        return GraphResult(ranking=tuple(seeds.items()), lifts={})
    config = config or GraphConfig()
    named = dict(query_entities or {})
    scores = dict(seeds)
    view = _View(graph, scores)
    lifts = _named(view, named, config) + _related(view, graph.relations, named, strength, config)
    _apply(lifts, scores)
    hits = [passage for passage, _ in _ranked(scores, seeds)[: config.hits]]
    start = {passage: strength * max(scores[passage], 0.0) for passage in hits}
    found = frozenset(scores)
    links = view.named_by(start)
    flow = _step(view, start, links, config) + _shared(view, start, links, named, found, config)
    _apply(flow, scores)
    by_passage: dict[str, list[Lift]] = {}
    for lift in sorted(lifts + flow, key=lambda item: (-item.amount, item.kind, item.entities, item.from_passage or "")):
        by_passage.setdefault(lift.passage_id, []).append(lift)
    return GraphResult(ranking=tuple(_ranked(scores, seeds)), lifts={passage: tuple(items) for passage, items in by_passage.items()})


def follows_links(features: QueryFeatures, *, asks_for_relation: bool) -> bool:
    """Whether links from hits and relations should count for a query: where it asks, by its form or by a word for a relation (`lead of Alpha`).

    A question asks for something that it does not name, so that a way must be found to it; a claim names what it looks for:
    on SciFact following links costs recall (`rag2 eval` compares it with the graph off).
    """
    return asks_for_relation or features.question_type != "statement" or features.text.rstrip().endswith("?")


def personalized_pagerank(
    edges: Iterable[tuple[str, str, float]],
    restart: Mapping[str, float],
    *,
    damping: float = DAMPING,
    tolerance: float = 1e-9,
    max_rounds: int = 100,
) -> dict[str, float]:
    """Return the share of time a walker spends at each node who walks on with probability `damping` and else restarts.

    Power iteration on the weighted graph without directions (Page et al. 1999; personalized: Haveliwala, WWW 2002). A walker
    at a node without edges restarts.

    Args:
        edges: `(node, node, weight)`, each read in both directions; weights above 0; parallel edges add up.
        restart: Node to weight, at least one above 0; nodes without edges may be among them.
        damping: In [0, 1); expected length of a walk is 1 / (1 - damping) nodes.
        tolerance: Sum of changes at which the iteration ends.
        max_rounds: Upper bound of rounds; the error shrinks by the factor `damping` in each.

    Returns:
        Node to share, above or equal to 0, summing to 1; empty if nothing can be restarted at.

    Raises:
        InvalidRequestError: If `damping` is not in [0, 1).
    """
    _check_damping(damping)
    rows = list(edges)
    nodes = {node: place for place, node in enumerate(sorted({*restart, *(row[0] for row in rows), *(row[1] for row in rows)}))}
    home = np.zeros(len(nodes))
    for node, mass in restart.items():
        home[nodes[node]] = max(mass, 0.0)
    if not home.sum() > 0:
        return {}
    home /= home.sum()
    sources = np.array([nodes[node] for left, right, _ in rows for node in (left, right)], dtype=np.intp)
    targets = np.array([nodes[node] for left, right, _ in rows for node in (right, left)], dtype=np.intp)
    weights = np.array([weight for _, _, weight in rows for _ in range(2)], dtype=float)
    strength = np.bincount(sources, weights, minlength=len(nodes))
    shares = weights / strength[sources] if len(rows) else weights
    state = home
    for _ in range(max_rounds):
        moved = damping * np.bincount(targets, shares * state[sources], minlength=len(nodes))
        following = moved + (1.0 - moved.sum()) * home
        change = float(np.abs(following - state).sum())
        state = following
        if change < tolerance:
            break
    return {node: float(state[place]) for node, place in nodes.items()}


class _View:
    """The slice, asked only for what the few hits and the query's entities need: most of its rows concern neither."""

    def __init__(self, graph: GraphSlice, scores: Mapping[str, float]) -> None:
        self.about: dict[str, set[str]] = {}
        self.subjects: dict[str, set[str]] = {}
        for passage, entity in graph.subjects:
            self.about.setdefault(passage, set()).add(entity)
            self.subjects.setdefault(entity, set()).add(passage)
        self._graph = graph
        self._scores = scores
        self._total = max(graph.passages or len(self.about.keys() | scores.keys() | {row[0] for row in graph.mentions}), 2)

    def named_by(self, passages: Iterable[str]) -> dict[str, dict[str, float]]:
        """Return the entities that passages name, with their weights."""
        named: dict[str, dict[str, float]] = {passage: {} for passage in passages}
        for passage, entity, weight in self._graph.mentions:
            if passage in named:
                named[passage][entity] = max(weight, named[passage].get(entity, 0.0))
        return named

    def holders(self, entities: Iterable[str]) -> dict[str, dict[str, float]]:
        """Return the slice's passages that name entities, by the mention's weight, or are about them, by 1."""
        held: dict[str, dict[str, float]] = {entity: dict.fromkeys(self.subjects.get(entity, ()), 1.0) for entity in entities}
        for passage, entity, weight in self._graph.mentions:
            if entity in held:
                held[entity][passage] = max(weight, held[entity].get(passage, 0.0))
        return held

    @cached_property
    def _counted(self) -> dict[str, int]:
        """Passages of the slice that hold each entity."""
        rows = {(passage, entity) for passage, entity, _ in self._graph.mentions} | set(self._graph.subjects)
        return Counter(entity for _, entity in rows)

    def count(self, entity: str) -> int:
        """How many passages of the memory name the entity or are about it."""
        return max(self._graph.passage_counts.get(entity) or self._counted.get(entity, 0), 1)

    def rarity(self, entity: str) -> float:
        """Inverse document frequency in (0, 1], so that a walk leaves through rare entities first."""
        return math.log(1 + self._total / self.count(entity)) / math.log(1 + self._total)

    def is_hub(self, entity: str, hub_share: float) -> bool:
        return self.count(entity) > max(HUB_MINIMUM, hub_share * self._total)

    def page(self, passage: str) -> str:
        return self._graph.pages.get(passage, passage)

    def entries(self, entity: str) -> tuple[list[str], float]:
        """Return the best passage of each page about the entity, and the share of a link that each gets."""
        best: dict[str, str] = {}
        for passage in sorted(self.subjects.get(entity, ()), key=lambda item: (-self._scores.get(item, 0.0), item)):
            best.setdefault(self.page(passage), passage)
        return list(best.values()), 1.0 / max(len(best), self._graph.page_counts.get(entity, 0), 1)


def _ranked(scores: Mapping[str, float], seeds: Mapping[str, float]) -> list[tuple[str, float]]:
    position = {passage: place for place, passage in enumerate(seeds)}
    return sorted(scores.items(), key=lambda item: (-item[1], position.get(item[0], len(position)), item[0]))


def _apply(lifts: Iterable[Lift], scores: dict[str, float]) -> None:
    for lift in sorted(lifts, key=lambda item: (item.passage_id, item.kind, item.entities, item.from_passage or "")):
        scores[lift.passage_id] = scores.get(lift.passage_id, 0.0) + lift.amount


def _strongest(lifts: Iterable[Lift]) -> list[Lift]:
    """Keep for each passage the strongest link."""
    best: dict[str, Lift] = {}
    for lift in sorted(lifts, key=lambda item: (-item.amount, item.entities)):
        best.setdefault(lift.passage_id, lift)
    return list(best.values())


def _named(view: _View, query_entities: Mapping[str, float], config: GraphConfig) -> list[Lift]:
    """Lift the pages about what the query names."""
    lifts: list[Lift] = []
    for entity, certainty in query_entities.items():
        passages, share = view.entries(entity)
        amount = config.named_weight * certainty * share
        lifts += [Lift(passage_id=p, kind="named", entities=(entity,), from_passage=None, amount=amount) for p in passages]
    return [lift for lift in _strongest(lifts) if lift.amount > 0]


def _related(
    view: _View, relations: Sequence[tuple[str, str, float]], query_entities: Mapping[str, float], strength: float, config: GraphConfig
) -> list[Lift]:
    """Lift what is about, or names, an entity that relations connect with the query's entities."""
    if not relations or not query_entities:
        return []
    rank = personalized_pagerank(relations, query_entities, damping=config.damping)
    ways = _ways(relations, rank, query_entities)
    nearest = max((rank[entity] for entity in ways), default=0.0)
    lifts: list[Lift] = []
    for entity, holders in view.holders(ways).items():
        if view.is_hub(entity, config.hub_share):
            continue
        way, amount = ways[entity], strength * config.related_weight * rank[entity] / nearest
        naming = holders.keys() - view.subjects.get(entity, set())
        reached = {passage: config.naming_share * holders[passage] * amount for passage in naming}
        passages, share = view.entries(entity)
        reached |= dict.fromkeys(passages, share * amount)
        lifts += [Lift(passage_id=p, kind="related", entities=way, from_passage=None, amount=a) for p, a in reached.items()]
    return [lift for lift in _strongest(lifts) if lift.amount > 0]


def _ways(
    relations: Sequence[tuple[str, str, float]], rank: Mapping[str, float], query_entities: Mapping[str, float]
) -> dict[str, tuple[str, ...]]:
    """Return, for every entity that relations reach from the query's, a shortest way to it, over the highest ranks."""
    neighbours: dict[str, set[str]] = {}
    for left, right, _ in relations:
        neighbours.setdefault(left, set()).add(right)
        neighbours.setdefault(right, set()).add(left)
    ways: dict[str, tuple[str, ...]] = {entity: (entity,) for entity in sorted(query_entities) if query_entities[entity] > 0}
    frontier = list(ways)
    while frontier:
        following: list[str] = []
        for entity in sorted(frontier, key=lambda item: (-rank[item], item)):
            for neighbour in sorted(neighbours.get(entity, set()) - ways.keys()):
                ways[neighbour] = (*ways[entity], neighbour)
                following.append(neighbour)
        frontier = following
    return {entity: way for entity, way in ways.items() if len(way) > 1}


def _step(view: _View, hits: Mapping[str, float], links: Mapping[str, Mapping[str, float]], config: GraphConfig) -> list[Lift]:
    """Let a share of each hit's score flow to the pages about what it names.

    The share is divided by the square root of what leaves the hit, between dividing it among all links (which starves hits that
    name much) and not at all (which floods); the root was a point better than either on MuSiQue.
    """
    lifts: list[Lift] = []
    for hit, score in hits.items():
        reached: dict[str, tuple[float, str]] = {}
        for entity, weight in links[hit].items():
            if entity in view.about.get(hit, ()):
                continue
            passages, share = view.entries(entity)
            for passage in passages:
                flow = (weight * view.rarity(entity) * share, entity)
                if view.page(passage) != view.page(hit) and flow > reached.get(passage, (0.0, "")):
                    reached[passage] = flow
        total = math.sqrt(sum(amount for amount, _ in reached.values()))
        for passage, (share, entity) in reached.items():
            amount = config.step_weight * score * share / total
            lifts.append(Lift(passage_id=passage, kind="step", entities=(entity,), from_passage=hit, amount=amount))
    return [lift for lift in lifts if lift.amount > 0]


def _shared(
    view: _View,
    hits: Mapping[str, float],
    links: Mapping[str, Mapping[str, float]],
    query_entities: Mapping[str, float],
    found: frozenset[str],
    config: GraphConfig,
) -> list[Lift]:
    """Lift what the first search found and what shares with a hit an entity that the query did not name.

    Being found is the gate: among all that share the entity only passages that fit the query rise, so the amount need not be
    divided among them.
    """
    own = {hit: {**links[hit], **dict.fromkeys(view.about.get(hit, ()), 1.0)} for hit in hits}
    held = view.holders({entity for named in own.values() for entity in named} - query_entities.keys())
    lifts: list[Lift] = []
    for hit, score in hits.items():
        shares = {
            entity: weight * view.rarity(entity)
            for entity, weight in own[hit].items()
            if entity in held and view.count(entity) > 1 and not view.is_hub(entity, config.hub_share)
        }
        total = sum(shares.values())
        for entity, share in shares.items():
            amount = config.step_weight * config.naming_share * score * share / total
            lifts += [
                Lift(passage_id=passage, kind="shared", entities=(entity,), from_passage=hit, amount=amount)
                for passage in held[entity]
                if passage in found and passage != hit
            ]
    return [lift for lift in lifts if lift.amount > 0]


def _check_damping(damping: float) -> None:
    if not 0 <= damping < 1:
        raise InvalidRequestError(f"got damping={damping!r}; needed a number in [0, 1), such as {DAMPING}.")
