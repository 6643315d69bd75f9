"""The options that commands share, each defined once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rag2_memory.types import AsOf, Scope

WHERE, WHO, HOW = "Memory", "Who asks, and as of when", "Output"

MemoryDir = Annotated[
    Path, typer.Option("--memory", "-m", envvar="RAG2_MEMORY", metavar="DIR", help="Folder of the memory.", rich_help_panel=WHERE)
]
DEFAULT_MEMORY = Path("memory")

EmbedderName = Annotated[
    str | None,
    typer.Option(
        "--embedder",
        envvar="RAG2_EMBEDDER",
        metavar="MODEL",
        help="sentence-transformers model by name or folder, or package.module:name of an embedder or LangChain Embeddings. "
        "Default: what the memory was built with, MiniLM for a new one.",
        show_default=False,
        rich_help_panel=WHERE,
    ),
]
Namespace = Annotated[str, typer.Option("--namespace", "-n", metavar="NAME", help="Namespace (tenant).", rich_help_panel=WHO)]
DocumentNamespace = Annotated[
    str | None,
    typer.Option(
        "--namespace", "-n", metavar="NAME", help="Its namespace, where several hold that id.", show_default=False, rich_help_panel=WHERE
    ),
]
User = Annotated[str | None, typer.Option("--user", metavar="NAME", help="User who asks.", show_default=False, rich_help_panel=WHO)]
Groups = Annotated[
    list[str] | None,
    typer.Option("--group", metavar="NAME", help="A group of the user; repeatable.", show_default=False, rich_help_panel=WHO),
]
When = Annotated[
    str | None,
    typer.Option("--as-of", metavar="DATE", help="What was true on that date (ISO 8601).", show_default=False, rich_help_panel=WHO),
]
KnownAt = Annotated[
    str | None,
    typer.Option("--known-at", metavar="DATE", help="What the memory knew on that date.", show_default=False, rich_help_panel=WHO),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.", rich_help_panel=HOW)]


def scope_of(namespace: str, user: str | None, groups: list[str] | None) -> Scope:
    """Return who asks."""
    from rag2_memory.types import Scope

    return Scope(namespace=namespace, user=user or None, groups=frozenset(groups or ()))


def as_of_of(valid: str | None, known: str | None = None) -> AsOf | None:
    """Return the point in time that the options name, or `None`.

    Raises:
        InvalidRequestError: If a date is not ISO 8601.
    """
    from rag2_memory.types import AsOf, utc

    if valid is None and known is None:
        return None
    return AsOf(valid=utc(valid) if valid else None, recorded=utc(known) if known else None)
