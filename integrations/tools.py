"""LangChain tools with which an agent uses a memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, Field

from rag2_memory.errors import ClosedMemoryError, InvalidRequestError
from rag2_memory.graphs.scopes import scope_of_run
from rag2_memory.graphs.services import RUN_TAG
from rag2_memory.integrations.views import fact_rows, forget_owned, passage_row, timeline
from rag2_memory.memory import Memory
from rag2_memory.types import Scope

MOST_CHARACTERS = 20_000
"""Longest note that `remember` takes at once."""

Answer = TypeVar("Answer")
Tool = tuple[Callable[..., str], type[BaseModel], str]


class _Search(BaseModel):
    query: str = Field(min_length=1, max_length=10_000, description="What to look for, as a question or keywords.")
    k: int = Field(default=5, ge=1, le=50, description="How many passages to return.")


class _Facts(BaseModel):
    entity: str = Field(
        min_length=1, max_length=500, description="Name of a person, project, component or document, for example 'Project Alpha'."
    )
    as_of: str | None = Field(default=None, description="ISO date; only what was true on that day. Leave out for the whole history.")


class _Timeline(BaseModel):
    entity: str = Field(min_length=1, max_length=500, description="Name of a person, project, component or document.")


class _Remember(BaseModel):
    text: str = Field(
        min_length=1, max_length=MOST_CHARACTERS, description="One self-contained statement to keep, for example 'The user prefers tea.'"
    )


class _Forget(BaseModel):
    document_id: str = Field(min_length=1, max_length=2_000, description="The document_id of a search result.")


def memory_tools(memory: Memory, *, scope: Scope | None = None, thread_id: str = "notes", writable: bool = True) -> list[BaseTool]:
    """Return tools that let an agent use a memory: search, facts, timeline and, where `writable`, remember and forget.

    A call that cannot be answered as made returns what was wrong with it, for the model to read. A run whose scope is none, and a closed memory, raise.

    Args:
        memory: The memory.
        scope: Who the agent acts for, unless a run's `configurable` says otherwise; the model can neither see nor change it.
        thread_id: Conversation under which `remember` keeps its notes.
        writable: Whether the agent may write. `forget` removes only notes that the agent itself wrote under its scope.
    """
    chosen = [*_reading(memory, scope), *(_writing(memory, scope, thread_id) if writable else ())]
    return [
        StructuredTool.from_function(
            func=function, name=function.__name__, description=description, args_schema=schema, handle_tool_error=True, tags=[RUN_TAG]
        )
        for function, schema, description in chosen
    ]


def _reading(memory: Memory, scope: Scope | None) -> Sequence[Tool]:
    def search_memory(query: str, config: RunnableConfig, k: int = 5) -> str:
        who = scope_of_run(scope, config)
        return _told(lambda: _json([passage_row(passage) for passage in memory.search(query, k=k, scope=who)]))

    def memory_facts(entity: str, config: RunnableConfig, as_of: str | None = None) -> str:
        who = scope_of_run(scope, config)
        return _told(lambda: _json(fact_rows(memory, entity, as_of=as_of, scope=who)))

    def memory_timeline(entity: str, config: RunnableConfig) -> str:
        who = scope_of_run(scope, config)
        return _told(lambda: "\n".join(timeline(memory, entity, scope=who)) or f"No dated facts about {entity!r}.")

    return (
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
    )


def _writing(memory: Memory, scope: Scope | None, thread_id: str) -> Sequence[Tool]:
    def remember(text: str, config: RunnableConfig) -> str:
        who = scope_of_run(scope, config)
        report = _told(lambda: memory.remember([("assistant", text)], thread_id=thread_id, scope=who))
        return f"Kept as {', '.join(report.added) or 'nothing new'}."

    def forget(document_id: str, config: RunnableConfig) -> str:
        who = scope_of_run(scope, config)
        try:
            forget_owned(memory, document_id, scope=who, thread_id=thread_id)
        except ClosedMemoryError:
            raise
        except InvalidRequestError as exc:
            raise ToolException(f"There is no note {document_id!r} that can be forgotten: {exc}") from exc
        return f"Forgot {document_id}."

    return (
        (remember, _Remember, "Keep one statement in the memory for later conversations."),
        (forget, _Forget, "Remove one note that was kept with remember."),
    )


def _told(call: Callable[[], Answer]) -> Answer:
    """Make a call; what is wrong with it becomes the tool's answer, in LangChain's own way."""
    try:
        return call()
    except ClosedMemoryError:
        raise
    except InvalidRequestError as exc:
        raise ToolException(str(exc)) from exc


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
