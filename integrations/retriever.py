"""A memory as a LangChain retriever."""

from __future__ import annotations

import asyncio
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document as LangChainDocument
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig, ensure_config
from pydantic import ConfigDict, Field

from rag2_memory.graphs.scopes import scope_of_run
from rag2_memory.graphs.services import RUN_TAG
from rag2_memory.memory import Memory
from rag2_memory.types import AsOfLike, Passage, Scope


class MemoryRetriever(BaseRetriever):
    """A memory as a LangChain retriever.

    The scope is fixed at construction or given per run: `retriever.invoke(question, config={"configurable": {"user": "ada", "groups": ["eng"]}})`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    memory: Memory
    k: int = 5
    """Passages returned, at least 1."""
    scope: Scope | None = None
    as_of: Any = None
    """Answer as of then; as for `Memory.search`."""
    route: str = "auto"
    tags: list[str] | None = Field(default_factory=lambda: [RUN_TAG])

    def invoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> list[LangChainDocument]:
        """Search under the run's scope."""
        config = ensure_config(config)
        return super().invoke(input, config, **{"scope": scope_of_run(self.scope, config), **kwargs})

    async def ainvoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> list[LangChainDocument]:
        """Search under the run's scope, off the event loop."""
        config = ensure_config(config)
        return await super().ainvoke(input, config, **{"scope": scope_of_run(self.scope, config), **kwargs})

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        scope: Scope | None = None,
        as_of: AsOfLike = None,
        route: str | None = None,
    ) -> list[LangChainDocument]:
        passages = self.memory.search(
            query, k=self.k if k is None else k, scope=scope or self.scope, as_of=as_of or self.as_of, route=route or self.route
        )
        return [document_of(passage) for passage in passages]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[LangChainDocument]:
        return await asyncio.to_thread(self._get_relevant_documents, query, run_manager=run_manager.get_sync(), **kwargs)


def document_of(passage: Passage) -> LangChainDocument:
    """Return a passage as a LangChain document: its text, and in the metadata where it comes from and how it was found."""
    metadata = {
        "document_id": passage.document_id,
        "chunk_id": passage.chunk_id,
        "title": passage.title,
        "heading_path": list(passage.heading_path),
        "source": passage.uri or passage.document_id,
        "score": passage.score,
        "found_by": list(passage.sources),
        "version": passage.version,
        "modified_at": passage.modified_at.isoformat() if passage.modified_at else None,
        "citation": f"{passage.title or passage.document_id} [{passage.chunk_id}]",
    }
    return LangChainDocument(id=passage.chunk_id, page_content=passage.text, metadata={**passage.metadata, **metadata})
