"""Projections for the graph contract: builders, random ones, and a reference that answers by scanning everything."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta, timezone

from hypothesis import strategies as st

from rag2_memory.records import GraphEdge, GraphLink, GraphPassage, MentionKind, Subgraph

SPACE = "default"
INSTANT = timedelta(microseconds=1)
EVERYTHING = {"subjects_per_entity": 10_000, "mentions_per_entity": 10_000, "edges_per_entity": 10_000, "limit": 10_000}


def year(number: int) -> datetime:
    """Return the first moment of a year."""
    return datetime(number, 1, 1, tzinfo=timezone.utc)


def link(passage: str, entity: str, kind: MentionKind = "mention", weight: float = 1.0) -> GraphLink:
    """Return a link."""
    return GraphLink(passage_id=passage, entity_id=entity, kind=kind, weight=weight)


def edge(
    passage: str, subject: str, target: str, valid_from: int | None = None, valid_to: int | None = None, *, predicate: str = "KNOWS"
) -> GraphEdge:
    """Return an edge whose window is given in years."""
    return GraphEdge(
        edge_id=f"{subject}-{predicate}-{target}-{valid_from}-{valid_to}",
        subject_id=subject,
        predicate=predicate,
        object_id=target,
        passage_id=passage,
        valid_from=None if valid_from is None else year(valid_from),
        valid_to=None if valid_to is None else year(valid_to),
    )


def passage(key: str, *items: GraphLink | GraphEdge, namespace: str = SPACE) -> GraphPassage:
    """Return a projection with its links and edges in the order of comparison."""
    links = sorted((item for item in items if isinstance(item, GraphLink)), key=lambda item: (item.entity_id, item.kind))
    edges = sorted((item for item in items if isinstance(item, GraphEdge)), key=lambda item: item.edge_id)
    return GraphPassage(id=key, namespace=namespace, links=tuple(links), edges=tuple(edges))


class ReferenceGraph:
    """What a graph tier should answer where no bound cuts, by scanning everything that was written."""

    def __init__(self) -> None:
        self.stored: dict[str, GraphPassage] = {}

    def upsert(self, passages: Iterable[GraphPassage]) -> None:
        """Replace passages."""
        self.stored |= {item.id: item for item in passages}

    def delete(self, ids: Iterable[str]) -> None:
        """Remove passages."""
        for key in ids:
            self.stored.pop(key, None)

    def neighbourhood(
        self,
        namespace: str,
        passages: Collection[str],
        entities: Collection[str],
        hops: int,
        window: tuple[datetime | None, datetime | None],
    ) -> tuple[set[GraphLink], set[GraphEdge], dict[str, int]]:
        """Return links, edges and degrees."""
        mine = [item for item in self.stored.values() if item.namespace == namespace]
        links = [item for part in mine for item in part.links]
        edges = {item for part in mine for item in part.edges if overlaps(item, *window)}
        tied = {item.entity_id for item in links} | {
            end for part in mine for item in part.edges for end in (item.subject_id, item.object_id)
        }
        reached, walked = set(entities) & tied, set[GraphEdge]()
        for hop in range(hops):
            step = {item for item in edges if {item.subject_id, item.object_id} & reached}
            linked = {item.entity_id for item in links if item.passage_id in set(passages)} if hop == 0 else set()
            walked |= step
            reached = reached | linked | {end for item in step for end in (item.subject_id, item.object_id)}
        found = {item for item in links if item.passage_id in passages or item.entity_id in reached}
        return found, walked, {entity: sum(item.entity_id == entity for item in links) for entity in reached}


def overlaps(item: GraphEdge, start: datetime | None, end: datetime | None) -> bool:
    """Tell whether an edge is valid at some moment of a window; an empty window counts as its one moment."""
    first, last = datetime.min.replace(tzinfo=timezone.utc), datetime.max.replace(tzinfo=timezone.utc)
    asked_from, edge_from = start or first, item.valid_from or first
    asked_to = max(end or last, asked_from + INSTANT)
    edge_to = max(item.valid_to or last, edge_from + INSTANT)
    return edge_from < asked_to and asked_from < edge_to


def entities_of(found: Subgraph) -> set[str]:
    """Return the ends of all edges."""
    return {end for item in found.edges for end in (item.subject_id, item.object_id)}


IDS = st.sampled_from(["a", "b", "c", "d", "e", "名前", 'O\'Brien \\ "x"'])
YEARS = st.one_of(st.none(), st.integers(2000, 2006))
NAMESPACES = st.sampled_from([SPACE, "other:place"])


@st.composite
def passages(draw: st.DrawFn) -> GraphPassage:
    """Draw a projection over a few entities, so that passages share them."""
    key = draw(st.sampled_from(["p1", "p2", "p3", "p4", "p5"]))
    pairs = draw(st.lists(st.tuples(IDS, st.sampled_from(["subject", "mention"])), max_size=4, unique=True))
    links = [link(key, entity, kind, draw(st.floats(0.1, 1))) for entity, kind in pairs]  # type: ignore[arg-type]
    ends = draw(st.lists(st.tuples(IDS, IDS, YEARS, YEARS), max_size=4, unique=True))
    edges = [edge(key, a, b, start, end) for a, b, start, end in ends if start is None or end is None or start <= end]
    return passage(key, *links, *edges, namespace=draw(NAMESPACES))


WRITES = st.lists(
    st.one_of(st.lists(passages(), min_size=1, max_size=4), st.lists(st.sampled_from(["p1", "p2", "p3", "p4", "p5"]))), max_size=6
)
