"""Another MCP server's resources as documents of a memory."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from rag2_memory import BackendUnavailableError, Document, InvalidRequestError, Memory, Scope
from rag2_memory.integrations.mcp import create_server
from rag2_memory.integrations.mcp_resources import McpResources, ingest_resources
from rag2_memory.integrations.mcp_sdk import ResourceList, new_server
from rag2_memory.testing.fakes import FakeEmbedder

pytest.importorskip("mcp")

STDIO_SERVER = """
from rag2_memory import Document, Memory
from rag2_memory.integrations.mcp import create_server
from rag2_memory.testing.fakes import FakeEmbedder

with Memory.in_memory(embedder=FakeEmbedder()) as memory:
    memory.ingest(Document(id="wiki", text="The gateway listens on port 8443."))
    create_server(memory, name="wiki").run()
"""


def server_of(resources: Sequence[Mapping[str, Any]], texts: Mapping[str, str | bytes]) -> Any:
    """A server of the SDK with these resources; one without a text is refused when it is read."""

    async def page(cursor: str | None) -> tuple[Sequence[Mapping[str, Any]], str | None]:
        return resources, None

    async def read(uri: str) -> tuple[Any, str] | None:
        media_type = next((str(each.get("mimeType", "text/plain")) for each in resources if each["uri"] == uri), "text/plain")
        return (texts[uri], media_type) if uri in texts else None

    reading: Callable[[str], Awaitable[tuple[str, str] | None]] = read
    return new_server("wiki", instructions="", resources=ResourceList(page=page, read=reading))


def resource(uri: str, **fields: Any) -> dict[str, Any]:
    return {"uri": uri, "name": uri.rpartition("/")[2], "mimeType": "text/markdown", **fields}


def test_documents_know_where_they_come_from_and_who_may_see_them(memory: Memory) -> None:
    server = server_of(
        [
            resource("wiki://a", title="Gateway", annotations={"lastModified": "2026-02-03T04:05:06Z"}),
            resource("wiki://b", mimeType="text/html"),
            resource("wiki://c", annotations={"lastModified": "whenever"}),
        ],
        {
            "wiki://a": "---\nacl: ['user:eve']\n---\nThe gateway listens on port 8443.",
            "wiki://b": "<html><head><title>Moat</title></head><body><h1>Moat</h1><p>The moat is deep.</p></body></html>",
            "wiki://c": "# Tower\n\nThe tower is high.",
        },
    )
    report = memory.ingest(McpResources(server, acl=["group:ops"]))
    assert report.added == ("mcp:wiki/wiki://a", "mcp:wiki/wiki://b", "mcp:wiki/wiki://c")
    ops = Scope(groups=frozenset({"ops"}))
    for scope in (Scope(), Scope(user="eve")):
        assert memory.search("gateway moat tower", scope=scope) == []
    found = {passage.document_id: passage for passage in memory.search("gateway moat tower", k=9, scope=ops)}
    gateway = found["mcp:wiki/wiki://a"]
    assert (gateway.title, gateway.uri, gateway.metadata["mcp_server"]) == ("Gateway", "wiki://a", "wiki")
    assert gateway.modified_at is not None and gateway.modified_at.isoformat() == "2026-02-03T04:05:06+00:00"
    assert (found["mcp:wiki/wiki://b"].title, found["mcp:wiki/wiki://b"].text) == ("Moat", "# Moat\n\nThe moat is deep.")
    assert found["mcp:wiki/wiki://c"].modified_at is None


def test_permissions_may_depend_on_the_resource(memory: Memory) -> None:
    server = server_of(
        [resource("wiki://hr/pay"), resource("wiki://all/news")], {"wiki://hr/pay": "Pay rises.", "wiki://all/news": "News."}
    )
    memory.ingest(McpResources(server, acl=lambda each: ["group:hr"] if "/hr/" in each["uri"] else []))
    assert [passage.text for passage in memory.search("pay news")] == ["News."]


def test_what_has_no_text_is_reported_and_the_rest_taken(memory: Memory, tmp_path: Path) -> None:
    resources = [
        resource("wiki://ok"),
        resource("wiki://gone"),
        resource("wiki://empty"),
        resource("wiki://picture", mimeType="image/png"),
        resource("wiki://huge", size=10_000_000_000),
        resource("wiki://long"),
        resource("wiki://bad-acl"),
        resource("wiki://broken", mimeType="application/pdf"),
    ]
    texts: dict[str, str | bytes] = {
        "wiki://ok": "Fine.",
        "wiki://empty": "  ",
        "wiki://picture": b"\x89PNG\x00\x00",
        "wiki://huge": "x",
        "wiki://long": "word " * 1_000,
        "wiki://bad-acl": "Secret.",
        "wiki://broken": b"%PDF-1.4 nonsense",
    }
    source = McpResources(server_of(resources, texts), max_bytes=2_000, acl=lambda each: ["everyone"] if "acl" in each["uri"] else [])
    report = memory.ingest(source)
    assert report.added == ("mcp:wiki/wiki://ok",)
    reasons = {skipped.source.rpartition("/")[2]: skipped.reason for skipped in report.skipped}
    assert set(reasons) == {"gone", "empty", "picture", "huge", "long", "bad-acl", "broken"}
    assert "refused" in reasons["gone"] and "ACL" in reasons["bad-acl"] and "bytes" in reasons["huge"] and "pdf" in reasons["broken"]


def test_office_files_are_converted(memory: Memory, tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["Port", "8443"])
    book.save(tmp_path / "ports.xlsx")
    media_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    server = server_of([resource("wiki://ports", mimeType=media_type)], {"wiki://ports": (tmp_path / "ports.xlsx").read_bytes()})
    memory.ingest(McpResources(server))
    assert "8443" in memory.search("port")[0].text


def test_a_second_run_takes_what_changed_and_hides_what_vanished(memory: Memory) -> None:
    with Memory.in_memory(embedder=FakeEmbedder()) as other:
        other.ingest([Document(id=name, text=f"The {name} is here.") for name in ("moat", "tower", "gate")])
        source = McpResources(create_server(other, name="castle"))
        memory.ingest(Document(id="mine", text="Mine."))
        assert len(ingest_resources(memory, source).added) == 3
        other.forget("moat")
        other.ingest(Document(id="gate", text="The gate is shut."))
        report = ingest_resources(memory, source)
    assert report.removed == ("mcp:castle/memory://documents/moat",)
    assert report.updated == ("mcp:castle/memory://documents/gate",)
    assert report.unchanged == ("mcp:castle/memory://documents/tower",)
    assert {state.document_id for state in memory.documents() if state.state == "live"} == {"mine", *report.updated, *report.unchanged}


def test_a_server_that_breaks_off_is_an_error_and_nothing_is_hidden(memory: Memory) -> None:
    server = server_of([resource("wiki://a"), resource("wiki://b")], {"wiki://a": "A.", "wiki://b": "B."})
    ingest_resources(memory, McpResources(server))

    def fails(each: Mapping[str, Any]) -> bool:
        raise OSError("line cut")

    with pytest.raises(BackendUnavailableError, match="line cut"):
        ingest_resources(memory, McpResources(server, wanted=fails))
    with pytest.raises(BackendUnavailableError, match="cannot be read"):
        memory.ingest(McpResources("http://127.0.0.1:9/mcp"))
    assert len(memory.search("A. B.", k=5)) == 2


def test_a_command_serves_over_stdio(memory: Memory) -> None:
    report = memory.ingest(McpResources([sys.executable, "-c", STDIO_SERVER]))
    assert report.added == ("mcp:wiki/memory://documents/wiki",)
    assert memory.search("gateway port")[0].text == "The gateway listens on port 8443."


async def test_it_can_be_read_from_within_an_event_loop(memory: Memory) -> None:
    server = server_of([resource("wiki://a")], {"wiki://a": "The moat is deep."})
    assert len((await memory.aingest(McpResources(server))).added) == 1


def test_whoever_stops_early_leaves_no_thread_behind() -> None:
    resources = [resource(f"wiki://{number}") for number in range(100)]
    source = McpResources(server_of(resources, {each["uri"]: "Text." for each in resources}))
    taken = iter(source)
    assert isinstance(next(taken), Document)
    taken.close()  # type: ignore[attr-defined]
    assert len(list(source)) == 100


def test_a_bad_description_is_refused_at_once() -> None:
    with pytest.raises(InvalidRequestError, match="name"):
        McpResources("http://x/mcp", name="a/b")
    with pytest.raises(InvalidRequestError, match="ACL entry"):
        McpResources("http://x/mcp", acl=["ada"])
