"""What is done at night, and what it leaves for a person: `rag2 consolidate`, `rag2 communities`, `rag2 graph merges`, `rag2 graph decide`."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rag2_memory.commands import options as opt
from rag2_memory.commands.opening import opened
from rag2_memory.commands.terminal import ExitCode, console, count, emit_json, note, say, table, to_json, when
from rag2_memory.errors import InvalidRequestError

if TYPE_CHECKING:
    from rag2_memory.graphs.consolidation_report import ConsolidationReport
    from rag2_memory.memory import Memory
    from rag2_memory.types import Scope

MOST_LISTED = 20
"""Rows of a table for people; `--json` has them all."""

MODEL = "A chat model"

ChatModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        envvar="RAG2_MODEL",
        metavar="MODEL",
        help="Chat model that reads and summarises: package.module:name of a LangChain model or of a function that makes one, or provider:model as "
        "LangChain's init_chat_model takes it. Default: none, patterns and extracts.",
        show_default=False,
        rich_help_panel=MODEL,
    ),
]
ExtractorName = Annotated[
    str | None,
    typer.Option(
        "--extractor",
        metavar="OBJECT",
        help="package.module:name of an extractor of your own, instead of the model.",
        show_default=False,
        rich_help_panel=MODEL,
    ),
]

_OBJECT = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+:[A-Za-z_]\w*")


def consolidate(
    memory: opt.MemoryDir = opt.DEFAULT_MEMORY,
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", metavar="NAME", help="Only this namespace.", show_default=False, rich_help_panel=opt.WHERE),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; tell what would be done.")] = False,
    half_life: Annotated[
        float | None,
        typer.Option(
            "--half-life-days", metavar="DAYS", help="Propose for the archive what age has faded at this rate.", show_default=False
        ),
    ] = None,
    below: Annotated[float, typer.Option("--archive-below", metavar="WEIGHT", help="Weight below which a document has faded.")] = 0.05,
    archive: Annotated[
        bool, typer.Option("--archive", help="Archive what is proposed; `rag2 restore` brings a document back. Nothing is deleted.")
    ] = False,
    model: ChatModel = None,
    extractor: ExtractorName = None,
    embedder: opt.EmbedderName = None,
    as_json: opt.AsJson = False,
) -> None:
    """Read what waits for the extractor, resolve names, group documents, propose what to archive: for cron, safe to kill and to run again.

    Exit code 3 if the chat model failed; the next run goes on from there.
    """
    chat = chat_model(model) if model else None
    options = {"extractor": reader_of(extractor, chat), "summarizer": chat}
    with opened(memory, embedder=embedder, **options) as opened_memory:
        report = opened_memory.consolidate(
            namespace=namespace,
            dry_run=dry_run,
            half_life_days=half_life,
            archive_below=below,
            archive=archive,
            progress=None if as_json else _progress,
        )
    if as_json:
        emit_json(report)
    else:
        print_report(report)
    if report.failure:
        raise typer.Exit(ExitCode.BACKEND)


def chat_model(value: str) -> Any:
    """Return the chat model that an option names.

    Raises:
        InvalidRequestError: If it cannot be imported or made.
    """
    if _OBJECT.fullmatch(value):
        return imported(value, option="--model")
    try:
        from langchain.chat_models import init_chat_model

        return init_chat_model(value)
    except (ImportError, ValueError) as exc:
        raise InvalidRequestError(
            f"got --model {value}, which cannot be made: {exc}. Needed package.module:name, or provider:model with the provider's package installed."
        ) from exc


def reader_of(extractor: str | None, chat: Any) -> Any:
    """Return the extractor that the options ask for, or `None` for the memory's own patterns."""
    if extractor:
        return imported(extractor, option="--extractor")
    if chat is None:
        return None
    from rag2_memory.knowledge.llm_extraction import LLMExtractor

    return LLMExtractor(chat)


def imported(value: str, *, option: str) -> Any:
    """Return an object by its import path; a class or a function is called.

    Raises:
        InvalidRequestError: If there is none.
    """
    module, _, name = value.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as exc:
        raise InvalidRequestError(f"got {option} {value}, which cannot be imported: {exc}. Needed package.module:name.") from exc
    is_made_by_calling = isinstance(found, type) or type(found).__name__ in ("function", "builtin_function_or_method")
    return found() if is_made_by_calling else found


def _progress(*, step: str, update: Mapping[str, Any]) -> None:
    """Tell a person who waits what was done; nothing where nobody watches."""
    if not console(errors=True).is_terminal:
        return
    if step == "read_pending" and update.get("read"):
        note(f"read {count(update['read'], 'chunk')}")
    elif step == "store_communities" and update.get("formed"):
        note(f"grouped {', '.join(str(len(community.members)) for community in update['formed'])} documents")


