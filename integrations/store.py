"""LangGraph's long-term store on a memory: items are documents, so they are durable, permission-checked and searched like everything else."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import Any

from langgraph.store.base import (
    BaseStore,
    GetOp,
    IndexConfig,
    InvalidNamespaceError,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    TTLConfig,
)

from rag2_memory.errors import ClosedMemoryError, InvalidRequestError, Rag2MemoryError
from rag2_memory.integrations.filters import check_filter, matches_all
from rag2_memory.integrations.store_vectors import ItemVectors
from rag2_memory.memory import Memory
from rag2_memory.types import Document, Scope, utc

logger = logging.getLogger(__name__)

STORE_NAMESPACE = "langgraph-store"
"""The memory's namespace that items live in: no search of another namespace ever meets them."""

NOTHING_INDEXED = "\u2060"
"""Text of an item that is not to be found by meaning: a word joiner, since a document needs some text."""

Path = tuple[str, ...]


class MemoryStore(BaseStore):
    """A `BaseStore` on a `Memory`: drop-in for `InMemoryStore`, `SqliteStore` and `PostgresStore`.

    `search(…, query=…)` ranks by meaning; an item's score is that of its best indexed text. Values are JSON. Any number of threads may use it.
    """

    supports_ttl = True

    def __init__(
        self,
        memory: Memory,
        *,
        index: IndexConfig | None = None,
        ttl: TTLConfig | None = None,
        namespace: str = STORE_NAMESPACE,
        scope: Scope | None = None,
    ) -> None:
        """Open a store.

        Args:
            memory: Where items are kept; it stays the caller's to close.
            index: What is found by meaning, as LangGraph's stores take it: `fields` (default: the whole value), `embed` (default: the memory's embedder; with one of its own
                items are found through this store alone), `distance_type` (`cosine`, `l2` or `inner_product`).
            ttl: Defaults for the time to live, in minutes.
            namespace: The memory's namespace for this store; two stores with different ones share nothing.
            scope: Whose store it is; a scope with a user or groups keeps its items for them alone.
        """
        self._memory = memory
        self.index_config = index
        self.ttl_config = ttl
        self._vectors = ItemVectors(index, memory.services.embedder)
        self.embeddings = self._vectors.embeddings
        given = scope or Scope()
        self._scope = Scope(namespace=namespace, user=given.user, groups=given.groups)
        self._acl = frozenset({f"user:{given.user}"} if given.user else {f"group:{group}" for group in given.groups})
        self._sweeper: threading.Thread | None = None
        self._stop_sweeping = threading.Event()

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Run operations; reads see the state before the batch's writes, of several writes to one item the last counts.

        Raises:
            InvalidNamespaceError: If a label of a namespace is no text.
            InvalidRequestError: If an operation is unusable; nothing was written.
            ClosedMemoryError: If the memory is closed.
        """
        results: list[Result] = []
        puts: dict[tuple[Path, str], PutOp] = {}
        read: dict[str, str] = {}
        with self._memory.gate.reading():
            for op in ops:
                if isinstance(op, PutOp):
                    puts[_labels(op.namespace), op.key] = op
                    results.append(None)
                elif isinstance(op, GetOp):
                    results.append(self._get(op, read))
                elif isinstance(op, SearchOp):
                    results.append(self._search(op, read))
                elif isinstance(op, ListNamespacesOp):
                    results.append(self._namespaces(op))
                else:
                    raise InvalidRequestError(f"got the operation {op!r}; needed GetOp, PutOp, SearchOp or ListNamespacesOp.")
        self._refresh(read)
        self._put(list(puts.values()))
        return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """`batch` off the event loop."""
        return await asyncio.to_thread(self.batch, list(ops))

    def sweep_ttl(self) -> int:
        """Remove expired items; returns how many there were. They are not served in the meantime."""
        now = self._memory.services.clock()
        with self._memory.gate.writing():  # nothing is put anew between the look and the removal
            expired = [name for name, record in self._records().items() if _expired(record, now)]
            return len(self._memory.remove(expired, namespace=self._scope.namespace))

    def start_ttl_sweeper(self, sweep_interval_minutes: float | None = None) -> Future[None]:
        """Remove expired items again and again on a thread of its own, where the store has a `ttl` configuration.

        Args:
            sweep_interval_minutes: Default: what the configuration says, else 5.

        Returns:
            A future that is done once the sweeper has stopped; cancelling it stops the sweeper.
        """
        done: Future[None] = Future()
        done.add_done_callback(lambda future: self._stop_sweeping.set() if future.cancelled() else None)
        if self.ttl_config is None:
            done.set_result(None)
        elif self._sweeper is None or not self._sweeper.is_alive():
            minutes = sweep_interval_minutes or self.ttl_config.get("sweep_interval_minutes") or 5
            self._stop_sweeping.clear()
            self._sweeper = threading.Thread(target=self._sweep, args=(minutes * 60, done), name="rag2-ttl", daemon=True)
            self._sweeper.start()
        return done

    def stop_ttl_sweeper(self, timeout: float | None = None) -> bool:
        """Stop the sweeper; returns whether it has stopped within `timeout` seconds."""
        self._stop_sweeping.set()
        if self._sweeper is not None:
            self._sweeper.join(timeout)
        return self._sweeper is None or not self._sweeper.is_alive()

    def _sweep(self, seconds: float, done: Future[None]) -> None:
        while not self._stop_sweeping.wait(seconds):
            try:
                self.sweep_ttl()
            except ClosedMemoryError:
                break
            except Rag2MemoryError as exc:  # an engine's trouble; expired items stay hidden, and the next round tries again
                logger.warning("expired items could not be removed: %s", exc)
        if not done.cancelled():
            done.set_result(None)

    def _get(self, op: GetOp, read: dict[str, str]) -> Item | None:
        name = _document_id(op.namespace, op.key)
        record = self._records(document_ids=[name]).get(name)
        if record is None or _expired(record, self._memory.services.clock()):
            return None
        if op.refresh_ttl and record.get("ttl_minutes") is not None:
            read[name] = record["updated_at"]
        return Item(**_fields_of(record))

    def _search(self, op: SearchOp, read: dict[str, str]) -> list[SearchItem]:
        _check_page(op.limit, op.offset)
        check_filter(op.filter)
        now = self._memory.services.clock()
        records = {
            name: record
            for name, record in self._records(prefix=_prefix(op.namespace_prefix)).items()
            if not _expired(record, now) and matches_all(record["value"], op.filter)
        }
        scores = self._vectors.scores(op.query, {name: record["vectors"] for name, record in records.items()}) if op.query else {}
        latest = sorted(records, key=lambda name: records[name]["updated_at"], reverse=True)
        ranked = [*sorted(scores, key=lambda name: -scores[name]), *(name for name in latest if name not in scores)]
        chosen = ranked[op.offset : op.offset + op.limit]
        if op.refresh_ttl:
            read.update({name: records[name]["updated_at"] for name in chosen if records[name].get("ttl_minutes") is not None})
        return [SearchItem(**_fields_of(records[name]), score=scores.get(name)) for name in chosen]

    def _namespaces(self, op: ListNamespacesOp) -> list[Path]:
        _check_page(op.limit, op.offset)
        now = self._memory.services.clock()
        found = {tuple(record["namespace"]) for record in self._records(prefix="[").values() if not _expired(record, now)}
        kept = {path for path in found if all(_fits(condition, path) for condition in op.match_conditions or ())}
        cut = sorted({path[: op.max_depth] for path in kept} if op.max_depth is not None else kept)
        return cut[op.offset : op.offset + op.limit]

    def _put(self, ops: Sequence[PutOp]) -> None:
        kept = [op for op in ops if op.value is not None]
        values = [self._value(op) for op in kept]
        names = [_document_id(op.namespace, op.key) for op in kept]
        texts = [self._vectors.texts(op) for op in kept]
        vectors = iter(self._vectors.embed([text for of_item in texts for text in of_item]))
        gone = [_document_id(op.namespace, op.key) for op in ops if op.value is None]
        if not ops:
            return
        with self._memory.gate.writing():
            if gone:
                self._memory.remove(gone, namespace=self._scope.namespace)
            if not kept:
                return
            before = self._records(document_ids=names)
            documents = [
                self._document(op, name, value, of_item, [next(vectors) for _ in of_item], before.get(name))
                for op, name, value, of_item in zip(kept, names, values, texts, strict=True)
            ]
            self._memory.ingest(documents, namespace=self._scope.namespace)

    def _value(self, op: PutOp) -> dict[str, Any]:
        """Return an item's value once it is known to fit."""
        if not isinstance(op.key, str) or not op.key:
            raise InvalidRequestError(f"got key={op.key!r}; needed a non-empty string.")
        if not isinstance(op.value, Mapping):
            raise InvalidRequestError(f"got a value of type {type(op.value).__name__} for {op.key!r}; needed a mapping.")
        try:
            size = len(json.dumps(dict(op.value)))
        except (TypeError, ValueError, RecursionError) as exc:
            raise InvalidRequestError(
                f"got a value for {op.key!r} that is not JSON ({exc}); needed strings, numbers, lists and mappings."
            ) from exc
        most = self._memory.services.config.max_file_bytes
        if size > most:
            raise InvalidRequestError(f"got a value of {size:,} bytes for {op.key!r}; needed at most max_file_bytes={most:,}.")
        return dict(op.value)

    def _document(
        self, op: PutOp, name: str, value: dict[str, Any], texts: Sequence[str], vectors: Sequence[str], before: Mapping[str, Any] | None
    ) -> Document:
        now = self._memory.services.clock()
        kept = before if before is not None and not _expired(before, now) else None
        record = {
            "namespace": list(op.namespace),
            "key": op.key,
            "value": value,
            "vectors": list(vectors),
            "created_at": kept["created_at"] if kept else now.isoformat(),
            "updated_at": now.isoformat(),
            "ttl_minutes": op.ttl,
            "expires_at": (now + timedelta(minutes=op.ttl)).isoformat() if op.ttl is not None else None,
        }
        text = "\n\n".join(texts) if texts and self._vectors.own else NOTHING_INDEXED
        return Document(id=name, text=text, acl=self._acl, metadata=record, media_type="text/plain")

    def _records(self, *, document_ids: Sequence[str] | None = None, prefix: str | None = None) -> dict[str, Any]:
        return dict(self._memory.services.registry.metadata(self._scope, document_ids=document_ids, prefix=prefix))

    def _refresh(self, read: Mapping[str, str]) -> None:
        """Let the time to live of items start again.

        Args:
            read: When each was put; one that was put anew since keeps what that put said.
        """
        if not read:
            return
        registry = self._memory.services.registry
        with self._memory.gate.writing():
            now = self._memory.services.clock()
            records = self._records(document_ids=list(read))
            for state in registry.states(namespace=self._scope.namespace, document_ids=list(records)):
                record = records[state.document_id]
                if state.pending_version is None and record["updated_at"] == read[state.document_id]:
                    expires = now + timedelta(minutes=record["ttl_minutes"])
                    registry.annotate(state.key, {**record, "expires_at": expires.isoformat()})


