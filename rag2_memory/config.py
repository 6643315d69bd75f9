"""One frozen configuration for a memory, with named ready-made variants."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from rag2_memory.errors import InvalidRequestError

REGISTRY_FILE = "registry.sqlite"
LOCK_FILE = "memory.lock"
"""Files by which a memory's folder is known; ingestion passes such a folder over."""

FusionMethod = Literal["adaptive", "rrf"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryConfig:
    """Everything about a memory that is a choice and not a component."""

    parent_tokens: int = 1024
    """Target size of a parent chunk, in tokens."""
    child_tokens: int = 128
    """Target size of a child chunk, in tokens."""
    arm_depth: int = 100
    """Hits that each search arm contributes to fusion."""
    arm_timeout_seconds: float = 10.0
    """An arm that takes longer is left out and recorded as degraded."""
    fusion: FusionMethod = "adaptive"
    graph_ranking: bool = True
    """Whether subject links and personalized PageRank refine the fused ranking."""
    graph_hops: int = 2
    rerank_depth: int = 50
    """Passages handed to the reranker, where there is one."""
    rerank_timeout_seconds: float = 5.0
    half_life_days: float | None = None
    """Temporal decay of a passage's score by the age of its document; `None`: no decay."""
    diversity: float = 0.0
    """Weight of maximal marginal relevance in [0, 1]; 0 keeps pure relevance."""
    cache_max_entries: int = 10_000
    cache_max_bytes: int = 256 * 1024 * 1024
    cache_ttl_seconds: float = 7 * 24 * 3600.0
    cache_similarity: float = 0.92
    """Cosine above which a guarded semantic hit may be served."""
    extract_later: bool = False
    """Whether ingestion reads by patterns alone, and `consolidate` has the memory's own extractor read what is new."""
    keep_versions: int = 5
    """Superseded versions of a document that stay available to `as_of` questions; 0 keeps none."""
    ingest_batch_chunks: int = 512
    """Chunks that are embedded, written and published together; bounds the memory that ingestion takes."""
    max_file_bytes: int = 32 * 1024 * 1024
    """A larger file is skipped and reported."""
    journal_attempts: int = 4
    """Tries per journal entry before ingestion reports its document as pending."""

    def __post_init__(self) -> None:
        if not 16 <= self.child_tokens <= self.parent_tokens:
            raise InvalidRequestError(
                f"got child_tokens={self.child_tokens} and parent_tokens={self.parent_tokens}; needed 16 <= child_tokens <= parent_tokens."
            )
        if not 0.0 <= self.diversity <= 1.0:
            raise InvalidRequestError(f"got diversity={self.diversity}; needed a weight in [0, 1].")
        if self.half_life_days is not None and self.half_life_days <= 0:
            raise InvalidRequestError(f"got half_life_days={self.half_life_days}; needed a positive number of days, or None for no decay.")

    @classmethod
    def naive(cls) -> MemoryConfig:
        """The baseline most people start with: rank by dense similarity alone."""
        return cls(fusion="rrf", graph_ranking=False)

    def but(self, **changes: Any) -> MemoryConfig:
        """Return a copy with some fields changed."""
        return replace(self, **changes)

    @property
    def fingerprint(self) -> str:
        """Changes whenever a field does; cached contexts depend on it."""
        return hashlib.blake2b(repr(sorted(asdict(self).items())).encode(), digest_size=8).hexdigest()
