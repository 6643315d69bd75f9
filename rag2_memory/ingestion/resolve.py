"""Entity resolution over a memory: new names are compared with what the graph knows, and every decision is logged so that it can be undone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from rag2_memory.knowledge.resolution import BlockIndex, Profile, resolve
from rag2_memory.records import EntityUse, MergeRecord
from rag2_memory.tiers.base import RegistryTier


@dataclass(slots=True)
class EntityResolver:
    """Compares entities as they arrive. One thread at a time (the memory's writer) calls it."""

    registry: RegistryTier
    clock: Callable[[], datetime]
    _known: dict[str, BlockIndex] = field(default_factory=dict)

    def resolve_new(self, namespace: str) -> int:
        """Merge, or queue for review, what is new in a namespace; returns the number of merges and reviews logged."""
        fresh = list(_profiles(self.registry.entity_uses(namespace, compared=False)))
        if not fresh:
            return 0
        index = self._known.get(namespace)
        if index is None:
            index = self._known[namespace] = BlockIndex(_profiles(self.registry.entity_uses(namespace, compared=True)))
        log = self.registry.merges(namespace)
        refused = {frozenset((record.kept_id, record.absorbed_id)) for record in log if record.decision in ("rejected", "undone")}
        proposals = resolve(fresh, index.candidates(fresh), rejected=refused)
        decisions = [
            MergeRecord(
                merge_id=0,
                namespace=namespace,
                kept_id=proposal.kept_id,
                absorbed_id=proposal.absorbed_id,
                decision=proposal.decision,
                score=proposal.score,
                reason=proposal.reason,
            )
            for proposal in proposals
        ]
        self.registry.record_merges(decisions, now=self.clock())
        self.registry.mark_compared([profile.entity.id for profile in fresh])
        index.add(fresh)
        return len(proposals)

    def forget(self, namespace: str) -> None:
        """Drop what is held of a namespace; the next comparison reads it anew."""
        self._known.pop(namespace, None)


def _profiles(uses: Iterable[EntityUse]) -> Iterable[Profile]:
    for use in uses:
        entity = replace(
            use.entity, name=use.names[0] if use.names else use.entity.name, type=use.types[0] if use.types else use.entity.type
        )
        yield Profile(entity=entity, names=use.names, neighbours=use.neighbours, mentions=use.mentions)
