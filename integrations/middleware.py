"""Middleware for `langchain.agents.create_agent`: recalls before the model is called, remembers after the agent has answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from rag2_memory.context import Context, ContextBudget
from rag2_memory.errors import BudgetTooSmallError, MissingExtraError
from rag2_memory.integrations.scopes import scope_of_run
from rag2_memory.memory import Memory
from rag2_memory.types import Scope

try:
    from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse
    from langchain_core.messages import BaseMessage, SystemMessage
    from langgraph.config import get_config
    from langgraph.runtime import Runtime
except ImportError as missing:
    raise MissingExtraError(package="langchain", extra="agent", purpose="MemoryMiddleware") from missing


class MemoryMiddleware(AgentMiddleware[AgentState[Any], Any, Any]):
    """Gives an agent a memory: `create_agent(model, tools, middleware=[MemoryMiddleware(memory)])`.

    Before each model call it compiles a context for the latest human message, within what the window has left after system prompt, tools, messages and the response
    reserve, and adds it to the system message of that call alone: it never enters the agent's messages, so recalled text is never remembered again. After the agent it
    keeps the new messages under the run's `thread_id`.
    """

    def __init__(
        self,
        memory: Memory,
        *,
        scope: Scope | None = None,
        budget: ContextBudget | int = 16_000,
        window_tokens: int | None = None,
        thread_id: str | None = None,
        remember: bool = True,
    ) -> None:
        """Configure the middleware.

        Args:
            memory: The memory; it stays the caller's to close.
            scope: Whose agent it is, unless the run's `configurable` says otherwise.
            budget: Most tokens of the recalled context.
            window_tokens: The model's whole window; default: what the model's profile says, else no further limit than `budget`.
            thread_id: Names the conversation; default: the run's `configurable` thread_id. Without either nothing is remembered.
            remember: Whether to keep the conversation.
        """
        super().__init__()
        self.tools = []
        self._memory, self._scope, self._thread_id = memory, scope, thread_id
        self._budget = ContextBudget.of(budget)
        self._window_tokens, self._remember = window_tokens, remember

    def wrap_model_call(self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]) -> ModelResponse[Any]:
        """Add the recalled context to the call's system message."""
        return handler(self._with_context(request))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        """Add the recalled context to the call's system message, off the event loop."""
        return await handler(await asyncio.to_thread(self._with_context, request, get_config()))

    def after_agent(self, state: AgentState[Any], runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Keep the conversation."""
        self._keep(state, get_config())
        return None

    async def aafter_agent(self, state: AgentState[Any], runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Keep the conversation, off the event loop."""
        await asyncio.to_thread(self._keep, state, get_config())
        return None

    def _with_context(self, request: ModelRequest[Any], config: Any = None) -> ModelRequest[Any]:
        context = self._recalled(request, config if config is not None else get_config())
        if context is None or not (context.blocks or context.facts):
            return request
        own = request.system_message.text if request.system_message is not None else ""
        return request.override(system_message=SystemMessage(f"{own}\n\n{context.text}".strip()))

    def _recalled(self, request: ModelRequest[Any], config: Any) -> Context | None:
        question = next((message for message in reversed(request.messages) if message.type == "human"), None)
        if question is None or not question.text.strip():
            return None
        budget = self._room(request)
        if budget is None:
            return None
        try:
            return self._memory.recall(question.text, budget=budget, scope=scope_of_run(self._scope, config))
        except BudgetTooSmallError:
            return None  # the conversation itself fills the window; the model is called without recalled text

    def _room(self, request: ModelRequest[Any]) -> ContextBudget | None:
        """Return the budget, cut to what the model's window has left; `None` where nothing is left."""
        profile = getattr(request.model, "profile", None) or {}
        window = self._window_tokens or profile.get("max_input_tokens")
        if not window:
            return self._budget
        count = self._memory.services.counter.count
        taken = sum(count(_whole(message)) + 4 for message in request.messages) + sum(count(str(tool)) for tool in request.tools)
        if request.system_message is not None:
            taken += count(_whole(request.system_message))
        left = int(window) - taken
        if left <= 0:
            return None
        return self._budget if left >= self._budget.window_tokens else ContextBudget.of(left)

    def _keep(self, state: AgentState[Any], config: Any) -> None:
        thread = self._thread_id or (config.get("configurable") or {}).get("thread_id")
        if not self._remember or not thread:
            return
        messages = [message for message in state["messages"] if not _is_unspeakable(message)]
        self._memory.remember(messages, thread_id=str(thread), scope=scope_of_run(self._scope, config))


def _whole(message: BaseMessage) -> str:
    return f"{message.content}{getattr(message, 'tool_calls', '') or ''}"


def _is_unspeakable(message: BaseMessage) -> bool:
    """Whether a message holds more than text: the agent may show pictures, the memory keeps words."""
    content = message.content
    return not isinstance(content, str) and any(
        not isinstance(block, str) and block.get("type") not in ("text", "tool_use", "tool_call", "reasoning", "thinking")
        for block in content
    )
