"""A memory's folder: who holds it, and where each embedded engine keeps its files. Engines are imported when they are opened."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from rag2_memory.config import LOCK_FILE, REGISTRY_FILE, MemoryConfig
from rag2_memory.errors import BackendUnavailableError, CorruptIndexError, InvalidRequestError, MemoryInUseError
from rag2_memory.protocols import Embedder
from rag2_memory.tiers.base import CacheTier, GraphTier, LexicalTier, RegistryTier, VectorTier
from rag2_memory.types import TierName

Tier = TypeVar("Tier")

FILES: dict[TierName, str] = {"vector": "vector", "lexical": "lexical", "graph": "graph.kuzu", "cache": "cache.sqlite"}
"""Where each index lives inside the folder; any of them may be deleted while the memory is closed, and is rebuilt."""

CONTEXTS_PER_WRITE = 16
"""Contexts that the cache gathers before it writes them: each would take half a millisecond of its recall, and a crash only has them computed again."""

LOST = "lost-"
"""Begins the name of the note that an index was lost."""


class MemoryFolder:
    """Opens the embedded engines of one memory, on disk or, with no path, in the process alone."""

    def __init__(self, path: Path | None, lock: FileLock | None) -> None:
        self.path = path
        self._lock = lock
        self._lost: list[TierName] = []

    @classmethod
    def nowhere(cls) -> MemoryFolder:
        """Return a folder that does not exist: engines keep everything in the process."""
        return cls(None, None)

    @classmethod
    def locked(cls, path: Path) -> MemoryFolder:
        """Create the folder if need be and take its lock.

        Raises:
            InvalidRequestError: If the path is a file.
            MemoryInUseError: If somebody holds the folder.
            BackendUnavailableError: If the folder cannot be created or written.
        """
        path = path.expanduser()
        if path.exists() and not path.is_dir():
            raise InvalidRequestError(f"got path={str(path)!r}, which is a file; needed a folder for the memory.")
        holder = path / "holder.json"
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path / LOCK_FILE, blocking=False, thread_local=False)
            lock.acquire()
        except Timeout as exc:
            raise MemoryInUseError(path=path, holder=_read_holder(holder)) from exc
        except OSError as exc:
            raise BackendUnavailableError(
                f"the memory's folder {str(path)!r} cannot be written: {exc}. Check its permissions and the disk."
            ) from exc
        holder.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        return cls(path.resolve(), lock)

    def release(self) -> None:
        """Give the folder back. Idempotent."""
        if self._lock is not None and self._lock.is_locked:
            self._lock.release()

    def registry(self) -> RegistryTier:
        """Open the SQLite registry."""
        from rag2_memory.tiers.registry_sql import SqlRegistry

        return SqlRegistry(self.path / REGISTRY_FILE if self.path else None)

    def vector(self, embedder: Embedder) -> VectorTier:
        """Open Chroma."""
        from rag2_memory.tiers.vector_chroma import ChromaVectorTier

        return self._opened("vector", lambda path: ChromaVectorTier(path, dimensions=embedder.dimensions))

    def lexical(self) -> LexicalTier:
        """Open tantivy."""
        from rag2_memory.tiers.lexical_tantivy import TantivyLexicalTier

        return self._opened("lexical", lambda path: TantivyLexicalTier(path))

    def graph(self) -> GraphTier:
        """Open Kuzu."""
        from rag2_memory.tiers.graph_kuzu import KuzuGraphTier

        return self._opened("graph", lambda path: KuzuGraphTier(path))

    def cache(self, config: MemoryConfig, clock: Callable[[], datetime]) -> CacheTier:
        """Open the cache."""
        from rag2_memory.tiers.cache_semantic import SemanticCache

        return self._opened(
            "cache",
            lambda path: SemanticCache(
                path,
                max_entries=config.cache_max_entries,
                max_bytes=config.cache_max_bytes,
                ttl_seconds=config.cache_ttl_seconds,
                puts_per_write=CONTEXTS_PER_WRITE,
                clock=lambda: clock().timestamp(),
            ),
        )

    def _opened(self, tier: TierName, open_at: Callable[[Path | None], Tier]) -> Tier:
        """Open an engine; one whose files are unreadable is emptied, and one that is new or emptied counts as lost."""
        if self.path is None:
            return open_at(None)
        path = self.path / FILES[tier]
        if not path.exists() or self._note(tier).exists():
            self._lose(tier)
        try:
            return open_at(path)
        except CorruptIndexError:
            self._lose(tier)
            for leftover in self.path.glob(f"{FILES[tier]}*"):
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            return open_at(path)

    def _note(self, tier: TierName) -> Path:
        """Return the file that says that an index is empty and its rebuilding not yet recorded in the journal."""
        assert self.path is not None
        return self.path / f"{LOST}{tier}"

    def _lose(self, tier: TierName) -> None:
        """Note the loss before the engine makes its files anew: whoever is killed in between must not take them for the index."""
        if tier != "cache" and tier not in self._lost:  # an empty cache misses nothing
            self._lost.append(tier)
            self._note(tier).touch()

    def restored(self, tier: TierName) -> None:
        """Take note that the journal owes a lost index, or that it is complete."""
        if self.path is not None:
            self._note(tier).unlink(missing_ok=True)

    def lost_indexes(self, registry: RegistryTier) -> list[TierName]:
        """Return the indexes that were opened empty although the registry has documents."""
        if self._lost and registry.counts()["chunks"]:
            return list(self._lost)
        for tier in self._lost:
            self.restored(tier)
        return []


def _read_holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text())
        here = " (this process)" if holder["pid"] == os.getpid() and holder["host"] == socket.gethostname() else ""
        return f"process {holder['pid']}{here} on {holder['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
