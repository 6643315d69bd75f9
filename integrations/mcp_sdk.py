"""The MCP SDK behind one face: everything that differs between `mcp` 1.24 and later 1.x and `mcp` 2 is decided here, by what the installed one offers.

The 2.x line renamed `FastMCP` to `MCPServer`, gave transports another shape, put a `Client` before the session and writes attributes in snake case; models still read and
write the protocol's own names.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from rag2_memory.errors import MissingExtraError

LOOPBACK = ("127.0.0.1", "localhost", "::1")

PATH = "/mcp"
"""Where a server answers over HTTP, as MCP clients expect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceList:
    """The documents that a server offers besides its templates, computed whenever a client asks."""

    page: Callable[[str | None], Awaitable[tuple[Sequence[Mapping[str, Any]], str | None]]]
    """Given a cursor (`None` at first), returns resources by the protocol's field names, and the cursor of what follows, if anything does."""
    read: Callable[[str], Awaitable[tuple[str, str] | None]]
    """Returns text and media type of a URI, or `None` where there is none such."""


def new_server(name: str, *, instructions: str, resources: ResourceList) -> Any:
    """Return a server of the SDK whose resources are looked up at each request.

    Raises:
        MissingExtraError: If the package `mcp` is not installed.
    """
    base: Any = _server_class()
    types = protocol_types()
    contents: Any = import_module("mcp.server.lowlevel.helper_types")

    async def page(cursor: str | None) -> Any:
        found, following = await resources.page(cursor)
        return types.ListResourcesResult.model_validate({"resources": list(found), "nextCursor": following})

    class MemoryServer(base):  # type: ignore[misc]
        async def list_resources(self) -> list[Any]:
            return list((await page(None)).resources)

        async def read_resource(self, uri: Any, context: Any = None) -> Iterable[Any]:
            found = await resources.read(str(uri))
            if found is None:
                raise resource_missing(f"no resource {str(uri)!r} here.")
            return [contents.ReadResourceContents(content=found[0], mime_type=found[1])]

    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    server = MemoryServer(name, instructions=instructions)
    root.handlers[:] = handlers  # the SDK's constructor configures logging for the whole process, which is the application's to do
    root.setLevel(level)
    _page_resources(server, page)
    return server


def _page_resources(server: Any, page: Callable[[str | None], Awaitable[Any]]) -> None:
    """Have a server list its resources page by page, which the SDK's server classes themselves do not."""
    types = protocol_types()
    if (modern := getattr(server, "_lowlevel_server", None)) is not None:

        async def answer(context: Any, params: Any) -> Any:
            return await page(params.cursor)

        modern.add_request_handler("resources/list", types.PaginatedRequestParams, answer)
        return

    async def reply(request: Any) -> Any:
        return types.ServerResult(await page(request.params.cursor if request.params else None))

    server._mcp_server.request_handlers[types.ListResourcesRequest] = reply


def _server_class() -> Any:
    for module, name in (("mcp.server", "MCPServer"), ("mcp.server.fastmcp", "FastMCP")):
        if (found := getattr(_imported(module), name, None)) is not None:
            return found
    raise MissingExtraError(package="mcp", extra="mcp", purpose="serving a memory over MCP")


