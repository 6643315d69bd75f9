"""The MCP server through the SDK's own client, over its in-process transport. Runs under mcp 1.24 and later and under mcp 2."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from rag2_memory import Document, Memory, Scope
from rag2_memory.integrations.mcp import create_server
from rag2_memory.integrations.mcp_resources import McpResources, ingest_resources
from rag2_memory.integrations.mcp_sdk import connected
from rag2_memory.testing.fakes import FakeEmbedder

pytest.importorskip("mcp")


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
    """Call a tool through a client; returns the joined text of its answer."""
    async with connected(server) as peer:
        result = await peer.call(tool, **arguments)
    return "\n".join(part.get("text", "") for part in result["content"])


async def refused(server: Any, tool: str, **arguments: Any) -> str:
    """Call a tool that must report an error; returns what the model reads of it."""
    async with connected(server) as peer:
        result = await peer.call(tool, **arguments)
    assert result["isError"]
    return str(result["content"][0]["text"])


async def test_a_client_finds_the_tools_and_uses_them(filled: Memory) -> None:
    server = create_server(filled)
    async with connected(server) as peer:
        tools = {tool["name"]: tool for tool in await peer.tools()}
        assert peer.about["name"] == "rag2_memory"
    assert set(tools) == {"search", "recall", "facts", "timeline", "remember", "forget"}
    properties = [schema for tool in tools.values() for schema in tool["inputSchema"]["properties"].items()]
    assert all(schema["description"] for _, schema in properties)
    assert not {name for name, _ in properties} & {"scope", "user", "groups", "namespace", "arguments", "kwargs"}
    assert tools["search"]["annotations"]["readOnlyHint"]
    assert tools["forget"]["annotations"]["destructiveHint"]
    assert json.loads(await called(server, "search", query="gateway port", k=1))["document_id"] == "gate/way"
    assert "8443" in await called(server, "recall", query="gateway port", budget_tokens=2_000)
    assert "LEAD_ARCHITECT_OF" in await called(server, "facts", entity="Project Alpha", as_of="2026-03-01")
    assert "LEAD_ARCHITECT_OF" not in await called(server, "facts", entity="Project Alpha", as_of="2025-03-01")
    assert "2026-02-01" in await called(server, "timeline", entity="Project Alpha")


async def test_a_connection_has_the_scope_it_was_given(filled: Memory) -> None:
    assert "9999" not in await called(create_server(filled), "recall", query="admin port", budget_tokens=2_000)
    assert "9999" in await called(create_server(filled, scope=Scope(user="ada")), "recall", query="admin port", budget_tokens=2_000)
    assert "nothing was forgotten" in await refused(create_server(filled), "forget", document_id="secret")
    assert filled.search("admin port", k=1, scope=Scope(user="ada"))[0].document_id == "secret"


async def test_a_user_forgets_only_what_nobody_else_loses(filled: Memory) -> None:
    filled.ingest(Document(id="shared", text="The shared port is 7777.", acl=frozenset({"user:ada", "user:bob"})))
    server = create_server(filled, scope=Scope(user="ada"))
    assert "others can see" in await refused(server, "forget", document_id="gate/way")
    assert "others can see" in await refused(server, "forget", document_id="shared")
    await called(server, "forget", document_id="secret")
    assert {state.document_id for state in filled.documents() if state.state == "live"} == {"gate/way", "lead", "shared"}


async def test_documents_are_resources_and_each_scope_sees_its_own(filled: Memory) -> None:
    awkward = ["a%2Fb c..", "/abs/x:y", "ünï/..", "?q=1#f"]
    filled.ingest([Document(id=name, text=f"Text of {name}.", modified_at="2026-01-02") for name in awkward])  # type: ignore[arg-type]
    async with connected(create_server(filled)) as peer:
        (template,) = await peer.templates()
        assert template["uriTemplate"] == "memory://documents/{document_id}"
        listed = {resource["name"]: resource for resource in await peer.resources()}
        assert set(listed) == {"gate/way", "lead", *awkward}
        assert listed["gate/way"]["uri"] == "memory://documents/gate%2Fway"
        assert listed["/abs/x:y"]["annotations"]["lastModified"].startswith("2026-01-02")
        for name in awkward:
            (content,) = await peer.read(listed[name]["uri"])
            assert content["text"] == f"Text of {name}."
        for uri in ("memory://documents/secret", "memory://documents/none", "memory://elsewhere/lead"):
            with pytest.raises(Exception, match="no resource"):
                await peer.read(uri)
    async with connected(create_server(filled, scope=Scope(user="ada"))) as peer:
        assert (await peer.read("memory://documents/secret"))[0]["text"] == "The gateway's admin port is 9999."


async def test_a_listing_comes_page_by_page(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag2_memory.integrations.mcp.PAGE", 3)
    memory.ingest([Document(id=f"ä {number:02}", text=f"Number {number}.") for number in range(8)])
    async with connected(create_server(memory)) as peer:
        first, cursor = await peer.page(None)
        memory.ingest(Document(id="ä 00b", text="Put before the cursor meanwhile."))
        memory.forget("ä 04")
        second, cursor = await peer.page(cursor)
        third, end = await peer.page(cursor)
    assert [[each["name"][2:] for each in page] for page in (first, second, third)] == [["00", "01", "02"], ["03", "05", "06"], ["07"]]
    assert end is None


async def test_another_memorys_documents_are_taken_in_over_many_pages(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag2_memory.integrations.mcp.PAGE", 4)
    memory.ingest([Document(id=f"d{number}", text=f"Number {number}.") for number in range(10)])
    with Memory.in_memory(embedder=FakeEmbedder()) as copy:
        assert len((await asyncio.to_thread(ingest_resources, copy, McpResources(create_server(memory)))).added) == 10


async def test_what_is_remembered_is_found_and_can_be_forgotten(filled: Memory) -> None:
    for server in (create_server(filled), create_server(filled, scope=Scope(user="bob"))):
        kept = await called(server, "remember", text="The user likes oolong.", thread_id="notes")
        assert "notes/" in kept
        assert "oolong" in await called(server, "search", query="oolong", k=1)
        await called(server, "forget", document_id=kept)
        assert "oolong" not in await called(server, "search", query="oolong", k=5)


async def test_a_reader_gets_no_writing_tools(filled: Memory) -> None:
    async with connected(create_server(filled, writable=False)) as peer:
        assert {tool["name"] for tool in await peer.tools()} == {"search", "recall", "facts", "timeline"}


BAD_CALLS: list[tuple[str, dict[str, Any], str]] = [
    ("search", {"query": ""}, "at least 1"),
    ("search", {"query": "port", "k": 0}, "greater than or equal to 1"),
    ("search", {"query": "port", "k": "many"}, "integer"),
    ("search", {}, "required"),
    ("recall", {"query": "port", "budget_tokens": 10}, "Raise the budget"),
    ("recall", {"query": "x" * 10_001}, "at most 10000"),
    ("facts", {"entity": "Project Alpha", "as_of": "yesterday"}, "ISO 8601"),
    ("remember", {"text": "x" * 100_001}, "at most 100000"),
]


@pytest.mark.parametrize(("tool", "arguments", "problem"), BAD_CALLS, ids=[f"{tool}-{problem}" for tool, _, problem in BAD_CALLS])
async def test_a_bad_call_tells_the_model_what_was_wrong(filled: Memory, tool: str, arguments: dict[str, Any], problem: str) -> None:
    assert problem in await refused(create_server(filled), tool, **arguments)


async def test_a_closed_memory_says_so(memory: Memory) -> None:
    server = create_server(memory)
    memory.close()
    assert "memory is closed" in await refused(server, "search", query="port")


def test_a_server_leaves_the_applications_logging_alone(memory: Memory) -> None:
    root = logging.getLogger()
    before = list(root.handlers), root.level
    create_server(memory)
    assert (root.handlers, root.level) == before
