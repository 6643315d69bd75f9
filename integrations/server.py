"""What `langgraph dev` and LangGraph's servers load: the recall graph and the store of one memory, opened at first use.

The memory's folder is `RAG2_MEMORY`, default `memory` in the server's working directory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from rag2_memory.integrations.served import served_memory
from rag2_memory.integrations.store import MemoryStore


async def recall_graph() -> Any:
    """Return the compiled recall graph; opening the memory happens off the event loop."""
    return await asyncio.to_thread(lambda: served_memory().graph)


@asynccontextmanager
async def store() -> AsyncIterator[MemoryStore]:
    """Yield the store of the served memory."""
    yield MemoryStore(await asyncio.to_thread(served_memory))
