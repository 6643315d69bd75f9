"""A chat model that is none: it answers with the best passage of the context that it is given, where no language model is at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from rag2_memory.context.parse import ParsedContext, parse_context

OPENING, CLOSING = "<context>", "</context>"

NOTHING_KNOWN = "The memory holds nothing about this."


class QuotingChatModel(BaseChatModel):
    """Quotes what the memory ranked first, documents before what was said, with its citation, so that an agent runs, and can be looked into, without a language model.

    It reads the context of `Context.messages()` and of `MemoryMiddleware` in the default format, and calls no tools.
    """

    @property
    def _llm_type(self) -> str:
        return "quoting"

    def bind_tools(self, tools: Sequence[Any], **options: Any) -> QuotingChatModel:
        """Return itself: tools may be offered, none is called."""
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **options: Any,
    ) -> ChatResult:
        told = "\n".join(str(message.text) for message in messages if message.type == "system")
        return ChatResult(generations=[ChatGeneration(message=AIMessage(_quoted(_context_in(told))))])


def _context_in(told: str) -> ParsedContext:
    """Return the last context in a system message; what it retrieved can neither open nor close one."""
    _, opening, rest = told.rpartition(OPENING)
    body, closing, _ = rest.partition(CLOSING)
    return parse_context(f"{opening}{body}{closing}") if opening and closing else ParsedContext()


def _quoted(context: ParsedContext) -> str:
    best = min(context.passages, key=lambda name: ("speaker" in context.passages[name], int(name[1:])), default=None)
    if best is not None:
        return f"{context.passages[best]['text']} [{best}]"
    return next((f"{labels['fact']} [{name}]" for name, labels in context.facts.items()), NOTHING_KNOWN)
