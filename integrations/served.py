"""The one memory of a server process, and its chat model.

It stands apart from `server.py` because a server loads that file by its path, once for each thing it names, and a folder has one memory only.
"""

from __future__ import annotations

import atexit
import os
from functools import cache
from typing import Any

from rag2_memory.errors import InvalidRequestError, MissingExtraError
from rag2_memory.integrations.quoting import QuotingChatModel
from rag2_memory.memory import Memory

FOLDER_VARIABLE = "RAG2_MEMORY"
"""Environment variable that names the memory's folder."""

MODEL_VARIABLE = "RAG2_MODEL"
"""Environment variable that names the agent's chat model, as LangChain's `init_chat_model` takes it."""


@cache
def served_memory() -> Memory:
    """Return the one memory of this server process; it is closed when the process ends."""
    memory = Memory.open(os.environ.get(FOLDER_VARIABLE, "memory"))
    atexit.register(memory.close)
    return memory


@cache
def served_model() -> Any:
    """Return the chat model of this server process; without a name one that quotes.

    Raises:
        MissingExtraError: If a model is named and LangChain is not installed.
        InvalidRequestError: If there is no such model, or its package or key is missing.
    """
    name = os.environ.get(MODEL_VARIABLE)
    if not name:
        return QuotingChatModel()
    try:
        from langchain.chat_models import init_chat_model
    except ImportError as exc:
        raise MissingExtraError(package="langchain", extra="agent", purpose=MODEL_VARIABLE) from exc
    try:
        return init_chat_model(name)
    except Exception as exc:  # each provider's package raises its own kind for an unknown name, a missing package or a missing key
        raise InvalidRequestError(f"got {MODEL_VARIABLE}={name}, which cannot be used: {exc}") from exc
