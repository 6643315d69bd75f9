"""The second step of a question: from a fact that it asks for to the passages that go on about what the fact leads to.

"In which office does the lead of Lantern sit?" names Lantern and asks for its lead; the lead's name stands in no question. The facts of what the
question names (else of what the best hits name) that it asks for give the name, and a search for the name with the rest of the question gives
the passages. At most one walk, one search by words and two checks with the registry; nothing grows with the memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rag2_memory.graphs.services import RecallServices
from rag2_memory.graphs.state import Request
from rag2_memory.knowledge.mentions import normalize_name
from rag2_memory.records import GraphEdge
from rag2_memory.retrieval.fact_relevance import ASKED, asks_for_relation, may_ask_for, ranked_facts, without_relation
from rag2_memory.retrieval.facts import facts_about
from rag2_memory.retrieval.fusion import LEXICAL_UNIT
from rag2_memory.retrieval.graph_ranking import GraphSlice
from rag2_memory.retrieval.plan import Plan
from rag2_memory.types import Fact

HITS_ASKED = 2
"""Best hits whose entities are asked for facts where the question names none that has some."""

ENTITIES_ASKED = 12
"""Entities of these hits, the rarest first."""

EDGES_PER_ENTITY = 16
"""Edges of each that are looked at."""

MAX_EDGES = 48
"""Edges whose facts are read, the nearest first."""

MAX_BRIDGES = 4
"""Names that facts lead to and that are searched for."""

SEARCH_DEPTH = 30
"""Hits of the search by words."""

BRIDGE_WEIGHT = 1.0
"""Share of the second search's calibrated score that a passage gains."""

_WORD = re.compile(r"[^\W_][\w'’-]*")


@dataclass(frozen=True, slots=True)
class Bridges:
    """Where the facts that a question asks for lead."""

    facts: tuple[tuple[Fact, float], ...] = ()
    """Facts that the first walk did not have, with their relevance, the most relevant first."""
    lifts: Mapping[str, float] = field(default_factory=dict)
    """Passage id to what it gains."""
    names: tuple[str, ...] = ()
    """What was searched for."""


def bridges(
    ranking: Sequence[tuple[str, float]],
    around: GraphSlice,
    known: Sequence[tuple[Fact, float]],
    request: Request,
    decided: Plan,
    services: RecallServices,
) -> Bridges:
    """Follow the facts that a question asks for.

    Args:
        ranking: Passages after the links were followed, best first.
        around: The graph around them.
        known: Facts of what the question names, with their relevance.
        request: What was asked.
        decided: The plan, with the entities and the time that the question names.
        services: Tiers.
    """
    if not ranking or not asks_for_relation(request.query, services.schema):
        return Bridges()
    asked = [(fact, score) for fact, score in known if score >= ASKED]
    found: list[tuple[Fact, float]] = []
    if not asked:
        found = _facts_of_hits(ranking, around, request, decided, services)
        asked = [(fact, score) for fact, score in found if score >= ASKED]
    chosen = _best(asked)
    names = _names(chosen, request.query)
    if not names:
        return Bridges(facts=tuple(found))
    sureness = min(1.0, max(ranking[0][1], 0.0)) if found else 1.0
    return Bridges(facts=tuple(found), lifts=_second_search(names, chosen, sureness, request, services), names=tuple(names))


def _facts_of_hits(
    ranking: Sequence[tuple[str, float]], around: GraphSlice, request: Request, decided: Plan, services: RecallServices
) -> list[tuple[Fact, float]]:
    entities = _rarest(around, [chunk_id for chunk_id, _ in ranking[:HITS_ASKED]])
    if not entities:
        return []
    walked = services.graph.neighbourhood(
        namespace=request.scope.namespace,
        entities=entities,
        hops=2,
        valid_from=decided.valid_from,
        valid_to=decided.valid_to,
        subjects_per_entity=0,
        mentions_per_entity=0,
        edges_per_entity=EDGES_PER_ENTITY,
    )
    wanted = [edge for edge in walked.edges if may_ask_for(edge.predicate, request.query, services.schema)]
    edges = _nearest(wanted, entities)[:MAX_EDGES]
    if not edges:
        return []
    facts = facts_about(
        services.registry,
        services.schema,
        {entity for edge in edges for entity in (edge.subject_id, edge.object_id)},
        scope=request.scope,
        as_of=request.as_of,
        during=(decided.valid_from, decided.valid_to) if decided.valid_from or decided.valid_to else None,
        edge_ids={edge.edge_id for edge in edges},
    )
    return ranked_facts(facts, request.query, asks_who=decided.features.question_type == "who", schema=services.schema)


def _rarest(around: GraphSlice, passages: Sequence[str]) -> list[str]:
    held = {entity for passage, entity in around.subjects if passage in passages}
    held |= {entity for passage, entity, _ in around.mentions if passage in passages}
    return sorted(held, key=lambda entity: (around.passage_counts.get(entity, 1), entity))[:ENTITIES_ASKED]


def _nearest(edges: Sequence[GraphEdge], entities: Iterable[str]) -> list[GraphEdge]:
    near = set(entities)
    return sorted(edges, key=lambda edge: (edge.subject_id not in near and edge.object_id not in near, edge.edge_id))


def _best(asked: Sequence[tuple[Fact, float]]) -> list[Fact]:
    best = max((score for _, score in asked), default=0.0)
    return [fact for fact, score in asked if score >= best]


def _names(facts: Sequence[Fact], question: str) -> list[str]:
    """The ends of facts that the question does not name."""
    words = f" {normalize_name(question)} "
    ends = dict.fromkeys(end for fact in facts for end in (fact.subject, fact.object))
    return [end for end in ends if f" {normalize_name(end)} " not in words][:MAX_BRIDGES]


def _second_search(
    names: Sequence[str], facts: Sequence[Fact], sureness: float, request: Request, services: RecallServices
) -> Mapping[str, float]:
    """Search for each name with what is left of the question once the facts are taken out of it."""
    rest = without_relation(_WORD.findall(request.query), facts, services.schema)
    gains: dict[str, float] = {}
    for name in names:
        hits = services.lexical.search(" ".join([name, *rest]), k=SEARCH_DEPTH, namespace=request.scope.namespace)
        floor = hits[-1].score if len(hits) >= SEARCH_DEPTH else 0.0
        for hit in hits:
            gains[hit.id] = max(gains.get(hit.id, 0.0), sureness * BRIDGE_WEIGHT * (hit.score - floor) / LEXICAL_UNIT)
    seen = services.registry.visible(gains, request.scope, request.as_of)
    return {chunk_id: gain for chunk_id, gain in gains.items() if chunk_id in seen and gain > 0}
