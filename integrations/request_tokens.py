"""What a model call takes of the model's window before anything is recalled: system prompt, tools, messages, the schema of the answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from langchain.agents.structured_output import AutoStrategy, ToolStrategy
from langchain_core.messages import BaseMessage
from langchain_core.utils.function_calling import convert_to_openai_tool

from rag2_memory.context.messages import IMAGE_TOKENS, read_messages
from rag2_memory.errors import InvalidRequestError

MESSAGE_FRAME_TOKENS = 4
"""What chat formats add around a message: three to four tokens (OpenAI cookbook)."""

CALL_FRAME_TOKENS = 8
"""What they add around a tool call or a tool's definition, ids apart."""

TEXTS_KEPT = 2_048
"""Counts kept: a conversation is counted again with every call, and only its end is new."""


class RequestCounter:
    """Counts model calls by a token counter; any number of threads may share one."""

    def __init__(self, count: Callable[[str], int]) -> None:
        self._count = lru_cache(maxsize=TEXTS_KEPT)(count)
        self._sent_along: dict[int, tuple[Any, int]] = {}

    def tokens(
        self, *, system: BaseMessage | None, messages: Iterable[BaseMessage], tools: Iterable[Any], response_format: Any = None
    ) -> int:
        """Return what a call takes; where a part cannot be counted exactly, more rather than less."""
        spoken = [*([system] if system is not None else []), *messages]
        fixed = sum(self._fixed(tool, _tool_definition) for tool in tools)
        if response_format is not None:
            fixed += self._fixed(response_format, _answer_schemas)
        return sum(map(self._message, spoken)) + fixed

    def _message(self, message: BaseMessage) -> int:
        try:
            (entry,) = read_messages([message])
        except InvalidRequestError:  # sound or a file: at least what it takes as text
            return self._count(str(message.content)) + MESSAGE_FRAME_TOKENS
        identities = "".join((*entry.calls, entry.answers))
        frame = MESSAGE_FRAME_TOKENS + CALL_FRAME_TOKENS * len(entry.calls)
        return self._count(entry.text) + (self._count(identities) if identities else 0) + IMAGE_TOKENS * entry.images + frame

    def _fixed(self, part: Any, definitions: Callable[[Any], list[Any]]) -> int:
        """Return the tokens of what is sent along with every call in the same form: a tool, or the strategy for a structured answer."""
        kept = self._sent_along.get(id(part))
        if kept is not None and kept[0] is part:
            return kept[1]
        texts = [json.dumps(definition, ensure_ascii=False, default=str) for definition in definitions(part)]
        tokens = sum(self._count(text) + CALL_FRAME_TOKENS for text in texts)
        if len(self._sent_along) >= TEXTS_KEPT:
            self._sent_along.clear()
        self._sent_along[id(part)] = (part, tokens)
        return tokens


def _tool_definition(tool: Any) -> list[Any]:
    try:
        return [convert_to_openai_tool(tool)]
    except (TypeError, ValueError):  # a provider's own tool, already in its form
        return [tool if isinstance(tool, dict) else str(tool)]


def _answer_schemas(response_format: Any) -> list[Any]:
    """Return the schemas that LangChain's strategies for structured answers send along; one that is still to be chosen sends the same."""
    if isinstance(response_format, AutoStrategy):
        response_format = ToolStrategy(response_format.schema)
    specs = getattr(response_format, "schema_specs", None) or [getattr(response_format, "schema_spec", None)]
    return [spec.json_schema for spec in specs if spec is not None]
