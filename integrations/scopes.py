"""Whose scope a run has; the graphs read it in the same way."""

from rag2_memory.graphs.scopes import SCOPE_KEYS, scope_of_run

__all__ = ["SCOPE_KEYS", "scope_of_run"]
