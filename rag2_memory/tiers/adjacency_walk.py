"""Neighbourhoods over the resident graph: which links and edges lie around some passages and entities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rag2_memory.records import Subgraph
from rag2_memory.tiers.adjacency import Adjacency, View
from rag2_memory.tiers.adjacency_rows import OPEN_END, Array, EdgeRows, LinkRows, Segment, join, take

CLIP_SLACK = 224
"""Links of an entity that are looked at beyond those wanted, for those that no longer count."""

_NO_LINKS, _NO_EDGES = LinkRows.of(()), EdgeRows.of(())


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much of a neighbourhood is wanted; the fields are those of `GraphTier.neighbourhood`."""

    hops: int
    window: tuple[int, int] | None
    """In microseconds since 1970; `None`: whatever the validity."""
    subjects_per_entity: int
    mentions_per_entity: int
    edges_per_entity: int
    limit: int


def neighbourhood(adjacency: Adjacency, bounds: Bounds, *, namespace: str, passages: Sequence[str], entities: Sequence[str]) -> Subgraph:
    """Return what `GraphTier.neighbourhood` promises."""
    view = adjacency.view
    walk = _Walk(view, bounds)
    seeds = adjacency.find_passages(view, namespace, passages)
    seed_links = walk.links_of_passages(seeds)
    edges = walk.walk(adjacency.find_entities(view, namespace, entities), seed_links.entity)
    links = join([seed_links, walk.links_of_reached(seeds)])
    names = adjacency.entities.ids
    degrees = zip(walk.reached.tolist(), view.links_of[walk.reached].tolist(), strict=True)
    return Subgraph(
        links=adjacency.links(take(links, slice(bounds.limit))),
        edges=adjacency.edges(take(edges, slice(bounds.limit))),
        truncated=walk.truncated or max(len(links.passage), len(edges.passage)) > bounds.limit,
        degrees={names[number]: count for number, count in degrees},
    )


