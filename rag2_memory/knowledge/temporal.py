"""Facts as callers see them: assertions of one edge and window joined with their evidence, at a point of both time axes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from rag2_memory.knowledge.schema import GraphSchema
from rag2_memory.knowledge.windows import (
    EARLIEST,
    FROM_PRECISION,
    OBSERVED_AT,
    TO_PRECISION,
    Window,
    exclusive_slots,
    known_at,
    resolve_windows,
)
from rag2_memory.records import Assertion, Entity
from rag2_memory.types import AsOf, Fact

__all__ = ["Window", "exclusive_slots", "fact_json", "facts_at", "facts_from", "known_at", "resolve_windows"]


def facts_from(
    assertions: Sequence[Assertion],
    *,
    entities: Mapping[str, Entity],
    windows: Mapping[str, Window],
    schema: GraphSchema,
    as_of: AsOf | None = None,
    during: tuple[datetime | None, datetime | None] | None = None,
    canonical: Mapping[str, str] | None = None,
    documents: Mapping[str, str] | None = None,
) -> list[Fact]:
    """Return assertions as facts, those of one edge and window joined with all their evidence.

    Args:
        assertions: Visible to the scope and limited by `known_at`.
        entities: Canonical entity id → the entity with the name that the scope is shown. Assertions with an absent endpoint are left out.
        windows: What `resolve_windows` returned for them.
        schema: Gives endpoint types where an entity's own does not fit, and says which predicates are momentary.
        as_of: With `valid`, only what held then; without it, the whole history, ended facts included. `recorded` is for `known_at`.
        during: Only what held at some moment of [start, end), or for a momentary predicate happened in it.
        canonical: Entity id → id of the entity it was merged into.
        documents: Chunk id → document id, for `Fact.documents`.

    Returns:
        Facts ordered by predicate, open ones first, then the latest start first.
    """
    ids = canonical or {}
    groups: dict[tuple[str, str, str, Window], list[Assertion]] = defaultdict(list)
    for assertion in assertions:
        subject, target = (ids.get(entity, entity) for entity in (assertion.subject_id, assertion.object_id))
        window = windows.get(assertion.edge_id)
        if window is None or subject == target or subject not in entities or target not in entities:
            continue
        if _asked_for(window, assertion.predicate, schema, as_of, during):
            groups[subject, assertion.predicate, target, window].append(assertion)
    facts = [
        _fact(stated, entities[subject], entities[target], window, schema, as_of, documents or {})
        for (subject, _, target, window), stated in groups.items()
    ]
    return sorted(facts, key=_order)


def facts_at(
    assertions: Iterable[Assertion],
    *,
    entities: Mapping[str, Entity],
    schema: GraphSchema,
    as_of: AsOf | None = None,
    during: tuple[datetime | None, datetime | None] | None = None,
    canonical: Mapping[str, str] | None = None,
    documents: Mapping[str, str] | None = None,
) -> list[Fact]:
    """Return the facts at a point of both time axes: `known_at`, then `resolve_windows`, then `facts_from`."""
    known = known_at(assertions, as_of.recorded if as_of else None)
    windows = resolve_windows(known, schema, canonical=canonical)
    return facts_from(
        known, entities=entities, windows=windows, schema=schema, as_of=as_of, during=during, canonical=canonical, documents=documents
    )


def fact_json(fact: Fact, *, now: datetime | None = None) -> dict[str, Any]:
    """Return a fact as an edge in plain values: `{"source", "predicate", "target", "properties": {…}}`.

    Args:
        fact: Any fact.
        now: Decides whether a stated end lies in the past; without it every end makes the edge inactive.

    Returns:
        `properties` holds `created_at` (start of validity, else when it was recorded), `updated_at`, `status` (`active` or `inactive`),
        `ended_at` where it ended, the evidence, and the edge's own properties; moments as ISO 8601 with `Z`.
    """
    ended = fact.valid_to or fact.retracted_at
    upcoming = now is not None and fact.retracted_at is None and fact.valid_to is not None and fact.valid_to > now
    stamps = {
        "created_at": _iso(fact.valid_from or fact.recorded_at),
        "updated_at": _latest(fact),
        "ended_at": _iso(ended),
        "recorded_at": _iso(fact.recorded_at),
    }
    return {
        "source": fact.subject,
        "predicate": fact.predicate,
        "target": fact.object,
        "properties": {
            **fact.properties,
            **{key: value for key, value in stamps.items() if value is not None},
            "status": "active" if upcoming else fact.status,
            "confidence": fact.confidence,
            "evidence": list(fact.evidence),
        },
    }


def _asked_for(
    window: Window, predicate: str, schema: GraphSchema, as_of: AsOf | None, during: tuple[datetime | None, datetime | None] | None
) -> bool:
    if as_of is not None and as_of.valid is not None and not window.holds_at(as_of.valid):
        return False
    if during is None:
        return True
    declared = schema.predicate(predicate)
    if declared is not None and declared.momentary and window.valid_from is not None:
        start, end = during
        return (start is None or start <= window.valid_from) and (end is None or window.valid_from < end)
    return window.overlaps(*during)


def _fact(
    stated: Sequence[Assertion],
    subject: Entity,
    target: Entity,
    window: Window,
    schema: GraphSchema,
    as_of: AsOf | None,
    documents: Mapping[str, str],
) -> Fact:
    ranked = sorted(stated, key=lambda a: (-a.confidence, a.valid_from is None, a.edge_id, a.chunk_id))
    best = ranked[0]
    properties: dict[str, Any] = {}
    for assertion in ranked:
        for key, value in assertion.properties.items():
            properties.setdefault(key, value)
    declared = schema.predicate(best.predicate)
    evidence = tuple(dict.fromkeys(assertion.chunk_id for assertion in ranked))
    retracted = [a.retracted_at for a in ranked]
    asked_back = as_of is not None and as_of.recorded is not None
    return Fact(
        subject=subject.name,
        predicate=best.predicate,
        object=target.name,
        properties={key: value for key, value in properties.items() if key not in (FROM_PRECISION, TO_PRECISION, OBSERVED_AT)},
        valid_from=window.valid_from,
        valid_to=window.valid_to,
        recorded_at=min((a.recorded_at for a in ranked if a.recorded_at), default=None),
        retracted_at=None if asked_back or None in retracted else max(moment for moment in retracted if moment),
        evidence=evidence,
        documents=tuple(dict.fromkeys(documents[chunk] for chunk in evidence if chunk in documents)),
        edge_id=best.edge_id,
        subject_type=_fitting_type(subject.type, declared.domain if declared else ()),
        object_type=_fitting_type(target.type, declared.range if declared else ()),
        confidence=best.confidence,
    )


def _fitting_type(own: str, allowed: Sequence[str]) -> str:
    """An entity's own type where the predicate allows it, else the only type that it allows: one name may stand for unlike things."""
    if not allowed or own in allowed:
        return own
    return allowed[0] if len(allowed) == 1 else ""


def _order(fact: Fact) -> tuple[Any, ...]:
    start = fact.valid_from or EARLIEST
    return fact.predicate, fact.valid_to is not None, -(start - EARLIEST).total_seconds(), fact.subject, fact.object, fact.edge_id


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


def _latest(fact: Fact) -> str | None:
    stamps = [fact.valid_from, fact.valid_to, fact.recorded_at, fact.retracted_at]
    return _iso(max((moment for moment in stamps if moment), default=None))
