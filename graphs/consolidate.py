"""The consolidation graph: what is done to a memory at night.

    START → read_pending ─more→ read_pending
                └done→ resolve_names → plan_communities → store_communities ─more→ store_communities
                                                               └done→ propose_archive → END

Each step finds its work in the registry and leaves it there, batch by batch, so that a run that was killed is gone on with by the next one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from operator import add
from typing import Annotated, Any, Protocol, TypedDict

from langgraph.graph import END, START, StateGraph

from rag2_memory.errors import BackendUnavailableError, InvalidRequestError
from rag2_memory.graphs.consolidation_report import ConsolidationReport
from rag2_memory.graphs.services import RUN_TAG
from rag2_memory.ingestion.communities import CommunityBuilder
from rag2_memory.ingestion.fading import FadedDocument, check_fading, faded_documents
from rag2_memory.ingestion.knowledge import ReadKnowledge
from rag2_memory.ingestion.resolve import EntityResolver
from rag2_memory.records import Community, MergeRecord, UnreadChunk
from rag2_memory.tiers.base import RegistryTier
from rag2_memory.types import Scope

STEPS_AT_MOST = 10_000_000
"""LangGraph's bound on steps: no bound, since every batch is one."""

ARCHIVE_BELOW = 0.05
"""Weight below which a document is proposed for the archive unless told otherwise: after 4.3 half-lives."""

DEAR_BATCH_CHUNKS = 32
"""Chunks that an extractor which keeps its answers (a model) reads at once: writers wait for about as long as eight calls take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsolidationServices:
    """What the steps work with."""

    registry: RegistryTier
    reader: ReadKnowledge
    rereads: bool
    """Whether chunks that another extractor has read are pending; those that none has read always are."""
    batch_chunks: int
    resolver: EntityResolver
    communities: CommunityBuilder
    clock: Callable[[], datetime]
    turn: Callable[[], AbstractContextManager[None]]
    """Keeps other writers out for one step."""
    look: Callable[[], AbstractContextManager[None]]
    """Keeps the memory open for one step that only reads, however long it takes."""
    settle: Callable[[], None]
    """Has indexes and cache follow the registry."""
    archive: Callable[[str, str], None]
    """Archives a document, by id and namespace."""


class StepCallback(Protocol):
    """Told after each step what it wrote."""

    def __call__(self, *, step: str, update: Mapping[str, Any]) -> Any:
        """`step` names the node; `update` holds the state's keys that it wrote."""
        ...


class ConsolidationState(TypedDict, total=False):
    """The state of one run; what the caller puts in stands first."""

    namespaces: list[str]
    """Where."""
    dry_run: bool
    """Whether to look only."""
    half_life_days: float | None
    """For the archive; `None`: nothing is proposed."""
    archive_below: float
    """Weight below which a document is proposed for the archive."""
    archive: bool
    """Whether proposals are carried out."""
    failure: str
    """Written by `read_pending`: why reading stopped."""
    unread: int
    """Written by `read_pending`: chunks still waiting, counted once reading is over."""
    read: Annotated[int, add]
    """Added to by `read_pending`: chunks read."""
    statements: Annotated[int, add]
    """Added to by `read_pending`: edges with their evidence that are new."""
    strays: int
    """Written by `resolve_names`: cached answers about chunks that do not exist, dropped."""
    decided: list[MergeRecord]
    """Written by `resolve_names`: new merges and new entries of the review queue."""
    withdrawn: list[MergeRecord]
    """Written by `resolve_names`: merges taken back, because nothing states any longer what they rested on."""
    waiting: int
    """Written by `resolve_names`: length of the review queue."""
    cursors: dict[str, str]
    """Written by `read_pending`: by namespace, the document that reading has come to."""
    planned: list[Community]
    """Written by `plan_communities`, shortened by `store_communities`: communities that are still to be summarised and stored."""
    outdated: list[str]
    """Written by `plan_communities`, emptied by `store_communities`: ids of communities that no longer hold."""
    formed: Annotated[list[Community], add]
    """Added to by `store_communities`, in a dry run by `plan_communities`."""
    kept: int
    """Written by `plan_communities`: communities that stay as they are."""
    dropped: int
    """Written by `plan_communities`: how many no longer hold."""
    faded: list[FadedDocument]
    """Written by `propose_archive`: what is proposed, and what its facts keep."""
    archived: list[str]
    """Written by `propose_archive`: ids of what was archived."""


Node = Callable[[ConsolidationState, ConsolidationServices], dict[str, Any]]


