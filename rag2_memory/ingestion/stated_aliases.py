"""Other names that documents state (`also known as`, acronyms, labels), as far as entity resolution may trust them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from itertools import combinations

from rag2_memory.knowledge.assembly import entity_id
from rag2_memory.knowledge.mentions import normalize_name
from rag2_memory.records import Entity, MergeRecord

MAX_ALIASES = 12
"""An entity that documents give more names than this is a word for many things (a label such as `ADR 1` that every project uses)."""


class StatedAliases:
    """Normalised other names by entity of one namespace, and who claims each.

    They come from documents that everyone in the namespace sees: a merge holds for all readers, so what only some may know must not cause one.
    """

    def __init__(self, namespace: str, stated: Mapping[str, Iterable[Collection[str]]]) -> None:
        self._namespace = namespace
        self._groups: dict[str, set[frozenset[str]]] = defaultdict(set)
        self._claims: dict[str, set[str]] = defaultdict(set)
        self._joined: dict[str, frozenset[str]] | None = None
        self.take(stated)

    def take(self, stated: Mapping[str, Iterable[Collection[str]]]) -> None:
        """Add names, as written, by entity id: one collection per document that gives some."""
        if stated:
            self._joined = None
        for entity, documents in stated.items():
            for names in documents:
                keys = frozenset(filter(None, map(normalize_name, names)))
                if keys:
                    self._groups[entity].add(keys)
                for key in keys:
                    self._claims[key].add(entity)

    @property
    def claimants(self) -> set[str]:
        """Every entity that has another name."""
        return set(self._groups)

    def of(self, entity: Entity, canonical: Mapping[str, str]) -> frozenset[str]:
        """Return the names that this entity alone claims, and those that these and its own are joined to; two things with one acronym are not one.

        Args:
            entity: The entity.
            canonical: Canonical ids of the claimants: those that are one already do not compete.
        """
        if entity.type == "Document" and self._is_common_label(entity.id):
            return frozenset()
        own = {key for key in self._names(entity.id) if self._sole(key, canonical)}
        if self._joined is None:
            self._joined = self._components(canonical)
        return frozenset(own | self._joined.get(entity.id, frozenset()) - {entity.key})

    def _components(self, canonical: Mapping[str, str]) -> dict[str, frozenset[str]]:
        """Return, by entity, all names that uncontested statements join to it: a label, its title and its file name are given by several."""
        parent: dict[str, str] = {}
        keys: dict[str, str] = {}

        def root(entity: str) -> str:
            while parent.setdefault(entity, entity) != entity:
                entity = parent[entity] = parent[parent[entity]]
            return entity

        for stater in sorted(self._groups):
            for key in sorted(self._names(stater)) if not self._is_common_label(stater) else ():
                if self._sole(key, canonical):
                    named = entity_id(self._namespace, key)
                    keys[named] = key
                    parent[root(named)] = root(stater)
        names: dict[str, set[str]] = defaultdict(set)
        for named, key in keys.items():
            names[root(named)].add(key)
        return {entity: frozenset(names[root(entity)]) for entity in list(parent) if len(names[root(entity)]) <= MAX_ALIASES}

    def _names(self, entity: str) -> set[str]:
        names = {key for group in self._groups.get(entity, ()) for key in group}
        return names if len(names) <= MAX_ALIASES else set()

    def _sole(self, key: str, canonical: Mapping[str, str]) -> set[str]:
        """Return the claimants of a name if they are all one entity."""
        claimants = self._claims.get(key, set())
        return claimants if len({canonical.get(claim, claim) for claim in claimants}) == 1 else set()

    def links(self, canonical: Mapping[str, str]) -> set[frozenset[str]]:
        """Return the pairs of entity ids that an uncontested alias joins."""
        return {
            frozenset((entity, entity_id(self._namespace, key)))
            for entity in self._groups
            for key in self._names(entity)
            if self._sole(key, canonical)
        }

    def _is_common_label(self, entity: str) -> bool:
        """Whether documents give an entity names that have nothing in common: a label, `ADR 7`, that several projects use."""
        groups = self._groups.get(entity, set())
        return any(not one & other for one, other in combinations(groups, 2))


def joined_by_alias(record: MergeRecord, merges: Iterable[MergeRecord], aliases: StatedAliases) -> bool:
    """Whether a stated alias still joins the two sides of a merge, each with all that other merges joined to it."""
    sides: dict[str, set[str]] = {entity: {entity} for entity in (record.kept_id, record.absorbed_id)}
    others = [frozenset((other.kept_id, other.absorbed_id)) for other in merges if other.merge_id != record.merge_id]
    for side in sides.values():
        while grown := {entity for pair in others if pair & side for entity in pair} - side:
            side |= grown
    one, other = sides[record.kept_id], sides[record.absorbed_id]
    if one & other:
        return True  # other merges join them as well
    canonical = dict.fromkeys(one | other, record.kept_id)
    return any(len(pair & one) == 1 and len(pair & other) == 1 for pair in aliases.links(canonical) if pair & one and pair & other)
