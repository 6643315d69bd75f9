"""How much of what matches each scope was lately seen to see: it says where to look first, never what may be shown."""

from __future__ import annotations

from threading import Lock

from rag2_memory.types import Scope

MAX_SCOPES = 4_096
"""Scopes remembered; the ones noted longest ago go first."""

LATEST = 0.3
"""Weight of the latest search in the average."""


class Reach:
    """Moving average, by scope, of the share of hits that the scope saw. Safe to use from several threads."""

    def __init__(self) -> None:
        self._shares: dict[Scope, float] = {}
        self._lock = Lock()

    def share(self, scope: Scope) -> float:
        """Return the expected share, in [0, 1]; 1 for a scope not met yet."""
        return self._shares.get(scope, 1.0)

    def note(self, scope: Scope, share: float) -> None:
        """Take in the share that a search met."""
        with self._lock:
            before = self._shares.pop(scope, share)
            self._shares[scope] = before + LATEST * (share - before)
            if len(self._shares) > MAX_SCOPES:
                del self._shares[next(iter(self._shares))]
