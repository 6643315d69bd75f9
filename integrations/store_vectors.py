"""Vectors of a store's items: which texts of a value are embedded, how vectors stand in an item's record, and how items are scored by them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings
from langgraph.store.base import IndexConfig, PutOp, ensure_embeddings, get_text_at_path, tokenize_path
from langgraph.store.base.embed import EmbeddingsLambda
from numpy.typing import NDArray

from rag2_memory.errors import InvalidRequestError
from rag2_memory.integrations.embeddings import MemoryEmbeddings
from rag2_memory.protocols import Embedder

Matrix = NDArray[np.float32]


def _cosine(rows: Matrix, query: Matrix) -> Matrix:
    lengths = np.linalg.norm(rows, axis=1) * float(np.linalg.norm(query))
    return np.asarray(rows @ query / np.maximum(lengths, np.finfo(np.float32).tiny), dtype=np.float32)


DISTANCES: Mapping[str, Callable[[Matrix, Matrix], Matrix]] = {
    "cosine": _cosine,
    "inner_product": lambda rows, query: np.asarray(rows @ query, dtype=np.float32),
    "l2": lambda rows, query: -np.linalg.norm(rows - query, axis=1),
}
"""Scores by LangGraph's names of distances; higher is nearer."""


class ItemVectors:
    """Embeds the texts of items and scores items by their best text."""

    def __init__(self, index: IndexConfig | None, embedder: Embedder) -> None:
        """Read an index configuration.

        Args:
            index: As LangGraph's stores take it; without one the whole value is embedded by `embedder`.
            embedder: The memory's.

        Raises:
            InvalidRequestError: If the configuration names an unknown distance.
        """
        given: Mapping[str, Any] = dict(index or {})
        embed = given.get("embed")
        self.own = embed is None
        """Whether the memory's embedder is used."""
        self.embeddings: Embeddings = MemoryEmbeddings(embedder) if embed is None else ensure_embeddings(embed)
        self._paths = _tokenized(given.get("fields") or ["$"])
        distance = given.get("distance_type") or "cosine"
        if distance not in DISTANCES:
            raise InvalidRequestError(f"got distance_type={distance!r}; needed one of {', '.join(DISTANCES)}.")
        self._distance = DISTANCES[distance]

    def texts(self, op: PutOp) -> list[str]:
        """Return the texts by which an item is to be found, none of them empty."""
        if op.index is False:
            return []
        paths = self._paths if op.index is None else _tokenized(op.index)
        found = [text for path in paths for text in get_text_at_path(dict(op.value or {}), path)]
        return list(dict.fromkeys(text for text in found if text.strip()))

    def embed(self, texts: Sequence[str]) -> list[str]:
        """Embed texts; returns each vector as it stands in a record."""
        if not texts:
            return []
        vectors = _settled(self.embeddings, "embed_documents", list(texts))
        if len(vectors) != len(texts):
            raise InvalidRequestError(f"the store's embeddings gave {len(vectors)} vectors for {len(texts)} texts; needed one for each.")
        return [base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode() for vector in vectors]

    def scores(self, query: str, items: Mapping[str, Sequence[str]]) -> dict[str, float]:
        """Return, per item, the score of its best vector; items without vectors have none.

        Args:
            query: What is looked for.
            items: The vectors of items by name, as `embed` returned them.
        """
        names = [name for name, vectors in items.items() for _ in vectors]
        if not names:
            return {}
        wanted = np.asarray(_settled(self.embeddings, "embed_query", query), dtype=np.float32)
        rows = np.stack([np.frombuffer(base64.b64decode(vector), dtype="<f4") for vectors in items.values() for vector in vectors])
        if rows.shape[1] != wanted.shape[0]:
            raise InvalidRequestError(
                f"the store's items have vectors of {rows.shape[1]} dimensions, its embeddings now give {wanted.shape[0]}. "
                "Open it with the embeddings it was filled with, or put the items again."
            )
        best: dict[str, float] = {}
        for name, score in zip(names, self._distance(rows, wanted).tolist(), strict=True):
            best[name] = max(score, best.get(name, -np.inf))
        return best


def _tokenized(fields: Sequence[str]) -> list[Any]:
    return [field if field == "$" else tokenize_path(field) for field in fields]


def _settled(embeddings: Embeddings, method: str, value: Any) -> Any:
    """Call embeddings, those of an async function as well; nothing here runs on an event loop."""
    if isinstance(embeddings, EmbeddingsLambda) and not hasattr(embeddings, "func"):
        return asyncio.run(getattr(embeddings, f"a{method}")(value))
    return getattr(embeddings, method)(value)
