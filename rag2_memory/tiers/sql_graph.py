"""Entities, mentions, edges and merges as the registry reads them. Rows keep the surface entity they were written with; merges map it to a canonical one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Row, Select, String, and_, bindparam, func, insert, or_, select, update

from rag2_memory.records import Assertion, Entity, EntityUse, GraphEdge, GraphLink, GraphPassage, Mention, MergeRecord, SurfaceName
from rag2_memory.tiers import sql_schema as t
from rag2_memory.tiers.sql_driver import Rows
from rag2_memory.tiers.sql_reading import indexable_query
from rag2_memory.tiers.sql_scopes import Sight, among, at_once, parameters, sees, sight_of, unpacked
from rag2_memory.tiers.sql_values import batched, from_seconds, insert_new, pairs
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


@cache
def _assertions(sight: Sight, by_entity: bool, by_predicate: bool) -> Select[Any]:
    columns = (t.evidence.c.chunk_id, t.evidence.c.quote, t.evidence.c.confidence, t.evidence.c.properties, t.evidence.c.recorded_at)
    query = select(t.edges, *columns).join(t.evidence, t.evidence.c.edge_id == t.edges.c.edge_id)
    predicates = [among(t.edges.c.predicate, "predicates")] if by_predicate else []
    if by_entity:  # the predicates stand on both sides of OR, so that each has its index
        ends = [and_(among(end, "ids"), *predicates) for end in (t.edges.c.subject_id, t.edges.c.object_id)]
        query = query.where(or_(*ends))
    else:
        query = query.where(among(t.edges.c.edge_id, "ids"), *predicates)
    if sight.recorded:
        query = query.where(t.evidence.c.recorded_at <= bindparam("recorded", type_=t.Instant))
    return query.where(t.edges.c.namespace.concat("") == bindparam("namespace", type_=String), sees(t.evidence.c.chunk_id, sight))


def assertions(
    connection: Connection,
    *,
    entity_ids: Collection[str] | None,
    edge_ids: Collection[str] | None,
    predicates: Collection[str] | None,
    scope: Scope,
    as_of: AsOf | None,
) -> list[Assertion]:
    """Return the visible statements of edges that touch any of the (surface) entities, or of the given edges."""
    by_entity = entity_ids is not None
    wanted = entity_ids if entity_ids is not None else edge_ids or ()
    if not wanted:
        return []
    query = _assertions(sight_of(scope, as_of), by_entity, predicates is not None)
    rows = connection.execute(query, parameters(scope, as_of, ids=wanted, predicates=predicates or ()))
    found = {
        (row.edge_id, row.chunk_id): Assertion(
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
        for row in rows
    }
    return [found[key] for key in sorted(found)]


@cache
def _surface_names(sight: Sight) -> Select[Any]:
    columns = (t.mentions.c.entity_id, t.mentions.c.name, t.mentions.c.type)
    query = select(*columns, func.count().label("uses")).where(among(t.mentions.c.entity_id, "ids"), sees(t.mentions.c.chunk_id, sight))
    grouped = query.group_by(*columns).subquery("named")
    return at_once(select(grouped), *grouped.c)


def surface_names(rows: Rows, entity_ids: Collection[str], scope: Scope, as_of: AsOf | None) -> list[SurfaceName]:
    """Return the names, with type and frequency, under which visible chunks mention the entities."""
    if not entity_ids:
        return []
    named = rows(_surface_names(sight_of(scope, as_of)), parameters(scope, as_of, ids=entity_ids))
    found = [SurfaceName(entity_id=entity_id, name=name, type=kind, count=uses) for entity_id, name, kind, uses in unpacked(named)]
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


@cache
def _seen_entities(sight: Sight) -> Select[Any]:
    mentioned = select(t.mentions.c.entity_id).where(t.mentions.c.entity_id == t.entities.c.entity_id, sees(t.mentions.c.chunk_id, sight))
    return select(t.entities.c.entity_id).where(among(t.entities.c.entity_id, "ids"), mentioned.exists())


def seen_entities(rows: Rows, entity_ids: Collection[str], scope: Scope, as_of: AsOf | None) -> set[str]:
    """Return those entities that some chunk which the scope sees mentions."""
    if not entity_ids:
        return set()
    return {entity_id for (entity_id,) in rows(_seen_entities(sight_of(scope, as_of)), parameters(scope, as_of, ids=entity_ids))}


_KNOWN_KEYS = select(t.entities.c.key, t.entities.c.entity_id).where(
    t.entities.c.namespace == bindparam("namespace", type_=String), among(t.entities.c.key, "keys")
)


def known_keys(rows: Rows, namespace: str, keys: Collection[str]) -> dict[str, str]:
    """Return entity ids by normalised key, for those keys that the namespace knows."""
    found = rows(_KNOWN_KEYS, parameters(Scope(namespace=namespace), None, keys=keys))
    return dict(found)


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


def entity_uses(
    connection: Connection, namespace: str, *, compared: bool | None, ids: Collection[str] | None, after: str, limit: int | None
) -> list[EntityUse]:
    """Return entities with how they are used, in the order of their ids."""
    chosen = select(t.entities).where(t.entities.c.namespace == namespace, t.entities.c.entity_id > after)
    if compared is not None:
        chosen = chosen.where(t.entities.c.compared.is_(compared))
    if ids is None:
        rows = list(connection.execute(chosen.order_by(t.entities.c.entity_id).limit(limit)))
    else:
        parts = batched(sorted(ids))
        rows = [row for part in parts for row in connection.execute(chosen.where(t.entities.c.entity_id.in_(part)))][:limit]
        rows.sort(key=lambda row: row.entity_id)
    return [use for part in batched(rows) for use in _uses(connection, namespace, part)]


def _uses(connection: Connection, namespace: str, rows: Sequence[Row[Any]]) -> Iterator[EntityUse]:
    """Yield how some entities are used."""
    ids = [row.entity_id for row in rows]
    names: dict[str, dict[str, int]] = {}
    types: dict[str, dict[str, int]] = {}
    mention = t.mentions.c
    counted = select(mention.entity_id, mention.name, mention.type, func.count().label("uses")).where(mention.entity_id.in_(ids))
    for row in connection.execute(counted.group_by(mention.entity_id, mention.name, mention.type)):
        forms = names.setdefault(row.entity_id, {})
        forms[row.name] = forms.get(row.name, 0) + row.uses
        if row.type:
            kinds = types.setdefault(row.entity_id, {})
            kinds[row.type] = kinds.get(row.type, 0) + row.uses
    neighbours: dict[str, set[str]] = {}
    for own, other in ((t.edges.c.subject_id, t.edges.c.object_id), (t.edges.c.object_id, t.edges.c.subject_id)):
        for entity, neighbour in connection.execute(select(own, other).where(own.in_(ids))):
            neighbours.setdefault(entity, set()).add(neighbour)
    for row in rows:
        yield EntityUse(
            entity=Entity(id=row.entity_id, namespace=namespace, key=row.key, name=row.name, type=row.type),
            names=_by_use(names.get(row.entity_id, {})),
            types=_by_use(types.get(row.entity_id, {})),
            mentions=sum(names.get(row.entity_id, {}).values()),
            neighbours=frozenset(neighbours.get(row.entity_id, ())),
        )


def _by_use(counts: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(sorted(counts, key=lambda value: (-counts[value], value)))


def mark_compared(connection: Connection, namespace: str, blocks: Mapping[str, Collection[str]]) -> None:
    """Note that resolution has looked at entities, and their blocking keys."""
    for part in batched(sorted(blocks)):
        connection.execute(update(t.entities).where(t.entities.c.entity_id.in_(part)).values(compared=True))
        rows = {(_block_code(namespace, key), entity) for entity in part for key in blocks[entity]}
        insert_new(connection, t.blocks, [{"code": code, "entity_id": entity} for code, entity in sorted(rows)])


def sharing_blocks(connection: Connection, namespace: str, keys: Collection[str], *, limit: int) -> set[str]:
    """Return the entities noted under any of some keys, but for keys that more than `limit` share."""
    found: set[str] = set()
    block = t.blocks.c
    for part in batched(sorted({_block_code(namespace, key) for key in keys})):
        shared = select(block.code).where(block.code.in_(part)).group_by(block.code).having(func.count() <= limit)
        small = list(connection.execute(shared).scalars())
        found.update(connection.execute(select(block.entity_id).where(block.code.in_(small))).scalars())
    return found


def _block_code(namespace: str, key: str) -> int:
    digest = hashlib.blake2b(f"{namespace}\0{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


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
