"""From extractions to what the registry writes: entities by normalised name, mentions, verified assertions, each with a reproducible id."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from rag2_memory.errors import InvalidRequestError
from rag2_memory.knowledge.mentions import mentioned_names, normalize_name, subject_names
from rag2_memory.knowledge.schema import GraphSchema
from rag2_memory.knowledge.verification import VerifyStep, ground_predicate, verify_relation
from rag2_memory.records import Assertion, Entity, Extraction, Knowledge, Mention, NamedEntity, Relation
from rag2_memory.types import Chunk

NameStep = Callable[[Chunk], Iterable[NamedEntity]]
"""Given a chunk, returns the names that tie it to entities besides those that the extractor reported."""


def entity_id(namespace: str, key: str) -> str:
    """Return the id of the entity that a normalised name stands for in a namespace."""
    return _digest(namespace, key)


def edge_id(namespace: str, subject_id: str, predicate: str, object_id: str, valid_from: datetime | None, valid_to: datetime | None) -> str:
    """Return the id that equal statements of one edge with one asserted window share."""
    window = [moment.isoformat() if moment else "" for moment in (valid_from, valid_to)]
    return _digest(namespace, subject_id, predicate, object_id, *window)


def name_entities(chunk: Chunk) -> Iterator[NamedEntity]:
    """Yield what a chunk is about (title, headings) and what it mentions, without types."""
    for name in subject_names(chunk.title, chunk.heading_path):
        yield NamedEntity(name=name, kind="subject")
    for name in mentioned_names(chunk.index_text):
        yield NamedEntity(name=name)


def assemble(
    extractions: Sequence[Extraction],
    chunks: Sequence[Chunk],
    schema: GraphSchema,
    *,
    namespace: str,
    recorded_at: datetime,
    names: NameStep = name_entities,
    verify: VerifyStep = verify_relation,
) -> Knowledge:
    """Turn what was read in a set of chunks into what the registry writes. Pure; equal input gives equal output.

    Every normalised name is one entity of the namespace, whatever types it is given: types are kept per mention, the entity takes the type
    that most mentions give it (ties: the first in alphabetical order), and a fact shows the type that its predicate asks for. So a page
    and the mentions of its title always meet, in whichever order they arrive.

    Args:
        extractions: One per chunk that was read; chunks without one get their names only.
        chunks: The chunks, in any order.
        schema: Grounds predicates and refuses edges.
        namespace: Of all entities and edges.
        recorded_at: Transaction time of the assertions.
        names: Adds untyped names; an extractor's own entity of the same name wins.
        verify: Refuses relations.

    Raises:
        InvalidRequestError: If an extraction belongs to none of the chunks.
    """
    by_chunk = {chunk.id: chunk for chunk in chunks}
    read: dict[str, list[Extraction]] = defaultdict(list)
    for extraction in extractions:
        if extraction.chunk_id not in by_chunk:
            raise InvalidRequestError(f"got an extraction of chunk {extraction.chunk_id!r}, which is not among the {len(by_chunk)} chunks.")
        read[extraction.chunk_id].append(extraction)
    mentions: list[Mention] = []
    assertions: list[Assertion] = []
    rejected: list[tuple[Relation, str]] = []
    keys: dict[str, str] = {}
    for chunk in by_chunk.values():
        kept: list[Relation] = []
        for extraction in read[chunk.id]:
            for relation in extraction.relations:
                grounded = ground_predicate(relation, schema)
                reason = verify(grounded, chunk, schema)
                if reason:
                    rejected.append((relation, reason))
                else:
                    kept.append(grounded)
        entities = [entity for extraction in read[chunk.id] for entity in extraction.entities]
        mentions += _mentions(chunk.id, namespace, [*entities, *_endpoints(kept), *names(chunk)], keys)
        assertions += _assertions(chunk.id, namespace, kept, recorded_at)
    return Knowledge(
        entities=tuple(_entities(mentions, keys, namespace)),
        mentions=tuple(mentions),
        assertions=tuple(assertions),
        rejected=tuple(rejected),
    )


def _endpoints(relations: Iterable[Relation]) -> Iterator[NamedEntity]:
    for relation in relations:
        yield NamedEntity(name=relation.subject, type=relation.subject_type)
        yield NamedEntity(name=relation.object, type=relation.object_type)


def _mentions(chunk_id: str, namespace: str, entities: Iterable[NamedEntity], keys: dict[str, str]) -> list[Mention]:
    """One mention per entity and kind: the first surface form, the largest weight, the first type, all properties."""
    found: dict[tuple[str, str], Mention] = {}
    for entity in entities:
        key = normalize_name(entity.name)
        if not key:
            continue
        identity = entity_id(namespace, key)
        keys[identity] = key
        other = found.get((identity, entity.kind))
        if other is None:
            found[identity, entity.kind] = Mention(
                chunk_id=chunk_id,
                entity_id=identity,
                name=" ".join(entity.name.split()),
                kind=entity.kind,
                weight=entity.weight,
                type=entity.type,
                properties=entity.properties,
            )
        elif entity.type or entity.properties or entity.weight > other.weight:
            found[identity, entity.kind] = replace(
                other,
                weight=max(other.weight, entity.weight),
                type=other.type or entity.type,
                properties={**entity.properties, **other.properties},
            )
    return list(found.values())


def _assertions(chunk_id: str, namespace: str, relations: Iterable[Relation], recorded_at: datetime) -> list[Assertion]:
    """One assertion per edge: the surest statement's quote, all properties."""
    found: dict[str, Assertion] = {}
    for relation in sorted(relations, key=lambda each: -each.confidence):
        subject, target = (entity_id(namespace, normalize_name(name)) for name in (relation.subject, relation.object))
        identity = edge_id(namespace, subject, relation.predicate, target, relation.valid_from, relation.valid_to)
        other = found.get(identity)
        if other is not None:
            found[identity] = replace(other, properties={**relation.properties, **other.properties})
            continue
        found[identity] = Assertion(
            edge_id=identity,
            namespace=namespace,
            subject_id=subject,
            predicate=relation.predicate,
            object_id=target,
            chunk_id=chunk_id,
            valid_from=relation.valid_from,
            valid_to=relation.valid_to,
            properties=relation.properties,
            quote=relation.quote,
            confidence=relation.confidence,
            recorded_at=recorded_at,
        )
    return list(found.values())


def _entities(mentions: Iterable[Mention], keys: dict[str, str], namespace: str) -> Iterator[Entity]:
    forms: dict[str, Counter[str]] = defaultdict(Counter)
    types: dict[str, Counter[str]] = defaultdict(Counter)
    for mention in mentions:
        forms[mention.entity_id][mention.name] += 1
        if mention.type:
            types[mention.entity_id][mention.type] += 1
    for identity, names in forms.items():
        yield Entity(id=identity, namespace=namespace, key=keys[identity], name=_most_common(names), type=_most_common(types[identity]))


def _most_common(counts: Counter[str]) -> str:
    return min(counts, key=lambda value: (-counts[value], value), default="")


def _digest(*parts: str) -> str:
    return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=12).hexdigest()
