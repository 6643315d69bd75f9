"""Whose scope a call has: fixed by the application, or per run through LangGraph's and LangChain's `configurable`. A model never chooses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rag2_memory.errors import InvalidRequestError
from rag2_memory.types import Scope

SCOPE_KEYS = ("namespace", "user", "groups")
"""Keys of `configurable` that narrow a run's scope, next to `scope` for a whole one."""

AUTHENTICATED_USER, AUTHENTICATED_PERMISSIONS = "langgraph_auth_user_id", "langgraph_auth_permissions"
"""Keys that a LangGraph server with authentication sets itself, over whatever its clients send."""


def is_authenticated(config: Mapping[str, Any] | None) -> bool:
    """Whether a LangGraph server has authenticated the caller of a run."""
    return bool(((config or {}).get("configurable") or {}).get(AUTHENTICATED_USER))


def scope_of_run(default: Scope | None, config: Mapping[str, Any] | None) -> Scope:
    """Return the scope of a run.

    `configurable` may hold `scope` (a `Scope` or a mapping of its fields) or any of `namespace`, `user` and `groups`, which replace those of the default. Where a
    LangGraph server has authenticated the caller, the run is that user's, with the groups among the permissions (`group:eng`), and what it says about itself does not count.

    Raises:
        InvalidRequestError: If what it holds is no scope.
    """
    configurable = (config or {}).get("configurable") or {}
    base = default or Scope()
    if is_authenticated(config):
        permissions = [str(each) for each in configurable.get(AUTHENTICATED_PERMISSIONS) or ()]
        groups = frozenset(each.removeprefix("group:") for each in permissions if each.startswith("group:"))
        return Scope(namespace=base.namespace, user=str(configurable[AUTHENTICATED_USER]), groups=groups)
    given = configurable.get("scope")
    if isinstance(given, Scope):
        return given
    if given is not None and not isinstance(given, Mapping):
        raise InvalidRequestError(f"got configurable scope={given!r}; needed a Scope or a mapping with namespace, user and groups.")
    fields = dict(given or {key: configurable[key] for key in SCOPE_KEYS if configurable.get(key) is not None})
    unknown = set(fields) - set(SCOPE_KEYS)
    if unknown:
        raise InvalidRequestError(f"got configurable scope with {sorted(unknown)}; needed only {', '.join(SCOPE_KEYS)}.")
    return replace(base, **fields) if fields else base