def read_pending(state: ConsolidationState, services: ConsolidationServices) -> dict[str, Any]:
    """Read one batch of chunks that the extractor has not read. Reads: namespaces, dry_run, cursors. Writes: read, statements, failure, unread, cursors."""
    wanted = services.reader.name if services.rereads else None
    if services.reader.extractor is None:
        return {"unread": 0}
    if state["dry_run"]:
        return {"unread": sum(len(services.registry.unread(name, extractor=wanted)) for name in state["namespaces"])}
    cursors = state.get("cursors") or {}
    for namespace in state["namespaces"]:
        after = cursors.get(namespace, "")
        pending = services.registry.unread(namespace, extractor=wanted, after=after, limit=services.batch_chunks)
        if not pending and after:  # what was taken in meanwhile may stand before
            pending = services.registry.unread(namespace, extractor=wanted, limit=services.batch_chunks)
        if not pending:
            continue
        batch = _whole_documents(pending, services.batch_chunks)
        try:
            statements = _read(batch, namespace, services)
        except BackendUnavailableError as exc:
            left = sum(len(services.registry.unread(name, extractor=wanted)) for name in state["namespaces"])
            return {"failure": str(exc), "unread": left}
        services.settle()
        return {"read": len(batch), "statements": statements, "cursors": {**cursors, namespace: batch[-1].document_key}}
    return {"unread": 0}


def resolve_names(state: ConsolidationState, services: ConsolidationServices) -> dict[str, Any]:
    """Compare names that are new or of which something new is known. Reads: namespaces, dry_run. Writes: decided, withdrawn, waiting, strays."""
    registry, names = services.registry, state["namespaces"]
    if state["dry_run"]:
        decided = [record for name in names for record in services.resolver.preview(name)]
        return {"decided": decided, "withdrawn": [], "waiting": _waiting(registry, names), "strays": 0}
    decided, withdrawn = [], []
    for name in names:
        withdrawn += services.resolver.withdraw_unfounded(name)
        before = {record.merge_id for record in registry.merges(name)}
        services.resolver.forget(name)
        services.resolver.resolve_new(name)
        decided += [record for record in registry.merges(name) if record.merge_id not in before]
    services.settle()
    strays = registry.drop_stray_answers()
    return {"decided": decided, "withdrawn": withdrawn, "waiting": _waiting(registry, names), "strays": strays}


def plan_communities(state: ConsolidationState, services: ConsolidationServices) -> dict[str, Any]:
    """Group documents; other writers go on meanwhile. Reads: namespaces, dry_run. Writes: planned, outdated, kept, dropped, formed."""
    changes = [services.communities.plan(name) for name in state["namespaces"]]
    formed = [community for change in changes for community in change.formed]
    outdated = [key for change in changes for key in change.dropped]
    told = {"kept": sum(len(change.kept) for change in changes), "dropped": len(outdated)}
    if state["dry_run"]:
        return told | {"planned": [], "outdated": [], "formed": formed}
    return told | {"planned": formed, "outdated": outdated}


def store_communities(state: ConsolidationState, services: ConsolidationServices) -> dict[str, Any]:
    """Drop what no longer holds; then summarise and store one community. Reads: planned, outdated. Writes: planned, outdated, formed."""
    if state["outdated"]:
        services.registry.change_communities(drop=state["outdated"], now=services.clock())
    if not state["planned"]:
        return {"outdated": []}
    first, *rest = state["planned"]
    stored = services.communities.store(first)
    return {"outdated": [], "planned": rest, "formed": [stored] if stored is not None else []}


def propose_archive(state: ConsolidationState, services: ConsolidationServices) -> dict[str, Any]:
    """Find what has faded, and archive it where that was asked for. Reads: half_life_days, archive_below, archive. Writes: faded, archived."""
    half_life = state.get("half_life_days")
    if half_life is None:
        return {"faded": [], "archived": []}
    now, below = services.clock(), state["archive_below"]
    faded = [
        document
        for name in state["namespaces"]
        for document in faded_documents(services.registry, name, half_life_days=half_life, below=below, now=now)
    ]
    leaving = [document for document in faded if not document.facts]
    if not state["archive"] or state["dry_run"]:
        return {"faded": faded, "archived": []}
    for document in leaving:
        services.archive(document.document_id, document.namespace)
    return {"faded": faded, "archived": [document.document_id for document in leaving]}


def consolidate(
    services: ConsolidationServices,
    *,
    namespaces: Sequence[str],
    dry_run: bool = False,
    half_life_days: float | None = None,
    archive_below: float = ARCHIVE_BELOW,
    archive: bool = False,
    progress: StepCallback | None = None,
) -> ConsolidationReport:
    """Run the graph to its end and report.

    Raises:
        InvalidRequestError: If a number is out of its range; nothing was done.
    """
    if half_life_days is not None:
        check_fading(half_life_days=half_life_days, below=archive_below)
    elif archive:
        raise InvalidRequestError("got archive=True without a half-life; needed half_life_days here or in the memory's configuration.")
    started, cost = time.perf_counter(), _cost(services.reader)
    state: dict[str, Any] = {
        "namespaces": list(namespaces),
        "dry_run": dry_run,
        "half_life_days": half_life_days,
        "archive_below": archive_below,
        "archive": archive,
    }
    graph: Any = build_consolidation_graph(services).compile(name="rag2_consolidate").with_config(tags=[RUN_TAG])
    for mode, part in graph.stream(state, {"recursion_limit": STEPS_AT_MOST}, stream_mode=["updates", "values"]):
        if mode == "values":
            state = dict(part)
        elif progress is not None:
            for step, update in part.items():
                progress(step=step, update=update or {})
    spent = {name: value - cost[name] for name, value in _cost(services.reader).items()}
    return _report(state, extractor=services.reader.name, seconds=time.perf_counter() - started, **spent)


