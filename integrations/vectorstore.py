"""A memory's dense search as a LangChain `VectorStore`: documents in, nearest documents out, with the memory's durability and permissions."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from langchain_core.documents import Document as LangChainDocument
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from rag2_memory.errors import InvalidRequestError
from rag2_memory.integrations.embeddings import MemoryEmbeddings
from rag2_memory.integrations.filters import check_filter, matches_all
from rag2_memory.memory import Memory
from rag2_memory.types import DEFAULT_NAMESPACE, Chunk, Document, Scope

Found = tuple[LangChainDocument, float, Chunk]


class MemoryVectorStore(VectorStore):
    """Dense search over the documents of a namespace that a scope sees.

    Each document comes back whole; its score is the cosine of its best chunk. `Memory.search` ranks better (words, graph, links); this is for code that wants a `VectorStore`.
    Filters are LangGraph's: `{"color": "red", "year": {"$gt": 2020}}` on the metadata.
    """

    def __init__(self, memory: Memory, *, namespace: str = DEFAULT_NAMESPACE, scope: Scope | None = None) -> None:
        """Wrap a memory.

        Args:
            memory: Where documents are kept; it stays the caller's to close.
            namespace: Where documents are added and searched.
            scope: Who searches; documents added under a user or groups are theirs alone.
        """
        self.memory = memory
        given = scope or Scope()
        self._scope = Scope(namespace=namespace, user=given.user, groups=given.groups)
        self._acl = frozenset({f"user:{given.user}"}) if given.user else given.principals

    @property
    def embeddings(self) -> Embeddings:
        """The memory's embedder."""
        return MemoryEmbeddings(self.memory.services.embedder)

    def add_texts(
        self, texts: Iterable[str], metadatas: list[dict[str, Any]] | None = None, *, ids: list[str] | None = None, **kwargs: Any
    ) -> list[str]:
        """Add texts; one whose id is known replaces it.

        Args:
            texts: None of them empty.
            metadatas: One mapping of JSON values for each text.
            ids: One for each text; default: random ones.
            kwargs: None are known.

        Returns:
            The ids.

        Raises:
            InvalidRequestError: If lengths differ, or a text or its metadata cannot be taken; nothing was added.
        """
        _refuse(kwargs)
        wanted = list(texts)
        names = list(ids) if ids is not None else [str(uuid.uuid4()) for _ in wanted]
        described = list(metadatas) if metadatas is not None else [{} for _ in wanted]
        if not len(wanted) == len(names) == len(described):
            raise InvalidRequestError(f"got {len(wanted)} texts, {len(names)} ids and {len(described)} metadatas; needed as many of each.")
        documents = []
        for name, text, metadata in zip(names, wanted, described, strict=True):
            if not isinstance(text, str) or not text.strip():
                raise InvalidRequestError(f"got the text {text!r} for {name!r}; needed a text that is not empty.")
            documents.append(Document(id=name or str(uuid.uuid4()), text=text, acl=self._acl, metadata=metadata, media_type="text/plain"))
        report = self.memory.ingest(documents, namespace=self._scope.namespace)
        if report.skipped:
            raise InvalidRequestError(f"could not add {report.skipped[0].source!r}: {report.skipped[0].reason}.")
        return [document.id for document in documents]

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool | None:
        """Remove documents that the scope sees, without ids all of them; unknown ids are no error."""
        _refuse(kwargs)
        seen = self._metadata(ids)
        self.memory.remove(list(seen), namespace=self._scope.namespace)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[LangChainDocument]:
        """Return documents by id, in the order given; unknown ones are left out."""
        seen = self._metadata(ids)
        return [self._whole(name, seen[name]) for name in dict.fromkeys(ids) if name in seen]

    def similarity_search(self, query: str, k: int = 4, filter: Mapping[str, Any] | None = None, **kwargs: Any) -> list[LangChainDocument]:
        """Return the k nearest documents, best first."""
        return [document for document, _ in self.similarity_search_with_score(query, k, filter, **kwargs)]

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[tuple[LangChainDocument, float]]:
        """Return the k nearest documents with their cosine in [-1, 1], best first."""
        _refuse(kwargs)
        return [(document, score) for document, score, _ in self._nearest(self.embeddings.embed_query(query), k, filter)]

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, filter: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[LangChainDocument]:
        """Return the k documents nearest to a vector, best first."""
        _refuse(kwargs)
        return [document for document, _, _ in self._nearest(embedding, k, filter)]

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, filter: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[LangChainDocument]:
        """Return k of the `fetch_k` nearest documents that differ from one another (Carbonell & Goldstein, SIGIR 1998)."""
        return self.max_marginal_relevance_search_by_vector(self.embeddings.embed_query(query), k, fetch_k, lambda_mult, filter, **kwargs)

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> list[LangChainDocument]:
        """`max_marginal_relevance_search` for a vector."""
        _refuse(kwargs)
        found = self._nearest(embedding, max(fetch_k, k), filter)
        vectors = self.memory.services.vector.vectors([chunk.id for _, _, chunk in found], namespace=self._scope.namespace)
        held = [(document, vectors[chunk.id]) for document, _, chunk in found if chunk.id in vectors]
        chosen = maximal_marginal_relevance(
            np.asarray(embedding, dtype=np.float32), [vector.tolist() for _, vector in held], lambda_mult=lambda_mult, k=k
        )
        return [held[place][0] for place in chosen]

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> MemoryVectorStore:
        """Return a store that holds texts: in the memory given as `memory=`, else in a new one that ends with the process and uses `embedding`.

        Further options are those of the constructor.
        """
        memory = kwargs.pop("memory", None) or Memory.in_memory(embedder=embedding)
        store = cls(memory, **kwargs)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return lambda cosine: min(max((cosine + 1.0) / 2.0, 0.0), 1.0)

    def _metadata(self, ids: Sequence[str] | None) -> Mapping[str, Mapping[str, Any]]:
        registry = self.memory.services.registry
        with self.memory.gate.reading():
            return registry.metadata(self._scope, prefix="") if ids is None else registry.metadata(self._scope, document_ids=list(ids))

    def _whole(self, name: str, metadata: Mapping[str, Any]) -> LangChainDocument:
        return LangChainDocument(id=name, page_content=self.memory.document(name, scope=self._scope), metadata=dict(metadata))

    def _nearest(self, embedding: Sequence[float], k: int, wanted: Mapping[str, Any] | None) -> list[Found]:
        """Return the k nearest documents; hits that the scope may not see, or the filter does not, are made up for by looking further."""
        check_filter(wanted)
        if k < 1:
            raise InvalidRequestError(f"got k={k}; needed at least 1.")
        vector = np.asarray(embedding, dtype=np.float32)
        services, namespace = self.memory.services, self._scope.namespace
        if vector.shape != (services.embedder.dimensions,):
            raise InvalidRequestError(f"got a vector of shape {vector.shape}; needed {services.embedder.dimensions} numbers.")
        vector = vector / max(float(np.linalg.norm(vector)), float(np.finfo(np.float32).tiny))
        depth = 2 * k
        while True:
            with self.memory.gate.reading():
                hits = services.vector.search(vector, k=depth, namespace=namespace)
                chunks = services.registry.chunks([hit.id for hit in hits], self._scope)
            best: dict[str, tuple[float, Chunk]] = {}
            for hit in hits:
                chunk = chunks.get(hit.id)
                if chunk is not None and matches_all(chunk.metadata, wanted):
                    best.setdefault(chunk.document_id, (hit.score, chunk))
            if len(best) >= k or len(hits) < depth:
                return [(self._whole(name, chunk.metadata), score, chunk) for name, (score, chunk) in list(best.items())[:k]]
            depth *= 4


def _refuse(options: Mapping[str, Any]) -> None:
    if options:
        raise InvalidRequestError(f"got the options {sorted(options)}, which are not known here.")
