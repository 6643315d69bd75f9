"""Entities, mentions, edges and merges as the registry reads them. Rows keep the surface entity they were written with; merges map it to a canonical one."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence

from sqlalchemy import Connection, and_, func, insert, or_, select, update

from rag2_memory.records import Assertion, Entity, EntityUse, GraphEdge, GraphLink, GraphPassage, Mention, MergeRecord, SurfaceName
from rag2_memory.tiers import sql_schema as t
from rag2_memory.tiers.sql_reading import indexable_query, seen_chunks
from rag2_memory.tiers.sql_values import batched, from_seconds, pairs
from rag2_memory.types import AsOf, Scope


def canonical_ids(connection: Connection, namespace: str) -> dict[str, str]:
    """Return the canonical id of every entity of the namespace that a standing merge absorbed."""
    query = (
        select(t.merges.c.absorbed_id, t.merges.c.kept_id)
        .where(t.merges.c.namespace == namespace, t.merges.c.decision == "merge")
        .order_by(t.merges.c.merge_id)
    )
    parent: dict[str, str] = {}
    for absorbed, kept in connection.execute(query):
        absorbed, kept = _root(parent, absorbed), _root(parent, kept)
        if absorbed != kept:
            parent[absorbed] = kept
    return {entity: _root(parent, entity) for entity in parent}


def _root(parent: Mapping[str, str], entity: str) -> str:
    while entity in parent:
        entity = parent[entity]
    return entity


def graph_passages(connection: Connection, ids: Collection[str], canonical: Mapping[str, str]) -> dict[str, GraphPassage]:
    """Return what the graph index should hold for those of the ids that are indexable, by canonical entities."""
    links: dict[str, dict[tuple[str, str], GraphLink]] = {}
    edges: dict[str, list[GraphEdge]] = {}
    namespaces: dict[str, str] = {}
    for part in batched(list(ids)):
        query = indexable_query(t.occurrences.c.chunk_id, t.documents.c.namespace).where(t.occurrences.c.chunk_id.in_(part)).distinct()
        namespaces |= pairs(connection, query)
        for row in connection.execute(select(t.mentions).where(t.mentions.c.chunk_id.in_(part))):
            entity = canonical.get(row.entity_id, row.entity_id)
            link = GraphLink(passage_id=row.chunk_id, entity_id=entity, kind=row.kind, weight=row.weight)
            links.setdefault(row.chunk_id, {}).setdefault((entity, row.kind), link)
        stated = select(t.evidence.c.chunk_id, t.edges).join(t.edges, t.edges.c.edge_id == t.evidence.c.edge_id)
        for row in connection.execute(stated.where(t.evidence.c.chunk_id.in_(part))):
            edges.setdefault(row.chunk_id, []).append(
                GraphEdge(
                    edge_id=row.edge_id,
                    subject_id=canonical.get(row.subject_id, row.subject_id),
                    predicate=row.predicate,
                    object_id=canonical.get(row.object_id, row.object_id),
                    passage_id=row.chunk_id,
                    valid_from=from_seconds(row.valid_from),
                    valid_to=from_seconds(row.valid_to),
                )
            )
    return {
        key: GraphPassage(
            id=key,
            namespace=namespace,
            links=tuple(sorted(links.get(key, {}).values(), key=lambda link: (link.entity_id, link.kind))),
            edges=tuple(sorted(edges.get(key, []), key=lambda edge: edge.edge_id)),
        )
        for key, namespace in namespaces.items()
    }


def assertions(
    connection: Connection,
    namespace: str,
    *,
    entity_ids: Collection[str] | None,
    edge_ids: Collection[str] | None,
    scope: Scope,
    as_of: AsOf | None,
) -> list[Assertion]:
    """Return the visible statements of edges that touch any of the (surface) entities, or of the given edges."""
    found: list[Assertion] = []
    seen = seen_chunks(scope, as_of, t.occurrences.c.chunk_id)
    columns = (
        t.edges,
        t.evidence.c.chunk_id,
        t.evidence.c.quote,
        t.evidence.c.confidence,
        t.evidence.c.properties,
        t.evidence.c.recorded_at,
    )
    base = select(*columns).join(t.evidence, t.evidence.c.edge_id == t.edges.c.edge_id).where(t.edges.c.namespace == namespace)
    if as_of is not None and as_of.recorded is not None:
        base = base.where(t.evidence.c.recorded_at <= as_of.recorded.timestamp())
    wanted = list(entity_ids if entity_ids is not None else edge_ids or ())
    for part in batched(wanted, 2_000):
        if entity_ids is not None:
            condition = or_(t.edges.c.subject_id.in_(part), t.edges.c.object_id.in_(part))
        else:
            condition = t.edges.c.edge_id.in_(part)
        for row in connection.execute(base.where(condition, t.evidence.c.chunk_id.in_(seen))):
            found.append(
                Assertion(
                    edge_id=row.edge_id,
                    namespace=row.namespace,
                    subject_id=row.subject_id,
                    predicate=row.predicate,
                    object_id=row.object_id,
                    chunk_id=row.chunk_id,
                    valid_from=from_seconds(row.valid_from),
                    valid_to=from_seconds(row.valid_to),
                    properties=json.loads(row.properties),
                    quote=row.quote,
                    confidence=row.confidence,
                    recorded_at=from_seconds(row.recorded_at),
                )
            )
    unique = {(item.edge_id, item.chunk_id): item for item in found}
    return [unique[key] for key in sorted(unique)]


def surface_names(connection: Connection, entity_ids: Collection[str], scope: Scope, as_of: AsOf | None) -> list[SurfaceName]:
    """Return the names, with type and frequency, under which visible chunks mention the entities."""
    found: list[SurfaceName] = []
    seen = seen_chunks(scope, as_of, t.occurrences.c.chunk_id)
    columns = (t.mentions.c.entity_id, t.mentions.c.name, t.mentions.c.type)
    for part in batched(list(entity_ids), 2_000):
        query = select(*columns, func.count().label("uses")).where(t.mentions.c.entity_id.in_(part), t.mentions.c.chunk_id.in_(seen))
        for row in connection.execute(query.group_by(*columns)):
            found.append(SurfaceName(entity_id=row.entity_id, name=row.name, type=row.type, count=row.uses))
    return sorted(found, key=lambda item: (-item.count, item.name, item.type))


def mentions_in(connection: Connection, chunk_ids: Collection[str]) -> list[Mention]:
    """Return what chunks mention."""
    found: list[Mention] = []
    for part in batched(list(chunk_ids)):
        for row in connection.execute(select(t.mentions).where(t.mentions.c.chunk_id.in_(part)).order_by(t.mentions.c.chunk_id)):
            found.append(
                Mention(
                    chunk_id=row.chunk_id,
                    entity_id=row.entity_id,
                    name=row.name,
                    kind=row.kind,
                    weight=row.weight,
                    type=row.type,
                    properties=json.loads(row.properties),
                )
            )
    return found


def seen_entities(connection: Connection, entity_ids: Collection[str], scope: Scope, as_of: AsOf | None) -> set[str]:
    """Return those entities that some chunk which the scope sees mentions."""
    found: set[str] = set()
    for part in batched(list(entity_ids)):
        seen = seen_chunks(scope, as_of, t.occurrences.c.chunk_id).where(t.occurrences.c.chunk_id == t.mentions.c.chunk_id).exists()
        wanted = select(t.entities.c.entity_id).where(
            t.entities.c.entity_id.in_(part),
            select(t.mentions.c.entity_id).where(t.mentions.c.entity_id == t.entities.c.entity_id, seen).exists(),
        )
        found.update(connection.execute(wanted).scalars())
    return found


def known_keys(connection: Connection, namespace: str, keys: Collection[str]) -> dict[str, str]:
    """Return entity ids by normalised key, for those keys that the namespace knows."""
    found: dict[str, str] = {}
    for part in batched(list(keys)):
        query = select(t.entities.c.key, t.entities.c.entity_id).where(t.entities.c.namespace == namespace, t.entities.c.key.in_(part))
        found |= pairs(connection, query)
    return found


def entities(connection: Connection, namespace: str, *, after: str = "", limit: int = 10_000) -> list[Entity]:
    """Return entities of a namespace in the order of their ids, starting behind `after`."""
    query = (
        select(t.entities)
        .where(t.entities.c.namespace == namespace, t.entities.c.entity_id > after)
        .order_by(t.entities.c.entity_id)
        .limit(limit)
    )
    return [
        Entity(id=row.entity_id, namespace=row.namespace, key=row.key, name=row.name, type=row.type) for row in connection.execute(query)
    ]


def entity_uses(connection: Connection, namespace: str, compared: bool) -> list[EntityUse]:
    """Return entities that resolution has, or has not yet, looked at, with how they are used."""
    chosen = (t.entities.c.namespace == namespace, t.entities.c.compared.is_(compared))
    rows = connection.execute(select(t.entities).where(*chosen).order_by(t.entities.c.entity_id)).all()
    names: dict[str, dict[str, int]] = {}
    types: dict[str, dict[str, int]] = {}
    counted = select(t.mentions.c.entity_id, t.mentions.c.name, t.mentions.c.type, func.count().label("uses"))
    joined = counted.join(t.entities, t.entities.c.entity_id == t.mentions.c.entity_id).where(*chosen)
    for row in connection.execute(joined.group_by(t.mentions.c.entity_id, t.mentions.c.name, t.mentions.c.type)):
        forms = names.setdefault(row.entity_id, {})
        forms[row.name] = forms.get(row.name, 0) + row.uses
        if row.type:
            kinds = types.setdefault(row.entity_id, {})
            kinds[row.type] = kinds.get(row.type, 0) + row.uses
    neighbours: dict[str, set[str]] = {}
    for subject, target in connection.execute(select(t.edges.c.subject_id, t.edges.c.object_id).where(t.edges.c.namespace == namespace)):
        neighbours.setdefault(subject, set()).add(target)
        neighbours.setdefault(target, set()).add(subject)
    return [
        EntityUse(
            entity=Entity(id=row.entity_id, namespace=namespace, key=row.key, name=row.name, type=row.type),
            names=_by_use(names.get(row.entity_id, {})),
            types=_by_use(types.get(row.entity_id, {})),
            mentions=sum(names.get(row.entity_id, {}).values()),
            neighbours=frozenset(neighbours.get(row.entity_id, ())),
        )
        for row in rows
    ]


def _by_use(counts: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(sorted(counts, key=lambda value: (-counts[value], value)))


def chunks_mentioning(connection: Connection, entity_ids: Collection[str]) -> dict[str, str]:
    """Return the chunks that name any of the entities, each with its document key."""
    found: dict[str, str] = {}
    for part in batched(list(entity_ids)):
        query = select(t.chunks.c.chunk_id, t.chunks.c.document_key).join(t.mentions, t.mentions.c.chunk_id == t.chunks.c.chunk_id)
        found |= pairs(connection, query.where(t.mentions.c.entity_id.in_(part)))
    return found


def record_merge(connection: Connection, record: MergeRecord, *, now: float) -> int:
    """Write a merge decision to the log; returns its id. A pair already decided keeps its decision, and its id is returned."""
    pair = or_(
        and_(t.merges.c.kept_id == record.kept_id, t.merges.c.absorbed_id == record.absorbed_id),
        and_(t.merges.c.kept_id == record.absorbed_id, t.merges.c.absorbed_id == record.kept_id),
    )
    known = connection.execute(select(t.merges.c.merge_id).where(t.merges.c.namespace == record.namespace, pair)).scalar()
    if known is not None:
        return int(known)
    row = connection.execute(
        insert(t.merges).values(
            namespace=record.namespace,
            kept_id=record.kept_id,
            absorbed_id=record.absorbed_id,
            decision=record.decision,
            score=record.score,
            reason=record.reason,
            decided_at=now,
        )
    )
    assert row.inserted_primary_key is not None
    return int(row.inserted_primary_key[0])


def merges(connection: Connection, namespace: str | None, decision: str | None) -> Iterator[MergeRecord]:
    """Yield the merge log, oldest first."""
    query = select(t.merges).order_by(t.merges.c.merge_id)
    if namespace is not None:
        query = query.where(t.merges.c.namespace == namespace)
    if decision is not None:
        query = query.where(t.merges.c.decision == decision)
    for row in connection.execute(query).all():
        yield MergeRecord(
            merge_id=row.merge_id,
            namespace=row.namespace,
            kept_id=row.kept_id,
            absorbed_id=row.absorbed_id,
            decision=row.decision,
            score=row.score,
            reason=row.reason,
            decided_at=from_seconds(row.decided_at),
        )


def decide_merge(connection: Connection, merge_id: int, decision: str, *, now: float) -> MergeRecord | None:
    """Change the decision of a logged merge; returns the record as it is now, or `None` where there is none."""
    connection.execute(update(t.merges).where(t.merges.c.merge_id == merge_id).values(decision=decision, decided_at=now))
    return next((record for record in merges(connection, None, None) if record.merge_id == merge_id), None)


def entity_names(connection: Connection, ids: Sequence[str]) -> dict[str, str]:
    """Return one stored name per entity, unscoped: for the review queue and logs of an administrator."""
    found: dict[str, str] = {}
    for part in batched(list(ids)):
        query = select(t.entities.c.entity_id, t.entities.c.name).where(t.entities.c.entity_id.in_(part))
        found |= pairs(connection, query)
    return found
