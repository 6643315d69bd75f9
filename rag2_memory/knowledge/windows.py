"""When a fact held: validity windows resolved from what sources assert, at read time, over the assertions that a scope may see.

Nothing is stored as closed: the same assertions give the same windows whatever order they arrived in, a back-dated fact takes its place in
the sequence, and a holder whose evidence a scope cannot see closes nothing for that scope.

Rules, in this order:
1. What was not recorded yet, or was retracted already, at the asked transaction time does not count.
2. Statements of one edge are read together: one that says since when, one that says until when, one that says neither.
3. On the exclusive side of a predicate a new holder closes the holders before it at its start. A stated end wins over that; an end stated by the
   month or year gives way to a successor who starts within it. Holders who start at the same moment contradict each other and both stay.
4. Other facts never retire one another.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from rag2_memory.knowledge.schema import GraphSchema
from rag2_memory.records import Assertion

OBSERVED_AT = "observed_at"
"""Assertion property: when the source that states the edge was written, ISO 8601. It orders exclusive facts that state no start; facts do not show it."""
FROM_PRECISION = "from_precision"
TO_PRECISION = "to_precision"
"""Assertion properties: the unit (`month`, `year`, …) in which a source stated the start or the end; absent where it named a day."""
ENDED_BY = "before"
"""As `TO_PRECISION`: the fact was over by then ("led" in the past tense), when exactly is unknown."""

_UNIT_DAYS = {
    "week": 7,
    "part": 122,
    "season": 92,
    "quarter": 92,
    "half": 184,
    "year": 366,
    "decade": 3653,
    "century": 36525,
    "month": 31,
    "range": 92,
}
"""Longest each unit can be; a start within it agrees with one stated by the unit alone."""
EARLIEST = datetime.min.replace(tzinfo=timezone.utc)
"""Stands for an unknown start where moments are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The effective validity of an edge: [valid_from, valid_to), open where `None`."""

    valid_from: datetime | None = None
    valid_to: datetime | None = None

    def holds_at(self, moment: datetime) -> bool:
        """Whether the window contains a moment; an unknown start counts as before, an open end as after."""
        return (self.valid_from is None or self.valid_from <= moment) and (self.valid_to is None or moment < self.valid_to)

    def overlaps(self, start: datetime | None, end: datetime | None) -> bool:
        """Whether any moment of [start, end) lies in the window; `None` is unbounded."""
        begins_before = end is None or self.valid_from is None or self.valid_from < end
        ends_after = start is None or self.valid_to is None or self.valid_to > start
        return begins_before and ends_after


@dataclass(slots=True)
class _Tenure:
    """One stretch of one edge, with the assertions that speak of it."""

    start: datetime | None
    end: datetime | None
    start_unit: str = ""
    end_unit: str = ""
    observed: datetime | None = None
    edges: set[str] = field(default_factory=set)

    @property
    def begin(self) -> datetime:
        """Where it stands among other holders: its start, else when it was seen to hold, else the beginning of time."""
        if self.start is not None:
            return self.start
        return self.observed if self.end is None and self.observed is not None else EARLIEST


def known_at(assertions: Iterable[Assertion], recorded: datetime | None) -> list[Assertion]:
    """Return what the memory knew at a moment of transaction time; `None` is now, where nothing retracted counts."""
    if recorded is None:
        return [assertion for assertion in assertions if assertion.retracted_at is None]
    return [
        assertion
        for assertion in assertions
        if (assertion.recorded_at is None or assertion.recorded_at <= recorded)
        and (assertion.retracted_at is None or assertion.retracted_at > recorded)
    ]


def exclusive_slots(
    assertions: Iterable[Assertion], schema: GraphSchema, *, canonical: Mapping[str, str] | None = None
) -> set[tuple[str, str, str]]:
    """Return the slots `(predicate, side, canonical entity id)` in which other holders may close these assertions.

    A caller that starts from one entity's assertions must load those of each slot as well before it calls `resolve_windows`; `side` is the
    side that the entity stands on.
    """
    ids = canonical or {}
    slots = set()
    for assertion in assertions:
        side = _exclusive_side(assertion.predicate, schema)
        if side:
            holder_of = assertion.object_id if side == "object" else assertion.subject_id
            slots.add((assertion.predicate, side, ids.get(holder_of, holder_of)))
    return slots


def resolve_windows(
    assertions: Iterable[Assertion], schema: GraphSchema, *, canonical: Mapping[str, str] | None = None
) -> dict[str, Window]:
    """Return the effective window of every edge. Pure; the order of the assertions does not matter.

    Args:
        assertions: What one scope may see, already limited by `known_at`, complete for every slot of `exclusive_slots`.
        schema: Says which predicates are exclusive and which are momentary.
        canonical: Entity id → id of the entity it was merged into; absent ids stand for themselves.

    Returns:
        One window per edge id. Edges of one subject, predicate and object that speak of the same stretch share a window.
    """
    ids = canonical or {}
    by_triple: dict[tuple[str, str, str], list[Assertion]] = defaultdict(list)
    for assertion in assertions:
        subject, target = (ids.get(entity, entity) for entity in (assertion.subject_id, assertion.object_id))
        by_triple[subject, assertion.predicate, target].append(assertion)
    windows: dict[str, Window] = {}
    slots: dict[tuple[str, str], list[tuple[str, _Tenure]]] = defaultdict(list)
    for (subject, predicate, target), stated in by_triple.items():
        declared = schema.predicate(predicate)
        if declared is not None and declared.momentary:
            windows.update((each.edge_id, Window(valid_from=each.valid_from, valid_to=each.valid_to)) for each in stated)
            continue
        side = _exclusive_side(predicate, schema)
        for tenure in _tenures(stated):
            if side:
                slot, holder = (target, subject) if side == "object" else (subject, target)
                slots[predicate, slot].append((holder, tenure))
            else:
                window = Window(valid_from=tenure.start, valid_to=tenure.end)
                windows.update((edge_id, window) for edge_id in tenure.edges)
    for holders in slots.values():
        windows.update(_sequence(holders))
    return windows


def moment_of(value: object) -> datetime | None:
    """Return an ISO 8601 property as an aware moment; `None` for anything else."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _exclusive_side(predicate: str, schema: GraphSchema) -> str | None:
    declared = schema.predicate(predicate)
    return declared.exclusive if declared is not None and not declared.momentary else None


