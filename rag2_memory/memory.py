"""The `Memory` facade: opens the tiers, holds the compiled graphs, and offers one verb per idea. Sync methods are the implementation; `a…` twins run them off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, cast

from rag2_memory.config import MemoryConfig
from rag2_memory.context import Context, ContextBudget, default_token_counter
from rag2_memory.context.compiled import Format
from rag2_memory.context.summary import RunningSummarizer
from rag2_memory.embedders import as_embedder
from rag2_memory.errors import InvalidRequestError, UnknownDocumentError
from rag2_memory.folder import MemoryFolder
from rag2_memory.gate import Gate
from rag2_memory.graphs import cache_access
from rag2_memory.graphs.consolidate import ARCHIVE_BELOW, DEAR_BATCH_CHUNKS, ConsolidationServices, StepCallback, consolidate
from rag2_memory.graphs.consolidation_report import ConsolidationReport
from rag2_memory.graphs.context_nodes import LookedUp, looked_up
from rag2_memory.graphs.direct import search_directly
from rag2_memory.graphs.recall import build_recall_graph
from rag2_memory.graphs.services import RUN_TAG, RecallContext, RecallServices, Router
from rag2_memory.graphs.state import RecallState, request_of
from rag2_memory.ingestion.communities import CommunityBuilder, visible_communities
from rag2_memory.ingestion.conversation import turns_of
from rag2_memory.ingestion.knowledge import ReadKnowledge, durable
from rag2_memory.ingestion.resolve import EntityResolver
from rag2_memory.ingestion.sync import IndexSync
from rag2_memory.ingestion.write import Writer
from rag2_memory.knowledge.extraction import PatternExtractor
from rag2_memory.knowledge.extractors import as_extractor
from rag2_memory.knowledge.llm_extraction import CachingExtractor
from rag2_memory.knowledge.schema import DEFAULT_SCHEMA, GraphSchema
from rag2_memory.protocols import Embedder, Extractor, ProgressCallback, TextSplitter, TokenCounter
from rag2_memory.records import Community, DocumentState
from rag2_memory.retrieval.facts import entities_named, facts_about, of_predicate
from rag2_memory.retrieval.merge_reviews import MergeReview, merge_reviews
from rag2_memory.retrieval.rerank import as_reranker
from rag2_memory.tiers.base import CacheTier, GraphTier, LexicalTier, RegistryTier, VectorTier
from rag2_memory.types import (
    DEFAULT_NAMESPACE,
    AsOf,
    AsOfLike,
    Fact,
    ForgetReceipt,
    IngestReport,
    Passage,
    Scope,
    TierName,
    VerifyReport,
    acl_of,
)
from rag2_memory.upkeep import Upkeep

READ_ATTEMPTS = 8
"""Times that a read is done over because something was published meanwhile. One read takes a fraction of what publishing a batch does, so
that the second nearly always stands; the bound keeps a reader from waiting for ever. What it then returns is permitted, but may lack a document."""


class Memory:
    """A layered memory: registry, vectors, words, graph and cache behind one set of verbs.

    Open one with `Memory.open(path)` or `Memory.in_memory()`, close it with `close()` or a `with` block. Any number of threads may read while one
    writes; writers queue. A folder belongs to one process at a time.
    """

    def __init__(
        self,
        *,
        folder: MemoryFolder,
        services: RecallServices,
        extractor: Extractor | None,
        splitter: TextSplitter | None = None,
    ) -> None:
        """Assemble a memory from its parts; `Memory.open` and `Memory.in_memory` do it for you."""
        self.services = services
        self.gate = Gate()
        self._folder = folder
        sync = IndexSync(
            registry=services.registry,
            vector=services.vector,
            lexical=services.lexical,
            graph=services.graph,
            embedder=services.embedder,
            clock=services.clock,
            attempts=services.config.journal_attempts,
        )
        self._upkeep = Upkeep(services, folder, sync, EntityResolver(services.registry, services.clock))
        types = services.registry.public_types
        self._reader = ReadKnowledge(services.schema, durable(extractor, services.registry), types)
        patterns = ReadKnowledge(services.schema, PatternExtractor(schema=services.schema), types)
        self._writer = Writer(
            registry=services.registry,
            sync=sync,
            counter=services.counter,
            knowledge=patterns if services.config.extract_later else self._reader,
            config=services.config,
            clock=services.clock,
            splitter=splitter,
        )

    # --- opening and closing -----------------------------------------------------------------------------------------------------------
    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        embedder: Any = None,
        reranker: Any = None,
        extractor: Any = None,
        token_counter: TokenCounter | None = None,
        schema: GraphSchema | None = None,
        cache: CacheTier | bool | None = None,
        vector: VectorTier | None = None,
        lexical: LexicalTier | None = None,
        graph: GraphTier | None = None,
        registry: RegistryTier | None = None,
        config: MemoryConfig | None = None,
        router: Router | None = None,
        splitter: TextSplitter | None = None,
        summarizer: Any = None,
        clock: Callable[[], datetime] | None = None,
    ) -> Memory:
        """Open the memory in a folder, creating it if need be; work that a killed process left unfinished is completed first.

        Args:
            path: The folder.
            embedder: An `Embedder`, a LangChain `Embeddings`, or a model name or path; default MiniLM.
            reranker: A `Reranker`, a LangChain document compressor or cross-encoder, or the name or path of a cross-encoder; default none.
            extractor: Reads entities and relations out of chunks: an `Extractor`, or a LangChain chat model; default patterns without a language model.
            token_counter: Counts tokens; default tiktoken's o200k_base, offline a counter that never undercounts it.
            schema: Node types and predicates of the graph.
            cache: A cache tier, or `False` for none.
            vector: A vector tier instead of Chroma.
            lexical: A lexical tier instead of tantivy.
            graph: A graph tier instead of Kuzu.
            registry: A registry tier instead of SQLite.
            config: Sizes, depths and switches.
            router: Chooses a route for each query instead of `auto`.
            splitter: A LangChain text splitter for the children instead of structure-aware segmentation.
            summarizer: A LangChain chat model that summarises what leaves the history's window; default extractive, without a model.
            clock: Returns now as aware UTC; default the system's.

        Raises:
            MemoryInUseError: If another process, or another memory in this one, has the folder open.
            SchemaVersionError: If a newer release wrote it.
            InvalidRequestError: If it was built with another embedder.
        """
        return cls._assemble(
            MemoryFolder.locked(Path(path)),
            embedder=embedder,
            reranker=reranker,
            extractor=extractor,
            token_counter=token_counter,
            schema=schema,
            cache=cache,
            vector=vector,
            lexical=lexical,
            graph=graph,
            registry=registry,
            config=config,
            router=router,
            splitter=splitter,
            summarizer=summarizer,
            clock=clock,
        )

    @classmethod
    def in_memory(cls, **options: Any) -> Memory:
        """Open a memory that writes nothing to disk and ends with the process; takes the options of `open`."""
        return cls._assemble(MemoryFolder.nowhere(), **options)

    @classmethod
    def _assemble(
        cls,
        folder: MemoryFolder,
        *,
        embedder: Any = None,
        reranker: Any = None,
        extractor: Any = None,
        token_counter: TokenCounter | None = None,
        schema: GraphSchema | None = None,
        cache: CacheTier | bool | None = None,
        vector: VectorTier | None = None,
        lexical: LexicalTier | None = None,
        graph: GraphTier | None = None,
        registry: RegistryTier | None = None,
        config: MemoryConfig | None = None,
        router: Router | None = None,
        splitter: TextSplitter | None = None,
        summarizer: Any = None,
        clock: Callable[[], datetime] | None = None,
    ) -> Memory:
        try:
            settings = config or MemoryConfig()
            model: Embedder = as_embedder(embedder)
            services = RecallServices(
                registry=registry or folder.registry(),
                vector=vector or folder.vector(model),
                lexical=lexical or folder.lexical(),
                graph=graph or folder.graph(),
                cache=folder.cache(settings, clock or _utc_now) if cache is None or cache is True else cache or None,
                embedder=model,
                counter=token_counter or default_token_counter(),
                config=settings,
                clock=clock or _utc_now,
                schema=schema or DEFAULT_SCHEMA,
                reranker=as_reranker(reranker),
                router=router,
                summarizer=RunningSummarizer(summarizer) if summarizer is not None else None,
                workers=ThreadPoolExecutor(max_workers=8, thread_name_prefix="rag2-arm"),
            )
            memory = cls(folder=folder, services=services, extractor=as_extractor(extractor, schema=services.schema), splitter=splitter)
            memory._upkeep.recover()
        except BaseException:
            folder.release()
            raise
        return memory

    def close(self) -> None:
        """Wait for calls in flight, then release every tier and the folder. Idempotent."""
        self.gate.close(self._release)

    def _release(self) -> None:
        services = self.services
        services.workers.shutdown(wait=False, cancel_futures=True)
        for tier in (services.cache, services.graph, services.lexical, services.vector, services.registry):
            if tier is not None:
                tier.close()
        self._folder.release()

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # --- writing -------------------------------------------------------------------------------------------------------------------------
    def ingest(
        self,
        source: Any,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        acl: Any = (),
        prune: bool = True,
        progress: ProgressCallback | None = None,
    ) -> IngestReport:
        """Take documents in; on return they are durable and searchable, or named in the report with the reason.

        Unchanged content is skipped, changed content makes a new version (the old one answers until the new one is indexed), and what disappeared
        from a folder since its last ingest is hidden.

        Args:
            source: A file or folder path, a `Document`, a LangChain `Document` or loader, or an iterable of those.
            namespace: The tenant; none ever sees another.
            acl: Who may see documents that name nobody themselves; empty: everyone in the namespace.
            prune: Whether to hide what vanished from an ingested folder.
            progress: Called after each document with `done` and `source`.

        Raises:
            SourceError: If a path is missing or a value is of no known kind; nothing of it was written.
        """
        entries, scope = acl_of(acl), Scope(namespace=namespace)
        with self.gate.writing():
            try:
                return self._writer.ingest(source, namespace=scope.namespace, acl=entries, prune=prune, progress=progress)
            finally:
                self._upkeep.settle(scope.namespace)

    def remember(self, messages: Sequence[Any], *, thread_id: str, scope: Scope | None = None) -> IngestReport:
        """Keep messages of a conversation verbatim, each as a document of its own that knows its neighbours.

        A message that carries an id is kept once however often it is handed in. Only people and assistants are remembered: system messages, tool
        calls and their results, and contexts compiled by this memory are not. A scope with a user keeps them for that user alone.

        Args:
            messages: LangChain messages, `(role, text)` pairs or mappings with `role` and `content`, oldest first.
            thread_id: Names the conversation.
            scope: Whose conversation it is.
        """
        who = scope or Scope()
        with self.gate.writing():
            start = self.services.registry.thread_length(who.namespace, thread_id)
            turns = turns_of(
                messages,
                thread_id=thread_id,
                scope=who,
                first_ordinal=start,
                now=self.services.clock(),
                known=self._threads_of(who.namespace),
            )
            try:
                return self._writer.ingest(turns, namespace=who.namespace, acl=frozenset(), prune=False, progress=None)
            finally:
                self._upkeep.settle(who.namespace)

    def _threads_of(self, namespace: str) -> Callable[[Sequence[str]], Mapping[str, str | None]]:
        def known(ids: Sequence[str]) -> Mapping[str, str | None]:
            return {state.document_id: state.thread_id for state in self.services.registry.states(namespace=namespace, document_ids=ids)}

        return known

    def forget(self, document_id: str, *, namespace: str | None = None) -> ForgetReceipt:
        """Remove a document from every tier, with all its versions and everything only it knew, and prove it with counts.

        Args:
            document_id: The document.
            namespace: Where; may be left out while only one namespace has a document of that id.

        Raises:
            UnknownDocumentError: If there is no such document.
            InvalidRequestError: If several namespaces have one and none was named.
        """
        with self.gate.writing():
            return self._upkeep.forget(self._state(document_id, namespace))

    def remove(self, document_ids: Sequence[str], *, namespace: str = DEFAULT_NAMESPACE) -> tuple[str, ...]:
        """Delete documents; returns the ids of those that were there.

        They leave every answer at once and the indexes after. Earlier versions go as well, so `as_of` no longer finds them; `forget` also overwrites what
        they left in the files and gives a receipt.
        """
        with self.gate.writing():
            states = [
                state for state in self.services.registry.states(namespace=namespace, document_ids=document_ids) if state.state != "deleted"
            ]
            if states:
                self.services.registry.hide([state.key for state in states], state="deleted", now=self.services.clock(), keep_versions=0)
                self._upkeep.catch_up()
            return tuple(state.document_id for state in states)

    def set_acl(self, document_id: str, acl: Any, *, namespace: str | None = None) -> None:
        """Change who may see a document, at once and in every tier; it outlives re-ingesting the unchanged source."""
        entries = acl_of(acl)
        with self.gate.writing():
            state = self._state(document_id, namespace)
            self.services.registry.set_acl(state.key, entries)
            if self.services.registry.recheck_aliases(state.key):
                self._upkeep.regroup(state.namespace)
            self._upkeep.catch_up()

    def archive(self, document_id: str, *, namespace: str | None = None) -> None:
        """Take a document out of search and of the indexes; the registry keeps it whole, and `restore` brings it back."""
        with self.gate.writing():
            state = self._state(document_id, namespace)
            if state.state != "live":
                raise InvalidRequestError(f"got {document_id!r}, which is {state.state}; only a live document can be archived.")
            keep = self.services.config.keep_versions
            self.services.registry.hide([state.key], state="archived", now=self.services.clock(), keep_versions=keep)
            self._upkeep.catch_up()

    def restore(self, document_id: str, *, namespace: str | None = None) -> None:
        """Bring an archived document back whole, nothing embedded anew."""
        with self.gate.writing():
            state = self._state(document_id, namespace)
            if state.state != "archived":
                raise InvalidRequestError(f"got {document_id!r}, which is {state.state}; only an archived document can be restored.")
            self.services.registry.unarchive(state.key)
            self._upkeep.catch_up()

    def _state(self, document_id: str, namespace: str | None) -> DocumentState:
        if not isinstance(document_id, str) or not document_id:
            raise InvalidRequestError(f"got document_id={document_id!r}; needed the id of a document.")
        found = list(self.services.registry.states(namespace=namespace, document_ids=[document_id]))
        if not found:
            raise UnknownDocumentError(document_id=document_id, detail="" if namespace is None else f" under the namespace {namespace!r}")
        if len(found) > 1:
            raise InvalidRequestError(f"got {document_id!r}, which several namespaces hold; name one: namespace=…")
        return found[0]

    def decide_merge(self, merge_id: int, decision: Literal["merge", "rejected", "undone"], *, scope: Scope | None = None) -> None:
        """Settle a pair of entities that waits in `merge_reviews`, or undo a decision; facts, indexes and cached contexts follow at once.

        A merge holds for the whole namespace. Nothing is rewritten: undoing it restores exactly what was.

        Args:
            merge_id: The pair, as in `MergeReview.merge_id`.
            decision: `merge`: they are one; `rejected`: they are two and are never proposed again; `undone`: take an earlier merge back.
            scope: Decide only on what this scope sees waiting; without it any logged decision may be changed, as an administrator does.

        Raises:
            InvalidRequestError: If there is no such pair, or the scope does not see it waiting.
        """
        with self.gate.writing():
            if scope is not None and merge_id not in {review.merge_id for review in self.merge_reviews(scope=scope)}:
                raise InvalidRequestError(
                    f"got merge_id={merge_id!r}, which does not wait for a decision; `merge_reviews` lists what does."
                )
            record = self.services.registry.decide_merge(merge_id, decision, now=self.services.clock())
            self._upkeep.resolver.forget(record.namespace)
            self._upkeep.catch_up()

    # --- reading -------------------------------------------------------------------------------------------------------------------------
    def search(self, query: str, *, k: int = 5, scope: Scope | None = None, as_of: AsOfLike = None, route: str = "auto") -> list[Passage]:
        """Return up to k passages, best first, at most one per parent chunk.

        Args:
            query: The question.
            k: Passages wanted, at least 1.
            scope: Who asks; default: anonymous in the default namespace.
            as_of: Answer as of then: a plain moment, or `AsOf` for either time axis.
            route: `auto`, or `hybrid`, `dense`, `lexical`, `graph` to force arms.

        Raises:
            InvalidRequestError: If an argument is unusable.
            ClosedMemoryError: If the memory is closed.
        """
        with self.gate.reading():
            request = {"query": query, "k": k, "scope": scope, "as_of": AsOf.of(as_of), "route": route}
            passages: list[Passage] = self._undisturbed(lambda: search_directly(request, self.services), scope)["passages"]
            return passages[:k]

    def recall(
        self,
        query: str,
        *,
        budget: ContextBudget | int | None = None,
        scope: Scope | None = None,
        as_of: AsOfLike = None,
        history: Sequence[Any] = (),
        guidelines: str = "",
        route: str = "auto",
        format: Format = "xml",
        max_stale_seconds: float = 0.0,
    ) -> Context:
        """Return a context for a model: cited, permission-checked, within its token budget.

        Args:
            query: The question.
            budget: A `ContextBudget`, or the window in tokens; default 128,000.
            scope: Who asks.
            as_of: Answer as of then.
            history: Earlier messages of the conversation, oldest first.
            guidelines: Instructions that go into the context.
            route: As for `search`.
            format: How it is rendered and counted: `xml`, `markdown` or `json`.
            max_stale_seconds: Age up to which a cached context will do although something was written since; it may lack what came in, and never
                holds what was withdrawn. Default 0: it equals what would be computed now.

        Raises:
            BudgetTooSmallError: If the fixed parts alone exceed the budget.
            InvalidRequestError: If an argument is unusable.
        """
        with self.gate.reading():
            request = {
                "query": query,
                "budget": budget,
                "scope": scope,
                "as_of": AsOf.of(as_of),
                "history": history,
                "guidelines": guidelines,
                "route": route,
                "format": format,
                "max_stale_seconds": max_stale_seconds,
            }
            asked, known, since = request_of(cast("RecallState", request)), list[RecallContext](), None
            if self.services.cache is not None:  # asked here, for a hit takes less time than LangGraph does
                found, record = looked_up(asked, self.services)
                if found is not None and found.entry is not None:
                    context: Context = cache_access.context_of(found.entry, asked)
                    return replace(context, trace={**context.trace, "stages": [record]})
                known.append(RecallContext(looked_up=LookedUp(found, record)))
                since = found.generation if found is not None else None
            state = self._undisturbed(lambda: self.graph.invoke(request, context=known.pop() if known else None), scope, since=since)
            context = state["context"]
            return replace(context, trace={**context.trace, "stages": state["trace"]})

    def _undisturbed(self, read: Callable[[], Mapping[str, Any]], scope: Scope | None, *, since: int | None = None) -> Mapping[str, Any]:
        """Read, again while a version was published meanwhile: indexes and registry were then asked on different sides of it.

        `since` is the generation where it was read already.
        """
        namespace = scope.namespace if isinstance(scope, Scope) else DEFAULT_NAMESPACE
        generation = self.services.registry.generation(namespace) if since is None else since
        for _ in range(READ_ATTEMPTS):
            before, state = generation, read()
            generation = self.services.registry.generation(namespace)
            if generation == before:
                break
        return state

    def facts(self, entity: str, *, predicate: str | None = None, as_of: AsOfLike = None, scope: Scope | None = None) -> list[Fact]:
        """Return what the graph states about an entity, on either side of an edge, with validity windows and evidence.

        Args:
            entity: A name; spelling, case and known aliases do not matter. An unknown name has no facts.
            predicate: Only facts of this predicate, by its name, one of its aliases, or words that ask for it; an open fact by its phrase (`kept for`).
            as_of: A plain moment asks what was true then; `AsOf(recorded=…)` what was known then. Default: the whole history.
            scope: Who asks; facts whose evidence the scope cannot see do not exist for it.
        """
        if not isinstance(entity, str) or not entity.strip():
            raise InvalidRequestError(f"got entity={entity!r}; needed a name.")
        who, when, services = scope or Scope(), AsOf.of(as_of), self.services
        with self.gate.reading():
            found = entities_named(services.registry, entity, who, when)
            facts = facts_about(services.registry, services.schema, found[:1], scope=who, as_of=when) if found else []
        return facts if predicate is None else of_predicate(facts, predicate, services.schema)

    def merge_reviews(self, *, scope: Scope | None = None) -> list[MergeReview]:
        """Return pairs of entities that are likely one and wait for a person's decision, surest first; settle them with `decide_merge`.

        Args:
            scope: Who asks; a pair of which it does not know both sides does not exist for it.
        """
        with self.gate.reading():
            return merge_reviews(self.services.registry, self.services.schema, scope or Scope())

    def document(self, document_id: str, *, scope: Scope | None = None, as_of: AsOfLike = None) -> str:
        """Return a document's whole text as the scope sees it.

        Raises:
            UnknownDocumentError: If there is none that the scope may see.
        """
        with self.gate.reading():
            text = self.services.registry.document_text(document_id, scope or Scope(), AsOf.of(as_of))
        if text is None:
            raise UnknownDocumentError(document_id=document_id)
        return text

    def documents(self, *, namespace: str | None = None) -> Iterator[DocumentState]:
        """Yield what the registry knows of its documents, hidden ones included: an administrator's view, without scope."""
        with self.gate.reading():
            yield from self.services.registry.states(namespace=namespace)

    @cached_property
    def graph(self) -> Any:
        """The compiled recall graph, usable alone, streamed, or as a subgraph."""
        return build_recall_graph(self.services).compile(name="rag2_recall").with_config(tags=[RUN_TAG])

    # --- upkeep ----------------------------------------------------------------------------------------------------------------------------
    def verify(self) -> VerifyReport:
        """Compare every index with the registry, by id and content. Reads only."""
        with self.gate.writing():
            return self._upkeep.verify()

    def repair(self) -> VerifyReport:
        """Retry what is pending and mend what differs from the registry; returns the state afterwards."""
        with self.gate.writing():
            return self._upkeep.repair()

    def rebuild(self, tier: TierName) -> None:
        """Empty an index and fill it from the registry; embeddings come from the cache, nothing is embedded twice.

        Raises:
            InvalidRequestError: If there is no such tier.
        """
        with self.gate.writing():
            self._upkeep.rebuild(tier)

    def consolidate(
        self,
        *,
        namespace: str | None = None,
        dry_run: bool = False,
        half_life_days: float | None = None,
        archive_below: float = ARCHIVE_BELOW,
        archive: bool = False,
        progress: StepCallback | None = None,
    ) -> ConsolidationReport:
        """Do what is best done at night: read what waits for the extractor, resolve names, group documents, propose what to archive.

        Safe to kill at any time and to run again: each step finds its work in the registry. Other writers get their turn between steps. What
        waits for the extractor are chunks that none has read and, for one other than the patterns, those that it has not read itself.

        Args:
            namespace: Only this one; default all.
            dry_run: Change nothing and report what would be done (names in chunks still to be read are not known yet).
            half_life_days: Age at which a document's weight is one half; default the configuration's, and without one nothing is proposed.
            archive_below: Weight below which a document is proposed for the archive.
            archive: Archive what is proposed, except what alone states a fact that has not ended. Nothing is ever deleted.
            progress: Called after each step with `step` and what it wrote.

        Raises:
            InvalidRequestError: If a number is out of its range; nothing was done.
        """
        services = self.services
        with self.gate.reading():
            namespaces = [namespace] if namespace is not None else services.registry.namespaces()
        dear = isinstance(self._reader.extractor, CachingExtractor)
        return consolidate(
            ConsolidationServices(
                registry=services.registry,
                reader=self._reader,
                rereads=not isinstance(self._reader.extractor, PatternExtractor),
                batch_chunks=DEAR_BATCH_CHUNKS if dear else services.config.ingest_batch_chunks,
                resolver=self._upkeep.resolver,
                communities=CommunityBuilder(
                    services.registry,
                    services.embedder.name,
                    services.clock,
                    model=services.summarizer.model if services.summarizer is not None else None,
                ),
                clock=services.clock,
                turn=self.gate.writing,
                look=self.gate.reading,
                settle=self._upkeep.follow,
                archive=lambda document_id, where: self.archive(document_id, namespace=where),
            ),
            namespaces=namespaces,
            dry_run=dry_run,
            half_life_days=half_life_days if half_life_days is not None else services.config.half_life_days,
            archive_below=archive_below,
            archive=archive,
            progress=progress,
        )

    def communities(self, *, scope: Scope | None = None) -> list[Community]:
        """Return groups of related documents with a summary of each that cites them, the largest first; `consolidate` forms them.

        Args:
            scope: Who asks; a community of which it does not see every member, as it was when summarised, does not exist for it.
        """
        with self.gate.reading():
            return visible_communities(self.services.registry, scope or Scope())

    def status(self) -> Mapping[str, Any]:
        """Return counts, backlog and engines as JSON values: an administrator's view."""
        with self.gate.reading():
            services = self.services
            return {
                "path": str(self._folder.path) if self._folder.path else None,
                "counts": services.registry.counts(),
                "pending": services.registry.backlog(),
                "namespaces": services.registry.namespaces(),
                "embedder": services.embedder.name,
                "token_counter": services.counter.name,
                "tiers": {
                    "registry": type(services.registry).__name__,
                    "vector": type(services.vector).__name__,
                    "lexical": type(services.lexical).__name__,
                    "graph": f"{type(services.graph).__name__} ({services.graph.engine})",
                    "cache": type(services.cache).__name__ if services.cache is not None else None,
                },
            }

    # --- async twins -----------------------------------------------------------------------------------------------------------------------
    async def aingest(self, source: Any, **options: Any) -> IngestReport:
        """`ingest` off the event loop."""
        return await asyncio.to_thread(self.ingest, source, **options)

    async def aremember(self, messages: Sequence[Any], *, thread_id: str, scope: Scope | None = None) -> IngestReport:
        """`remember` off the event loop."""
        return await asyncio.to_thread(self.remember, messages, thread_id=thread_id, scope=scope)

    async def asearch(self, query: str, **options: Any) -> list[Passage]:
        """`search` off the event loop."""
        return await asyncio.to_thread(self.search, query, **options)

    async def arecall(self, query: str, **options: Any) -> Context:
        """`recall` off the event loop."""
        return await asyncio.to_thread(self.recall, query, **options)

    async def afacts(self, entity: str, **options: Any) -> list[Fact]:
        """`facts` off the event loop."""
        return await asyncio.to_thread(self.facts, entity, **options)

    async def aconsolidate(self, **options: Any) -> ConsolidationReport:
        """`consolidate` off the event loop."""
        return await asyncio.to_thread(self.consolidate, **options)

    async def aforget(self, document_id: str, *, namespace: str | None = None) -> ForgetReceipt:
        """`forget` off the event loop."""
        return await asyncio.to_thread(self.forget, document_id, namespace=namespace)


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)
