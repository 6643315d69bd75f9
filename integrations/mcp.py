"""The memory as an MCP server: tools to search, recall, list facts, remember and forget, and documents as resources."""

from __future__ import annotations

import json
from typing import Any

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

    @server.tool(description="Search the memory for passages that answer a question.")
    def search(query: str, k: int = 5) -> list[dict[str, Any]]:
        return [
            {"document_id": p.document_id, "title": p.title, "section": " > ".join(p.heading_path), "text": p.text, "score": p.score}
            for p in memory.search(query, k=k, scope=who)
        ]

    @server.tool(description="Compile a cited context for a question, within a budget of tokens.")
    def recall(query: str, budget_tokens: int = 8_000) -> str:
        return memory.recall(query, budget=budget_tokens, scope=who).text

    @server.tool(description="List facts about an entity with their dates of validity; as_of (ISO date) asks what was true on a day.")
    def facts(entity: str, as_of: str | None = None) -> list[dict[str, Any]]:
        found = memory.facts(entity, as_of=as_of, scope=who)
        return json.loads(json.dumps([fact_json(fact) for fact in found], default=str))  # type: ignore[no-any-return]

    @server.tool(description="List the dated facts about an entity in order of time.")
    def timeline(entity: str) -> list[str]:
        dated = [fact for fact in memory.facts(entity, scope=who) if fact.valid_from or fact.valid_to]
        return [str(fact) for fact in sorted(dated, key=lambda fact: (fact.valid_from or fact.valid_to, str(fact)))]

    @server.resource("memory://documents/{document_id}", description="The whole text of a document.", mime_type="text/markdown")
    def document(document_id: str) -> str:
        from urllib.parse import unquote

        return memory.document(unquote(document_id), scope=who)

    if writable:
        _add_writing(server, memory, who)
    return server


def _add_writing(server: Any, memory: Memory, who: Scope) -> None:
    @server.tool(description="Keep a statement in the memory under a conversation's thread_id.")
    def remember(text: str, thread_id: str = "mcp") -> list[str]:
        return list(memory.remember([("user", text)], thread_id=thread_id, scope=who).added)

    @server.tool(description="Remove a document from the memory, with all its versions.")
    def forget(document_id: str) -> dict[str, int]:
        try:
            memory.document(document_id, scope=who)
        except InvalidRequestError as exc:
            raise InvalidRequestError(f"got document_id={document_id!r}, which this connection cannot see; nothing was forgotten.") from exc
        return dict(memory.forget(document_id, namespace=who.namespace).removed)


def _server_class() -> Any:
    try:
        from mcp.server import MCPServer  # mcp 2
    except ImportError:
        try:
            from mcp.server.fastmcp import FastMCP as MCPServer  # mcp 1.24 and later
        except ImportError as exc:
            raise MissingExtraError(package="mcp", extra="mcp", purpose="serving a memory over MCP") from exc
    return MCPServer