def _imported(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        return None


def protocol_types() -> Any:
    """Return the module of the protocol's models; build them with `model_validate` from the protocol's field names."""
    found = _imported("mcp.types")
    if found is None:
        raise MissingExtraError(package="mcp", extra="mcp", purpose="MCP")
    return found


def tool_error(message: str) -> Exception:
    """Return the error that a tool raises so that the model reads the message."""
    module = _imported("mcp.server.mcpserver.exceptions") or import_module("mcp.server.fastmcp.exceptions")
    return module.ToolError(message)  # type: ignore[no-any-return]


def resource_missing(message: str) -> Exception:
    """Return the error for a resource that does not exist."""
    module = _imported("mcp.server.mcpserver.exceptions") or import_module("mcp.server.fastmcp.exceptions")
    return getattr(module, "ResourceNotFoundError", module.ResourceError)(message)  # type: ignore[no-any-return]


def http_app(server: Any, *, host: str) -> Any:
    """Return a server's ASGI application for streamable HTTP at `/mcp`.

    On a loopback address requests must name it as their host, so that a web page cannot reach it through a name of its own (DNS rebinding).
    """
    security = import_module("mcp.server.transport_security").TransportSecuritySettings
    local = host in LOOPBACK
    names = ["127.0.0.1", "localhost", "[::1]"] if local else []
    settings = security(
        enable_dns_rebinding_protection=local,
        allowed_hosts=[f"{name}:*" for name in names],
        allowed_origins=[f"http://{name}:*" for name in names],
    )
    if hasattr(server.settings, "transport_security"):
        server.settings.transport_security = settings
        server.settings.streamable_http_path = PATH
        return server.streamable_http_app()
    return server.streamable_http_app(streamable_http_path=PATH, transport_security=settings, host=host)


class Peer:
    """A connected server, asked for resources and tools in the protocol's own field names."""

    def __init__(self, client: Any, about: Mapping[str, Any], page: Callable[[str], Mapping[str, Any]]) -> None:
        self._client, self._page = client, page
        self.about = about
        """What the server says of itself: `name`, `version`."""

    async def resources(self) -> list[dict[str, Any]]:
        """Return every resource that the server lists."""
        found, cursor = await self.page(None)
        while cursor:
            more, cursor = await self.page(cursor)
            found += more
        return found

    async def page(self, cursor: str | None) -> tuple[list[dict[str, Any]], str | None]:
        """Return one page of resources, and where the next one begins; `None` stands for the first and after the last."""
        found = _plain(await self._client.list_resources(**(self._page(cursor) if cursor else {})))
        return found["resources"], found.get("nextCursor") or None

    async def read(self, uri: str) -> list[dict[str, Any]]:
        """Return the contents of a resource: each with `uri`, perhaps `mimeType`, and `text` or (base64) `blob`."""
        found: list[dict[str, Any]] = _plain(await self._client.read_resource(uri))["contents"]
        return found

    async def tools(self) -> list[dict[str, Any]]:
        """Return the tools of the server's first page."""
        found: list[dict[str, Any]] = _plain(await self._client.list_tools())["tools"]
        return found

    async def templates(self) -> list[dict[str, Any]]:
        """Return the resource templates of the server's first page."""
        found: list[dict[str, Any]] = _plain(await self._client.list_resource_templates())["resourceTemplates"]
        return found

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool; returns its result with `content` and `isError`."""
        return _plain(await self._client.call_tool(tool, arguments))


def _plain(model: Any) -> dict[str, Any]:
    found: dict[str, Any] = model.model_dump(by_alias=True, exclude_none=True, mode="json")
    return found


@asynccontextmanager
async def connected(target: Any, *, headers: Mapping[str, str] | None = None) -> AsyncIterator[Peer]:
    """Connect to a server for the length of a block.

    Args:
        target: The URL of a streamable HTTP endpoint, the words of a command that serves stdio, the SDK's `StdioServerParameters`, or a server of the SDK in this process.
        headers: Sent with every HTTP request, such as `Authorization`.
    """
    client_class = getattr(_imported("mcp"), "Client", None)
    local = not isinstance(target, str) and hasattr(target, "streamable_http_app")
    async with AsyncExitStack() as stack:
        if client_class is not None:
            client = await stack.enter_async_context(client_class(target if local else await _transport(target, headers, stack)))
            about = _plain(client.server_info) if client.server_info is not None else {}
            yield Peer(client, about, lambda cursor: {"cursor": cursor})
            return
        if local:
            memory = import_module("mcp.shared.memory")
            session = await stack.enter_async_context(memory.create_connected_server_and_client_session(target))
            about = {"name": target.name}
        else:
            read, write, *_ = await stack.enter_async_context(await _transport(target, headers, stack))
            session = await stack.enter_async_context(import_module("mcp").ClientSession(read, write))
            about = _plain((await session.initialize()).serverInfo)
        yield Peer(session, about, lambda cursor: {"params": protocol_types().PaginatedRequestParams(cursor=cursor)})


async def _transport(target: Any, headers: Mapping[str, str] | None, stack: AsyncExitStack) -> Any:
    protocol_types()  # raises where the package is missing
    if isinstance(target, str):
        http = import_module("mcp.client.streamable_http")
        client = import_module("mcp.shared._httpx_utils").create_mcp_http_client(headers=dict(headers or {}))
        await stack.enter_async_context(client)
        return http.streamable_http_client(target, http_client=client)
    stdio = import_module("mcp.client.stdio")
    if isinstance(target, Sequence):
        target = stdio.StdioServerParameters(command=target[0], args=list(target[1:]))
    return stdio.stdio_client(target)
