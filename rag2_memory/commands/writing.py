"""Commands that change what a memory holds: ingest, remember, forget, acl, archive, restore."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag2_memory.commands import options as opt
from rag2_memory.commands.opening import opened
from rag2_memory.commands.terminal import ExitCode, console, count, emit_json, note, say, table, when
from rag2_memory.errors import InvalidRequestError, UnknownDocumentError

if TYPE_CHECKING:
    from rag2_memory.memory import Memory
    from rag2_memory.records import DocumentState
    from rag2_memory.types import IngestReport

MOST_LISTED = 20
"""Ids or reasons listed in a report for people; `--json` has them all."""

DocumentId = Annotated[
    str, typer.Argument(metavar="ID", help="Id of a document, as `rag2 status --documents` lists it.", show_default=False)
]


def ingest(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A file or a folder.", show_default=False)],
    memory: opt.MemoryDir = opt.DEFAULT_MEMORY,
    namespace: opt.Namespace = "default",
    acl: Annotated[
        list[str] | None,
        typer.Option(
            "--acl",
            metavar="ENTRY",
            help="Who may see documents that name nobody themselves: user:NAME or group:NAME; repeatable.",
            show_default=False,
        ),
    ] = None,
    prune: Annotated[bool, typer.Option("--prune/--no-prune", help="Hide what vanished from the folder since its last ingest.")] = True,
    embedder: opt.EmbedderName = None,
    as_json: opt.AsJson = False,
) -> None:
    """Take documents in, or bring a folder up to date: only what is new or changed is read and embedded."""
    from rag2_memory.commands.progress import Bar, files_in

    source = existing(path)
    refuse_own_files(source, memory)
    bar = Bar("documents", total=files_in(source))
    with opened(memory, embedder=embedder, create=True, watch=bar.embedded) as opened_memory, bar:
        report = opened_memory.ingest(source, namespace=namespace, acl=acl or (), prune=prune, progress=bar.document)
    if as_json:
        emit_json(report)
    else:
        print_report(report, head=f"{path} → {memory}" + ("" if namespace == "default" else f", namespace {namespace}"), below=source)
    if report.pending:
        raise typer.Exit(ExitCode.BACKEND)
    if source.is_file() and report.skipped:
        raise typer.Exit(ExitCode.REFUSED)


def existing(path: str) -> Path:
    """Return a path that exists, before a memory is made for it.

    Raises:
        InvalidRequestError: If there is nothing.
    """
    found = Path(path).expanduser()
    if not found.exists():
        raise InvalidRequestError(f"cannot ingest {path!r}: no such file or folder. Check the path.")
    return found


def refuse_own_files(source: Path, memory: Path) -> None:
    """Refuse to take a memory's own files in, which hold what every document says, whoever may see it.

    Raises:
        InvalidRequestError: If the memory lies inside the folder to be ingested.
    """
    if source.is_dir() and memory.expanduser().resolve().is_relative_to(source.resolve()):
        raise InvalidRequestError(
            f"the memory {str(memory)!r} lies inside {str(source)!r}, and its own files would be taken in. "
            f"Keep it elsewhere: rag2 ingest {source} --memory {Path('..') / (memory.name or 'memory') if source == Path() else 'DIR'}"
        )


def print_report(report: IngestReport, *, head: str, below: Path | None = None) -> None:
    """Print what an ingest did: counts, then what was left out and why, by its place `below` a folder."""
    say(head, style="bold")
    counts = {name: len(getattr(report, name)) for name in ("added", "updated", "unchanged", "removed", "skipped", "pending")}
    say("  " + " · ".join(f"{number:,} {name}" for name, number in counts.items()))
    say(f"  {count(report.chunks, 'chunk')} written, {report.embedded:,} embedded, {report.seconds:.1f} s")
    if report.skipped:
        listed = table("skipped", "reason", whole=["skipped", "reason"])
        for item in report.skipped[:MOST_LISTED]:
            listed.add_row(item.source.removeprefix(f"{below.absolute()}{os.sep}") if below else item.source, item.reason)
        console().print(listed)
        if len(report.skipped) > MOST_LISTED:
            say(f"… and {len(report.skipped) - MOST_LISTED} more; --json lists all")
    if not report.documents and not report.skipped:
        note("There was nothing to take in.", style="yellow")
    if report.pending:
        note(
            f"{count(len(report.pending), 'document')} are safe in the registry but not yet searchable, because an index did not take them. "
            "Run `rag2 repair` once the cause is gone.",
            style="yellow",
        )


def remember(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="JSON lines, one message each: {role, content, id?, name?, timestamp?}; - for stdin.", show_default=False
        ),
    ],
    thread: Annotated[str, typer.Option("--thread", "-t", metavar="ID", help="Names the conversation.", show_default=False)],
    memory: opt.MemoryDir = opt.DEFAULT_MEMORY,
    user: opt.User = None,
    group: opt.Groups = None,
    namespace: opt.Namespace = "default",
    embedder: opt.EmbedderName = None,
    as_json: opt.AsJson = False,
) -> None:
    """Keep the messages of a conversation; with --user for that user alone."""
    messages = read_messages(file)
    with opened(memory, embedder=embedder, create=True) as opened_memory:
        report = opened_memory.remember(messages, thread_id=thread, scope=opt.scope_of(namespace, user, group))
    if as_json:
        emit_json(report)
    else:
        print_report(report, head=f"{count(len(messages), 'message')} of {thread} → {memory}")


def read_messages(file: str) -> list[dict[str, Any]]:
    """Read JSON lines of messages.

    Raises:
        InvalidRequestError: If the file is missing or a line is no JSON object; the message names the line.
    """
    try:
        text = sys.stdin.read() if file == "-" else Path(file).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidRequestError(f"cannot read {file!r}: {exc}.") from exc
    messages = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            message = json.loads(line)
        except json.JSONDecodeError as exc:
            raise InvalidRequestError(
                f"{file!r}, line {number}: no JSON ({exc.msg}). Needed one message per line: {{role, content}}."
            ) from exc
        if not isinstance(message, dict):
            raise InvalidRequestError(f"{file!r}, line {number}: got {type(message).__name__}; needed an object with role and content.")
        messages.append(message)
    return messages


def forget(
    document_id: DocumentId,
    memory: opt.MemoryDir = opt.DEFAULT_MEMORY,
    namespace: opt.DocumentNamespace = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    embedder: opt.EmbedderName = None,
    as_json: opt.AsJson = False,
) -> None:
    """Remove a document from every tier for good, with all its versions, and print the receipt."""
    if not yes and not as_json and sys.stdin.isatty():
        typer.confirm(f"Forget {document_id} for good, with all its versions?", abort=True, err=True)
    with opened(memory, embedder=embedder) as opened_memory:
        receipt = opened_memory.forget(document_id, namespace=namespace)
    if as_json:
        emit_json(receipt)
        return
    say(
        f"Forgot {receipt.document_id} (namespace {receipt.namespace}) at {when(receipt.forgotten_at)} UTC, receipt {receipt.receipt_id}",
        style="bold",
    )
    listed = table("what", "removed", right=["removed"])
    for kind, number in receipt.removed.items():
        listed.add_row(kind.replace("_", " "), f"{number:,}")
    console().print(listed)


def acl(
    document_id: DocumentId,
    new: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="ENTRY", help="user:NAME or group:NAME; repeatable, replaces the old ones.", show_default=False),
    ] = None,
    everyone: Annotated[bool, typer.Option("--everyone", help="Let everyone in the namespace see it.")] = False,
    memory: opt.MemoryDir = opt.DEFAULT_MEMORY,
    namespace: opt.DocumentNamespace = None,
    embedder: opt.EmbedderName = None,
    as_json: opt.AsJson = False,
) -> None:
    """Show who may see a document, or change it at once with --set or --everyone."""
    if new and everyone:
        raise typer.BadParameter("--set and --everyone exclude each other.")
    with opened(memory, embedder=embedder) as opened_memory:
        if new or everyone:
            opened_memory.set_acl(document_id, new or (), namespace=namespace)
        state = state_of(opened_memory, document_id, namespace)
    if as_json:
        emit_json(
            {
                "document_id": state.document_id,
                "namespace": state.namespace,
                "acl": sorted(state.acl),
                "source_acl": sorted(state.source_acl),
            }
        )
        return
    say(f"{state.document_id}: {', '.join(sorted(state.acl)) or 'everyone in ' + state.namespace}")
    if state.acl != state.source_acl:
        note(f"Changed here; its source says {', '.join(sorted(state.source_acl)) or 'everyone'}.")


def state_of(memory: Memory, document_id: str, namespace: str | None) -> DocumentState:
    """Return what the registry knows of one document.

    Raises:
        UnknownDocumentError: If there is none.
        InvalidRequestError: If several namespaces hold the id and none was named.
    """
    found = list(memory.services.registry.states(namespace=namespace, document_ids=[document_id]))
    if not found:
        raise UnknownDocumentError(document_id=document_id, detail=f" under the namespace {namespace!r}" if namespace else "")
    if len(found) > 1:
        raise InvalidRequestError(
            f"got {document_id!r}, which the namespaces {', '.join(sorted(s.namespace for s in found))} hold; name one with --namespace."
        )
    return found[0]


def archive(
    document_id: DocumentId,
    memory: opt.MemoryDir = opt.DEFAULT_MEMORY,
    namespace: opt.DocumentNamespace = None,
    embedder: opt.EmbedderName = None,
    as_json: opt.AsJson = False,
) -> None:
    """Take a document out of search; the registry keeps it whole and `rag2 restore` brings it back."""
    _change(document_id, "archived", memory, namespace, embedder, as_json)


def restore(
    document_id: DocumentId,
    memory: opt.MemoryDir = opt.DEFAULT_MEMORY,
    namespace: opt.DocumentNamespace = None,
    embedder: opt.EmbedderName = None,
    as_json: opt.AsJson = False,
) -> None:
    """Bring an archived document back into search; nothing is embedded anew."""
    _change(document_id, "restored", memory, namespace, embedder, as_json)


def _change(document_id: str, change: str, memory: Path, namespace: str | None, embedder: str | None, as_json: bool) -> None:
    with opened(memory, embedder=embedder) as opened_memory:
        apply = opened_memory.archive if change == "archived" else opened_memory.restore
        apply(document_id, namespace=namespace)
    if as_json:
        emit_json({"document_id": document_id, "change": change})
    else:
        say(f"{change.capitalize()} {document_id}")
