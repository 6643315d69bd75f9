"""Middleware for `langchain.agents.create_agent`: recalls before the model is called, remembers after the agent has answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated, Any, NotRequired, cast

from rag2_memory.context import Context, ContextBudget
from rag2_memory.errors import BudgetTooSmallError, MissingExtraError
from rag2_memory.graphs.scopes import scope_of_run
from rag2_memory.graphs.turns import question_at, spoken
from rag2_memory.integrations.request_tokens import RequestCounter
from rag2_memory.memory import Memory
from rag2_memory.types import Scope

try:
    from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse
    from langchain.agents.middleware.types import PrivateStateAttr
    from langchain_core.messages import AnyMessage, BaseMessage, SystemMessage
    from langgraph.config import get_config
    from langgraph.runtime import Runtime
except ImportError as missing:
    raise MissingExtraError(package="langchain", extra="agent", purpose="MemoryMiddleware") from missing


class MemoryState(AgentState[Any]):
    """The agent's state with what the middleware keeps in it."""

    memory_question: NotRequired[Annotated[AnyMessage | None, PrivateStateAttr]]
    """The turn's question: other middleware may replace the messages by a digest before the model is called, or before the agent ends."""


class MemoryMiddleware(AgentMiddleware[AgentState[Any], Any, Any]):
    """Gives an agent a memory: `create_agent(model, tools, middleware=[MemoryMiddleware(memory)])`.

    Before each model call it compiles a context for the latest human message, within what the window has left after system prompt, tools, messages and the response
    reserve, and adds it to the system message of that call alone: it never enters the agent's messages, so recalled text is never remembered again. After the agent it
    keeps the new messages under the run's `thread_id`: what people and the agent said, in words; not the digests of LangChain's `SummarizationMiddleware`.
    """

    state_schema = MemoryState  # the base class is not made generic in it: lists of several middlewares then still type-check

    def __init__(
        self,
        memory: Memory,
        *,
        scope: Scope | None = None,
        budget: ContextBudget | int = 16_000,
        window_tokens: int | None = None,
        thread_id: str | None = None,
        remember: bool = True,
        name: str = "MemoryMiddleware",
    ) -> None:
        """Configure the middleware.

        Args:
            memory: The memory; it stays the caller's to close.
            scope: Whose agent it is, unless the run's `configurable` says otherwise.
            budget: Most tokens of the recalled context, its response reserve included.
            window_tokens: The model's whole window; default: what the model's profile says, else no further limit than `budget`.
            thread_id: Names the conversation; default: the run's `configurable` thread_id. Without either nothing is remembered.
            remember: Whether to keep the conversation.
            name: What the agent calls this middleware; an agent with several memories needs one for each.
        """
        super().__init__()
        self.tools = []
        self._name, self._memory, self._scope, self._thread_id = name, memory, scope, thread_id
        self._budget = ContextBudget.of(budget)
        self._window_tokens, self._remember = window_tokens, remember
        self._counter = RequestCounter(memory.services.counter.count)

    @property
    def name(self) -> str:
        """The name of its nodes in the agent."""
        return self._name

    def before_agent(self, state: AgentState[Any], runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Note the turn's question."""
        at = question_at(state["messages"])
        return {"memory_question": None if at is None else state["messages"][at]}

    async def abefore_agent(self, state: AgentState[Any], runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Note the turn's question."""
        return self.before_agent(state, runtime)

    def wrap_model_call(self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]) -> ModelResponse[Any]:
        """Add the recalled context to the call's system message."""
        return handler(self._with_context(request, get_config()))

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
        if self._remember:
            await asyncio.to_thread(self._keep, state, get_config())
        return None

    def _with_context(self, request: ModelRequest[Any], config: Any) -> ModelRequest[Any]:
        context = self._recalled(request, config)
        if context is None or not (context.blocks or context.facts):
            return request
        return request.override(system_message=_extended(request.system_message, context.text))

    def _recalled(self, request: ModelRequest[Any], config: Any) -> Context | None:
        question = _question(request.state)
        if question is None or not question.text.strip():
            return None
        budget = self._room(request)
        if budget is None:
            return None
        try:
            return self._memory.recall(str(question.text), budget=budget, scope=scope_of_run(self._scope, config))
        except BudgetTooSmallError:
            return None  # the conversation itself fills the window; the model is called without recalled text

    def _room(self, request: ModelRequest[Any]) -> ContextBudget | None:
        """Return the budget, cut to what the model's window has left; `None` where nothing is left."""
        profile = getattr(request.model, "profile", None) or {}
        window = self._window_tokens or profile.get("max_input_tokens")
        if not window:
            return self._budget
        left = int(window) - self._counter.tokens(
            system=request.system_message, messages=request.messages, tools=request.tools, response_format=request.response_format
        )
        if left <= 0:
            return None
        return self._budget if left >= self._budget.window_tokens else replace(self._budget, window_tokens=left)

    def _keep(self, state: AgentState[Any], config: Any) -> None:
        thread = self._thread_id or (config.get("configurable") or {}).get("thread_id")
        if not self._remember or not thread:
            return
        messages, question = state["messages"], _question(state)
        if question is not None and question.id not in {message.id for message in messages}:
            messages = [cast("AnyMessage", question), *messages]
        self._memory.remember(spoken(messages), thread_id=str(thread), scope=scope_of_run(self._scope, config))


def _question(state: AgentState[Any]) -> BaseMessage | None:
    return cast("MemoryState", state).get("memory_question")


def _extended(system: SystemMessage | None, text: str) -> SystemMessage:
    """Return a system message with a text behind its own: what stays the same from call to call comes first, as providers' caches want it."""
    if system is None:
        return SystemMessage(text)
    if isinstance(system.content, str):
        return system.model_copy(update={"content": f"{system.content}\n\n{text}".strip()})
    return system.model_copy(update={"content": [*system.content, {"type": "text", "text": text}]})
