"""The memory as an MCP server over streamable HTTP: each bearer token stands for one scope, and no request without one gets in."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rag2_memory.errors import InvalidRequestError
from rag2_memory.integrations.mcp import create_server
from rag2_memory.integrations.mcp_sdk import LOOPBACK, http_app
from rag2_memory.memory import Memory
from rag2_memory.types import Scope

SHORTEST_TOKEN = 16
"""Characters; whoever can reach the port can guess a shorter one."""

GRANT_KEYS = ("namespace", "user", "groups", "writable")

Message = MutableMapping[str, Any]
AsgiApp = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a token allows."""

    scope: Scope = field(default_factory=Scope)
    writable: bool = True


def http_application(
    memory: Memory, *, tokens: Mapping[str, Grant] | None, host: str = "127.0.0.1", open_grant: Grant | None = None
) -> AsgiApp:
    """Return an ASGI application that serves a memory at `/mcp`.

    Every token has a server and sessions of its own, so that a session's id is of no use under another token.

    Args:
        memory: The memory; it stays the caller's to close.
        tokens: What each bearer token allows. `None` lets everyone in who can reach a loopback address.
        host: Address that it will be bound to.
        open_grant: What everyone may do where there are no tokens.

    Raises:
        InvalidRequestError: If a token is too short to be a secret, there is none, or there are none and `host` is not loopback.
    """
    if tokens is None:
        if host not in LOOPBACK:
            raise InvalidRequestError(f"got host={host!r} without a token; needed one for every address but {', '.join(LOOPBACK)}.")
        grant = open_grant or Grant()
        return http_app(create_server(memory, scope=grant.scope, writable=grant.writable), host=host)  # type: ignore[no-any-return]
    if not tokens:
        raise InvalidRequestError("got no tokens; needed at least one, or tokens=None for a server that asks for none.")
    for token in tokens:
        _check(token)
    servers = {
        _digest(token): http_app(create_server(memory, scope=grant.scope, writable=grant.writable), host=host)
        for token, grant in tokens.items()
    }
    from starlette.applications import Starlette
    from starlette.routing import Mount

    gate = _TokenGate(servers)
    return Starlette(routes=[Mount("/", app=gate)], lifespan=gate.lifespan)


def read_tokens(path: Path) -> dict[str, Grant]:
    """Read tokens from a JSON file: `{"TOKEN": {"namespace": "acme", "user": "ada", "groups": ["eng"], "writable": false}}`, every key optional.

    Raises:
        InvalidRequestError: If the file cannot be read or says something else.
    """
    try:
        found = json.loads(path.expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise InvalidRequestError(f"the token file {str(path)!r} cannot be read: {exc}.") from exc
    if not isinstance(found, dict) or not all(isinstance(fields, dict) for fields in found.values()):
        raise InvalidRequestError(f'the token file {str(path)!r} needs one JSON object: {{"TOKEN": {{"user": "ada"}}}}.')
    return {token: _grant(fields) for token, fields in found.items()}


def _grant(fields: Mapping[str, Any]) -> Grant:
    unknown = sorted(set(fields) - set(GRANT_KEYS))
    if unknown:
        raise InvalidRequestError(f"got the keys {unknown} for a token; needed only {', '.join(GRANT_KEYS)}.")
    writable = fields.get("writable", True)
    if not isinstance(writable, bool):
        raise InvalidRequestError(f"got writable={writable!r} for a token; needed true or false.")
    return Grant(scope=Scope(**{key: value for key, value in fields.items() if key != "writable"}), writable=writable)


def _check(token: str) -> None:
    if not isinstance(token, str) or len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidRequestError(
            f"got a token of {len(token)} characters; needed at least {SHORTEST_TOKEN} printable ASCII characters without spaces. "
            'Make one: python -c "import secrets; print(secrets.token_urlsafe(32))"'
        )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


class _TokenGate:
    """Hands each request to the application of its token. Digests are compared, every one of them, in constant time."""

    def __init__(self, servers: Mapping[bytes, Any]) -> None:
        self._servers = servers

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        given = _bearer(scope["headers"])
        allowed = None
        for digest, server in self._servers.items():
            if hmac.compare_digest(digest, given):
                allowed = server
        if allowed is None:
            await _refuse(send)
        else:
            await allowed(scope, receive, send)

    @asynccontextmanager
    async def lifespan(self, app: Any) -> AsyncIterator[None]:
        """Start every token's server, and stop them in the end."""
        async with AsyncExitStack() as stack:
            for server in self._servers.values():
                await stack.enter_async_context(server.router.lifespan_context(server))
            yield


def _bearer(headers: Any) -> bytes:
    """Return the digest of the bearer token in a request's headers; no bytes, which match nothing, without exactly one."""
    values = [value for name, value in headers if name.lower() == b"authorization"]
    if len(values) != 1 or values[0][:7].lower() != b"bearer ":
        return b""
    return hashlib.sha256(values[0][7:].strip()).digest()


async def _refuse(send: Callable[[Any], Awaitable[None]]) -> None:
    body = json.dumps(
        {"error": "invalid_token", "error_description": "This memory asks for a bearer token: Authorization: Bearer …"}
    ).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"www-authenticate", b'Bearer error="invalid_token"'),
    ]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": body})
