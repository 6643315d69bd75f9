"""Columns of a resident graph: links and edges as NumPy arrays, in immutable segments that are sorted for every way they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
MICROSECOND = timedelta(microseconds=1)
MICROSECONDS_PER_DAY = 86_400_000_000

OPEN_START, OPEN_END = -(2**62), 2**62
"""An absent bound of a window in microseconds since 1970; both lie far outside the years that `datetime` knows."""

Array = NDArray[Any]
Ints = NDArray[np.int64]

_MENTION_BIT, _LINK_BITS, _EDGE_BITS = 16, 17, 32
_WEIGHT_STEPS = 2**_MENTION_BIT - 1
_CLOSED_BIT = 1 << 31
_MOST_DAYS = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRows:
    """Ties of passages to entities; both are numbers. One entry per row in every column."""

    passage: Array
    entity: Array
    mention: Array
    """0: the passage is about the entity; 1: it mentions it."""
    weight: Array

    @classmethod
    def of(cls, rows: Sequence[tuple[int, int, int, float]]) -> LinkRows:
        """Turn rows into columns."""
        passage, entity, mention, weight = zip(*rows, strict=True) if rows else ((), (), (), ())
        return cls(
            passage=np.array(passage, dtype=np.int32),
            entity=np.array(entity, dtype=np.int32),
            mention=np.array(mention, dtype=np.int8),
            weight=np.array(weight, dtype=np.float64),
        )

    def keys(self) -> Ints:
        """Return sort keys: by entity, what is about it first, then the heaviest."""
        light = np.rint((1.0 - np.clip(self.weight, 0.0, 1.0)) * _WEIGHT_STEPS).astype(np.int64)
        return np.asarray((self.entity.astype(np.int64) << _LINK_BITS) | (self.mention.astype(np.int64) << _MENTION_BIT) | light)


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeRows:
    """Edges between entities with their evidence; all but `edge_id` are numbers."""

    passage: Array
    subject: Array
    object: Array
    predicate: Array
    start: Array
    """Microseconds since 1970, or `OPEN_START`."""
    end: Array
    """Microseconds since 1970, or `OPEN_END`."""
    edge_id: Array
    """UTF-8."""

    @classmethod
    def of(cls, rows: Sequence[tuple[int, int, int, int, int, int, bytes]]) -> EdgeRows:
        """Turn rows into columns."""
        passage, subject, target, predicate, start, end, edge_id = zip(*rows, strict=True) if rows else ((), (), (), (), (), (), ())
        return cls(
            passage=np.array(passage, dtype=np.int32),
            subject=np.array(subject, dtype=np.int32),
            object=np.array(target, dtype=np.int32),
            predicate=np.array(predicate, dtype=np.int32),
            start=np.array(start, dtype=np.int64),
            end=np.array(end, dtype=np.int64),
            edge_id=np.array(edge_id, dtype=np.bytes_),
        )

    def keys(self, nodes: Array) -> Ints:
        """Return sort keys: by node, edges without an end first, then those that began last."""
        days = np.clip(self.start // MICROSECONDS_PER_DAY, -_MOST_DAYS, _MOST_DAYS)
        closed = np.where(self.end == OPEN_END, 0, _CLOSED_BIT)
        return np.asarray((nodes.astype(np.int64) << _EDGE_BITS) | closed | (_MOST_DAYS - days))


Rows = TypeVar("Rows", LinkRows, EdgeRows)


def take(rows: Rows, index: Array | slice) -> Rows:
    """Return the rows at an index, in a slice or under a mask."""
    return type(rows)(**{field.name: getattr(rows, field.name)[index] for field in fields(rows)})


def join(parts: Sequence[Rows]) -> Rows:
    """Return the rows of several parts, one after the other."""
    return type(parts[0])(**{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(parts[0])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Rows in the order of a sort key whose high bits are a node's number."""

    keys: Ints
    rows: Array

    @classmethod
    def by(cls, keys: Ints) -> Order:
        """Sort; equal keys keep the order of the rows."""
        rows = np.argsort(keys, kind="stable").astype(np.int32)
        return cls(keys=keys[rows], rows=rows)

    def between(self, low: Ints, high: Ints, *, most: int | None = None) -> tuple[Array, Array]:
        """Return the first rows, up to `most`, of every pair of bounds `low <= key < high`: the pairs' positions and the rows, by position."""
        near = np.argsort(low)  # in this order the searches find their way through the processor's cache
        starts, ends = np.empty(len(low), np.int64), np.empty(len(low), np.int64)
        starts[near] = np.searchsorted(self.keys, low[near])
        ends[near] = np.searchsorted(self.keys, high[near])
        group, places = _ranges(starts, ends if most is None else np.minimum(ends, starts + most))
        return group, self.rows[places]


