"""A chat model that answers from a script, for agents under test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

Answer = AIMessage | str | Callable[[list[BaseMessage]], AIMessage | str]


class Scripted(BaseChatModel):
    """Gives its answers in turn, the first again after the last, and keeps what it was asked. A function answers by what it is asked."""

    answers: list[Any]
    asked: list[list[BaseMessage]]
    tools: list[Any]

    def __init__(self, *answers: Answer, **options: Any) -> None:
        super().__init__(answers=list(answers), asked=[], tools=[], **options)  # type: ignore[call-arg]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **options: Any) -> Any:
        self.tools[:] = tools
        return self

    def _generate(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **options: Any) -> ChatResult:
        answer = self.answers[len(self.asked) % len(self.answers)]
        self.asked.append(list(messages))
        said = answer(messages) if callable(answer) else answer
        message = AIMessage(said) if isinstance(said, str) else said.model_copy(update={"id": None})
        return ChatResult(generations=[ChatGeneration(message=message)])


def calling(name: str, **arguments: Any) -> AIMessage:
    """Return an answer that calls a tool."""
    return AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": f"call-{name}"}])
