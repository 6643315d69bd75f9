"""Comparing the indexes with the registry, by id and content, and mending what differs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import numpy as np

from rag2_memory.errors import BackendUnavailableError
from rag2_memory.ingestion.sync import IndexSync, by_namespace
from rag2_memory.tiers.analysis import lexical_digest
from rag2_memory.tiers.base import VectorSpace
from rag2_memory.types import INDEX_TIERS, TierCheck, TierName, VerifyReport

logger = logging.getLogger(__name__)

COMPARED_AT_ONCE = 2_000
SPACES: tuple[VectorSpace, ...] = ("chunks", "windows")
"""Vector spaces whose content follows the registry's chunks."""

VECTOR_TOLERANCE = 1e-4
"""Largest difference per component between a stored and a cached vector that counts as the same."""


def verify_tiers(sync: IndexSync) -> VerifyReport:
    """Compare every index with the registry. Reads only; an index that cannot be read is reported, not raised."""
    expected = sync.registry.indexable()
    checks = [_checked(tier, expected, sync) for tier in INDEX_TIERS]
    return VerifyReport(tiers=tuple(checks), pending=sum(sync.registry.backlog().values()))


def repair_tiers(sync: IndexSync) -> None:
    """Remove what the registry does not know, and have the indexes take what is missing or stale; an unreadable one is rebuilt."""
    for check in verify_tiers(sync).tiers:
        tier = _tier_name(check.tier)
        if check.error:
            rebuild_tier(tier, sync)
            continue
        if check.surplus:
            _remove(tier, check.surplus, sync)
        if check.missing or check.stale:
            sync.registry.owe(tier, [*check.missing, *check.stale])
    sync.drain()


def rebuild_tier(tier: TierName, sync: IndexSync) -> None:
    """Empty an index and fill it from the registry; a killed rebuild goes on at the next open."""
    sync.start_anew(tier)
    sync.drain()


def _checked(tier: TierName, expected: Mapping[str, str], sync: IndexSync) -> TierCheck:
    try:
        stored = set(_stored_ids(tier, sync))
        common = sorted(stored & expected.keys())
        stale = [key for part in _parts(common) for key in _stale(tier, {key: expected[key] for key in part}, sync)]
        missing = sorted(expected.keys() - stored) + (_missing_windows(expected, sync) if tier == "vector" else [])
    except BackendUnavailableError as exc:
        logger.warning("the %s index cannot be compared: %s", tier, exc)
        return TierCheck(tier=tier, expected=len(expected), error=str(exc))
    return TierCheck(
        tier=tier, expected=len(expected), missing=tuple(missing), surplus=tuple(sorted(stored - expected.keys())), stale=tuple(stale)
    )


def _stored_ids(tier: TierName, sync: IndexSync) -> Iterator[str]:
    if tier == "vector":
        for namespace in sync.registry.namespaces():
            for space in SPACES:
                yield from sync.vector.ids(namespace=namespace, space=space)
    else:
        yield from (sync.lexical if tier == "lexical" else sync.graph).ids()


def _stale(tier: TierName, ids: Mapping[str, str], sync: IndexSync) -> list[str]:
    """Return those of the stored ids whose content differs from what the registry says."""
    if tier == "lexical":
        documents = sync.registry.lexical_documents(ids)
        digests = sync.lexical.digests(list(ids))
        return [key for key in ids if key in documents and digests.get(key) != lexical_digest(documents[key])]
    if tier == "graph":
        wanted = sync.registry.graph_passages(ids)
        held = sync.graph.passages(list(ids))
        return [key for key in ids if held.get(key) != wanted.get(key)]
    cached = sync.registry.chunk_vectors(ids, sync.embedder.name)
    stale = []
    for namespace, keys in by_namespace(ids).items():
        stored = sync.vector.vectors(keys, namespace=namespace)
        stale += [key for key in keys if key in cached and key in stored and np.abs(stored[key] - cached[key]).max() > VECTOR_TOLERANCE]
    return stale


def _missing_windows(expected: Mapping[str, str], sync: IndexSync) -> list[str]:
    missing: list[str] = []
    for part in _parts(sorted(expected)):
        turns = [key for key, document in sync.registry.lexical_documents(part).items() if document.window]
        for namespace, keys in by_namespace({key: expected[key] for key in turns}).items():
            missing += [key for key in keys if key not in sync.vector.vectors(keys, namespace=namespace, space="windows")]
    return missing


def _remove(tier: TierName, ids: Sequence[str], sync: IndexSync) -> None:
    if tier == "vector":
        for namespace in sync.registry.namespaces():
            for space in SPACES:
                sync.vector.delete(ids, namespace=namespace, space=space)
    else:
        (sync.lexical if tier == "lexical" else sync.graph).delete(ids)


def _tier_name(name: str) -> TierName:
    return next(tier for tier in INDEX_TIERS if tier == name)


def _parts(ids: Sequence[str]) -> Iterator[list[str]]:
    rest = iter(ids)
    while part := list(islice(rest, COMPARED_AT_ONCE)):
        yield part
