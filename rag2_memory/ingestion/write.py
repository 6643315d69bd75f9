"""The write path: documents in, durable and searchable versions out, batch by batch so that memory stays bounded."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlparse

from rag2_memory.config import MemoryConfig
from rag2_memory.errors import InvalidRequestError
from rag2_memory.ingestion.load import load
from rag2_memory.ingestion.segment import ParentDraft, segment
from rag2_memory.ingestion.sync import IndexSync, embed_hash
from rag2_memory.protocols import ProgressCallback, TextSplitter, TokenCounter
from rag2_memory.records import DocumentState, DocumentWrite, Knowledge
from rag2_memory.tiers.base import RegistryTier
from rag2_memory.types import Chunk, Document, IngestReport, Parent, SkippedSource

WINDOW_DOCUMENTS = 64
"""Documents whose states are looked up at once: one by one, that would be a tenth of an ingest of short ones."""


class KnowledgeReader(Protocol):
    """Reads entities and edges out of the chunks of one namespace."""

    def __call__(self, chunks: Sequence[Chunk], *, namespace: str, recorded_at: datetime) -> Knowledge:
        """Return what the chunks state."""
        ...

    def prepare(self, chunks: Sequence[Chunk]) -> None:
        """Take notice of all chunks of a batch, before they are read document by document."""
        ...


@dataclass(slots=True)
class _Tally:
    """What one ingest did so far."""

    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    skipped: list[SkippedSource] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    chunks: int = 0
    embedded: int = 0
    seen: set[str] = field(default_factory=set)
    """Keys of the documents met, and URIs of what was skipped: neither is pruned."""


@dataclass(slots=True)
class Writer:
    """Writes documents into a memory. One thread at a time calls it."""

    registry: RegistryTier
    sync: IndexSync
    counter: TokenCounter
    knowledge: KnowledgeReader
    config: MemoryConfig
    clock: Callable[[], datetime]
    splitter: TextSplitter | None = None

    def ingest(self, source: Any, *, namespace: str, acl: frozenset[str], prune: bool, progress: ProgressCallback | None) -> IngestReport:
        """Write everything a source yields; a folder's vanished documents are hidden at the end.

        Raises:
            SourceError: If the source is missing or of a kind that cannot be read; nothing was written then.
        """
        started = time.perf_counter()
        tally = _Tally()
        embedded_before = self.sync.embedded
        for root, items in _sources(source, acl=acl, config=self.config):
            for batch in self._batches(items, root=root, namespace=namespace, tally=tally):
                self._write(batch, tally, progress)
            if root is not None and prune:
                self._prune(root, namespace, tally)
        return IngestReport(
            added=tuple(tally.added),
            updated=tuple(tally.updated),
            unchanged=tuple(tally.unchanged),
            removed=tuple(tally.removed),
            skipped=tuple(tally.skipped),
            pending=tuple(tally.pending),
            chunks=tally.chunks,
            embedded=tally.embedded + self.sync.embedded - embedded_before,
            seconds=time.perf_counter() - started,
        )

    def _batches(
        self, items: Iterable[Document | SkippedSource], *, root: str | None, namespace: str, tally: _Tally
    ) -> Iterator[list[tuple[DocumentWrite, bool]]]:
        """Segment new and changed documents and yield them in batches of about `ingest_batch_chunks`; the flag says whether one is new."""
        batch: list[tuple[DocumentWrite, bool]] = []
        keys: set[str] = set()
        chunks = 0
        for window in _windows(items, tally):
            if not keys.isdisjoint(document_key(namespace, item.id) for item in window):
                yield batch  # its documents' states are read below
                batch, keys, chunks = [], set(), 0
            states = self._states(window, namespace)
            for item in window:
                document, state = self._identify(item, states.get(item.id), root, namespace)
                key = document_key(namespace, document.id)
                if key in keys:
                    yield batch
                    batch, keys, chunks = [], set(), 0
                    document, state = self._identify(item, self._states([item], namespace).get(item.id), root, namespace)
                tally.seen.add(key)
                if state is not None and self._is_unchanged(document, state, root):
                    tally.unchanged.append(document.id)
                    continue
                write = self._segmented(document, key, namespace, root)
                batch.append((write, state is None or state.state == "deleted"))
                keys.add(key)
                chunks += len(write.chunks)
                if chunks >= self.config.ingest_batch_chunks:
                    yield batch
                    batch, keys, chunks = [], set(), 0
        if batch:
            yield batch

    def _states(self, documents: Sequence[Document], namespace: str) -> dict[str, DocumentState]:
        found = self.registry.states(namespace=namespace, document_ids=[document.id for document in documents])
        return {state.document_id: state for state in found}

    def _identify(
        self, document: Document, state: DocumentState | None, root: str | None, namespace: str
    ) -> tuple[Document, DocumentState | None]:
        """Return a document with its state; a file whose id belongs to another existing file gets the folder's name in front of its id."""
        if state is None or not _is_another_file(document, state):
            return document, state
        for name in _candidate_ids(document, root):
            renamed = replace(document, id=name)
            state = self._states([renamed], namespace).get(name)
            if state is None or not _is_another_file(document, state):
                return renamed, state
        raise InvalidRequestError(
            f"got two different files for the document id {document.id!r}; ingest one of them under another namespace."
        )

    def _is_unchanged(self, document: Document, state: DocumentState, root: str | None) -> bool:
        if state.state != "live" or state.content_hash != content_hash(document):
            return False
        if state.source_acl != document.acl:
            self.registry.set_acl(state.key, document.acl, from_source=True)
        if (state.uri, state.root, state.modified_at) != (document.uri, root, document.modified_at) and document.modified_at is not None:
            self.registry.relocate(state.key, uri=document.uri, root=root, modified_at=document.modified_at)
        return True

    def _segmented(self, document: Document, key: str, namespace: str, root: str | None) -> DocumentWrite:
        drafts = segment(
            document,
            count=self.counter.count,
            parent_tokens=self.config.parent_tokens,
            child_tokens=self.config.child_tokens,
            splitter=self.splitter,
        )
        parents, chunks = identify_chunks(document, drafts, key=key, namespace=namespace, count=self.counter.count)
        return DocumentWrite(
            key=key,
            document=document,
            namespace=namespace,
            content_hash=content_hash(document),
            root=root,
            parents=tuple(parents),
            chunks=tuple(chunks),
            embed_hashes=tuple(embed_hash(chunk.index_text) for chunk in chunks),
        )

    def _write(self, batch: list[tuple[DocumentWrite, bool]], tally: _Tally, progress: ProgressCallback | None) -> None:
        """Embed, read knowledge, record, index and publish one batch."""
        if not batch:
            return
        now = self.clock()
        vectors = self._embedded([write for write, _ in batch], tally)
        self.knowledge.prepare([chunk for write, _ in batch for chunk in write.chunks])
        writes = []
        for write, _ in batch:
            knowledge = self.knowledge(write.chunks, namespace=write.namespace, recorded_at=now)
            writes.append(replace(write, knowledge=knowledge))
        self.registry.write(writes, vectors=vectors, embedder=self.sync.embedder.name, now=now)
        self.sync.drain()
        published = set(self.registry.publish(now=self.clock(), keep_versions=self.config.keep_versions))
        for write, is_new in batch:
            done = write.key in published
            (tally.pending if not done else tally.added if is_new else tally.updated).append(write.document.id)
            tally.chunks += len(write.chunks)
            if progress is not None:
                progress(done=len(tally.added) + len(tally.updated) + len(tally.unchanged), source=write.document.id)

    def _embedded(self, writes: Sequence[DocumentWrite], tally: _Tally) -> dict[str, Any]:
        texts = {key: chunk.index_text for write in writes for key, chunk in zip(write.embed_hashes, write.chunks, strict=True)}
        cached = self.registry.cached_vectors(list(texts), self.sync.embedder.name)
        missing = [key for key in texts if key not in cached]
        if not missing:
            return {}
        tally.embedded += len(missing)
        return dict(zip(missing, self.sync.embedder.embed([texts[key] for key in missing]), strict=True))

    def _prune(self, root: str, namespace: str, tally: _Tally) -> None:
        """Hide what an earlier ingest of the folder brought and this one did not meet."""
        gone = [
            state
            for state in self.registry.states(namespace=namespace, root=root)
            if state.state == "live" and state.key not in tally.seen and not _was_skipped(state, tally)
        ]
        if gone:
            keys = [state.key for state in gone]
            self.registry.hide(keys, state="deleted", now=self.clock(), keep_versions=self.config.keep_versions)
            self.sync.drain()
            tally.removed.extend(state.document_id for state in gone)


