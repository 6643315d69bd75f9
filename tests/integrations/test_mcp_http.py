"""The MCP server over streamable HTTP: a real server process's worth of uvicorn on loopback, the SDK's client and LangChain's adapters."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rag2_memory import Document, InvalidRequestError, Memory, Scope
from rag2_memory.integrations.mcp_http import Grant, http_application, read_tokens
from rag2_memory.integrations.mcp_sdk import connected

pytest.importorskip("mcp")
uvicorn = pytest.importorskip("uvicorn")


ADA, BOB, READER = "ada-secret-token-1", "bob-secret-token-2", "reader-secret-token-3"

GRANTS = {
    ADA: Grant(scope=Scope(user="ada")),
    BOB: Grant(scope=Scope(user="bob")),
    READER: Grant(scope=Scope(namespace="elsewhere"), writable=False),
}


@contextmanager
def serving(application: Any) -> Iterator[int]:
    """Serve an application on a free port of the loopback address, in a thread; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(application, log_level="critical", log_config=None, ws="none", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        try:
            yield int(listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(timeout=10)


@pytest.fixture
def port(memory: Memory) -> Iterator[int]:
    """A server with three tokens over a memory with an open and a restricted document."""
    memory.ingest(
        [
            Document(id="gateway", text="The gateway listens on port 8443."),
            Document(id="secret", text="The gateway's admin port is 9999.", acl=frozenset({"user:ada"})),
        ]
    )
    with serving(http_application(memory, tokens=GRANTS)) as number:
        yield number


async def answer(port: int, token: str, tool: str, **arguments: Any) -> str:
    """Call a tool over HTTP; returns the joined text of its answer."""
    async with connected(f"http://127.0.0.1:{port}/mcp", headers={"Authorization": f"Bearer {token}"}) as peer:
        result = await peer.call(tool, **arguments)
    return "\n".join(part.get("text", "") for part in result["content"])


async def test_each_token_acts_for_its_own_scope(port: int, memory: Memory) -> None:
    assert "9999" in await answer(port, ADA, "search", query="admin port")
    assert "8443" in (seen := await answer(port, BOB, "search", query="admin port")) and "9999" not in seen
    assert "8443" not in await answer(port, READER, "search", query="gateway port")
    kept = await answer(port, BOB, "remember", text="Bob likes oolong.")
    assert "oolong" in await answer(port, BOB, "search", query="oolong")
    assert "oolong" not in await answer(port, ADA, "search", query="oolong")
    assert "nothing was forgotten" in await answer(port, ADA, "forget", document_id=kept)
    async with connected(f"http://127.0.0.1:{port}/mcp", headers={"Authorization": f"Bearer {READER}"}) as peer:
        assert "remember" not in {tool["name"] for tool in await peer.tools()}


def posted(port: int, headers: dict[str, str], body: dict[str, Any]) -> tuple[int, dict[str, str]]:
    """Post a JSON-RPC message; returns status and headers of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        basic = {"content-type": "application/json", "accept": "application/json, text/event-stream", "host": f"127.0.0.1:{port}"}
        connection.request("POST", "/mcp", body=json.dumps(body), headers=basic | headers)
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}
    finally:
        connection.close()


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}

BAD_HEADERS: list[dict[str, str]] = [
    {},
    {"Authorization": ADA},
    {"Authorization": f"Basic {ADA}"},
    {"Authorization": "Bearer "},
    {"Authorization": f"Bearer {ADA[:-1]}"},
    {"Authorization": f"Bearer {ADA}x"},
    {"Authorization": f"Bearer {ADA.upper()}"},
]


@pytest.mark.parametrize("headers", BAD_HEADERS, ids=[str(headers) for headers in BAD_HEADERS])
def test_nobody_gets_in_without_a_token(port: int, headers: dict[str, str]) -> None:
    status, answered = posted(port, headers, INITIALIZE)
    assert status == 401
    assert answered["www-authenticate"].startswith("Bearer")


def test_a_session_is_of_no_use_under_another_token(port: int) -> None:
    status, answered = posted(port, {"Authorization": f"Bearer {ADA}"}, INITIALIZE)
    assert status == 200
    session = {"mcp-session-id": answered["mcp-session-id"], "mcp-protocol-version": "2025-06-18"}
    listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
    assert posted(port, {"Authorization": f"Bearer {ADA}", **session}, listing)[0] == 200
    assert posted(port, {"Authorization": f"Bearer {BOB}", **session}, listing)[0] in (400, 404)


def test_a_page_under_a_name_of_its_own_cannot_reach_a_local_server(memory: Memory) -> None:
    with serving(http_application(memory, tokens=None)) as number:
        assert posted(number, {}, INITIALIZE)[0] == 200
        assert posted(number, {"host": f"evil.example:{number}"}, INITIALIZE)[0] in (403, 421)
        assert posted(number, {"origin": "http://evil.example"}, INITIALIZE)[0] in (403, 421)


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda memory: http_application(memory, tokens=None, host="0.0.0.0"), "without a token"),
        (lambda memory: http_application(memory, tokens={}), "no tokens"),
        (lambda memory: http_application(memory, tokens={"short": Grant()}), "at least 16"),
        (lambda memory: http_application(memory, tokens={"with spaces in between": Grant()}), "without spaces"),
    ],
)
def test_an_open_door_is_refused(memory: Memory, call: Callable[[Memory], Any], problem: str) -> None:
    with pytest.raises(InvalidRequestError, match=problem):
        call(memory)


def test_a_file_of_tokens_says_what_each_allows(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(json.dumps({ADA: {"namespace": "acme", "user": "ada", "groups": ["eng"], "writable": False}, BOB: {}}))
    assert read_tokens(path) == {
        ADA: Grant(scope=Scope(namespace="acme", user="ada", groups=frozenset({"eng"})), writable=False),
        BOB: Grant(),
    }


@pytest.mark.parametrize(
    "text", ["", "[]", '{"t": "ada"}', '{"t": {"role": "x"}}', '{"t": {"writable": "no"}}', '{"t": {"namespace": ""}}']
)
def test_a_bad_file_of_tokens_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(text)
    with pytest.raises(InvalidRequestError):
        read_tokens(path)


async def test_langchains_adapters_load_the_tools_and_use_them(port: int) -> None:
    adapters = pytest.importorskip("langchain_mcp_adapters.client", reason="the adapters need mcp below 2", exc_type=ImportError)
    client = adapters.MultiServerMCPClient(
        {"memory": {"transport": "streamable_http", "url": f"http://127.0.0.1:{port}/mcp", "headers": {"Authorization": f"Bearer {ADA}"}}}
    )
    tools = {tool.name: tool for tool in await client.get_tools()}
    assert set(tools) == {"search", "recall", "facts", "timeline", "remember", "forget"}
    assert "9999" in str(await tools["search"].ainvoke({"query": "admin port", "k": 2}))
    resources = await client.get_resources("memory")
    assert {blob.as_string() for blob in resources} == {"The gateway listens on port 8443.", "The gateway's admin port is 9999."}
