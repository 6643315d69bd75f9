"""Other names that documents state (`also known as`, acronyms, labels), as far as entity resolution may trust them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from rag2_memory.knowledge.assembly import entity_id
from rag2_memory.knowledge.mentions import normalize_name
from rag2_memory.records import Entity, MergeRecord

MAX_ALIASES = 8
"""An entity that documents give more names than this is a word for many things (a label such as `ADR 1` that every project uses)."""


class StatedAliases:
    """Normalised other names by entity of one namespace, and who claims each.

    They come from documents that everyone in the namespace sees: a merge holds for all readers, so what only some may know must not cause one.
    """

    def __init__(self, namespace: str, stated: Mapping[str, Iterable[str]]) -> None:
        self._namespace = namespace
        self._keys: dict[str, set[str]] = defaultdict(set)
        self._claims: dict[str, set[str]] = defaultdict(set)
        self.take(stated)

    def take(self, stated: Mapping[str, Iterable[str]]) -> None:
        """Add names, as written, by entity id."""
        for entity, names in stated.items():
            for key in filter(None, map(normalize_name, names)):
                self._keys[entity].add(key)
                self._claims[key].add(entity)

    @property
    def claimants(self) -> set[str]:
        """Every entity that has another name."""
        return set(self._keys)

    def of(self, entity: Entity, canonical: Mapping[str, str]) -> frozenset[str]:
        """Return the names that this entity alone claims, and those that were stated together with its own; two things with one acronym are not one.

        Args:
            entity: The entity.
            canonical: Canonical ids of the claimants: those that are one already do not compete.
        """
        keys = self._keys.get(entity.id, set())
        if len(keys) > MAX_ALIASES or (entity.type == "Document" and self._is_common_label(keys)):
            return frozenset()
        beside = {key for claimant in self._sole(entity.key, canonical) for key in self._keys[claimant]} - {entity.key}
        if len(beside) > MAX_ALIASES or self._is_common_label(beside):
            beside = set()
        return frozenset(key for key in keys if self._sole(key, canonical)) | beside

    def _sole(self, key: str, canonical: Mapping[str, str]) -> set[str]:
        """Return the claimants of a name if they are all one entity."""
        claimants = self._claims.get(key, set())
        return claimants if len({canonical.get(claim, claim) for claim in claimants}) == 1 else set()

    def links(self, canonical: Mapping[str, str]) -> set[frozenset[str]]:
        """Return the pairs of entity ids that an uncontested alias joins."""
        found = set()
        for entity, keys in self._keys.items():
            if len(keys) > MAX_ALIASES:
                continue
            for key in keys:
                if self._sole(key, canonical):
                    found.add(frozenset((entity, entity_id(self._namespace, key))))
        return found

    @staticmethod
    def _is_common_label(keys: set[str]) -> bool:
        """Whether several documents go by one label: each title gives its rest and its whole, of which the whole ends with the rest."""
        rests = [key for key in keys if not any(other != key and key.endswith(other) for other in keys)]
        return len(rests) > 1


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
