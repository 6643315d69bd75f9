"""The graph's resident projection: links and edges in compressed columns, so that a neighbourhood of hundreds of entities takes milliseconds.

Embedded graph engines fetch one adjacency list in 60 µs to 1 ms and find many nodes by their key only by scanning the node table; the best
hits of a query name hundreds of entities (tests/benchmarks/bench_graph.py measures both). So the engine keeps the graph, and this index,
rebuilt from the engine, reads it. Readers see one immutable `View`; a writer makes the next one and swaps it in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag2_memory.records import GraphEdge, GraphLink, GraphPassage, MentionKind
from rag2_memory.tiers.adjacency_rows import OPEN_END, OPEN_START, Array, EdgeRows, LinkRows, Segment, merged, micros, moment, take

GONE = -1
"""Home of a passage that is not stored."""

KINDS: tuple[MentionKind, MentionKind] = ("subject", "mention")

MERGE_RATIO = 2
"""A segment is merged into the one before it once it has half its rows: about log2(n) segments, and each row moves about log2(n) times."""

SPARE_NAMES = 10_000
"""Names of removed passages that are always tolerated."""

YOUNG_ROWS = 4_096
"""Segments up to this size are always merged: sorting them costs less than a millisecond."""


class Names:
    """Dense numbers for ids, each of one namespace, in order of arrival."""

    def __init__(self, names: Iterable[tuple[str, str]] = ()) -> None:
        """Number some namespaces and ids, each once, in the order given."""
        self.ids: list[str] = []
        """By number."""
        self.namespaces: list[str] = []
        """By number."""
        self._numbers: dict[str, dict[str, int]] = {}
        for number, (namespace, key) in enumerate(names):
            self._numbers.setdefault(namespace, {})[key] = number
            self.ids.append(key)
            self.namespaces.append(namespace)

    def find(self, namespace: str, ids: Iterable[str]) -> list[int]:
        """Return the numbers of those ids that have one, without repeats, in the order given."""
        known = self._numbers.get(namespace, {})
        return [known[key] for key in dict.fromkeys(ids) if key in known]

    def numbering(self, namespace: str) -> Callable[[str], int]:
        """Return a function from id to number that gives new ids a number."""
        known = self._numbers.setdefault(namespace, {})

        def number(key: str) -> int:
            found = known.get(key)
            if found is None:
                found = known[key] = len(self.ids)
                self.ids.append(key)
                self.namespaces.append(namespace)
            return found

        return number


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


class Adjacency:
    """Numbers for names, and the current view."""

    def __init__(self) -> None:
        self.passages = Names()
        self.entities = Names()
        self.predicates = Names()
        self.view = View()
        self._homes: dict[str, int] = {}
        """By passage id, whatever its namespace: its number."""
        self._last_segment = 0

    @classmethod
    def stored(
        cls,
        passages: Iterable[Sequence[Any]],
        links: Iterable[Sequence[Any]],
        edges: Iterable[Sequence[Any]],
    ) -> Adjacency:
        """Build one from the rows that an engine holds.

        Args:
            passages: Id and namespace.
            links: Passage id, entity id, kind, weight.
            edges: Passage id, subject id, object id, edge id, predicate, and the window's bounds, aware.
        """
        adjacency = cls()
        adjacency.passages = Names((namespace, key) for key, namespace in passages)
        homes = {key: number for number, key in enumerate(adjacency.passages.ids)}
        namespaces, predicate = adjacency.passages.namespaces, adjacency.predicates.numbering("")
        entity = {namespace: adjacency.entities.numbering(namespace) for namespace in set(namespaces)}
        link_rows = [(home := homes[p], entity[namespaces[home]](e), int(kind == "mention"), weight) for p, e, kind, weight in links]
        edge_rows = [
            (
                home := homes[p],
                entity[namespaces[home]](subject),
                entity[namespaces[home]](target),
                predicate(name),
                micros(start, OPEN_START),
                micros(end, OPEN_END),
                edge_id.encode(),
            )
            for p, subject, target, edge_id, name, start, end in edges
        ]
        adjacency.begin(LinkRows.of(link_rows), EdgeRows.of(edge_rows))
        return adjacency

    def begin(self, links: LinkRows, edges: EdgeRows) -> None:
        """Make rows, whose names have their numbers, the only segment."""
        size = len(self.entities.ids)
        self._homes = {key: number for number, key in enumerate(self.passages.ids)}
        self._last_segment = 1
        self.view = View(
            segments=(Segment.of(1, links, edges),),
            home=np.full(len(self.passages.ids), 1, dtype=np.int32),
            links_of=_count([links.entity], size),
            edges_of=_count([edges.subject, edges.object], size),
        )

    def find_passages(self, view: View, namespace: str, ids: Iterable[str]) -> Array:
        """Return the numbers of those passages of a namespace that are stored, without repeats, in the order given."""
        found = np.array(self.passages.find(namespace, ids), dtype=np.int32)
        found = found[found < len(view.home)]
        return np.asarray(found[view.home[found] != GONE])

    def find_entities(self, view: View, namespace: str, ids: Iterable[str]) -> Array:
        """Return the numbers of those entities of a namespace that are tied to something, without repeats, in the order given."""
        found = np.array(self.entities.find(namespace, ids), dtype=np.int32)
        found = found[found < len(view.links_of)]
        return np.asarray(found[view.links_of[found] + view.edges_of[found] > 0])

    def get(self, ids: Iterable[str]) -> dict[str, GraphPassage]:
        """Return the projections of those passages that are stored, links and edges in their order of comparison."""
        view, size = self.view, len(self.view.home)
        wanted = {number: key for key in ids if (number := self._homes.get(key, size)) < size and view.home[number] != GONE}
        numbers = np.array(list(wanted), dtype=np.int64)
        links: dict[int, list[GraphLink]] = {number: [] for number in wanted}
        edges: dict[int, list[GraphEdge]] = {number: [] for number in wanted}
        for segment in view.segments:
            mine = numbers[view.home[numbers] == segment.number]
            group, rows = segment.links_of_passages(mine)
            for number, link in zip(mine[group].tolist(), self.links(take(segment.links, rows)), strict=True):
                links[number].append(link)
            group, rows = segment.edges_of_passages(mine)
            for number, edge in zip(mine[group].tolist(), self.edges(take(segment.edges, rows)), strict=True):
                edges[number].append(edge)
        namespaces = self.passages.namespaces
        return {
            key: ordered(GraphPassage(id=key, namespace=namespaces[number], links=tuple(links[number]), edges=tuple(edges[number])))
            for number, key in wanted.items()
        }

    def links(self, rows: LinkRows) -> tuple[GraphLink, ...]:
        """Return rows as records."""
        passages, entities = self.passages.ids, self.entities.ids
        return tuple(
            GraphLink(passage_id=passages[p], entity_id=entities[e], kind=KINDS[m], weight=w)
            for p, e, m, w in zip(rows.passage.tolist(), rows.entity.tolist(), rows.mention.tolist(), rows.weight.tolist(), strict=True)
        )

    def edges(self, rows: EdgeRows) -> tuple[GraphEdge, ...]:
        """Return rows as records."""
        passages, entities, predicates = self.passages.ids, self.entities.ids, self.predicates.ids
        columns = (rows.edge_id, rows.subject, rows.predicate, rows.object, rows.passage, rows.start, rows.end)
        return tuple(
            GraphEdge(
                edge_id=edge_id.decode(),
                subject_id=entities[subject],
                predicate=predicates[predicate],
                object_id=entities[target],
                passage_id=passages[passage],
                valid_from=moment(start),
                valid_to=moment(end),
            )
            for edge_id, subject, predicate, target, passage, start, end in zip(*(column.tolist() for column in columns), strict=True)
        )

    def change(self, upserted: Sequence[GraphPassage], deleted: Iterable[str]) -> Change:
        """Return what replacing some passages and removing others makes of the current view; `view` then has to be set to it."""
        view = self.view
        before = [number for key in (*(passage.id for passage in upserted), *deleted) if (number := self._homes.get(key)) is not None]
        links, edges, touched = self._rows(upserted)
        home = _grown(view.home, len(self.passages.ids), GONE)
        old_links, old_edges = self._held(np.array(before, dtype=np.int64))
        self._last_segment += 1
        fresh = Segment.of(self._last_segment, links, edges)
        home[before] = GONE
        home[touched] = fresh.number
        size = len(self.entities.ids)
        links_before, edges_before = _grown(view.links_of, size, 0), _grown(view.edges_of, size, 0)
        links_of = links_before + _count([links.entity], size) - _count(old_links, size)
        edges_of = edges_before + _count([edges.subject, edges.object], size) - _count(old_edges, size)
        tied_before, tied = links_before + edges_before > 0, links_of + edges_of > 0
        return Change(
            view=View(
                segments=self._merged((*view.segments, fresh), home, int(links_of.sum() + edges_of.sum() // 2)),
                home=home,
                links_of=links_of,
                edges_of=edges_of,
            ),
            created=tuple((self.entities.namespaces[n], self.entities.ids[n]) for n in np.flatnonzero(tied & ~tied_before).tolist()),
            orphaned=tuple((self.entities.namespaces[n], self.entities.ids[n]) for n in np.flatnonzero(tied_before & ~tied).tolist()),
        )

    @property
    def wasteful(self) -> bool:
        """Whether most names stand for what is no longer stored."""
        return len(self.passages.ids) > SPARE_NAMES + 2 * int(np.count_nonzero(self.view.home != GONE))

    def compacted(self) -> Adjacency:
        """Return the same graph in one segment, without the names of what is no longer stored."""
        view, fresh = self.view, Adjacency()
        whole = merged(1, view.segments, view.home) if view.segments else Segment.of(1, LinkRows.of(()), EdgeRows.of(()))
        fresh.passages, passage = _kept(self.passages, view.home != GONE)
        fresh.entities, entity = _kept(self.entities, view.links_of + view.edges_of > 0)
        fresh.predicates = self.predicates
        links = replace(whole.links, passage=passage[whole.links.passage], entity=entity[whole.links.entity])
        edges = replace(
            whole.edges, passage=passage[whole.edges.passage], subject=entity[whole.edges.subject], object=entity[whole.edges.object]
        )
        fresh.begin(links, edges)
        return fresh

    def _rows(self, passages: Sequence[GraphPassage]) -> tuple[LinkRows, EdgeRows, list[int]]:
        links: list[tuple[int, int, int, float]] = []
        edges: list[tuple[int, int, int, int, int, int, bytes]] = []
        touched: list[int] = []
        predicate = self.predicates.numbering("")
        for passage in passages:
            home = self._homes[passage.id] = self.passages.numbering(passage.namespace)(passage.id)
            entity = self.entities.numbering(passage.namespace)
            touched.append(home)
            links += [(home, entity(item.entity_id), int(item.kind == "mention"), item.weight) for item in passage.links]
            edges += [
                (
                    home,
                    entity(item.subject_id),
                    entity(item.object_id),
                    predicate(item.predicate),
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


def _kept(names: Names, kept: NDArray[np.bool_]) -> tuple[Names, NDArray[np.int32]]:
    """Return some of the names, and their new numbers by old ones."""
    numbers = np.zeros(len(kept), dtype=np.int32)
    old = np.flatnonzero(kept)
    numbers[old] = np.arange(len(old))
    return Names((names.namespaces[number], names.ids[number]) for number in old.tolist()), numbers


def _grown(values: NDArray[np.int32], size: int, filler: int) -> NDArray[np.int32]:
    return np.concatenate([values, np.full(max(size - len(values), 0), filler, dtype=np.int32)])


def _count(columns: Sequence[Array], size: int) -> NDArray[np.int32]:
    return np.asarray(np.bincount(np.concatenate([*columns, np.zeros(0, np.int64)]).astype(np.int64), minlength=size), dtype=np.int32)
