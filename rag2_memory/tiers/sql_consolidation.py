"""The registry's part in consolidation, on SQL: pending readings, cached answers, stated aliases, communities."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, delete, exists, func, insert, select, update

from rag2_memory.records import Community, CommunityMember, Knowledge, UnreadChunk
from rag2_memory.tiers import sql_derived as d
from rag2_memory.tiers import sql_journal, sql_writing
from rag2_memory.tiers import sql_schema as t
from rag2_memory.tiers.base import RegistryTier
from rag2_memory.tiers.sql_values import batched, insert_new, to_json

_PUBLISHED = and_(
    t.documents.c.document_key == t.occurrences.c.document_key,
    t.documents.c.live_version == t.occurrences.c.version,
    t.documents.c.state == "live",
)
_OPEN_CHUNK = and_(
    t.chunks.c.chunk_id == t.mentions.c.chunk_id,
    t.documents.c.document_key == t.chunks.c.document_key,
    t.documents.c.restricted.is_(False),
    t.documents.c.state != "deleted",
)


class SqlConsolidation(RegistryTier):
    """`ConsolidationTier` over connections that a subclass hands out."""

    _canonical: dict[str, dict[str, str]]

    @abstractmethod
    def _reading(self) -> AbstractContextManager[Connection]:
        """Return a connection on a snapshot."""

    @abstractmethod
    def _writing(self) -> AbstractContextManager[Connection]:
        """Return a connection inside a transaction."""

    # --- reading later ----------------------------------------------------------------------------------------------------------------
    def unread(self, namespace: str, *, extractor: str | None = None, after: str = "", limit: int | None = None) -> list[UnreadChunk]:
        read = exists().where(d.readings.c.chunk_id == t.occurrences.c.chunk_id)
        if extractor is not None:
            read = read.where(d.readings.c.extractor == extractor)
        granted = select(func.min(t.permissions.c.principal)).where(t.permissions.c.document_key == t.documents.c.document_key)
        query = (
            select(t.occurrences.c.chunk_id, t.occurrences.c.document_key, granted.scalar_subquery().label("principal"))
            .join(t.documents, _PUBLISHED)
            .where(t.documents.c.namespace == namespace, t.occurrences.c.document_key >= after, ~read)
            .order_by(t.occurrences.c.document_key, t.occurrences.c.ordinal)
        )
        with self._reading() as connection:
            rows = connection.execute(query if limit is None else query.limit(limit)).all()
        unique = {row.chunk_id: UnreadChunk(chunk_id=row.chunk_id, document_key=row.document_key, principal=row.principal) for row in rows}
        return list(unique.values())

    def deepen(self, chunk_ids: Collection[str], knowledge: Knowledge, *, now: datetime) -> int:
        with self._writing() as connection:
            known, stated = _mentions_of(connection, chunk_ids), _evidence_of(connection, chunk_ids)
            sql_writing.write_knowledge(connection, knowledge, now=now.timestamp())
            completed = _complete_mentions(connection, knowledge, known)
            fresh = [item for item in knowledge.assertions if (item.edge_id, item.chunk_id) not in stated]
            _note_readings(connection, chunk_ids, knowledge.extractor)
            gained = completed | {entity for item in fresh for entity in (item.subject_id, item.object_id)}
            sql_writing.compare_again(connection, gained)
            new = {m.chunk_id for m in knowledge.mentions if (m.chunk_id, m.entity_id, m.kind) not in known}
            touched = new | {m.chunk_id for m in knowledge.mentions if m.entity_id in completed} | {item.chunk_id for item in fresh}
            sql_journal.owe_chunks(connection, "graph", touched)
            sql_journal.knowledge_changed(connection, touched)
        return len(fresh)

    def kept_answer(self, chunk_id: str, extractor: str) -> str | None:
        query = select(t.extractions.c.payload).where(t.extractions.c.chunk_id == chunk_id, t.extractions.c.extractor == extractor)
        with self._reading() as connection:
            return connection.execute(query).scalar()

    def keep_answer(self, chunk_id: str, extractor: str, payload: str) -> None:
        row = {"chunk_id": chunk_id, "extractor": extractor, "payload": payload}
        with self._writing() as connection:
            connection.execute(delete(t.extractions).where(t.extractions.c.chunk_id == chunk_id, t.extractions.c.extractor == extractor))
            connection.execute(insert(t.extractions).values(row))

    def drop_stray_answers(self) -> int:
        recorded = select(t.chunks.c.chunk_id).where(t.chunks.c.chunk_id == t.extractions.c.chunk_id)
        with self._writing() as connection:
            return connection.execute(delete(t.extractions).where(~recorded.exists())).rowcount

    # --- what names are ----------------------------------------------------------------------------------------------------------------
    def public_types(self, namespace: str, keys: Collection[str]) -> dict[str, str]:
        counts: dict[str, dict[str, int]] = {}
        query = select(t.entities.c.key, t.mentions.c.type, func.count()).where(
            t.entities.c.namespace == namespace, t.mentions.c.entity_id == t.entities.c.entity_id, t.mentions.c.type != "", _OPEN_CHUNK
        )
        with self._reading() as connection:
            for part in batched(list(keys)):
                chosen = query.where(t.entities.c.key.in_(part)).group_by(t.entities.c.key, t.mentions.c.type)
                for key, node_type, uses in connection.execute(chosen):
                    counts.setdefault(key, {})[node_type] = uses
        return {key: min(types, key=lambda name: (-types[name], name)) for key, types in counts.items()}

    def stated_aliases(self, namespace: str, *, compared: bool | None = None) -> dict[str, list[frozenset[str]]]:
        # Few mentions have properties, so their index leads; the namespace is compared as an expression that no index holds.
        query = select(t.mentions.c.entity_id, t.documents.c.document_key, t.mentions.c.properties).where(
            t.entities.c.namespace.concat("") == namespace,
            t.mentions.c.entity_id == t.entities.c.entity_id,
            t.HAS_PROPERTIES,
            t.mentions.c.properties.contains(f'"{d.ALIASES}"'),
            _OPEN_CHUNK,
        )
        if compared is not None:
            query = query.where(t.entities.c.compared.is_(compared))
        found: dict[str, dict[str, set[str]]] = {}
        with self._reading() as connection:
            for entity, document, properties in connection.execute(query):
                found.setdefault(entity, {}).setdefault(document, set()).update(_names(json.loads(properties)))
        return {entity: [frozenset(names) for names in documents.values()] for entity, documents in found.items()}

    def recheck_aliases(self, key: str) -> bool:
        query = select(t.mentions.c.entity_id).where(
            t.chunks.c.document_key == key,
            t.mentions.c.chunk_id == t.chunks.c.chunk_id,
            t.mentions.c.properties.contains(f'"{d.ALIASES}"'),
        )
        with self._writing() as connection:
            named = set(connection.execute(query).scalars())
            sql_writing.compare_again(connection, named)
        return bool(named)

    def retract_merges(self, merge_ids: Collection[int]) -> None:
        with self._writing() as connection:
            chosen = t.merges.c.merge_id.in_(list(merge_ids))
            rows = connection.execute(select(t.merges.c.kept_id, t.merges.c.absorbed_id).where(chosen)).all()
            entities = {entity for row in rows for entity in row}
            connection.execute(delete(t.merges).where(chosen))
            sql_writing.compare_again(connection, entities)
            self._follow_merges(connection, entities)

    @abstractmethod
    def _follow_merges(self, connection: Connection, entity_ids: Collection[str]) -> None:
        """Have the graph project anew what names these entities."""

    # --- whole documents ---------------------------------------------------------------------------------------------------------------
    def live_chunks(self, namespace: str) -> dict[str, list[str]]:
        query = (
            select(t.occurrences.c.document_key, t.occurrences.c.chunk_id)
            .join(t.documents, _PUBLISHED)
            .where(t.documents.c.namespace == namespace)
            .order_by(t.occurrences.c.document_key, t.occurrences.c.ordinal)
        )
        found: dict[str, dict[str, None]] = {}
        with self._reading() as connection:
            for key, chunk_id in connection.execute(query):
                found.setdefault(key, {})[chunk_id] = None
        return {key: list(ids) for key, ids in found.items()}

    def alone_in_stating(self, keys: Collection[str]) -> dict[str, int]:
        wanted = set(keys)
        stating: dict[str, set[str]] = {}
        of_chunk = (t.chunks.c.chunk_id == t.evidence.c.chunk_id, t.documents.c.document_key == t.chunks.c.document_key)
        with self._reading() as connection:
            for part in batched(sorted(wanted)):
                held = select(t.evidence.c.edge_id).where(*of_chunk, t.chunks.c.document_key.in_(part), t.edges.c.valid_to.is_(None))
                edge_ids = list(connection.execute(held.where(t.edges.c.edge_id == t.evidence.c.edge_id).distinct()).scalars())
                for edges in batched(edge_ids):
                    by = select(t.evidence.c.edge_id, t.documents.c.document_key).where(*of_chunk, t.documents.c.state == "live")
                    for edge_id, key in connection.execute(by.where(t.evidence.c.edge_id.in_(edges)).distinct()):
                        stating.setdefault(edge_id, set()).add(key)
        counts: dict[str, int] = {}
        for documents in stating.values():
            for key in documents if documents <= wanted else ():
                counts[key] = counts.get(key, 0) + 1
        return counts

    def communities(self, namespace: str) -> list[Community]:
        members: dict[str, list[CommunityMember]] = {}
        query = (
            select(d.community_members, t.documents.c.document_id, t.versions.c.title)
            .join(d.communities, d.communities.c.community_id == d.community_members.c.community_id)
            .join(t.documents, t.documents.c.document_key == d.community_members.c.document_key)
            .join(
                t.versions,
                and_(t.versions.c.document_key == t.documents.c.document_key, t.versions.c.version == t.documents.c.live_version),
                isouter=True,
            )
            .where(d.communities.c.namespace == namespace)
            .order_by(d.community_members.c.community_id, d.community_members.c.position)
        )
        with self._reading() as connection:
            for row in connection.execute(query):
                member = CommunityMember(
                    id=f"m{row.position}",
                    document_id=row.document_id,
                    document_key=row.document_key,
                    chunk_id=row.chunk_id,
                    title=row.title or "",
                )
                members.setdefault(row.community_id, []).append(member)
            rows = connection.execute(select(d.communities).where(d.communities.c.namespace == namespace)).all()
        found = [
            Community(
                id=row.community_id,
                namespace=row.namespace,
                members=tuple(members.get(row.community_id, ())),
                names=tuple(json.loads(row.names)),
                summary=row.summary,
                summarised_by=row.summarised_by,
            )
            for row in rows
        ]
        return sorted(found, key=lambda community: (-len(community.members), community.id))

    def change_communities(self, *, add: Sequence[Community] = (), drop: Collection[str] = (), now: datetime) -> None:
        with self._writing() as connection:
            d.drop_communities(connection, {*drop, *(community.id for community in add)})
            insert_new(
                connection,
                d.communities,
                [
                    {
                        "community_id": community.id,
                        "namespace": community.namespace,
                        "names": to_json(community.names),
                        "summary": community.summary,
                        "summarised_by": community.summarised_by,
                        "made_at": now.timestamp(),
                    }
                    for community in add
                ],
            )
            insert_new(
                connection,
                d.community_members,
                [
                    {
                        "community_id": community.id,
                        "position": position,
                        "document_key": member.document_key,
                        "chunk_id": member.chunk_id,
                    }
                    for community in add
                    for position, member in enumerate(community.members, start=1)
                ],
            )

    def reading_counts(self, namespace: str) -> Mapping[str, int]:
        query = (
            select(d.readings.c.extractor, func.count())
            .join(t.occurrences, t.occurrences.c.chunk_id == d.readings.c.chunk_id)
            .join(t.documents, _PUBLISHED)
            .where(t.documents.c.namespace == namespace)
            .group_by(d.readings.c.extractor)
        )
        with self._reading() as connection:
            return {row[0]: int(row[1]) for row in connection.execute(query)}


def _mentions_of(connection: Connection, chunk_ids: Collection[str]) -> dict[tuple[str, str, str], Any]:
    found = {}
    for part in batched(sorted(chunk_ids)):
        for row in connection.execute(select(t.mentions).where(t.mentions.c.chunk_id.in_(part))):
            found[row.chunk_id, row.entity_id, row.kind] = row
    return found


def _evidence_of(connection: Connection, chunk_ids: Collection[str]) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for part in batched(sorted(chunk_ids)):
        rows = connection.execute(select(t.evidence.c.edge_id, t.evidence.c.chunk_id).where(t.evidence.c.chunk_id.in_(part)))
        found.update((row.edge_id, row.chunk_id) for row in rows)
    return found


def _complete_mentions(connection: Connection, knowledge: Knowledge, known: Mapping[tuple[str, str, str], Any]) -> set[str]:
    """Give mentions and entities that exist what they lacked; returns the entities that gained something."""
    gained = set()
    for mention in knowledge.mentions:
        row = known.get((mention.chunk_id, mention.entity_id, mention.kind))
        if row is None:
            continue
        before = json.loads(row.properties)
        properties = {**mention.properties, **before}
        aliases = dict.fromkeys([*_names(before), *_names(mention.properties)])
        if aliases:
            properties[d.ALIASES] = list(aliases)
        values = {"type": row.type or mention.type, "properties": to_json(properties), "weight": max(row.weight, mention.weight)}
        if values != {"type": row.type, "properties": row.properties, "weight": row.weight}:
            this = [getattr(t.mentions.c, name) == getattr(mention, name) for name in ("chunk_id", "entity_id", "kind")]
            connection.execute(update(t.mentions).where(*this).values(**values))
            gained.add(mention.entity_id)
    for entity in knowledge.entities:
        if entity.type:
            untyped = (t.entities.c.entity_id == entity.id, t.entities.c.type == "")
            connection.execute(update(t.entities).where(*untyped).values(type=entity.type))
    return gained


def _names(properties: Mapping[str, Any]) -> Iterable[str]:
    given = properties.get(d.ALIASES)
    return (name for name in given if isinstance(name, str)) if isinstance(given, list) else ()


def _note_readings(connection: Connection, chunk_ids: Collection[str], extractor: str) -> None:
    insert_new(connection, d.readings, [{"chunk_id": chunk_id, "extractor": extractor} for chunk_id in sorted(chunk_ids)])
