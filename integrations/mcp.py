"""The memory as an MCP server: tools to search, recall, list facts, remember and forget, and documents as resources."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from typing import Any
from urllib.parse import unquote

from rag2_memory.errors import InvalidRequestError, MissingExtraError
from rag2_memory.knowledge.temporal import fact_json
from rag2_memory.memory import Memory
from rag2_memory.types import Scope


def create_server(memory: Memory, *, scope: Scope | None = None, name: str = "rag2_memory", writable: bool = True) -> Any:
    """Return an MCP server over a memory; `server.run()` serves stdio, `server.run(transport="streamable-http")` HTTP.

    Args:
        memory: The memory.
        scope: Who every client of this server acts for; a client cannot choose it.
        name: The server's name.
        writable: Whether `remember` and `forget` are offered.

    Raises:
        MissingExtraError: If the package `mcp` is not installed.
    """
    who = scope or Scope()
    server = _server_class()(name)

    def search(query: str, k: int = 5) -> list[dict[str, Any]]:
        """Search the memory for passages that answer a question."""
        return [
            {"document_id": p.document_id, "title": p.title, "section": " > ".join(p.heading_path), "text": p.text, "score": p.score}
            for p in memory.search(query, k=k, scope=who)
        ]

    def recall(query: str, budget_tokens: int = 8_000) -> str:
        """Compile a cited context for a question, within a budget of tokens."""
        return memory.recall(query, budget=budget_tokens, scope=who).text

    def facts(entity: str, as_of: str | None = None) -> list[dict[str, Any]]:
        """List facts about an entity with their dates of validity; as_of (ISO date) asks what was true on a day."""
        found = memory.facts(entity, as_of=as_of, scope=who)
        plain: list[dict[str, Any]] = json.loads(json.dumps([fact_json(fact) for fact in found], default=str))
        return plain

    def timeline(entity: str) -> list[str]:
        """List the dated facts about an entity in order of time."""
        dated = [fact for fact in memory.facts(entity, scope=who) if fact.valid_from or fact.valid_to]
        return [str(fact) for fact in sorted(dated, key=lambda fact: (fact.valid_from or fact.valid_to, str(fact)))]

    def document(document_id: str) -> str:
        """The whole text of a document."""
        return memory.document(unquote(document_id), scope=who)

    for tool in (search, recall, facts, timeline, *(_writing_tools(memory, who) if writable else ())):
        server.tool(description=tool.__doc__)(tool)
    server.resource("memory://documents/{document_id}", description=document.__doc__, mime_type="text/markdown")(document)
    return server


def _writing_tools(memory: Memory, who: Scope) -> tuple[Callable[..., Any], ...]:
    def remember(text: str, thread_id: str = "mcp") -> list[str]:
        """Keep a statement in the memory under a conversation's thread_id."""
        return list(memory.remember([("user", text)], thread_id=thread_id, scope=who).added)

    def forget(document_id: str) -> dict[str, int]:
        """Remove a document from the memory, with all its versions."""
        try:
            memory.document(document_id, scope=who)
        except InvalidRequestError as exc:
            raise InvalidRequestError(f"got document_id={document_id!r}, which this connection cannot see; nothing was forgotten.") from exc
        return dict(memory.forget(document_id, namespace=who.namespace).removed)

    return remember, forget


def _server_class() -> Any:
    """Return the SDK's server class: `MCPServer` in mcp 2, `FastMCP` in mcp 1.24 and later."""
    for module, name in (("mcp.server", "MCPServer"), ("mcp.server.fastmcp", "FastMCP")):
        try:
            found = getattr(import_module(module), name, None)
        except ImportError:
            continue
        if found is not None:
            return found
    raise MissingExtraError(package="mcp", extra="mcp", purpose="serving a memory over MCP")
