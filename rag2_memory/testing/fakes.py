"""Deterministic stand-ins for what cannot run everywhere. They are fakes: good for plumbing, worthless for judging quality."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from rag2_memory.errors import InvalidRequestError
from rag2_memory.protocols import Vectors

WORDS_KEPT = 20_000
"""Directions kept in memory: 30 MB at 384 dimensions."""

_WORD = re.compile(r"\w+")


class FakeEmbedder:
    """An embedder without a model: each word has a fixed random direction and a text is the direction of their sum.

    Texts that share words are near and texts that share none are nearly orthogonal; synonyms, word order and meaning are beyond it. Equal
    across processes and machines.

    Args:
        dimensions: Length of every vector, at least 2; more of them keep unrelated texts further apart.
    """

    def __init__(self, dimensions: int = 64) -> None:
        if dimensions < 2:
            raise InvalidRequestError(f"got dimensions={dimensions}; needed at least 2.")
        self._dimensions = dimensions
        self._direction = lru_cache(maxsize=WORDS_KEPT)(self._drawn)

    @property
    def name(self) -> str:
        """See `Embedder.name`."""
        return f"fake-hashing-{self._dimensions}"

    @property
    def dimensions(self) -> int:
        """See `Embedder.dimensions`."""
        return self._dimensions

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder.embed`; a text without words gets the direction of the empty word."""
        vectors = np.zeros((len(texts), self._dimensions), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in sorted(_WORD.findall(text.lower())) or [""]:
                row += self._direction(word)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(norms, np.finfo(np.float32).tiny), dtype=np.float32)

    def _drawn(self, word: str) -> Vectors:
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        sample = np.random.default_rng(int.from_bytes(digest, "big")).standard_normal(self._dimensions)
        return np.asarray(sample / np.linalg.norm(sample), dtype=np.float32)
