"""What `langgraph dev` and LangGraph's servers load: the recall graph, an agent and the store of one memory, opened at first use.

The memory's folder is `RAG2_MEMORY`, default `memory` in the server's working directory. The agent's model is `RAG2_MODEL`, such as `openai:gpt-5-mini`; without it the
agent quotes what the memory ranks first.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph

from rag2_memory.graphs import RecallInput, RecallOutput, RecallState
from rag2_memory.graphs.agent import build_agent_graph
from rag2_memory.graphs.scopes import is_authenticated, scope_of_run
from rag2_memory.integrations.langchain import memory_tools
from rag2_memory.integrations.served import served_memory, served_model
from rag2_memory.integrations.store import MemoryStore
from rag2_memory.memory import Memory

GUIDELINES = (
    "Answer the latest question from the context, and cite what you use by its id, as in [c1]. "
    "Look up with the tools what the context lacks. Where neither holds the answer, say so."
)
"""Instructions of the served agent."""


async def recall_graph(config: RunnableConfig) -> Any:
    """Return the compiled recall graph; opening the memory happens off the event loop.

    Where the server has authenticated the caller, the scope is that user's, whatever the input says.
    """
    memory = await asyncio.to_thread(served_memory)
    return await asyncio.to_thread(_authenticated_recall, memory) if is_authenticated(config) else memory.graph


def _authenticated_recall(memory: Memory) -> Any:
    def authenticate(state: RecallState, config: RunnableConfig) -> dict[str, Any]:
        """Set whose question it is. Reads: nothing. Writes: scope."""
        return {"scope": scope_of_run(None, config)}

    builder: Any = StateGraph(RecallState, input_schema=RecallInput, output_schema=RecallOutput)
    builder.add_node("authenticate", authenticate)
    builder.add_node("recall", memory.graph)
    builder.add_edge(START, "authenticate")
    builder.add_edge("authenticate", "recall")
    builder.add_edge("recall", END)
    return builder.compile(name="rag2_recall")


async def agent_graph() -> Any:
    """Return the compiled agent; opening the memory and the model happens off the event loop."""
    return await asyncio.to_thread(_agent)


@cache
def _agent() -> Any:
    memory = served_memory()
    return build_agent_graph(memory, served_model(), tools=memory_tools(memory), guidelines=GUIDELINES).compile(name="rag2_agent")


@asynccontextmanager
async def store() -> AsyncIterator[MemoryStore]:
    """Yield the store of the served memory."""
    yield MemoryStore(await asyncio.to_thread(served_memory))
