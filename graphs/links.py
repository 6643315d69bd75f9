"""Fetching the part of the graph that ranking works on, cut to what the scope sees."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rag2_memory.graphs.services import RecallServices
from rag2_memory.graphs.state import Request
from rag2_memory.records import GraphLink, Subgraph
from rag2_memory.retrieval.graph_ranking import GraphSlice

HITS_LINKED = 50
"""Best fused hits whose links are fetched; nothing new is reached from them. With 40 recall@5 is that with 100 on HotpotQA, half a point less on MuSiQue."""

HITS_FOLLOWED = 10
"""Best fused hits from which the passages about what they name are fetched."""

PAGES_NAMED = 8
"""Passages about what the query names that are treated as hits, wherever the first search ranked them."""

SUBJECTS_PER_ENTITY = 8
"""Passages about one entity that are fetched; a subject with more is too broad to point anywhere."""


def graph_slice(
    ranking: Sequence[tuple[str, float]], walked: Subgraph, entities: Sequence[str], request: Request, services: RecallServices
) -> GraphSlice:
    """Return the graph around the best hits, if there are any to start from, and what the query names."""
    hits = [chunk_id for chunk_id, _ in ranking]
    asked = set(entities)
    pages = list(dict.fromkeys(link.passage_id for link in walked.links if link.kind == "subject" and link.entity_id in asked))[
        :PAGES_NAMED
    ]
    if not hits and not pages and not entities:
        return GraphSlice()
    namespace = request.scope.namespace
    own = services.graph.neighbourhood(
        namespace=namespace,
        passages=list(dict.fromkeys([*hits[:HITS_LINKED], *pages])),
        subjects_per_entity=0,
        mentions_per_entity=0,
        edges_per_entity=0,
    )
    near = services.graph.neighbourhood(
        namespace=namespace,
        passages=list(dict.fromkeys([*hits[:HITS_FOLLOWED], *pages])),
        entities=entities,
        subjects_per_entity=SUBJECTS_PER_ENTITY,
        mentions_per_entity=0,
        edges_per_entity=0,
    )
    near = visible_subgraph(near, request, services, known={*hits, *pages})
    links = {(link.passage_id, link.entity_id, link.kind): link for part in (own, near, walked) for link in part.links}
    degrees = {**own.degrees, **near.degrees, **walked.degrees}
    return GraphSlice(
        mentions=[(link.passage_id, link.entity_id, link.weight) for link in links.values() if link.kind == "mention"],
        subjects=[(link.passage_id, link.entity_id) for link in links.values() if link.kind == "subject"],
        relations=[(edge.subject_id, edge.object_id, 1.0) for edge in walked.edges],
        passages=services.registry.size(namespace),
        passage_counts=degrees,
        page_counts=_broad(links.values(), degrees),
        pages={passage: document_of(passage) for passage, _, _ in links},
    )


def _broad(links: Iterable[GraphLink], degrees: Mapping[str, int]) -> dict[str, int]:
    """Entities that more documents are about than were fetched, with the most that it can be: every row fetched was of another document."""
    about: dict[str, set[str]] = {}
    for link in links:
        if link.kind == "subject":
            about.setdefault(link.entity_id, set()).add(document_of(link.passage_id))
    return {entity: degrees.get(entity, len(found)) for entity, found in about.items() if len(found) >= SUBJECTS_PER_ENTITY}


def visible_subgraph(subgraph: Subgraph, request: Request, services: RecallServices, *, known: set[str] | None = None) -> Subgraph:
    """Drop every link and edge whose passage the scope cannot see; `known` passages were checked before."""
    passages = {link.passage_id for link in subgraph.links} | {edge.passage_id for edge in subgraph.edges}
    checked = known or set()
    seen = services.registry.visible(passages - checked, request.scope, request.as_of) | (passages & checked)
    return Subgraph(
        links=tuple(link for link in subgraph.links if link.passage_id in seen),
        edges=tuple(edge for edge in subgraph.edges if edge.passage_id in seen),
        truncated=subgraph.truncated,
        degrees=subgraph.degrees,
    )


def document_of(chunk_id: str) -> str:
    """Return the key of the document that a chunk belongs to: the part of its id before the dash."""
    return chunk_id.partition("-")[0]