class _Walk:
    """Reads one view, and remembers what it reached."""

    def __init__(self, view: View, bounds: Bounds) -> None:
        self._view = view
        self._bounds = bounds
        self._known = np.zeros(len(view.links_of), dtype=np.bool_)
        self.reached = np.zeros(0, dtype=np.int32)
        """Entities in the order in which they were reached."""
        self.truncated = False

    def links_of_passages(self, seeds: Array) -> LinkRows:
        """Return all links of the seeds, in their order."""
        groups, parts = [np.zeros(0, np.int64)], [_NO_LINKS]
        for segment in self._view.segments:
            places = np.flatnonzero(self._view.home[seeds] == segment.number)
            group, rows = segment.links_of_passages(seeds[places])
            groups.append(places[group])
            parts.append(take(segment.links, rows))
        return take(join(parts), np.argsort(np.concatenate(groups), kind="stable"))

    def walk(self, entities: Array, linked: Array) -> EdgeRows:
        """Reach the seed entities, then, hop by hop, what seed passages link to and what edges lead to; return these edges."""
        frontier = self._reach(entities)
        if not self._bounds.edges_per_entity:
            self._reach(linked if self._bounds.hops else linked[:0])
            return _NO_EDGES
        found: list[EdgeRows] = [_NO_EDGES]
        ids = [np.zeros(0, np.int64)]
        for hop in range(self._bounds.hops):
            near = self._known.copy()
            near[linked] = True
            edges, numbers = self._edges_around(frontier, near)
            found.append(edges)
            ids.append(numbers)
            ends = np.stack([edges.subject, edges.object], axis=1).ravel()
            frontier = self._reach(ends if hop else np.concatenate([linked, ends]))
        return take(join(found), _first(np.concatenate(ids)))

    def links_of_reached(self, seeds: Array) -> LinkRows:
        """Return the links of reached entities to passages other than the seeds: what is about them first, up to so many of each kind."""
        view, bounds = self._view, self._bounds
        seeded = np.zeros(len(view.home), dtype=np.bool_)
        seeded[seeds] = True
        groups, parts = [np.zeros(0, np.int64)], [_NO_LINKS]
        for segment in view.segments:
            for mention, most in ((False, bounds.subjects_per_entity), (True, bounds.mentions_per_entity)):
                if most:
                    group, rows = self._heaviest(segment, seeded, mention=mention, most=most)
                    groups.append(group)
                    parts.append(take(segment.links, rows))
        group, links = np.concatenate(groups), join(parts)
        order = np.lexsort((-links.weight, links.mention, group))
        group, links = group[order], take(links, order)
        most_of = np.where(links.mention == 1, bounds.mentions_per_entity, bounds.subjects_per_entity)
        kept = _rank(group * 2 + links.mention) < most_of
        self.truncated |= not kept.all()
        return take(links, kept)

    def _heaviest(self, segment: Segment, seeded: NDArray[np.bool_], *, mention: bool, most: int) -> tuple[Array, Array]:
        """Return the heaviest links of each reached entity, seeds aside: positions in `reached` and rows.

        Of a hub only a part is looked at, and the rest only where too many of that part turn out not to count.
        """
        entities, looked_at = self.reached, most + CLIP_SLACK
        places = np.arange(len(entities))
        groups, found = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        while len(places):
            group, rows = segment.links_of_entities(entities[places], mention=mention, most=looked_at)
            passages = segment.links.passage[rows]
            counts = self._view.counts(segment, passages) & ~seeded[passages]
            seen, counted = np.bincount(group, minlength=len(places)), np.bincount(group[counts], minlength=len(places))
            done = (counted > most) | (seen < looked_at)
            group, rows = group[counts], rows[counts]
            kept = self._first_of_each(group, most) & done[group]
            groups.append(places[group[kept]])
            found.append(rows[kept])
            places, looked_at = places[~done], len(segment) + 1
        return np.concatenate(groups), np.concatenate(found)

    def _reach(self, entities: Array) -> Array:
        """Mark entities as reached and return the new ones."""
        fresh = entities[~self._known[entities]]
        fresh = fresh[_first(fresh)]
        room = max(self._bounds.limit - len(self.reached), 0)
        self.truncated |= len(fresh) > room
        fresh = fresh[:room]
        self._known[fresh] = True
        self.reached = np.concatenate([self.reached, fresh]).astype(np.int32)
        return fresh

    def _edges_around(self, entities: Array, near: NDArray[np.bool_]) -> tuple[EdgeRows, Array]:
        """Return the edges of entities and a number for each: those that lead to what is near, and so many others of each entity."""
        most = self._bounds.edges_per_entity
        groups, distant, ids, parts = [np.zeros(0, np.int64)], [np.zeros(0, np.bool_)], [np.zeros(0, np.int64)], [_NO_EDGES]
        for place, segment in enumerate(self._view.segments):
            for outgoing in (True, False):
                group, rows = segment.edges_of_entities(entities, outgoing=outgoing)
                valid = self._valid(segment.edges, rows, self._view.counts(segment, segment.edges.passage[rows]))
                group, rows = group[valid], rows[valid]
                far = ~near[(segment.edges.object if outgoing else segment.edges.subject)[rows]]
                kept = ~far
                kept[far] = self._first_of_each(group[far], most)
                kept[kept & ~far] = np.arange(np.count_nonzero(kept & ~far)) <= self._bounds.limit
                groups.append(group[kept])
                distant.append(far[kept])
                ids.append(rows[kept].astype(np.int64) | (place << 32))
                parts.append(take(segment.edges, rows[kept]))
        group, far, number, edges = np.concatenate(groups), np.concatenate(distant), np.concatenate(ids), join(parts)
        order = np.lexsort((-edges.start, edges.end != OPEN_END, far, group))
        order = order[_first(number[order])]
        group, far = group[order], far[order]
        kept = ~far
        kept[far] = self._first_of_each(group[far], most)
        return take(edges, order[kept]), number[order[kept]]

    def _valid(self, edges: EdgeRows, rows: Array, counts: NDArray[np.bool_]) -> NDArray[np.bool_]:
        window = self._bounds.window
        if window is None:
            return counts
        start, end = window
        starts, ends = edges.start[rows], edges.end[rows]
        return np.asarray(counts & (starts < max(end, start + 1)) & (np.maximum(ends, starts + 1) > start))

    def _first_of_each(self, group: Array, most: int) -> NDArray[np.bool_]:
        """Tell which rows are among the first so many of their group; groups follow one another."""
        kept = _rank(group) < most
        self.truncated |= most > 0 and not bool(kept.all())
        return kept


def _rank(group: Array) -> Array:
    """Return each row's place in its group; the rows of a group follow one another."""
    starts = np.flatnonzero(np.concatenate([np.ones(min(len(group), 1), dtype=np.bool_), group[1:] != group[:-1]]))
    return np.arange(len(group)) - np.repeat(starts, np.diff(starts, append=len(group)))


def _first(values: Array) -> Array:
    """Return where each distinct value occurs first, in the order of the values given."""
    return np.sort(np.unique(values, return_index=True)[1])
