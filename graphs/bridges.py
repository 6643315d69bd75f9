"""The second step of a question: from a fact that it asks for to the passages that go on about what the fact leads to.

"In which office does the lead of Lantern sit?" names Lantern and asks for its lead; the lead's name stands in no question. The facts of what the
question names (else of what the best hits name) that it asks for give the name, and a search for the name with the rest of the question gives
the passages. At most one walk, one search by words and two checks with the registry; nothing grows with the memory.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from rag2_memory.graphs.links import SUBJECTS_PER_ENTITY, document_of, visible_subgraph
from rag2_memory.graphs.services import RecallServices
from rag2_memory.graphs.state import Request
from rag2_memory.knowledge.mentions import normalize_name
from rag2_memory.records import GraphEdge, Subgraph
from rag2_memory.retrieval.fact_relevance import (
    ASKED,
    OPEN_PREDICATE,
    asks_for_relation,
    has_person,
    may_ask_for,
    phrase_asked_for,
    ranked_facts,
    without_relation,
)
from rag2_memory.retrieval.facts import facts_about
from rag2_memory.retrieval.fusion import LEXICAL_UNIT
from rag2_memory.retrieval.graph_ranking import NAMED_WEIGHT, GraphSlice
from rag2_memory.retrieval.plan import Plan
from rag2_memory.types import Fact

HITS_ASKED = 2
"""Best hits whose entities are asked for facts where the question names none that has some."""

ENTITIES_ASKED = 24
"""Entities of these hits: what they are about first, then the rarest that they name."""

EDGES_PER_ENTITY = 8
"""Edges of each that are looked at."""

FARTHER = 0.7
"""What a fact counts that is two steps from what was started from, against one that touches it."""

MAX_EDGES = 16
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
    """Facts that the first walk did not have, or had as farther away than they are, with their relevance."""
    lifts: Mapping[str, float] = field(default_factory=dict)
    """Passage id to what it gains."""
    names: tuple[str, ...] = ()
    """What was searched for."""


def bridges(
    ranking: Sequence[tuple[str, float]],
    around: GraphSlice,
    known: Sequence[tuple[Fact, float]],
    walked: Subgraph,
    request: Request,
    decided: Plan,
    services: RecallServices,
) -> Bridges:
    """Follow the facts that a question asks for.

    Args:
        ranking: Passages after the links were followed, best first.
        around: The graph around them.
        known: Facts of what the question names, with their relevance.
        walked: The walk that gave them.
        request: What was asked.
        decided: The plan, with the entities and the time that the question names.
        services: Tiers.
    """
    features = decided.features
    asks_who = features.question_type == "who"
    asks = features.question_type != "statement" or features.text.rstrip().endswith("?")
    if not ranking or not asks or not (asks_who or asks_for_relation(request.query, services.schema)):
        return Bridges()  # a statement names what it looks for
    asked = [(fact, score) for fact, score in known if score >= ASKED]
    found: list[tuple[Fact, float]] = []
    edges: Sequence[GraphEdge] = walked.edges
    own = {entity for entity, _ in decided.entities}
    if not asked:
        own = {entity for passage, entity in around.subjects if passage in [chunk_id for chunk_id, _ in ranking[:HITS_ASKED]]}
        found, edges = _facts_of_hits(ranking, around, asks_who, request, decided, services)
        asked = found
    chosen = _best(asked)
    ends = _far_ends(chosen, edges, own, request.query)
    if not ends:
        return Bridges(facts=tuple(found))
    onward = found or _onward(known, edges, ends)
    sureness = min(1.0, max(ranking[0][1], 0.0)) if found else 1.0
    covered = _text_of(ranking[0][0], request, services) if found else ""
    lifts = _second_search(list(ends.values()), chosen, covered, sureness, request, services)
    for passage, gain in _pages(list(ends), lifts, dict(ranking), request, services).items():
        lifts[passage] = lifts.get(passage, 0.0) + sureness * gain
    return Bridges(facts=tuple(onward), lifts=lifts, names=tuple(ends.values()))


def _onward(known: Sequence[tuple[Fact, float]], edges: Sequence[GraphEdge], ends: Collection[str]) -> list[tuple[Fact, float]]:
    """Facts about what the asked ones lead to: two steps from what the question names, but one from where it leads."""
    touching = {edge.edge_id for edge in edges if edge.subject_id in ends or edge.object_id in ends}
    return [(fact, score / FARTHER) for fact, score in known if score < ASKED and fact.edge_id in touching]


def nearer_first(ranked: Sequence[tuple[Fact, float]], walked: Subgraph, entities: Collection[str]) -> list[tuple[Fact, float]]:
    """Let facts count less that do not touch what the question names."""
    near = {edge.edge_id for edge in walked.edges if edge.subject_id in entities or edge.object_id in entities}
    weighed = [(fact, score if fact.edge_id in near else FARTHER * score) for fact, score in ranked]
    return sorted(weighed, key=lambda item: -item[1])


def _facts_of_hits(
    ranking: Sequence[tuple[str, float]], around: GraphSlice, asks_who: bool, request: Request, decided: Plan, services: RecallServices
) -> tuple[list[tuple[Fact, float]], Sequence[GraphEdge]]:
    """Facts that the question asks for, of what the best hits are about or name, with their edges; where it asks who, only those about people."""
    hits = [chunk_id for chunk_id, score in ranking[:HITS_ASKED] if score > 0]
    weights = _anchors(around, {chunk_id: score / ranking[0][1] for chunk_id, score in ranking[:HITS_ASKED] if score > 0})
    if not weights:
        return [], ()
    walked = services.graph.neighbourhood(
        namespace=request.scope.namespace,
        entities=list(weights),
        hops=1,
        valid_from=decided.valid_from,
        valid_to=decided.valid_to,
        subjects_per_entity=0,
        mentions_per_entity=0,
        edges_per_entity=EDGES_PER_ENTITY,
    )
    nearby = _text_of(hits[0], request, services) if asks_who else ""
    wanted = [edge for edge in walked.edges if may_ask_for(edge.predicate, f"{request.query} {nearby}", services.schema)]
    near = {edge.edge_id: max(weights.get(edge.subject_id, 0.0), weights.get(edge.object_id, 0.0)) for edge in wanted}
    edges = _asked_for(sorted(wanted, key=lambda edge: (-near[edge.edge_id], edge.edge_id))[: 2 * MAX_EDGES], request, services)[:MAX_EDGES]
    if not edges:
        return [], ()
    facts = facts_about(
        services.registry,
        services.schema,
        scope=request.scope,
        as_of=request.as_of,
        during=(decided.valid_from, decided.valid_to) if decided.valid_from or decided.valid_to else None,
        edge_ids={edge.edge_id for edge in edges},
    )
    ranked = ranked_facts(facts, request.query, asks_who=asks_who, schema=services.schema, nearby=nearby)
    asked = [(fact, score) for fact, score in ranked if score >= ASKED and (has_person(fact) or not asks_who)]
    return sorted(((fact, score * (near.get(fact.edge_id) or FARTHER)) for fact, score in asked), key=lambda item: -item[1]), edges


def _asked_for(edges: Sequence[GraphEdge], request: Request, services: RecallServices) -> list[GraphEdge]:
    """Leave out open edges whose phrase the question does not ask for; they are many, and reading facts takes longest."""
    unclear = {edge.edge_id for edge in edges if edge.predicate == OPEN_PREDICATE}
    if not unclear:
        return list(edges)
    stated = services.registry.assertions(request.scope, edge_ids=unclear)
    asked = {each.edge_id for each in stated if phrase_asked_for(str(each.properties.get("phrase", "")), request.query)}
    return [edge for edge in edges if edge.edge_id not in unclear or edge.edge_id in asked]


def _anchors(around: GraphSlice, hits: Mapping[str, float]) -> dict[str, float]:
    """Entities of hits with how much they count: the hit's score against the best one's, a little less where the hit only names them."""
    weights: dict[str, float] = {}
    for share, rows in ((1.0, around.subjects), (0.95, [(passage, entity) for passage, entity, _ in around.mentions])):
        for passage, entity in rows:
            if passage in hits:
                weights[entity] = max(weights.get(entity, 0.0), share * hits[passage])
    about = {entity for passage, entity in around.subjects if passage in hits}
    order = sorted(weights, key=lambda entity: (entity not in about, around.passage_counts.get(entity, 1), entity))
    return {entity: weights[entity] for entity in order[:ENTITIES_ASKED]}


def _text_of(chunk_id: str, request: Request, services: RecallServices) -> str:
    return " ".join(chunk.index_text for chunk in services.registry.chunks([chunk_id], request.scope, request.as_of).values())


def _best(asked: Sequence[tuple[Fact, float]]) -> list[Fact]:
    """The most relevant facts of each predicate that is asked for."""
    best: dict[str, float] = {}
    for fact, score in asked:
        best[fact.predicate] = max(best.get(fact.predicate, 0.0), score)
    return [fact for fact, score in asked if score >= best[fact.predicate]]


def _far_ends(facts: Sequence[Fact], edges: Sequence[GraphEdge], own: Collection[str], question: str) -> dict[str, str]:
    """The entities, with their names, to which facts lead: neither what was started from nor what the question names."""
    by_id = {edge.edge_id: edge for edge in edges}
    words = f" {normalize_name(question)} "
    found: dict[str, str] = {}
    for fact in facts:
        edge = by_id.get(fact.edge_id)
        for entity, name in ((edge.subject_id, fact.subject), (edge.object_id, fact.object)) if edge else ():
            if entity not in own and f" {normalize_name(name)} " not in words:
                found.setdefault(entity, name)
    return dict(list(found.items())[:MAX_BRIDGES])


def _pages(
    entities: Sequence[str], gains: Mapping[str, float], scores: Mapping[str, float], request: Request, services: RecallServices
) -> dict[str, float]:
    """Lift the best passage of each document about what facts lead to, as for what a question names itself."""
    around = services.graph.neighbourhood(
        namespace=request.scope.namespace,
        entities=entities,
        subjects_per_entity=SUBJECTS_PER_ENTITY,
        mentions_per_entity=0,
        edges_per_entity=0,
    )
    about = visible_subgraph(around, request, services)
    lifts: dict[str, float] = {}
    for entity in entities:
        best: dict[str, str] = {}
        passages = sorted(link.passage_id for link in about.links if link.entity_id == entity and link.kind == "subject")
        for passage in sorted(passages, key=lambda each: -(gains.get(each, 0.0) + scores.get(each, 0.0))):
            best.setdefault(document_of(passage), passage)
        for passage in best.values():
            lifts[passage] = max(lifts.get(passage, 0.0), NAMED_WEIGHT / len(best))
    return lifts


def _second_search(
    names: Sequence[str], facts: Sequence[Fact], covered: str, sureness: float, request: Request, services: RecallServices
) -> dict[str, float]:
    """Search for each name with what is left of the question once the facts, and what the first step covers, are taken out of it."""
    rest = without_relation(_WORD.findall(request.query), facts, services.schema, covered=covered)
    gains: dict[str, float] = {}
    for name in names:
        hits = services.lexical.search(" ".join([name, *rest]), k=SEARCH_DEPTH, namespace=request.scope.namespace)
        floor = hits[-1].score if len(hits) >= SEARCH_DEPTH else 0.0
        for hit in hits:
            gains[hit.id] = max(gains.get(hit.id, 0.0), sureness * BRIDGE_WEIGHT * (hit.score - floor) / LEXICAL_UNIT)
    seen = services.registry.visible(gains, request.scope, request.as_of)
    return {chunk_id: gain for chunk_id, gain in gains.items() if chunk_id in seen and gain > 0}
