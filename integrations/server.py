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

from rag2_memory.graphs.agent import build_agent_graph
from rag2_memory.integrations.langchain import memory_tools
from rag2_memory.integrations.served import served_memory, served_model
from rag2_memory.integrations.store import MemoryStore

GUIDELINES = (
    "Answer the latest question from the context, and cite what you use by its id, as in [c1]. "
    "Look up with the tools what the context lacks. Where neither holds the answer, say so."
)
"""Instructions of the served agent."""


async def recall_graph() -> Any:
    """Return the compiled recall graph; opening the memory happens off the event loop."""
    return await asyncio.to_thread(lambda: served_memory().graph)


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