def _tenures(stated: Sequence[Assertion]) -> list[_Tenure]:
    """Join the statements of one edge into stretches: dated ones first, then ends, then those without any date."""
    pieces = _pieces(stated)
    tenures: list[_Tenure] = []
    for piece in sorted((p for p in pieces if p.start), key=lambda p: (p.begin, _unit_rank(p.start_unit), p.end or p.begin, min(p.edges))):
        _join(piece, next((t for t in tenures if _same_start(t, piece) and _ends_agree(t, piece)), None), tenures)
    for piece in sorted((p for p in pieces if not p.start and p.end), key=lambda p: (p.end_unit == ENDED_BY, p.end, min(p.edges))):
        _join(piece, _stretch_before(tenures, piece), tenures)
    for piece in sorted((p for p in pieces if not p.start and not p.end), key=lambda p: (p.observed or EARLIEST, min(p.edges))):
        _join(piece, _stretch_around(tenures, piece.observed), tenures)
    return tenures


def _pieces(stated: Sequence[Assertion]) -> list[_Tenure]:
    by_edge: dict[str, list[Assertion]] = defaultdict(list)
    for assertion in stated:
        by_edge[assertion.edge_id].append(assertion)
    pieces = []
    for edge_id, each in by_edge.items():
        start_units = sorted({str(a.properties.get(FROM_PRECISION, "")) for a in each}, key=_unit_rank)
        end_units = sorted({str(a.properties.get(TO_PRECISION, "")) for a in each}, key=_unit_rank)
        seen = [moment for a in each if (moment := _observed(a)) is not None]
        pieces.append(
            _Tenure(
                start=each[0].valid_from,
                end=each[0].valid_to,
                start_unit=start_units[0],
                end_unit=end_units[0],
                observed=min(seen, default=None),
                edges={edge_id},
            )
        )
    return pieces