def _ranges(starts: Array, ends: Array) -> tuple[Array, Array]:
    counts = ends - starts
    group = np.repeat(np.arange(len(counts)), counts)
    return group, np.arange(len(group)) + np.repeat(starts - (np.cumsum(counts) - counts), counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """What one write, or several merged ones, brought. A row counts only while its passage's home is this segment."""

    number: int
    links: LinkRows
    """Sorted by passage."""
    edges: EdgeRows
    """Sorted by passage."""
    by_entity: Order
    by_subject: Order
    by_object: Order

    @classmethod
    def of(cls, number: int, links: LinkRows, edges: EdgeRows) -> Segment:
        """Sort rows in every way they are read."""
        links = take(links, np.argsort(links.passage, kind="stable"))
        edges = take(edges, np.argsort(edges.passage, kind="stable"))
        return cls(
            number=number,
            links=links,
            edges=edges,
            by_entity=Order.by(links.keys()),
            by_subject=Order.by(edges.keys(edges.subject)),
            by_object=Order.by(edges.keys(edges.object)),
        )

    def __len__(self) -> int:
        return len(self.links.passage) + len(self.edges.passage)

    def links_of_passages(self, passages: Array) -> tuple[Array, Array]:
        """Return positions in `passages` and rows of `links`."""
        column = self.links.passage
        return _ranges(np.searchsorted(column, passages), np.searchsorted(column, passages, side="right"))

    def edges_of_passages(self, passages: Array) -> tuple[Array, Array]:
        """Return positions in `passages` and rows of `edges`."""
        column = self.edges.passage
        return _ranges(np.searchsorted(column, passages), np.searchsorted(column, passages, side="right"))

    def links_of_entities(self, entities: Array, *, mention: bool, most: int) -> tuple[Array, Array]:
        """Return positions in `entities` and rows of `links`: up to `most` of each entity, the heaviest first."""
        low = (entities.astype(np.int64) << _LINK_BITS) | (int(mention) << _MENTION_BIT)
        return self.by_entity.between(low, low + (1 << _MENTION_BIT), most=most)

    def edges_of_entities(self, entities: Array, *, outgoing: bool) -> tuple[Array, Array]:
        """Return positions in `entities` and rows of `edges`, those without an end first, then those that began last."""
        low = entities.astype(np.int64) << _EDGE_BITS
        return (self.by_subject if outgoing else self.by_object).between(low, low + (1 << _EDGE_BITS))


def merged(number: int, parts: Sequence[Segment], home: Array) -> Segment:
    """Return one segment with the rows of several that still count."""
    return Segment.of(
        number,
        join([take(part.links, home[part.links.passage] == part.number) for part in parts]),
        join([take(part.edges, home[part.edges.passage] == part.number) for part in parts]),
    )


def micros(moment: datetime | None, missing: int) -> int:
    """Return a moment in microseconds since 1970; a naive one is taken as UTC."""
    if moment is None:
        return missing
    return ((moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)) - EPOCH) // MICROSECOND


@lru_cache(maxsize=16_384)
def moment(value: int) -> datetime | None:
    """Return the aware moment of a bound, `None` for an open one."""
    return None if value in (OPEN_START, OPEN_END) else EPOCH + timedelta(microseconds=value)
