"""MCP on the command line: `rag2 mcp` serves a memory, `rag2 mcp ingest` takes another server's resources in."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rag2_memory.commands import options as opt
from rag2_memory.commands.opening import opened
from rag2_memory.commands.terminal import ExitCode, emit_json, note
from rag2_memory.commands.writing import print_report
from rag2_memory.errors import InvalidRequestError

if TYPE_CHECKING:
    from rag2_memory.integrations.mcp_http import Grant

HTTP = "Over HTTP"

TOKEN_VARIABLE = "RAG2_MCP_TOKEN"
"""Environment variable of the token that clients must send; other processes can read a command's arguments."""

SERVER_TOKEN_VARIABLE = "RAG2_MCP_SERVER_TOKEN"
"""Environment variable of the token that is sent to the server whose resources are taken in."""

app = typer.Typer(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})


@app.callback()
def serve(
    context: typer.Context,
    memory: opt.MemoryDir = opt.DEFAULT_MEMORY,
    transport: Annotated[Literal["stdio", "http"], typer.Option("--transport", "-t", help="How clients reach it.")] = "stdio",
    read_only: Annotated[bool, typer.Option("--read-only", help="Offer no tool that writes: neither remember nor forget.")] = False,
    namespace: opt.Namespace = "default",
    user: opt.User = None,
    group: opt.Groups = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.", rich_help_panel=HTTP)] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.", rich_help_panel=HTTP)] = 8765,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar=TOKEN_VARIABLE,
            help="Bearer token that clients must send.",
            show_default=False,
            show_envvar=True,
            rich_help_panel=HTTP,
        ),
    ] = None,
    tokens: Annotated[
        Path | None,
        typer.Option(
            "--tokens",
            metavar="FILE",
            help='JSON file of tokens with a scope each: {"TOKEN": {"namespace": "acme", "user": "ada", "groups": ["eng"], "writable": false}}.',
            show_default=False,
            rich_help_panel=HTTP,
        ),
    ] = None,
    no_token: Annotated[
        bool, typer.Option("--no-token", help="Ask for no token; on a loopback address only.", rich_help_panel=HTTP)
    ] = False,
    embedder: opt.EmbedderName = None,
) -> None:
    """Serve a memory to MCP clients, over stdio or streamable HTTP. Who a client acts for is fixed here and cannot be chosen by it."""
    if context.invoked_subcommand is not None:
        return
    source = context.get_parameter_source("token")
    given = token is not None and source is not None and source.name == "COMMANDLINE"
    if transport == "stdio" and (given or tokens or no_token):
        raise typer.BadParameter("tokens are for --transport http; over stdio the client is whoever started this process.")
    from rag2_memory.integrations.mcp import create_server
    from rag2_memory.integrations.mcp_http import Grant

    grant = Grant(scope=opt.scope_of(namespace, user, group), writable=not read_only)
    granted = granted_tokens(grant, token=token, tokens=tokens, no_token=no_token) if transport == "http" else None
    with opened(memory, embedder=embedder) as opened_memory:
        if transport == "stdio":
            create_server(opened_memory, scope=grant.scope, writable=grant.writable).run()
            return
        from rag2_memory.integrations.mcp_http import http_application

        application = http_application(opened_memory, tokens=granted, host=host, open_grant=grant)
        note(f"Serving {memory} at http://{host}:{port}/mcp" + ("" if granted else ", without a token") + ". Ctrl-C stops it.")
        listen(application, host=host, port=port)


def granted_tokens(grant: Grant, *, token: str | None, tokens: Path | None, no_token: bool) -> dict[str, Grant] | None:
    """Return what each token allows; `None` for a server that asks for none.

    Raises:
        InvalidRequestError: If neither a token nor its absence was asked for, or both.
    """
    from rag2_memory.integrations.mcp_http import read_tokens

    if no_token:
        if token or tokens:
            raise InvalidRequestError(f"got --no-token together with a token (from an option or {TOKEN_VARIABLE}); choose one.")
        return None
    granted = read_tokens(tokens) if tokens else {}
    if token:
        granted[token] = grant
    if not granted:
        raise InvalidRequestError(
            f"serving over HTTP needs a token: set {TOKEN_VARIABLE}, pass --tokens FILE, or, on a loopback address, --no-token. "
            'Make one: python -c "import secrets; print(secrets.token_urlsafe(32))"'
        )
    return granted


def listen(application: Any, *, host: str, port: int) -> None:
    """Serve an ASGI application until the process is told to stop."""
    import uvicorn

    uvicorn.run(application, host=host, port=port, log_level="warning")


@app.command("ingest")
def ingest(
    server: Annotated[
        str,
        typer.Argument(
            metavar="SERVER", help="URL of a streamable HTTP endpoint, or in quotes a command that serves stdio.", show_default=False
        ),
    ],
    memory: opt.MemoryDir = opt.DEFAULT_MEMORY,
    namespace: opt.Namespace = "default",
    acl: Annotated[
        list[str] | None,
        typer.Option("--acl", metavar="ENTRY", help="Who may see the documents: user:NAME or group:NAME; repeatable.", show_default=False),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Names the source in document ids. Default: what the server calls itself.", show_default=False),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option("--token", envvar=SERVER_TOKEN_VARIABLE, help="Bearer token for the server.", show_default=False, show_envvar=True),
    ] = None,
    prune: Annotated[bool, typer.Option("--prune/--no-prune", help="Hide what the server no longer lists.")] = True,
    embedder: opt.EmbedderName = None,
    as_json: opt.AsJson = False,
) -> None:
    """Take the resources of an MCP server in, or bring them up to date: only what is new or changed is embedded."""
    from rag2_memory.commands.progress import Bar
    from rag2_memory.integrations.mcp_resources import McpResources, ingest_resources

    target: Any = server if server.startswith(("http://", "https://")) else shlex.split(server)
    if not target:
        raise InvalidRequestError("got an empty SERVER; needed a URL or a command.")
    source = McpResources(target, name=name, token=token, acl=acl or ())
    bar = Bar("documents", total=None)
    with opened(memory, embedder=embedder, create=True, watch=bar.embedded) as opened_memory, bar:
        report = ingest_resources(opened_memory, source, namespace=namespace, prune=prune, progress=bar.document)
    if as_json:
        emit_json(report)
    else:
        print_report(report, head=f"{server} → {memory}" + ("" if namespace == "default" else f", namespace {namespace}"))
    if report.pending:
        raise typer.Exit(ExitCode.BACKEND)