def _report(state: Mapping[str, Any], **told: Any) -> ConsolidationReport:
    return ConsolidationReport(
        namespaces=tuple(state["namespaces"]),
        dry_run=state["dry_run"],
        read=state.get("read", 0),
        unread=state["unread"],
        failure=state.get("failure", ""),
        statements=state.get("statements", 0),
        merged=tuple(record for record in state["decided"] if record.decision == "merge"),
        queued=tuple(record for record in state["decided"] if record.decision == "review"),
        waiting=state["waiting"],
        withdrawn=tuple(state["withdrawn"]),
        formed=tuple(state["formed"]),
        kept=state["kept"],
        dropped=state["dropped"],
        proposed=tuple(document for document in state["faded"] if not document.facts),
        spared=tuple(document for document in state["faded"] if document.facts),
        archived=tuple(state["archived"]),
        strays=state["strays"],
        **told,
    )


def _cost(reader: ReadKnowledge) -> dict[str, int]:
    """Return what the extractor has spent so far, where it counts that."""
    cost = getattr(reader.extractor, "cost", None)
    return {name: int(getattr(cost, name, 0)) for name in ("calls", "input_tokens", "output_tokens")}


def build_consolidation_graph(services: ConsolidationServices) -> StateGraph[Any, Any, Any, Any]:
    """Return the graph, not yet compiled; run it with `recursion_limit=STEPS_AT_MOST`."""
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(ConsolidationState)
    for node in (read_pending, resolve_names, store_communities, propose_archive):
        builder.add_node(node.__name__, _bound(node, services, services.turn))
    builder.add_node("plan_communities", _bound(plan_communities, services, services.look))
    builder.add_edge(START, "read_pending")
    builder.add_conditional_edges("read_pending", _read_all, {"more": "read_pending", "done": "resolve_names"})
    builder.add_edge("resolve_names", "plan_communities")
    builder.add_edge("plan_communities", "store_communities")
    builder.add_conditional_edges("store_communities", _stored_all, {"more": "store_communities", "done": "propose_archive"})
    builder.add_edge("propose_archive", END)
    return builder


def _bound(node: Node, services: ConsolidationServices, guard: Callable[[], AbstractContextManager[None]]) -> Callable[..., dict[str, Any]]:
    def bound(state: ConsolidationState) -> dict[str, Any]:
        with guard():
            return node(state, services)

    bound.__name__, bound.__doc__ = node.__name__, node.__doc__
    return bound


def _read_all(state: ConsolidationState) -> str:
    return "done" if "unread" in state else "more"


def _stored_all(state: ConsolidationState) -> str:
    return "more" if state.get("planned") else "done"


def _waiting(registry: RegistryTier, namespaces: Sequence[str]) -> int:
    return sum(len(registry.merges(name, decision="review")) for name in namespaces)


def _whole_documents(pending: Sequence[UnreadChunk], limit: int) -> list[UnreadChunk]:
    """Leave out the last document of a full batch, which may go on in the next, unless it is the only one: chunks of one document help each other."""
    last = pending[-1].document_key
    whole = [chunk for chunk in pending if chunk.document_key != last]
    return whole if whole and len(pending) == limit else list(pending)


def _read(pending: Sequence[UnreadChunk], namespace: str, services: ConsolidationServices) -> int:
    """Read chunks and record what they state; returns how many statements are new."""
    found: dict[str, Any] = {}
    for scope, ids in _by_scope(pending, namespace).items():
        found |= services.registry.chunks(ids, scope)
    chunks = [found[item.chunk_id] for item in pending if item.chunk_id in found]
    now = services.clock()
    services.reader.prepare(chunks)
    knowledge = services.reader(chunks, namespace=namespace, recorded_at=now)
    return services.registry.deepen([item.chunk_id for item in pending], knowledge, now=now)


def _by_scope(pending: Sequence[UnreadChunk], namespace: str) -> Mapping[Scope, list[str]]:
    """Group chunk ids by a scope that may see them."""
    grouped: dict[Scope, list[str]] = {}
    for item in pending:
        kind, _, name = (item.principal or "").partition(":")
        groups = frozenset({name}) if kind == "group" else frozenset[str]()
        scope = Scope(namespace=namespace, user=name if kind == "user" else None, groups=groups)
        grouped.setdefault(scope, []).append(item.chunk_id)
    return grouped
