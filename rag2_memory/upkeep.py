"""Keeping a memory whole: indexes, graph and cache follow the registry, after writes, after a kill and after something was forgotten.

Everything here writes; the caller holds the writer's turn.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from dataclasses import dataclass

from rag2_memory.errors import InvalidRequestError
from rag2_memory.folder import MemoryFolder
from rag2_memory.graphs import cache_access
from rag2_memory.graphs.services import RecallServices
from rag2_memory.ingestion.resolve import EntityResolver
from rag2_memory.ingestion.sync import IndexSync
from rag2_memory.ingestion.verify import rebuild_tier, repair_tiers, verify_tiers
from rag2_memory.records import DocumentState
from rag2_memory.types import INDEX_TIERS, ForgetReceipt, TierName, VerifyReport

logger = logging.getLogger(__name__)

REBUILDABLE: tuple[TierName, ...] = (*INDEX_TIERS, "cache")

COMPACTION_OWED = "compaction owed"
"""The registry's note that something was forgotten whose bytes may still stand in a file."""


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What all tiers of one memory need done together."""

    services: RecallServices
    folder: MemoryFolder
    sync: IndexSync
    resolver: EntityResolver

    def recover(self) -> None:
        """Refuse vectors of another model, restore an index whose files are gone, finish what a killed process left.

        Raises:
            InvalidRequestError: If the memory was built with another embedder.
        """
        registry, model = self.services.registry, self.services.embedder
        known = registry.note("embedder")
        if known is None:
            registry.note("embedder", model.name)
        elif known != model.name:
            raise InvalidRequestError(
                f"this memory was built with the embedder {known!r} and was opened with {model.name!r}; vectors of two models cannot be compared. "
                "Pass the same embedder, or ingest into a new folder."
            )
        for tier in self.folder.lost_indexes(registry):
            logger.warning("the %s index is missing or unreadable and is rebuilt from the registry", tier)
            rebuild_tier(tier, self.sync)
            self.drop_cached(*registry.namespaces())
            self.folder.restored(tier)
        self.catch_up()
        self.settle(*registry.namespaces())
        if registry.note(COMPACTION_OWED) == "yes":
            self._compact()

    def catch_up(self) -> None:
        """Apply the journal, publish what became ready, and have the cache follow."""
        self.sync.drain()
        self.services.registry.publish(now=self.services.clock(), keep_versions=self.services.config.keep_versions)
        self.follow()

    def settle(self, *namespaces: str) -> None:
        """Compare new names with known ones, have the indexes follow (what publishing dropped included), and the cache."""
        for namespace in namespaces:
            self.resolver.resolve_new(namespace)
        self.follow()

    def follow(self) -> None:
        """Have the indexes follow the registry, and the cache drop the contexts that a write changed."""
        self.sync.drain()
        cache_access.follow_writes(self.services)

    def drop_cached(self, *namespaces: str) -> int:
        """Drop every cached context of some namespaces: after forgetting, since names in facts may come from any text, and after an index was made anew."""
        return cache_access.drop(self.services, namespaces)

    def regroup(self, namespace: str) -> None:
        """Take back merges whose only ground was a document that went or that fewer may see by now, and look for those that it gives ground to."""
        self.resolver.forget(namespace)
        self.resolver.withdraw_unfounded(namespace)
        self.resolver.resolve_new(namespace)

    def forget(self, state: DocumentState) -> ForgetReceipt:
        """Remove a document from every tier and every file, and count what went."""
        registry, now = self.services.registry, self.services.clock()
        receipt_id = uuid.uuid4().hex
        registry.note(COMPACTION_OWED, "yes")
        if self.services.lexical.keeps_deleted_terms:
            registry.owe("lexical", [key for key, namespace in registry.indexable().items() if namespace == state.namespace])
        digest = hashlib.sha256(f"{state.namespace}\x00{state.document_id}".encode()).hexdigest()
        counts = registry.purge(state.key, receipt_id=receipt_id, digest=digest, now=now)
        self.regroup(state.namespace)
        removed = dict(counts) | {"vectors": counts["chunks"], "postings": counts["chunks"]}
        removed["cache_entries"] = self.drop_cached(state.namespace)
        self.follow()
        self._compact()
        return ForgetReceipt(
            document_id=state.document_id, namespace=state.namespace, receipt_id=receipt_id, forgotten_at=now, removed=removed
        )

    def _compact(self) -> None:
        """Overwrite what deletions left in the files; a process killed before that leaves a note, and the next one does it."""
        services = self.services
        for tier in (services.registry, services.lexical, services.graph, services.vector, services.cache):
            compact = getattr(tier, "compact", None)
            if compact is not None:
                compact()
        services.registry.note(COMPACTION_OWED, "no")

    def verify(self) -> VerifyReport:
        """Compare every index with the registry."""
        return verify_tiers(self.sync)

    def repair(self) -> VerifyReport:
        """Retry what is pending and mend what differs; returns the state afterwards."""
        self.catch_up()
        repair_tiers(self.sync)
        self.catch_up()
        self.drop_cached(*self.services.registry.namespaces())
        return self.verify()

    def rebuild(self, tier: TierName) -> None:
        """Empty a tier and fill it from the registry; the cache stays empty.

        Raises:
            InvalidRequestError: If there is no such tier.
        """
        if tier not in REBUILDABLE:
            raise InvalidRequestError(f"got tier={tier!r}; needed one of {', '.join(REBUILDABLE)}.")
        if tier == "cache":
            if self.services.cache is not None:
                self.services.cache.clear()
        else:
            rebuild_tier(tier, self.sync)
            self.drop_cached(*self.services.registry.namespaces())
        self.catch_up()