def _labels(namespace: Iterable[str]) -> Path:
    """Return a namespace as a tuple of texts.

    Raises:
        InvalidNamespaceError: If it is something else.
    """
    labels = tuple(namespace)
    if isinstance(namespace, str) or not all(isinstance(label, str) for label in labels):
        raise InvalidNamespaceError(f"got the namespace {namespace!r}; needed a tuple of strings such as ('users', 'ada').")
    return labels


def _check_page(limit: int, offset: int) -> None:
    if limit < 0 or offset < 0:
        raise InvalidRequestError(f"got limit={limit} and offset={offset}; needed numbers of at least 0.")


def _document_id(namespace: Path, key: str) -> str:
    """Return an id that sorts by namespace, so that a prefix of namespaces is a prefix of ids."""
    return f"{_prefix(namespace)}{json.dumps(key, ensure_ascii=False)}]"


def _prefix(namespace: Path) -> str:
    return "[" + "".join(f"{json.dumps(label, ensure_ascii=False)}," for label in _labels(namespace))


def _fields_of(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "namespace": tuple(record["namespace"]),
        "key": record["key"],
        "value": record["value"],
        "created_at": utc(record["created_at"]),
        "updated_at": utc(record["updated_at"]),
    }


def _expired(record: Mapping[str, Any], now: datetime) -> bool:
    return record.get("expires_at") is not None and utc(record["expires_at"]) <= now


def _fits(condition: MatchCondition, path: Path) -> bool:
    wanted = tuple(condition.path)
    if len(path) < len(wanted):
        return False
    part = path[: len(wanted)] if condition.match_type == "prefix" else path[len(path) - len(wanted) :]
    return all(label in ("*", found) for label, found in zip(wanted, part, strict=True))
