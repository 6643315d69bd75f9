"""Drop-in parts for LangGraph: nodes that recall and remember in any graph with messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig

from rag2_memory.context import ContextBudget
from rag2_memory.errors import InvalidRequestError
from rag2_memory.graphs.scopes import scope_of_run
from rag2_memory.graphs.turns import question_at, spoken
from rag2_memory.integrations.store import MemoryStore
from rag2_memory.memory import Memory
from rag2_memory.types import Scope

__all__ = ["MemoryStore", "recall_node", "remember_node"]


class NodeFunction(Protocol):
    """A node as `StateGraph.add_node` takes it, whatever the graph's state."""

    def __call__(self, state: Any, config: RunnableConfig) -> dict[str, Any]:
        """Read the state and return what changes."""


def recall_node(
    memory: Memory, *, budget: ContextBudget | int | None = None, scope: Scope | None = None, guidelines: str = "", key: str = "context"
) -> NodeFunction:
    """Return a node that compiles a context for the latest message and writes it to the state.

    The state needs `messages`, and a key to write to: a `Context`, whose `messages()` are what a model is called with. The messages before the latest are
    the context's history; a digest that `SummarizationMiddleware` wrote is none that anybody asked.

    Args:
        memory: The memory.
        budget: The context's budget.
        scope: Who asks, unless the run's `configurable` says otherwise.
        guidelines: Instructions that go into the context.
        key: State key that the context is written to.
    """

    def recall(state: Mapping[str, Any], config: RunnableConfig) -> dict[str, Any]:
        """Compile a context. Reads: messages. Writes: the context."""
        messages = _messages(state)
        question = question_at(messages)
        if question is None:
            raise InvalidRequestError("got a state without a human message; the recall node answers the latest one.")
        context = memory.recall(
            _text(messages[question]),
            budget=budget,
            scope=scope_of_run(scope, config),
            history=messages[:question],
            guidelines=guidelines,
        )
        return {key: context}

    return recall


def remember_node(memory: Memory, *, scope: Scope | None = None, thread_id: str | None = None) -> NodeFunction:
    """Return a node that keeps what people and assistants said, in words; messages kept before are not kept twice.

    Args:
        memory: The memory.
        scope: Whose conversation it is, unless the run's `configurable` says otherwise.
        thread_id: Names the conversation; default: the `thread_id` of the run's `configurable`, as a checkpointer uses it.
    """

    def remember(state: Mapping[str, Any], config: RunnableConfig) -> dict[str, Any]:
        """Keep what was said. Reads: messages. Writes: nothing."""
        thread = thread_id or (config.get("configurable") or {}).get("thread_id")
        if not thread:
            raise InvalidRequestError("got no thread_id; pass remember_node(…, thread_id=…) or run with configurable={'thread_id': …}.")
        memory.remember(spoken(_messages(state)), thread_id=str(thread), scope=scope_of_run(scope, config))
        return {}

    return remember


def _messages(state: Mapping[str, Any]) -> list[BaseMessage]:
    messages = state.get("messages") if isinstance(state, Mapping) else getattr(state, "messages", None)
    if not messages:
        raise InvalidRequestError(
            "got a state without messages; the node needs a state with a non-empty `messages`, such as MessagesState."
        )
    return list(messages)


def _text(message: BaseMessage) -> str:
    return str(message.text)
