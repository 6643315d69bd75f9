"""LangGraph's long-term store on a memory: items are documents, so they are durable, permission-checked and searched like everything else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from langgraph.store.base import (
    BaseStore,
    GetOp,
    IndexConfig,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    TTLConfig,
    get_text_at_path,
    tokenize_path,
)

from rag2_memory.errors import InvalidRequestError
from rag2_memory.integrations.filters import matches
from rag2_memory.memory import Memory
from rag2_memory.types import Document, Scope, utc

STORE_NAMESPACE = "langgraph-store"
"""The memory's namespace that items live in: no search of another namespace ever meets them."""

NOTHING_INDEXED = "\u2060"
"""Text of an item that is not to be found by meaning: a word joiner, since a document needs some text."""

Path = tuple[str, ...]


class MemoryStore(BaseStore):
    """A `BaseStore` on a `Memory`: drop-in for `InMemoryStore`, `SqliteStore` and `PostgresStore`.

    `search(…, query=…)` ranks by the memory's own embedder; the score is the cosine of the best matching indexed text. Values are JSON.
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
            index: Which `fields` are found by meaning (default: the whole value). Its `embed` and `dims` are not used: the memory's embedder is.
            ttl: Defaults for the time to live, in minutes.
            namespace: The memory's namespace for this store; two stores with different ones share nothing.
            scope: Whose store it is; a scope with a user or groups keeps its items for them alone.
        """
        self._memory = memory
        self._fields = [(field, tokenize_path(field)) for field in ((index or {}).get("fields") or ["$"])]
        self.ttl_config = ttl
        given = scope or Scope()
        self._scope = Scope(namespace=namespace, user=given.user, groups=given.groups)
        self._acl = frozenset({f"user:{given.user}"} if given.user else {f"group:{group}" for group in given.groups})

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Run operations; reads see the state before the batch's writes, of several writes to one item the last counts."""
        results: list[Result] = []
        puts: dict[tuple[Path, str], PutOp] = {}
        for op in ops:
            if isinstance(op, PutOp):
                puts[op.namespace, op.key] = op
                results.append(None)
            elif isinstance(op, GetOp):
                results.append(self._get(op))
            elif isinstance(op, SearchOp):
                results.append(self._search(op))
            elif isinstance(op, ListNamespacesOp):
                results.append(self._namespaces(op))
            else:
                raise InvalidRequestError(f"got the operation {op!r}; needed GetOp, PutOp, SearchOp or ListNamespacesOp.")
        self._put(list(puts.values()))
        return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """`batch` off the event loop."""
        return await asyncio.to_thread(self.batch, list(ops))

    def sweep_ttl(self) -> int:
        """Remove expired items; returns how many there were. They are not served in the meantime."""
        now = self._memory.services.clock()
        expired = [name for name, record in self._records().items() if _expired(record, now)]
        return len(self._memory.remove(expired, namespace=self._scope.namespace))

    def _get(self, op: GetOp) -> Item | None:
        name = _document_id(op.namespace, op.key)
        record = self._records(document_ids=[name]).get(name)
        if record is None or _expired(record, self._memory.services.clock()):
            return None
        if op.refresh_ttl:
            self._refresh({name: record})
        return Item(**_fields_of(record))

    def _search(self, op: SearchOp) -> list[SearchItem]:
        now = self._memory.services.clock()
        records = {
            name: record
            for name, record in self._records(prefix=_prefix(op.namespace_prefix)).items()
            if not _expired(record, now) and all(matches(record["value"].get(key), wanted) for key, wanted in (op.filter or {}).items())
        }
        latest = sorted(records, key=lambda name: records[name]["updated_at"], reverse=True)
        scores = self._scores(op.query, [name for name, record in records.items() if record["indexed"]]) if op.query else {}
        ranked = [*sorted(scores, key=lambda name: -scores[name]), *(name for name in latest if name not in scores)]
        chosen = ranked[op.offset : op.offset + op.limit]
        if op.refresh_ttl:
            self._refresh({name: records[name] for name in chosen})
        return [SearchItem(**_fields_of(records[name]), score=scores.get(name)) for name in chosen]

    def _scores(self, query: str, items: Sequence[str]) -> dict[str, float]:
        """Return, per item, the cosine of its best text."""
        services = self._memory.services
        states = services.registry.states(namespace=self._scope.namespace, document_ids=items)
        names = {state.key: state.document_id for state in states}
        chunks = services.registry.visible_ids(self._scope, limit=10_000_000) or []
        wanted = [chunk for chunk in chunks if chunk.partition("-")[0] in names]
        if not wanted:
            return {}
        vector = np.asarray(services.embedder.embed([query])[0], dtype=np.float32)
        hits = services.vector.search(vector, k=len(wanted), namespace=self._scope.namespace, among=wanted)
        scores: dict[str, float] = {}
        for hit in hits:
            scores.setdefault(names[hit.id.partition("-")[0]], hit.score)
        return scores

    def _namespaces(self, op: ListNamespacesOp) -> list[Path]:
        now = self._memory.services.clock()
        found = {tuple(record["namespace"]) for record in self._records(prefix="[").values() if not _expired(record, now)}
        kept = {path for path in found if all(_fits(condition, path) for condition in op.match_conditions or ())}
        cut = sorted({path[: op.max_depth] for path in kept} if op.max_depth is not None else kept)
        return cut[op.offset : op.offset + op.limit]

    def _put(self, ops: Sequence[PutOp]) -> None:
        gone = [_document_id(op.namespace, op.key) for op in ops if op.value is None]
        if gone:
            self._memory.remove(gone, namespace=self._scope.namespace)
        kept = [op for op in ops if op.value is not None]
        if kept:
            before = self._records(document_ids=[_document_id(op.namespace, op.key) for op in kept])
            documents = [self._document(op, before.get(_document_id(op.namespace, op.key))) for op in kept]
            self._memory.ingest(documents, namespace=self._scope.namespace)

    def _document(self, op: PutOp, before: Mapping[str, Any] | None) -> Document:
        value = dict(op.value or {})
        try:
            json.dumps(value)
        except (TypeError, ValueError) as exc:
            raise InvalidRequestError(
                f"got a value for {op.key!r} that is not JSON ({exc}); needed strings, numbers, lists and mappings."
            ) from exc
        now = self._memory.services.clock()
        ttl = op.ttl if op.ttl is not None else (self.ttl_config or {}).get("default_ttl")
        kept = before if before is not None and not _expired(before, now) else None
        text = self._indexed_text(op, value)
        record = {
            "namespace": list(op.namespace),
            "key": op.key,
            "value": value,
            "indexed": text != NOTHING_INDEXED,
            "created_at": kept["created_at"] if kept else now.isoformat(),
            "updated_at": now.isoformat(),
            "ttl_minutes": ttl,
            "expires_at": (now + timedelta(minutes=ttl)).isoformat() if ttl is not None else None,
        }
        return Document(id=_document_id(op.namespace, op.key), text=text, acl=self._acl, metadata=record, media_type="text/plain")

    def _indexed_text(self, op: PutOp, value: Mapping[str, Any]) -> str:
        if op.index is False:
            return NOTHING_INDEXED
        fields = self._fields if op.index is None else [(field, tokenize_path(field)) for field in op.index]
        texts = [text for field, path in fields for text in get_text_at_path(dict(value), "$" if field == "$" else path)]
        return "\n\n".join(text for text in texts if text.strip()) or NOTHING_INDEXED

    def _records(self, *, document_ids: Sequence[str] | None = None, prefix: str | None = None) -> dict[str, Any]:
        return dict(self._memory.services.registry.metadata(self._scope, document_ids=document_ids, prefix=prefix))

    def _refresh(self, records: Mapping[str, Mapping[str, Any]]) -> None:
        """Let the time to live of items that have one start again."""
        lasting = {name: record for name, record in records.items() if record.get("ttl_minutes") is not None}
        if not lasting:
            return
        registry, now = self._memory.services.registry, self._memory.services.clock()
        for state in registry.states(namespace=self._scope.namespace, document_ids=list(lasting)):
            record = lasting[state.document_id]
            expires = now + timedelta(minutes=record["ttl_minutes"])
            registry.annotate(state.key, {**record, "expires_at": expires.isoformat()})


def _document_id(namespace: Path, key: str) -> str:
    """Return an id that sorts by namespace, so that a prefix of namespaces is a prefix of ids."""
    return f"{_prefix(namespace)}{json.dumps(key, ensure_ascii=False)}]"


def _prefix(namespace: Path) -> str:
    return "[" + "".join(f"{json.dumps(label, ensure_ascii=False)}," for label in namespace)


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
