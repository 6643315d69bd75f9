"""The MCP server through the SDK's own client, over its in-process transport."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rag2_memory import Document, Memory, Scope
from rag2_memory.integrations.mcp import create_server

memory_transport = pytest.importorskip("mcp.shared.memory")


@pytest.fixture
def filled(memory: Memory) -> Memory:
    """A memory with an open, a restricted and a factual document."""
    memory.ingest(
        [
            Document(id="gate/way", text="The gateway listens on port 8443."),
            Document(id="secret", text="The gateway's admin port is 9999.", acl=frozenset({"user:ada"})),
            Document(id="lead", text="Priya Raman leads Project Alpha since 1 February 2026."),
        ]
    )
    return memory


async def called(server: Any, tool: str, **arguments: Any) -> str:
    """Call a tool through a client session; returns the joined text of its answer."""
    async with memory_transport.create_connected_server_and_client_session(server) as session:
        result = await session.call_tool(tool, arguments)
        return "\n".join(getattr(part, "text", "") for part in result.content)


async def test_a_client_finds_the_tools_and_uses_them(filled: Memory) -> None:
    server = create_server(filled)
    async with memory_transport.create_connected_server_and_client_session(server) as session:
        tools = (await session.list_tools()).tools
    assert {tool.name for tool in tools} == {"search", "recall", "facts", "timeline", "remember", "forget"}
    assert all(tool.description for tool in tools)
    assert not [name for tool in tools for name in tool.inputSchema["properties"] if name in ("scope", "user", "groups", "namespace")]
    assert json.loads(await called(server, "search", query="gateway port", k=1))["document_id"] == "gate/way"
    assert "8443" in await called(server, "recall", query="gateway port", budget_tokens=2_000)
    assert "LEAD_ARCHITECT_OF" in await called(server, "facts", entity="Project Alpha")
    assert "2026-02-01" in await called(server, "timeline", entity="Project Alpha")


async def test_a_connection_has_the_scope_it_was_given(filled: Memory) -> None:
    assert "9999" not in await called(create_server(filled), "recall", query="admin port", budget_tokens=2_000)
    assert "9999" in await called(create_server(filled, scope=Scope(user="ada")), "recall", query="admin port", budget_tokens=2_000)
    refused = await called(create_server(filled), "forget", document_id="secret")
    assert "nothing was forgotten" in refused
    assert filled.search("admin port", k=1, scope=Scope(user="ada"))[0].document_id == "secret"


async def test_documents_are_resources(filled: Memory) -> None:
    async with memory_transport.create_connected_server_and_client_session(create_server(filled)) as session:
        templates = (await session.list_resource_templates()).resourceTemplates
        content = (await session.read_resource("memory://documents/gate%2Fway")).contents[0]
    assert [template.uriTemplate for template in templates] == ["memory://documents/{document_id}"]
    assert content.text == "The gateway listens on port 8443."


async def test_what_is_remembered_is_found_and_can_be_forgotten(filled: Memory) -> None:
    server = create_server(filled)
    assert "notes/0" in await called(server, "remember", text="The user likes oolong.", thread_id="notes")
    assert "oolong" in await called(server, "search", query="oolong", k=1)
    await called(server, "forget", document_id="notes/0")
    assert "oolong" not in await called(server, "search", query="oolong", k=5)


async def test_a_reader_gets_no_writing_tools(filled: Memory) -> None:
    async with memory_transport.create_connected_server_and_client_session(create_server(filled, writable=False)) as session:
        assert {tool.name for tool in (await session.list_tools()).tools} == {"search", "recall", "facts", "timeline"}
