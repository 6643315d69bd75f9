"""`rag2 graph`: a neighbourhood of the knowledge graph as text or as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag2_memory.commands import options as opt
from rag2_memory.commands.opening import opened
from rag2_memory.commands.terminal import console, count, emit_json, note, say, span, styled, to_json, write_text
from rag2_memory.errors import InvalidRequestError

if TYPE_CHECKING:
    from rag2_memory.memory import Memory
    from rag2_memory.types import AsOf, Fact, Scope

MOST_NEIGHBOURS = 40
"""Neighbours whose own facts are fetched: more fit neither a terminal nor a picture."""

EXPORTS = (".graphml", ".json")

app = typer.Typer(help="Look into the knowledge graph.", no_args_is_help=True)


@app.callback()
def graph() -> None:
    """Look into the knowledge graph."""


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the picture is about.", show_default=False)],
    memory: opt.MemoryDir = opt.DEFAULT_MEMORY,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a page with a picture.", show_default=False, rich_help_panel=opt.HOW),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            "--export", metavar="FILE", help="Write .graphml or .json for other tools.", show_default=False, rich_help_panel=opt.HOW
        ),
    ] = None,
    hops: Annotated[int, typer.Option("--hops", min=1, max=3, help="How far from the name.")] = 2,
    as_of: opt.When = None,
    known_at: opt.KnownAt = None,
    user: opt.User = None,
    group: opt.Groups = None,
    namespace: opt.Namespace = "default",
    embedder: opt.EmbedderName = None,
    as_json: opt.AsJson = False,
) -> None:
    """Show what the graph states around a name."""
    if export is not None and export.suffix.lower() not in EXPORTS:
        raise InvalidRequestError(f"got --export {str(export)!r}; needed a file that ends with {' or '.join(EXPORTS)}.")
    scope, moment = opt.scope_of(namespace, user, group), opt.as_of_of(as_of, known_at)
    with opened(memory, embedder=embedder) as opened_memory:
        facts = around(opened_memory, name, hops=hops, scope=scope, as_of=moment)
    if html is not None:
        from rag2_memory.commands.graph_page import page

        write_text(html, page(name, facts, as_of=as_of))
    if export is not None:
        from rag2_memory.retrieval import graph_export

        write = graph_export.to_graphml if export.suffix.lower() == ".graphml" else graph_export.to_json
        write_text(export, write(facts, names=[name]))
    if as_json:
        emit_json({"name": name, "hops": hops, "facts": [_plain(fact) for fact in facts], "html": html, "export": export})
        return
    if not facts:
        note(f"The graph states nothing about {name!r} that you may see.")
        return
    written = [str(path) for path in (html, export) if path is not None]
    if written:
        say(f"{count(len(facts), 'fact')} around {name} → {', '.join(written)}")
        return
    console().print(tree(facts))


def around(memory: Memory, name: str, *, hops: int, scope: Scope, as_of: AsOf | None) -> list[Fact]:
    """Return the facts within some hops of a name, nearest first; each fact once."""
    found: dict[tuple[str, str, str, str], Fact] = {}
    asked: set[str] = set()
    frontier = [name]
    for _ in range(hops):
        reached: dict[str, None] = {}
        for entity in frontier[:MOST_NEIGHBOURS]:
            asked.add(entity)
            for fact in memory.facts(entity, scope=scope, as_of=as_of):
                found.setdefault((fact.subject, fact.relation, fact.object, span(fact.valid_from, fact.valid_to)), fact)
                reached.update({fact.subject: None, fact.object: None})
        frontier = [entity for entity in reached if entity not in asked]
    return list(found.values())


def _plain(fact: Fact) -> dict[str, Any]:
    """A fact as JSON, with the stamps that an edge carries: `created_at`, `updated_at`, `ended_at`, `status`."""
    from rag2_memory.knowledge.temporal import fact_json

    edge = fact_json(fact)["properties"]
    stamps = {key: edge.get(key) for key in ("created_at", "updated_at", "ended_at", "status")}
    return dict(to_json(fact)) | stamps


def tree(facts: list[Fact]) -> Any:
    """Return facts as a tree by subject and relation."""
    from rich.tree import Tree

    root = Tree(styled((count(len(facts), "fact"), "bold")), guide_style="dim")
    subjects: dict[str, Tree] = {}
    for fact in facts:
        branch = subjects.get(fact.subject)
        if branch is None:
            label = styled((fact.subject, "bold"), (f"  {fact.subject_type}" if fact.subject_type else "", "dim"))
            branch = subjects[fact.subject] = root.add(label)
        held = span(fact.valid_from, fact.valid_to)
        style = "dim" if fact.status == "inactive" else ""
        branch.add(styled((fact.relation, f"cyan {style}"), (f" → {fact.object}", style), (f"  {held}" if held else "", "dim")))
    return root
