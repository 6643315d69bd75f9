"""BM25 search in the process by rank-bm25: nothing on disk, scanned whole for every query; the reference for other lexical tiers."""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from rank_bm25 import BM25Okapi, BM25Plus

from rag2_memory.errors import InvalidRequestError
from rag2_memory.records import LexicalDocument
from rag2_memory.tiers.analysis import Analyzer, lexical_digest
from rag2_memory.tiers.base import FilteringLexicalTier, LexicalField
from rag2_memory.types import Hit

Variant = Literal["okapi", "plus"]

K1 = 1.2
B = 0.75
"""Robertson & Zaragoza (2009), section 3.5: reasonable without tuning; what tantivy and Lucene use. rank-bm25's own k1 is 1.5."""


@dataclass(frozen=True, slots=True)
class _Indexed:
    document: LexicalDocument
    fields: Mapping[LexicalField, list[str]]


class _Okapi(BM25Okapi):  # type: ignore[misc]  # rank-bm25 has no types
    """Okapi BM25 with idf = ln(1 + (N - n + 0.5) / (n + 0.5)), which is above 0.

    rank-bm25's own idf falls to 0 for a term in half of the documents, and below for all terms of a small namespace, which then finds nothing.
    """

    def _calc_idf(self, nd: Mapping[str, int]) -> None:
        self.idf = {term: math.log(1 + (self.corpus_size - n + 0.5) / (n + 0.5)) for term, n in nd.items()}


class RankBM25LexicalTier(FilteringLexicalTier):
    """Keeps analysed documents in memory and builds a model per namespace and field when it is searched after a write.

    Meant for tests and small memories: at 100,000 chunks a query takes a quarter of a second and a rebuild several. Nothing is durable.

    Args:
        variant: `okapi`, or `plus` (BM25+ of Lv & Zhai, CIKM 2011), which keeps long documents from scoring near zero.
        language: Passed to `Analyzer`.
        analyzer: Used instead of one for `language`.
    """

    def __init__(self, variant: Variant = "okapi", *, language: str = "english", analyzer: Analyzer | None = None) -> None:
        if variant not in ("okapi", "plus"):
            raise InvalidRequestError(f"got variant={variant!r}; needed 'okapi' or 'plus'.")
        self.analyzer = analyzer or Analyzer(language)
        self._variant = variant
        self._indexed: dict[str, _Indexed] = {}
        self._models: dict[tuple[str, LexicalField], tuple[list[str], Any]] = {}
        self._lock = threading.RLock()

    def upsert(self, documents: Sequence[LexicalDocument]) -> None:
        """See `LexicalTier.upsert`; kept in memory only."""
        terms = self.analyzer.terms
        indexed = [_Indexed(document, {"text": terms(document.text), "window": terms(document.window)}) for document in documents]
        with self._lock:
            for item in indexed:
                self._forget_models(self._indexed.get(item.document.id))
                self._indexed[item.document.id] = item
                self._forget_models(item)

    def delete(self, ids: Sequence[str]) -> None:
        """See `LexicalTier.delete`."""
        with self._lock:
            for document_id in ids:
                self._forget_models(self._indexed.pop(document_id, None))

    def search(self, query: str, *, k: int, namespace: str, field: LexicalField = "text") -> list[Hit]:
        """See `LexicalTier.search`."""
        return self._ranked(query, k=k, namespace=namespace, field=field, among=None)

    def search_among(self, query: str, *, ids: Collection[str], k: int, namespace: str, field: LexicalField = "text") -> list[Hit]:
        """See `FilteringLexicalTier.search_among`."""
        return self._ranked(query, k=k, namespace=namespace, field=field, among=ids)

    def _ranked(self, query: str, *, k: int, namespace: str, field: LexicalField, among: Collection[str] | None) -> list[Hit]:
        if k < 1:
            raise InvalidRequestError(f"got k={k}; needed at least 1 hit.")
        ids, model = self._model(namespace, field)
        weights = {term: weight for term, weight in self.analyzer.query(query).items() if model is not None and term in model.idf}
        if not weights:
            return []
        scores = np.zeros(len(ids))
        for term, weight in weights.items():
            scores += weight * model.get_scores([term])
        holding = (i for i, frequencies in enumerate(model.doc_freqs) if any(term in frequencies for term in weights))
        hits = [Hit(ids[i], float(scores[i])) for i in holding]  # BM25+ scores every document, also those without a term
        if among is not None:
            chosen = frozenset(among)
            hits = [hit for hit in hits if hit.id in chosen]
        return sorted(hits, key=lambda hit: (-hit.score, hit.id))[:k]

    def ids(self) -> Iterator[str]:
        """See `LexicalTier.ids`."""
        with self._lock:
            known = list(self._indexed)
        yield from known

    def digests(self, ids: Sequence[str]) -> Mapping[str, str]:
        """See `LexicalTier.digests`."""
        with self._lock:
            found = [self._indexed[document_id].document for document_id in ids if document_id in self._indexed]
        return {document.id: lexical_digest(document) for document in found}

    def document_frequency(self, term: str, *, namespace: str) -> int:
        """See `LexicalTier.document_frequency`."""
        _, model = self._model(namespace, "text")
        return sum(term in frequencies for frequencies in model.doc_freqs) if model is not None else 0

    def clear(self) -> None:
        """See `LexicalTier.clear`."""
        with self._lock:
            self._indexed.clear()
            self._models.clear()

    def close(self) -> None:
        """See `LexicalTier.close`."""
        self.clear()

    def _forget_models(self, item: _Indexed | None) -> None:
        if item is not None:
            self._models.pop((item.document.namespace, "text"), None)
            self._models.pop((item.document.namespace, "window"), None)

    def _model(self, namespace: str, field: LexicalField) -> tuple[list[str], Any]:
        """Return the ids of a namespace with their model, or with `None` where no document has a term."""
        with self._lock:
            if (namespace, field) not in self._models:
                items = [item for item in self._indexed.values() if item.document.namespace == namespace]
                corpus = [item.fields[field] for item in items]
                kind = _Okapi if self._variant == "okapi" else BM25Plus
                model = kind(corpus, k1=K1, b=B) if any(corpus) else None
                self._models[namespace, field] = [item.document.id for item in items], model
            return self._models[namespace, field]
