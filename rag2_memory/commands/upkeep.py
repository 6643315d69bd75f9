"""Looking after a memory: status, verify, repair, rebuild."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rag2_memory.commands import options as opt
from rag2_memory.commands.opening import opened, waiting
from rag2_memory.commands.terminal import ExitCode, console, count, emit_json, note, say, table, to_json, when

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rag2_memory.records import DocumentState
    from rag2_memory.types import VerifyReport

MOST_IDS = 5
"""Chunk ids named per kind of difference; `--json` has them all."""


def status(
    memory: opt.MemoryDir = opt.DEFAULT_MEMORY,
    documents: Annotated[bool, typer.Option("--documents", "-d", help="List every document, archived ones included.")] = False,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", metavar="NAME", help="List documents of this namespace only.", show_default=False)
    ] = None,
    embedder: opt.EmbedderName = None,
    as_json: opt.AsJson = False,
) -> None:
    """Show what a memory holds, its engines and its backlog: an administrator's view."""
    with opened(memory, embedder=embedder) as opened_memory:
        told = dict(opened_memory.status())
        listed = [state for state in opened_memory.documents(namespace=namespace) if state.state != "deleted"] if documents else []
    if as_json:
        emit_json(told | ({"documents": [document_json(state) for state in listed]} if documents else {}))
        return
    print_status(told)
    if documents:
        console().print(documents_table(listed))


def print_status(told: Mapping[str, Any]) -> None:
    """Print what `Memory.status` returns."""
    say(str(told["path"]), style="bold")
    say("  " + " · ".join(f"{number:,} {kind.replace('_', ' ')}" for kind, number in told["counts"].items()))
    say(f"  namespaces: {', '.join(told['namespaces']) or 'none yet'}")
    say(f"  embedder: {told['embedder']}; tokens counted by {told['token_counter']}")
    say("  engines: " + ", ".join(f"{tier} {engine or 'off'}" for tier, engine in told["tiers"].items()))
    owed = {tier: number for tier, number in told["pending"].items() if number}
    say(f"  backlog: {', '.join(f'{tier} {number:,}' for tier, number in owed.items()) or 'none'}", style="yellow" if owed else "")


def documents_table(states: Sequence[DocumentState]) -> Any:
    """Return documents as a table, archived ones dimmed."""
    listed = table(
        "document", "title", "namespace", "state", "version", "visible to", "modified", right=["version"], whole=["document", "visible to"]
    )
    for state in sorted(states, key=lambda state: (state.namespace, state.document_id)):
        shown = state.state if state.pending_version is None else f"{state.state}, pending"
        version = str(state.live_version or "–")
        acl = ", ".join(sorted(state.acl)) or "everyone"
        listed.add_row(
            state.document_id,
            state.title,
            state.namespace,
            shown,
            version,
            acl,
            when(state.modified_at),
            style="" if state.state == "live" else "dim",
        )
    return listed


def document_json(state: DocumentState) -> dict[str, Any]:
    """Return a document's state for other programs."""
    told: dict[str, Any] = to_json(state)
    return told


def verify(memory: opt.MemoryDir = opt.DEFAULT_MEMORY, embedder: opt.EmbedderName = None, as_json: opt.AsJson = False) -> None:
    """Compare every index with the registry, by id and content; exit code 4 if they differ."""
    with opened(memory, embedder=embedder) as opened_memory, waiting("comparing the indexes with the registry"):
        report = opened_memory.verify()
    _tell(report, as_json)
    if not report.ok:
        if not as_json:
            note("`rag2 repair` mends what differs.")
        raise typer.Exit(ExitCode.CHECK_FAILED)


def repair(memory: opt.MemoryDir = opt.DEFAULT_MEMORY, embedder: opt.EmbedderName = None, as_json: opt.AsJson = False) -> None:
    """Retry what is pending and mend what differs; exit code 4 if something still does."""
    with opened(memory, embedder=embedder) as opened_memory, waiting("repairing"):
        report = opened_memory.repair()
    _tell(report, as_json)
    if not report.ok:
        if not as_json:
            note("An index that stays broken can be built anew: rag2 rebuild vector | lexical | graph.")
        raise typer.Exit(ExitCode.CHECK_FAILED)


def _tell(report: VerifyReport, as_json: bool) -> None:
    if as_json:
        emit_json(to_json(report) | {"ok": report.ok})
        return
    listed = table("index", "expected", "missing", "surplus", "stale", "", right=["expected", "missing", "surplus", "stale"])
    for check in report.tiers:
        differing = [f"{len(ids):,}" if ids else "·" for ids in (check.missing, check.surplus, check.stale)]
        listed.add_row(
            check.tier,
            f"{check.expected:,}",
            *differing,
            "agrees" if check.ok else check.error or "differs",
            style="" if check.ok else "red",
        )
    console().print(listed)
    for check in report.tiers:
        for kind in ("missing", "surplus", "stale"):
            ids = getattr(check, kind)
            if ids:
                more = f" … and {len(ids) - MOST_IDS} more" if len(ids) > MOST_IDS else ""
                say(f"{check.tier} {kind}: {', '.join(ids[:MOST_IDS])}{more}")
    if report.pending:
        say(f"{count(report.pending, 'journal entry').replace('entrys', 'entries')} pending", style="yellow")
    say(
        "Every index agrees with the registry." if report.ok else "The indexes differ from the registry.",
        style="green" if report.ok else "red",
    )


def rebuild(
    tier: Annotated[
        Literal["vector", "lexical", "graph", "cache"], typer.Argument(help="The index to empty and fill anew.", show_default=False)
    ],
    memory: opt.MemoryDir = opt.DEFAULT_MEMORY,
    embedder: opt.EmbedderName = None,
    as_json: opt.AsJson = False,
) -> None:
    """Empty an index and fill it from the registry; embeddings are kept there, so nothing is embedded twice."""
    with opened(memory, embedder=embedder) as opened_memory, waiting(f"rebuilding the {tier} index"):
        opened_memory.rebuild(tier)
        chunks = opened_memory.status()["counts"].get("chunks", 0)
    if as_json:
        emit_json({"tier": tier, "rebuilt": True})
    else:
        say("The cache is empty." if tier == "cache" else f"Rebuilt the {tier} index from the registry's {count(chunks, 'chunk')}.")
