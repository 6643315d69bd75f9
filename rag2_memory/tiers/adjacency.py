"""The graph's resident projection: links and edges in compressed columns, so that a neighbourhood of hundreds of entities takes milliseconds.

Embedded graph engines fetch one adjacency list in 60 µs to 1 ms and find many nodes by their key only by scanning the node table; the best
hits of a query name hundreds of entities (tests/benchmarks/bench_graph.py measures both). So the engine keeps the graph, and this index,
rebuilt from the engine, reads it. Readers see one immutable `View`; a writer makes the next one and swaps it in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from rag2_memory.records import GraphEdge, GraphLink, GraphPassage
from rag2_memory.tiers.adjacency_rows import OPEN_END, OPEN_START, Array, EdgeRows, LinkRows, Segment, merged, micros, moment, take

GONE = -1
"""Home of a passage that is not stored."""

MERGE_RATIO = 2
"""A segment is merged into the one before it once it has half its rows: about log2(n) segments, and each row moves about log2(n) times."""

YOUNG_ROWS = 4_096
"""Segments up to this size are always merged: sorting them costs less than a millisecond."""


class Names:
    """Dense numbers for names, in order of arrival."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names: list[str] = list(names)
        self._numbers = {name: number for number, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> str:
        return self.names[number]

    def find(self, name: str) -> int:
        """Return a name's number, -1 where it has none."""
        return self._numbers.get(name, -1)

    def number(self, name: str) -> int:
        """Return a name's number, giving it one if needed."""
        known = self._numbers.get(name)
        if known is None:
            known = self._numbers[name] = len(self.names)
            self.names.append(name)
        return known


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One state of the graph; never changed once it is made."""

    segments: tuple[Segment, ...] = ()
    home: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    """By passage: the number of the segment that holds its rows, or `GONE`."""
    links_of: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    """By entity: how many links it has."""
    edges_of: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    """By entity: how many edge ends it has."""

    def counts(self, segment: Segment, passages: Array) -> NDArray[np.bool_]:
        """Tell which rows of a segment still count, given their passages."""
        return np.asarray(self.home[passages] == segment.number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a write will do: the next view, and which entities come and go with it."""

    view: View
    created: tuple[tuple[str, str], ...]
    """Namespace and id of entities that nothing was tied to before."""
    orphaned: tuple[tuple[str, str], ...]
    """Namespace and id of entities that nothing is tied to any longer."""


def entity_key(namespace: str, entity_id: str) -> str:
    """Return a name that no other namespace's entity can have."""
    return f"{len(namespace)}:{namespace}:{entity_id}"


def entity_of(key: str) -> tuple[str, str]:
    """Return the namespace and the id that make up an entity's key."""
    size, rest = key.split(":", 1)
    return rest[: int(size)], rest[int(size) + 1 :]


class Adjacency:
    """Numbers for names, and the current view."""

    def __init__(self) -> None:
        self.passages = Names()
        self.namespaces: list[str] = []
        """By passage."""
        self.entities = Names()
        self.predicates = Names()
        self.view = View()
        self._last_segment = 0

    @classmethod
    def stored(
        cls,
        passages: Iterable[Sequence[str]],
        links: Iterable[tuple[str, str, str, float]],
        edges: Iterable[tuple[str, str, str, str, str, datetime | None, datetime | None]],
    ) -> Adjacency:
        """Build one from what an engine holds.

        Args:
            passages: Id and namespace.
            links: Passage id, entity key, kind, weight.
            edges: Subject key, object key, edge id, predicate, passage id, and the window's bounds, aware.
        """
        adjacency = cls()
        for key, namespace in passages:
            adjacency.passages.number(key)
            adjacency.namespaces.append(namespace)
        passage, entity, predicate = adjacency.passages.number, adjacency.entities.number, adjacency.predicates.number
        link_rows = [(passage(p), entity(e), int(kind == "mention"), weight) for p, e, kind, weight in links]
        edge_rows = [
            (passage(p), entity(s), entity(o), predicate(name), micros(start, OPEN_START), micros(end, OPEN_END), edge_id.encode())
            for s, o, edge_id, name, p, start, end in edges
        ]
        adjacency._begin(LinkRows.of(link_rows), EdgeRows.of(edge_rows))
        return adjacency

    def _begin(self, links: LinkRows, edges: EdgeRows) -> None:
        """Make rows, whose names have their numbers, the only segment."""
        size = len(self.entities)
        self._last_segment = 1
        self.view = View(
            segments=(Segment.of(1, links, edges),),
            home=np.full(len(self.passages), 1, dtype=np.int32),
            links_of=_count([links.entity], size),
            edges_of=_count([edges.subject, edges.object], size),
        )

    def __contains__(self, passage_id: str) -> bool:
        number = self.passages.find(passage_id)
        return 0 <= number < len(self.view.home) and bool(self.view.home[number] != GONE)

    def ids(self) -> Iterator[str]:
        """Yield the ids of stored passages."""
        for number in np.flatnonzero(self.view.home != GONE).tolist():
            yield self.passages[number]

    def find_passages(self, view: View, namespace: str, ids: Iterable[str]) -> Array:
        """Return the numbers of those passages of a namespace that are stored, without repeats, in the order given."""
        home = view.home
        numbers = (self.passages.find(key) for key in dict.fromkeys(ids))
        kept = [n for n in numbers if 0 <= n < len(home) and home[n] != GONE and self.namespaces[n] == namespace]
        return np.array(kept, dtype=np.int32)

    def find_entities(self, view: View, namespace: str, ids: Iterable[str]) -> Array:
        """Return the numbers of those entities of a namespace that are tied to something, without repeats, in the order given."""
        numbers = (self.entities.find(entity_key(namespace, key)) for key in dict.fromkeys(ids))
        return np.array([n for n in numbers if 0 <= n < len(view.links_of) and view.links_of[n] + view.edges_of[n] > 0], dtype=np.int32)

    def get(self, passage_id: str) -> GraphPassage | None:
        """Return a passage's projection, links and edges in their order of comparison."""
        if passage_id not in self:
            return None
        number = self.passages.find(passage_id)
        view, namespace = self.view, self.namespaces[number]
        segment = next(part for part in view.segments if part.number == view.home[number])
        links = take(segment.links, segment.links_of_passages(np.array([number]))[1])
        edges = take(segment.edges, segment.edges_of_passages(np.array([number]))[1])
        return ordered(
            GraphPassage(id=passage_id, namespace=namespace, links=self.links(links, namespace), edges=self.edges(edges, namespace))
        )

    def links(self, rows: LinkRows, namespace: str) -> tuple[GraphLink, ...]:
        """Return rows as records."""
        passages, entities, cut = self.passages.names, self.entities.names, len(entity_key(namespace, ""))
        return tuple(
            GraphLink(passage_id=passages[p], entity_id=entities[e][cut:], kind="mention" if m else "subject", weight=w)
            for p, e, m, w in zip(rows.passage.tolist(), rows.entity.tolist(), rows.mention.tolist(), rows.weight.tolist(), strict=True)
        )

    def edges(self, rows: EdgeRows, namespace: str) -> tuple[GraphEdge, ...]:
        """Return rows as records."""
        passages, entities, predicates, cut = (
            self.passages.names,
            self.entities.names,
            self.predicates.names,
            len(entity_key(namespace, "")),
        )
        columns = (rows.edge_id, rows.subject, rows.predicate, rows.object, rows.passage, rows.start, rows.end)
        return tuple(
            GraphEdge(
                edge_id=edge_id.decode(),
                subject_id=entities[subject][cut:],
                predicate=predicates[predicate],
                object_id=entities[target][cut:],
                passage_id=passages[passage],
                valid_from=moment(start),
                valid_to=moment(end),
            )
            for edge_id, subject, predicate, target, passage, start, end in zip(*(column.tolist() for column in columns), strict=True)
        )

    def change(self, upserted: Sequence[GraphPassage], deleted: Iterable[str]) -> Change:
        """Return what replacing some passages and removing others makes of the current view; `view` then has to be set to it."""
        view = self.view
        links, edges, touched = self._rows(upserted)
        gone = [number for number in map(self.passages.find, deleted) if 0 <= number < len(view.home)]
        home = _grown(view.home, len(self.passages), GONE)
        old_links, old_edges = self._held(np.array([*touched, *gone], dtype=np.int64))
        self._last_segment += 1
        fresh = Segment.of(self._last_segment, links, edges)
        home[gone] = GONE
        home[touched] = fresh.number
        size = len(self.entities)
        links_of = _grown(view.links_of, size, 0) + _count([links.entity], size) - _count(old_links, size)
        edges_of = _grown(view.edges_of, size, 0) + _count([edges.subject, edges.object], size) - _count(old_edges, size)
        before, after = _grown(view.links_of, size, 0) + _grown(view.edges_of, size, 0), links_of + edges_of
        return Change(
            view=View(
                segments=self._merged((*view.segments, fresh), home, int(links_of.sum() + edges_of.sum() // 2)),
                home=home,
                links_of=links_of,
                edges_of=edges_of,
            ),
            created=tuple(entity_of(self.entities[n]) for n in np.flatnonzero((before == 0) & (after > 0)).tolist()),
            orphaned=tuple(entity_of(self.entities[n]) for n in np.flatnonzero((before > 0) & (after == 0)).tolist()),
        )

    def _rows(self, passages: Sequence[GraphPassage]) -> tuple[LinkRows, EdgeRows, list[int]]:
        links: list[tuple[int, int, int, float]] = []
        edges: list[tuple[int, int, int, int, int, int, bytes]] = []
        touched: list[int] = []
        entity = self.entities.number
        for passage in passages:
            number = self.passages.number(passage.id)
            if number == len(self.namespaces):
                self.namespaces.append(passage.namespace)
            self.namespaces[number] = passage.namespace
            prefix = entity_key(passage.namespace, "")
            touched.append(number)
            links += [(number, entity(prefix + item.entity_id), int(item.kind == "mention"), item.weight) for item in passage.links]
            edges += [
                (
                    number,
                    entity(prefix + item.subject_id),
                    entity(prefix + item.object_id),
                    self.predicates.number(item.predicate),
                    micros(item.valid_from, OPEN_START),
                    micros(item.valid_to, OPEN_END),
                    item.edge_id.encode(),
                )
                for item in passage.edges
            ]
        return LinkRows.of(links), EdgeRows.of(edges), touched

    def _held(self, passages: Array) -> tuple[list[Array], list[Array]]:
        """Return the entities at the ends of what passages hold now."""
        view = self.view
        passages = np.unique(passages[passages < len(view.home)])
        links: list[Array] = []
        edges: list[Array] = []
        for segment in view.segments:
            mine = passages[view.home[passages] == segment.number]
            links.append(segment.links.entity[segment.links_of_passages(mine)[1]])
            rows = segment.edges_of_passages(mine)[1]
            edges += [segment.edges.subject[rows], segment.edges.object[rows]]
        return links, edges

    def _merged(self, segments: tuple[Segment, ...], home: NDArray[np.int32], live: int) -> tuple[Segment, ...]:
        """Join the last segments while they are of a size, or all where most rows no longer count; their passages move along."""
        first = len(segments) - 1
        size = len(segments[-1])
        wasteful = sum(map(len, segments)) > YOUNG_ROWS + MERGE_RATIO * live
        while first > 0 and (wasteful or len(segments[first - 1]) < max(MERGE_RATIO * size, YOUNG_ROWS)):
            first -= 1
            size += len(segments[first])
        if first == len(segments) - 1:
            return segments
        self._last_segment += 1
        whole = merged(self._last_segment, segments[first:], home)
        home[np.isin(home, [part.number for part in segments[first:]])] = whole.number
        return (*segments[:first], whole)


def ordered(passage: GraphPassage) -> GraphPassage:
    """Return a projection with links and edges in the order in which projections are compared, each once."""
    return GraphPassage(
        id=passage.id,
        namespace=passage.namespace,
        links=tuple(sorted(dict.fromkeys(passage.links), key=lambda link: (link.entity_id, link.kind, link.weight))),
        edges=tuple(sorted(dict.fromkeys(passage.edges), key=_edge_order)),
    )


def _edge_order(edge: GraphEdge) -> tuple[str, str, str, str, int, int]:
    return (
        edge.edge_id,
        edge.subject_id,
        edge.predicate,
        edge.object_id,
        micros(edge.valid_from, OPEN_START),
        micros(edge.valid_to, OPEN_END),
    )


def _grown(values: NDArray[np.int32], size: int, filler: int) -> NDArray[np.int32]:
    return np.concatenate([values, np.full(max(size - len(values), 0), filler, dtype=np.int32)])


def _count(columns: Sequence[Array], size: int) -> NDArray[np.int32]:
    return np.asarray(np.bincount(np.concatenate([*columns, np.zeros(0, np.int64)]).astype(np.int64), minlength=size), dtype=np.int32)
