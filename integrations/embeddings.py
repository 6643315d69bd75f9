"""Our embedders as LangChain `Embeddings`."""

from __future__ import annotations

from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings
from langchain_core.runnables import run_in_executor

from rag2_memory.embedders import as_embedder


class MemoryEmbeddings(Embeddings):
    """An embedder as LangChain `Embeddings`: unit vectors, the same for queries as for documents."""

    def __init__(self, embedder: Any = None) -> None:
        """Adapt an embedder.

        Args:
            embedder: An `Embedder`, a model's name or folder, or `None` for the default MiniLM. `memory.services.embedder` is the one of a memory.
        """
        self.embedder = as_embedder(embedder)

    @property
    def model(self) -> str:
        """The embedder's name."""
        return str(self.embedder.name)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed texts, in the order given."""
        vectors: list[list[float]] = np.asarray(self.embedder.embed(list(texts)), dtype=np.float32).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Embed one text."""
        return self.embed_documents([text])[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """`embed_documents` off the event loop."""
        return await run_in_executor(None, self.embed_documents, texts)

    async def aembed_query(self, text: str) -> list[float]:
        """`embed_query` off the event loop."""
        return await run_in_executor(None, self.embed_query, text)