def _sources(source: Any, *, acl: frozenset[str], config: MemoryConfig) -> Iterator[tuple[str | None, Iterable[Document | SkippedSource]]]:
    """Yield `(root, items)`: one pair per folder, files and values with no root."""
    if isinstance(source, (list, tuple, set, frozenset)):
        if all(not isinstance(part, (str, Path)) for part in source):
            yield None, load(source, acl=acl, max_file_bytes=config.max_file_bytes)
            return
        for part in source:
            yield from _sources(part, acl=acl, config=config)
        return
    is_folder = isinstance(source, (str, Path)) and Path(source).expanduser().is_dir()
    root = str(Path(source).expanduser().resolve()) if is_folder else None
    yield root, load(source, acl=acl, max_file_bytes=config.max_file_bytes)


def _windows(items: Iterable[Document | SkippedSource], tally: _Tally) -> Iterator[list[Document]]:
    """Yield documents, no id twice in a window, and note what was skipped."""
    window: dict[str, Document] = {}
    for item in items:
        if isinstance(item, SkippedSource):
            tally.skipped.append(item)
            tally.seen.add(item.source)
            continue
        if item.id in window or len(window) == WINDOW_DOCUMENTS:
            yield list(window.values())
            window = {}
        window[item.id] = item
    if window:
        yield list(window.values())