def _observed(assertion: Assertion) -> datetime | None:
    return moment_of(assertion.properties.get(OBSERVED_AT)) or assertion.recorded_at


def _unit_rank(unit: str) -> tuple[int, str]:
    return (10_000 if unit == ENDED_BY else _UNIT_DAYS.get(unit, 0)), unit


def _join(piece: _Tenure, into: _Tenure | None, tenures: list[_Tenure]) -> None:
    if into is None:
        tenures.append(piece)
        return
    into.edges |= piece.edges
    if piece.start and _unit_rank(piece.start_unit) < _unit_rank(into.start_unit):
        into.start, into.start_unit = piece.start, piece.start_unit
    if piece.end and (into.end is None or _unit_rank(piece.end_unit) < _unit_rank(into.end_unit)):
        into.end, into.end_unit = piece.end, piece.end_unit


def _same_start(one: _Tenure, other: _Tenure) -> bool:
    return one.start == other.start or _within(one.start, one.start_unit, other.start) or _within(other.start, other.start_unit, one.start)


def _within(start: datetime | None, unit: str, moment: datetime | None) -> bool:
    """Whether a moment lies in the unit that starts at `start`."""
    if start is None or moment is None or unit not in _UNIT_DAYS:
        return False
    return start <= moment < start + timedelta(days=_UNIT_DAYS[unit])


def _ends_agree(one: _Tenure, other: _Tenure) -> bool:
    if one.end is None or other.end is None or one.end == other.end:
        return True
    for coarse, fine in ((one, other), (other, one)):
        days = _UNIT_DAYS.get(coarse.end_unit, 0)
        if coarse.end and fine.end and coarse.end - timedelta(days=days) <= fine.end <= coarse.end:
            return True
    return ENDED_BY in (one.end_unit, other.end_unit)


def _stretch_before(tenures: Sequence[_Tenure], piece: _Tenure) -> _Tenure | None:
    """The latest stretch that may have ended as the piece says."""
    fitting = [t for t in tenures if (t.start is None or (piece.end and t.start <= piece.end)) and _ends_agree(t, piece)]
    return max(fitting, key=lambda t: t.start or EARLIEST, default=None)


def _stretch_around(tenures: Sequence[_Tenure], observed: datetime | None) -> _Tenure | None:
    """The latest stretch during which an undated statement was made."""
    fitting = [t for t in tenures if observed is None or ((t.start is None or t.start <= observed) and (t.end is None or observed < t.end))]
    return max(fitting, key=lambda t: t.start or EARLIEST, default=None)


def _sequence(holders: Sequence[tuple[str, _Tenure]]) -> dict[str, Window]:
    """Close each holder of one slot at the start of the next other one."""
    windows: dict[str, Window] = {}
    for holder, tenure in holders:
        others = [other for name, other in holders if name != holder]
        successor = min((other.begin for other in others if other.begin > tenure.begin), default=None)
        start = tenure.start
        if start is None and tenure.begin > EARLIEST and any(other.begin < tenure.begin for other in others):
            start = tenure.begin
        window = Window(valid_from=start, valid_to=_end(tenure, successor))
        windows.update((edge_id, window) for edge_id in tenure.edges)
    return windows


def _end(tenure: _Tenure, successor: datetime | None) -> datetime | None:
    if tenure.end is None or successor is None or successor >= tenure.end:
        return tenure.end or successor
    if tenure.end_unit == ENDED_BY or successor >= tenure.end - timedelta(days=_UNIT_DAYS.get(tenure.end_unit, 0)):
        return successor
    return tenure.end
