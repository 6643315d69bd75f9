"""What one consolidation did."""

from __future__ import annotations

from dataclasses import dataclass

from rag2_memory.ingestion.fading import FadedDocument
from rag2_memory.records import Community, MergeRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsolidationReport:
    """What one consolidation did, or with `dry_run` would do."""

    namespaces: tuple[str, ...]
    dry_run: bool
    extractor: str
    """Whose readings were pending; empty where the memory reads names alone."""
    read: int = 0
    """Chunks read."""
    unread: int = 0
    """Chunks still waiting: all that do in a dry run, those that a failure left otherwise."""
    failure: str = ""
    """Why reading stopped; the other steps were done all the same, and the next run goes on."""
    statements: int = 0
    """Edges, each with its evidence, that were read anew."""
    merged: tuple[MergeRecord, ...] = ()
    """Entities that turned out to be one."""
    queued: tuple[MergeRecord, ...] = ()
    """Pairs that a person should decide, new in the queue."""
    waiting: int = 0
    """Length of the review queue."""
    withdrawn: tuple[MergeRecord, ...] = ()
    """Merges taken back, because nothing states any longer what they rested on."""
    formed: tuple[Community, ...] = ()
    """New communities; without a summary in a dry run."""
    kept: int = 0
    """Communities that stay as they are."""
    dropped: int = 0
    """Communities that no longer hold."""
    proposed: tuple[FadedDocument, ...] = ()
    """Documents that have faded and whose absence would cost no fact."""
    spared: tuple[FadedDocument, ...] = ()
    """Documents that have faded and alone state facts."""
    archived: tuple[str, ...] = ()
    """Ids of the proposed documents that were archived; `restore` brings each back."""
    strays: int = 0
    """Answers of a model about chunks that were never recorded, dropped."""
    calls: int = 0
    """Calls of a chat model for extraction."""
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
