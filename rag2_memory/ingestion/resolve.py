"""Entity resolution over a memory: new names are compared with what the graph knows, and every decision is logged so that it can be undone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from rag2_memory.ingestion.stated_aliases import StatedAliases, joined_by_alias
from rag2_memory.knowledge.resolution import MAX_BLOCK, STATED_ALIAS, MergeProposal, Profile, blocking_keys, resolve
from rag2_memory.records import EntityUse, MergeRecord
from rag2_memory.tiers.base import RegistryTier

COMPARED_AT_ONCE = 20_000
"""New entities that are compared with each other and with what was there at a time, which bounds memory; the rest is compared
with them. Only a key that more than `MAX_BLOCK` share may then bring together some that it would not at once."""


@dataclass(slots=True)
class EntityResolver:
    """Compares entities as they arrive. One thread at a time (the memory's writer) calls it."""

    registry: RegistryTier
    clock: Callable[[], datetime]
    _aliases: dict[str, StatedAliases] = field(default_factory=dict)

    def resolve_new(self, namespace: str) -> int:
        """Merge, or queue for review, what is new in a namespace; returns the number of merges and reviews logged."""
        logged = 0
        while uses := self.registry.entity_uses(namespace, compared=False, limit=COMPARED_AT_ONCE):
            fresh, decisions = self._decided(namespace, uses)
            settled = {frozenset((record.kept_id, record.absorbed_id)) for record in decisions}
            queued = self.registry.merges(namespace, decision="review")
            superseded = [record.merge_id for record in queued if frozenset((record.kept_id, record.absorbed_id)) in settled]
            if superseded:
                self.registry.retract_merges(superseded)
            self.registry.record_merges(decisions, now=self.clock())
            self.registry.mark_compared(namespace, {profile.entity.id: blocking_keys(profile) for profile in fresh})
            logged += len(decisions)
        return logged

    def preview(self, namespace: str) -> list[MergeRecord]:
        """Return what `resolve_new` would log, and log nothing."""
        uses = self.registry.entity_uses(namespace, compared=False)
        return self._decided(namespace, uses)[1] if uses else []

    def _decided(self, namespace: str, uses: list[EntityUse]) -> tuple[list[Profile], list[MergeRecord]]:
        """Return profiles of entities that were not compared yet, and what is new to the log about them: a pair that waits for review may be merged by now."""
        if namespace not in self._aliases:
            self._aliases[namespace] = StatedAliases(namespace, self.registry.stated_aliases(namespace))
        else:
            self._aliases[namespace].take(self.registry.stated_aliases(namespace, compared=False))
        fresh = self._profiles(namespace, uses)
        existing = self._profiles(namespace, self._sharing(namespace, fresh))
        log = self.registry.merges(namespace)
        refused = {frozenset((record.kept_id, record.absorbed_id)) for record in log if record.decision in ("rejected", "undone")}
        proposals = resolve(fresh, existing, rejected=refused)
        logged = {frozenset((record.kept_id, record.absorbed_id)): record.decision for record in log}
        known = {None, "review"}
        new = [
            each
            for each in proposals
            if (before := logged.get(frozenset((each.kept_id, each.absorbed_id)))) in known and before != each.decision
        ]
        return fresh, [_record(namespace, proposal) for proposal in new]

    def _sharing(self, namespace: str, fresh: Sequence[Profile]) -> list[EntityUse]:
        """Return the entities that were compared before and share a key with any of these."""
        keys = {key for profile in fresh for key in blocking_keys(profile)}
        found = self.registry.sharing_blocks(namespace, keys, limit=MAX_BLOCK)
        return self.registry.entity_uses(namespace, ids=found - {profile.entity.id for profile in fresh})

    def withdraw_unfounded(self, namespace: str) -> list[MergeRecord]:
        """Take back merges that rested on a stated alias which no open document states any longer; their entities are compared again."""
        merges = self.registry.merges(namespace, decision="merge")
        resting = [record for record in merges if STATED_ALIAS in record.reason]
        if not resting:
            return []
        aliases = StatedAliases(namespace, self.registry.stated_aliases(namespace))
        unfounded = [record for record in resting if not joined_by_alias(record, merges, aliases)]
        if unfounded:
            self.registry.retract_merges([record.merge_id for record in unfounded])
            self.forget(namespace)
        return unfounded

    def forget(self, namespace: str) -> None:
        """Drop what is held of a namespace; the next comparison reads it anew."""
        self._aliases.pop(namespace, None)

    def _profiles(self, namespace: str, uses: Iterable[EntityUse]) -> list[Profile]:
        aliases = self._aliases[namespace]
        canonical = self.registry.canonical(namespace, aliases.claimants)
        return [_profile(use, aliases, canonical) for use in uses]


def _profile(use: EntityUse, aliases: StatedAliases, canonical: Mapping[str, str]) -> Profile:
    entity = replace(use.entity, name=use.names[0] if use.names else use.entity.name, type=use.types[0] if use.types else use.entity.type)
    return Profile(entity=entity, names=use.names, aliases=aliases.of(entity, canonical), neighbours=use.neighbours, mentions=use.mentions)


def _record(namespace: str, proposal: MergeProposal) -> MergeRecord:
    return MergeRecord(
        merge_id=0,
        namespace=namespace,
        kept_id=proposal.kept_id,
        absorbed_id=proposal.absorbed_id,
        decision=proposal.decision,
        score=proposal.score,
        reason=proposal.reason,
    )
