"""What users already have and hand in: embedders, token counters, rerankers, extractors, splitters. Structural types, no base classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rag2_memory.records import Extraction
from rag2_memory.types import Chunk

Vectors = NDArray[np.float32]
"""Shape (n, dimensions), rows of unit length."""


@runtime_checkable
class Embedder(Protocol):
    """Turns text into unit vectors; equal `name` means equal vectors for equal text."""

    @property
    def name(self) -> str:
        """Identifies model and revision; the embedding cache is keyed by it."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of every vector."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed n texts; returns shape (n, dimensions), float32, rows of unit length, in the order given."""
        ...


@runtime_checkable
class TokenCounter(Protocol):
    """Counts tokens as the model that reads the context would."""

    @property
    def name(self) -> str:
        """Identifies the counting rule; stored counts are valid for equal names only."""
        ...

    def count(self, text: str) -> int:
        """Return the number of tokens of `text`, at least 0; never fewer than the model would count."""
        ...


@runtime_checkable
class Reranker(Protocol):
    """Scores passages against a query, for instance a cross-encoder."""

    def rerank(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """Return one score per text, higher is better, in the order given."""
        ...


@runtime_checkable
class Extractor(Protocol):
    """Reads entities and relations out of chunks."""

    @property
    def name(self) -> str:
        """Identifies extractor and settings; extraction results are cached by it."""
        ...

    def extract(self, chunks: Sequence[Chunk]) -> Sequence[Extraction]:
        """Return one extraction per chunk, in the order given; an empty one where nothing was found."""
        ...


@runtime_checkable
class TextSplitter(Protocol):
    """The part of a LangChain text splitter that segmentation can use instead of its own rules."""

    def split_text(self, text: str) -> list[str]:
        """Split a text into pieces that occur in it verbatim, in order."""
        ...


class ProgressCallback(Protocol):
    """Told how far a long ingest is."""

    def __call__(self, *, done: int, source: str) -> Any:
        """`done` counts finished documents; `source` names the latest."""
        ...