def document_key(namespace: str, document_id: str) -> str:
    """Return the registry key of a document: 16 hex digits of a hash of namespace and id."""
    return hashlib.blake2b(f"{namespace}\x00{document_id}".encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def content_hash(document: Document) -> str:
    """Return a hash of all that makes a version: text, title, metadata and turn; a mere new file date is no new version."""
    turn = document.turn
    spoken = None if turn is None else [turn.thread_id, turn.ordinal, turn.speaker, turn.at and turn.at.isoformat()]
    parts = [document.title, document.media_type, dict(document.metadata), spoken, document.text]
    return hashlib.blake2b(json.dumps(parts, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()


def identify_chunks(
    document: Document, drafts: Sequence[ParentDraft], *, key: str, namespace: str, count: Callable[[str], int]
) -> tuple[list[Parent], list[Chunk]]:
    """Give parents and children ids that follow their content, so that an edit elsewhere in the document leaves them alone."""
    parents: list[Parent] = []
    chunks: list[Chunk] = []
    taken: dict[str, int] = {}
    for draft in drafts:
        parent_id = _content_id(key, "p", ("", draft.heading_path, draft.text), taken)
        parents.append(
            Parent(
                id=parent_id,
                document_key=key,
                heading_path=draft.heading_path,
                text=draft.text,
                tokens=count(draft.text),
                start=draft.start,
                end=draft.end,
            )
        )
        for child in draft.children:
            chunks.append(
                Chunk(
                    id=_content_id(key, "c", (document.title, child.heading_path, child.text), taken),
                    document_key=key,
                    document_id=document.id,
                    namespace=namespace,
                    parent_id=parent_id,
                    title=document.title,
                    heading_path=child.heading_path,
                    text=child.text,
                    tokens=child.tokens,
                    ordinal=len(chunks),
                    start=child.start,
                    end=child.end,
                    modified_at=document.modified_at,
                    metadata=document.metadata,
                    uri=document.uri,
                    turn=document.turn,
                )
            )
    return parents, chunks


def _content_id(key: str, kind: str, content: tuple[str, tuple[str, ...], str], taken: dict[str, int]) -> str:
    digest = hashlib.blake2b(json.dumps(content).encode(), digest_size=10).hexdigest()
    name = f"{key}-{kind}{digest}"
    repeat = taken[name] = taken.get(name, 0) + 1
    return name if repeat == 1 else f"{name}-{repeat}"


def _candidate_ids(document: Document, root: str | None) -> Iterator[str]:
    """Yield names with more and more of the folder in front."""
    if document.uri is None:
        return
    folder = Path(root) if root is not None else Path(_path_of(document.uri)).parent
    name = document.id
    for part in reversed(folder.parts[1:]):
        name = f"{part}/{name}"
        yield name


def _is_another_file(document: Document, state: DocumentState) -> bool:
    """Whether a document's id is held by a file other than its own that still exists (a moved folder keeps its ids)."""
    if document.uri is None or state.uri is None or document.uri == state.uri or state.state == "deleted":
        return False
    return urlparse(state.uri).scheme == "file" and Path(_path_of(state.uri)).exists()


def _path_of(uri: str) -> str:
    return unquote(urlparse(uri).path)


def _was_skipped(state: DocumentState, tally: _Tally) -> bool:
    return state.uri is not None and (_path_of(state.uri) in tally.seen or state.uri in tally.seen)
