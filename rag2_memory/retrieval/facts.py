"""Facts as a scope may know them: statements whose evidence it sees, windows resolved over those alone, names that it has read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from rag2_memory.knowledge.mentions import normalize_name, subject_names
from rag2_memory.knowledge.schema import GraphSchema
from rag2_memory.knowledge.temporal import exclusive_slots, facts_at
from rag2_memory.records import Assertion, Entity
from rag2_memory.retrieval.fact_relevance import OPEN_PREDICATE, may_ask_for, says
from rag2_memory.tiers.base import RegistryTier
from rag2_memory.types import AsOf, Fact, Scope


def entities_named(registry: RegistryTier, name: str, scope: Scope, as_of: AsOf | None = None) -> list[str]:
    """Return the canonical ids of the entities of that name that the scope may know of, the name as given before its shorter forms."""
    keys = list(dict.fromkeys(normalize_name(form) for form in (name, *subject_names(name))))
    known = registry.known_keys(scope.namespace, keys)
    found = list(dict.fromkeys(known[key] for key in keys if key in known))
    visible = known_to(registry, found, scope, as_of)
    return [entity for entity in found if entity in visible]


def known_to(registry: RegistryTier, entity_ids: Collection[str], scope: Scope, as_of: AsOf | None = None) -> set[str]:
    """Return those canonical entities that some chunk which the scope sees mentions, under whichever name."""
    surfaces = registry.surface_ids(scope.namespace, entity_ids)
    return {surfaces[surface] for surface in registry.seen_entities(surfaces, scope, _evidence_time(as_of))}


def facts_about(
    registry: RegistryTier,
    schema: GraphSchema,
    entity_ids: Collection[str] = (),
    *,
    scope: Scope,
    as_of: AsOf | None = None,
    during: tuple[datetime | None, datetime | None] | None = None,
    edge_ids: Collection[str] | None = None,
) -> list[Fact]:
    """Return the facts that touch canonical entities, or of certain edges, as the scope may know them.

    Statements of the same exclusive slots are read along, so that a successor closes its predecessor also where only the predecessor was asked for.

    Args:
        registry: Where the statements are.
        schema: Says which predicates are exclusive.
        entity_ids: Canonical entities; not looked at where `edge_ids` are given.
        scope: Who asks.
        as_of: A point of valid time, of transaction time, or both; evidence counts as it is visible now, or was at `recorded`.
        during: Only what held at some moment of this half-open interval.
        edge_ids: These edges, whatever they touch.
    """
    when = _evidence_time(as_of)
    if edge_ids is None:
        wanted = registry.assertions(scope, entity_ids=list(registry.surface_ids(scope.namespace, entity_ids)), as_of=when)
    else:
        wanted = registry.assertions(scope, edge_ids=list(edge_ids), as_of=when)
    canonical = _canonical(registry, scope, wanted)
    slots = exclusive_slots(wanted, schema, canonical=canonical)
    rivals = {entity for _, _, entity in slots}.difference(entity_ids if edge_ids is None else ())
    every = wanted
    if rivals:  # of a hub with thousands of statements only those that can close one of these
        surfaces = list(registry.surface_ids(scope.namespace, rivals))
        every = _with(wanted, registry.assertions(scope, entity_ids=surfaces, predicates={slot[0] for slot in slots}, as_of=when))
    canonical |= _canonical(registry, scope, every)
    chunks = registry.chunks({assertion.chunk_id for assertion in wanted}, scope, when)
    facts = facts_at(
        every,
        entities=_named_entities(registry, wanted, canonical, scope, when),
        schema=schema,
        as_of=as_of,
        during=during,
        canonical=canonical,
        documents={chunk_id: chunk.document_id for chunk_id, chunk in chunks.items()},
    )
    asked = {assertion.edge_id for assertion in wanted}
    return [fact for fact in facts if fact.edge_id in asked]


def of_predicate(facts: Iterable[Fact], predicate: str, schema: GraphSchema) -> list[Fact]:
    """Return the facts of a predicate: by its name or an alias, else those whose phrase has all its words, else those that its words ask for.

    So `owned by`, `kept for` (the phrase of an edge of the open predicate) and `boss` all find what they mean; stems are compared.
    """
    every = list(facts)
    declared = schema.predicate_name(predicate)
    if declared is not None and schema.predicate(predicate) is not None:
        return [fact for fact in every if fact.predicate == declared]
    return [fact for fact in every if fact.predicate == declared or says(fact, predicate)] or [
        fact for fact in every if fact.predicate != OPEN_PREDICATE and may_ask_for(fact.predicate, predicate, schema)
    ]


def _evidence_time(as_of: AsOf | None) -> AsOf | None:
    """Evidence is what is visible now, whatever moment it speaks of, unless the asked transaction time lies in the past."""
    return AsOf(recorded=as_of.recorded) if as_of is not None and as_of.recorded is not None else None


def _with(first: list[Assertion], second: list[Assertion]) -> list[Assertion]:
    return list({(item.edge_id, item.chunk_id): item for item in (*first, *second)}.values())


def _canonical(registry: RegistryTier, scope: Scope, assertions: Collection[Assertion]) -> dict[str, str]:
    ids = {entity for assertion in assertions for entity in (assertion.subject_id, assertion.object_id)}
    return registry.canonical(scope.namespace, ids)


def _named_entities(
    registry: RegistryTier, assertions: Collection[Assertion], canonical: Mapping[str, str], scope: Scope, as_of: AsOf | None
) -> dict[str, Entity]:
    """Name every endpoint as visible chunks name it: by the canonical entity's own name where it is visible, the most frequent form, the longest of equals."""
    roots = {canonical.get(entity, entity) for a in assertions for entity in (a.subject_id, a.object_id)}
    surfaces = registry.surface_ids(scope.namespace, roots)
    forms: dict[str, dict[str, tuple[bool, int]]] = {}
    types: dict[str, dict[str, int]] = {}
    for item in registry.surface_names(surfaces, scope, as_of):
        root = surfaces[item.entity_id]
        own, count = forms.setdefault(root, {}).get(item.name, (False, 0))
        forms[root][item.name] = (own or item.entity_id == root, count + item.count)
        if item.type:
            types.setdefault(root, {})[item.type] = types.get(root, {}).get(item.type, 0) + item.count
    return {
        root: Entity(
            id=root,
            namespace=scope.namespace,
            key="",
            name=max(names, key=lambda name: (*names[name], len(name), name)),
            type=max(types[root], key=lambda kind: (types[root][kind], kind)) if root in types else "",
        )
        for root, names in forms.items()
    }