def print_report(report: ConsolidationReport) -> None:
    """Print what a consolidation did, for people."""
    would = "would be " if report.dry_run else ""
    say(
        "Dry run: nothing was changed." if report.dry_run else f"Consolidated {', '.join(report.namespaces) or 'an empty memory'}",
        style="bold",
    )
    if report.dry_run:
        say(f"  reading: {count(report.unread, 'chunk')} wait{'s' if report.unread == 1 else ''} for {report.extractor or 'no extractor'}")
    else:
        cost = f", {count(report.calls, 'call')}, {report.input_tokens + report.output_tokens:,} tokens" if report.calls else ""
        say(
            f"  reading: {count(report.read, 'chunk')} read by {report.extractor or 'nobody'}, {count(report.statements, 'new statement')}{cost}"
        )
    say(
        f"  names: {len(report.merged):,} {would}merged, {len(report.queued):,} {would}queued, {len(report.withdrawn):,} taken back; "
        f"{report.waiting:,} wait for a decision" + (" (rag2 graph merges)" if report.waiting else "")
    )
    say(f"  communities: {len(report.formed):,} {would}formed, {report.kept:,} kept, {report.dropped:,} {would}dropped")
    if report.proposed or report.spared:
        done = f"{len(report.archived):,} archived" if report.archived else f"{len(report.proposed):,} proposed (--archive carries it out)"
        say(f"  archive: {done}, {len(report.spared):,} spared for the facts that they alone state")
        listed = table("document", "namespace", "age in days", "weight", right=["age in days", "weight"], whole=["document"])
        for document in report.proposed[:MOST_LISTED]:
            listed.add_row(document.document_id, document.namespace, f"{document.age_days:,.0f}", f"{document.weight:.3f}")
        if report.proposed:
            console().print(listed)
    if not report.dry_run:
        say(f"  {report.seconds:.1f} s")
    if report.failure:
        note(f"Reading stopped, {count(report.unread, 'chunk')} left: {report.failure} The next run goes on from there.", style="yellow")


def communities(
    memory: opt.MemoryDir = opt.DEFAULT_MEMORY,
    user: opt.User = None,
    group: opt.Groups = None,
    namespace: opt.Namespace = "default",
    embedder: opt.EmbedderName = None,
    as_json: opt.AsJson = False,
) -> None:
    """Show groups of related documents, each with a summary that cites them; `rag2 consolidate` forms them."""
    with opened(memory, embedder=embedder) as opened_memory:
        found = opened_memory.communities(scope=opt.scope_of(namespace, user, group))
    if as_json:
        emit_json(found)
        return
    if not found:
        note("There are no communities that you may see; `rag2 consolidate` forms them.")
    for community in found:
        say(f"{count(len(community.members), 'document')}: {', '.join(community.names) or 'related in meaning'}", style="bold")
        say(f"  {community.summary}")
        for member in community.members[:MOST_LISTED]:
            say(f"  {member.id}  {member.document_id}" + (f"  {member.title}" if member.title else ""), style="dim")
        if len(community.members) > MOST_LISTED:
            say(f"  … and {len(community.members) - MOST_LISTED} more", style="dim")


def merges(
    memory: opt.MemoryDir = opt.DEFAULT_MEMORY,
    log: Annotated[bool, typer.Option("--log", help="Show every decision instead, made or waiting: an administrator's view.")] = False,
    user: opt.User = None,
    group: opt.Groups = None,
    namespace: opt.Namespace = "default",
    embedder: opt.EmbedderName = None,
    as_json: opt.AsJson = False,
) -> None:
    """List pairs of names that are likely one and wait for a decision, surest first; `rag2 graph decide` settles them."""
    scope = opt.scope_of(namespace, user, group)
    with opened(memory, embedder=embedder) as opened_memory:
        found = _log(opened_memory, scope) if log else [to_json(review) for review in opened_memory.merge_reviews(scope=scope)]
    if as_json:
        emit_json(found)
        return
    if not found:
        note("No decision has been made." if log else "No pair waits for a decision that you could make.")
        return
    if log:
        listed = table("id", "decision", "kept", "absorbed", "score", "reason", "when", right=["id", "score"], whole=["kept", "absorbed"])
        for record in found:
            cells = (record["kept"], record["absorbed"], f"{record['score']:.2f}", record["reason"], record["decided_at"] or "")
            listed.add_row(str(record["merge_id"]), record["decision"], *cells)
    else:
        listed = table("id", "name", "may be", "score", "reason", right=["id", "score"], whole=["name", "may be"])
        for review in found:
            sides = (_side(review["absorbed"]), _side(review["kept"]))
            listed.add_row(str(review["merge_id"]), *sides, f"{review['score']:.2f}", review["reason"])
    console().print(listed)


def _log(memory: Memory, scope: Scope) -> list[dict[str, Any]]:
    """Return the merge log of a namespace with a stored name for each side."""
    registry = memory.services.registry
    records = registry.merges(scope.namespace)
    names: dict[str, str] = {}
    after = ""
    while page := registry.entities(scope.namespace, after=after):
        names.update((entity.id, entity.name) for entity in page)
        after = page[-1].id
    return [
        {
            "merge_id": record.merge_id,
            "decision": record.decision,
            "kept": names.get(record.kept_id, record.kept_id),
            "absorbed": names.get(record.absorbed_id, record.absorbed_id),
            "score": record.score,
            "reason": record.reason,
            "decided_at": when(record.decided_at) if record.decided_at else None,
        }
        for record in records
    ]


def _side(entity: Mapping[str, Any]) -> str:
    return f"{', '.join(entity['names'][:3])}" + (f" ({entity['type']})" if entity["type"] else "")


def decide(
    merge_id: Annotated[int, typer.Argument(metavar="ID", help="As `rag2 graph merges` lists it.", show_default=False)],
    decision: Annotated[
        Literal["merge", "reject", "undo"],
        typer.Argument(help="merge: they are one; reject: they are two; undo: take an earlier merge back.", show_default=False),
    ],
    memory: opt.MemoryDir = opt.DEFAULT_MEMORY,
    embedder: opt.EmbedderName = None,
    as_json: opt.AsJson = False,
) -> None:
    """Settle a pair of names, or take a merge back: an administrator's decision for the whole namespace, which can be changed again."""
    kept: dict[str, Literal["merge", "rejected", "undone"]] = {"merge": "merge", "reject": "rejected", "undo": "undone"}
    with opened(memory, embedder=embedder) as opened_memory:
        opened_memory.decide_merge(merge_id, kept[decision])
    if as_json:
        emit_json({"merge_id": merge_id, "decision": kept[decision]})
    else:
        say({"merge": "They are one now.", "reject": "They stay two.", "undo": "They are two again."}[decision])
