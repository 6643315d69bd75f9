"""Drop-in parts for LangChain: a retriever and tools."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document as LangChainDocument
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig, ensure_config
from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, ConfigDict, Field

from rag2_memory.errors import InvalidRequestError
from rag2_memory.integrations.scopes import scope_of_run
from rag2_memory.knowledge.temporal import fact_json
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


class _Search(BaseModel):
    query: str = Field(description="What to look for, as a question or keywords.")
    k: int = Field(default=5, ge=1, le=50, description="How many passages to return.")


class _Facts(BaseModel):
    entity: str = Field(description="Name of a person, project, component or document, for example 'Project Alpha'.")
    as_of: str | None = Field(default=None, description="ISO date; only what was true on that day. Leave out for the whole history.")


class _Timeline(BaseModel):
    entity: str = Field(description="Name of a person, project, component or document.")


class _Remember(BaseModel):
    text: str = Field(description="One self-contained statement to keep, for example 'The user prefers tea.'")


class _Forget(BaseModel):
    document_id: str = Field(description="The document_id of a search result.")


def memory_tools(memory: Memory, *, scope: Scope | None = None, thread_id: str = "notes", writable: bool = True) -> list[BaseTool]:
    """Return tools that let an agent use a memory: search, facts, timeline and, where `writable`, remember and forget.

    Args:
        memory: The memory.
        scope: Who the agent acts for, unless a run's `configurable` says otherwise; the model can neither see nor change it.
        thread_id: Conversation under which `remember` keeps its notes.
        writable: Whether the agent may write. `forget` removes only notes that the agent itself wrote under its scope.
    """

    def search_memory(query: str, config: RunnableConfig, k: int = 5) -> str:
        passages = memory.search(query, k=k, scope=scope_of_run(scope, config))
        rows = [{"document_id": p.document_id, "title": p.title, "section": " > ".join(p.heading_path), "text": p.text} for p in passages]
        return json.dumps(rows, ensure_ascii=False)

    def memory_facts(entity: str, config: RunnableConfig, as_of: str | None = None) -> str:
        facts = memory.facts(entity, as_of=as_of, scope=scope_of_run(scope, config))
        return json.dumps([fact_json(fact) for fact in facts], ensure_ascii=False, default=str)

    def memory_timeline(entity: str, config: RunnableConfig) -> str:
        facts = memory.facts(entity, scope=scope_of_run(scope, config))
        dated = sorted(
            (fact for fact in facts if fact.valid_from or fact.valid_to), key=lambda fact: (fact.valid_from or fact.valid_to, str(fact))
        )
        return "\n".join(str(fact) for fact in dated) or f"No dated facts about {entity!r}."

    def remember(text: str, config: RunnableConfig) -> str:
        report = memory.remember([("assistant", text)], thread_id=thread_id, scope=scope_of_run(scope, config))
        return f"Kept as {', '.join(report.added) or 'nothing new'}."

    def forget(document_id: str, config: RunnableConfig) -> str:
        who = scope_of_run(scope, config)
        if not any(p.document_id == document_id and p.turn and p.turn.thread_id == thread_id for p in _notes(memory, document_id, who)):
            return f"There is no note {document_id!r} that can be forgotten."
        memory.forget(document_id, namespace=who.namespace)
        return f"Forgot {document_id}."

    reading: list[tuple[Callable[..., str], type[BaseModel], str]] = [
        (
            search_memory,
            _Search,
            "Search the memory for passages that answer a question. Returns JSON with document_id, title, section and text.",
        ),
        (
            memory_facts,
            _Facts,
            "List facts about one entity (who leads it, what it depends on, …) with the dates from and to which they hold. Returns JSON.",
        ),
        (memory_timeline, _Timeline, "List the dated facts about one entity in order of time, one per line."),
    ]
    writing: list[tuple[Callable[..., str], type[BaseModel], str]] = [
        (remember, _Remember, "Keep one statement in the memory for later conversations."),
        (forget, _Forget, "Remove one note that was kept with remember."),
    ]
    chosen = reading + (writing if writable else [])
    return [
        StructuredTool.from_function(func=function, name=function.__name__, description=description, args_schema=schema)
        for function, schema, description in chosen
    ]


def _notes(memory: Memory, document_id: str, scope: Scope) -> list[Passage]:
    """Return the passages of one document as the scope sees it."""
    try:
        text = memory.document(document_id, scope=scope)
    except InvalidRequestError:
        return []
    return [passage for passage in memory.search(text[:500], k=50, scope=scope) if passage.document_id == document_id]
