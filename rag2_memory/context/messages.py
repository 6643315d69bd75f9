"""Reading the messages that callers pass as history, and turning kept ones back into LangChain messages."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from rag2_memory.context.compiled import HistoryMessage, Role
from rag2_memory.errors import InvalidRequestError

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

IMAGE_TOKENS: Final = 1_600
"""Counted per image: the most that Claude charges for one after its own downscaling; GPT-4o charges at most 1,105."""

ROLES: Final[Mapping[str, Role | Literal["system"]]] = {
    "human": "user",
    "user": "user",
    "HumanMessageChunk": "user",
    "ai": "assistant",
    "assistant": "assistant",
    "AIMessageChunk": "assistant",
    "tool": "tool",
    "function": "tool",
    "ToolMessageChunk": "tool",
    "system": "system",
    "developer": "system",
    "SystemMessageChunk": "system",
}
TEXT_BLOCKS: Final = frozenset({"text", "text-plain", "input_text", "output_text"})
IMAGE_BLOCKS: Final = frozenset({"image", "image_url", "input_image"})
CALL_BLOCKS: Final = frozenset({"tool_use", "tool_call", "function_call", "tool_call_chunk"})
"""Tool calls inside the content; they are read from the message's `tool_calls`."""
THOUGHT_BLOCKS: Final = frozenset({"thinking", "redacted_thinking", "reasoning"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A message as the history works with it."""

    index: int
    """Position in what the caller passed."""
    role: Role | Literal["system"]
    text: str
    images: int = 0
    calls: tuple[str, ...] = ()
    """Ids of the tool calls that it makes."""
    answers: str = ""
    """Id of the tool call that it answers."""
    message: BaseMessage | None = None

    @property
    def kept(self) -> HistoryMessage:
        """The message as a context keeps it."""
        if self.role == "system":
            raise InvalidRequestError("a system message cannot be kept in the history; pass its text as guidelines.")
        return HistoryMessage(role=self.role, text=self.text, images=self.images, payload=_payload(self.message))


def read_messages(messages: Iterable[Any], *, query: str = "") -> list[Entry]:
    """Read LangChain messages, `(role, text)` tuples and dicts.

    A last message that is the query itself is left out: the query is asked once.

    Raises:
        InvalidRequestError: If something is no message, or holds a content block that cannot be counted (audio, files, video).
    """
    entries = [_entry(index, message) for index, message in enumerate(messages)]
    if entries and query and entries[-1].role == "user" and entries[-1].text.strip() == query.strip() and not entries[-1].images:
        entries.pop()
    return entries


def _entry(index: int, message: Any) -> Entry:
    if isinstance(message, (tuple, list)) and len(message) == 2 and all(isinstance(part, str) for part in message):
        return Entry(index=index, role=_role(message[0]), text=message[1])
    if isinstance(message, Mapping) and isinstance(message.get("content"), str) and not message.keys() - {"role", "content"}:
        return Entry(index=index, role=_role(str(message.get("role", ""))), text=message["content"])
    if isinstance(message, (tuple, Mapping)):
        message = _converted(message)
    if not hasattr(message, "content") or not hasattr(message, "type"):
        raise InvalidRequestError(
            f"got a history message of type {type(message).__name__}; needed a LangChain message, a (role, text) tuple or a "
            "{'role': …, 'content': …} dict."
        )
    role = _role(getattr(message, "role", "") if message.type in ("chat", "ChatMessageChunk") else message.type)
    text, images = _content(message.content)
    calls: Sequence[Mapping[str, Any]] = getattr(message, "tool_calls", None) or ()
    said = [f"call {call['name']}({json.dumps(call['args'], ensure_ascii=False, default=str)})" for call in calls]
    return Entry(
        index=index,
        role=role,
        text="\n".join([*([text] if text else []), *said]),
        images=images,
        calls=tuple(str(call.get("id") or "") for call in calls),
        answers=str(getattr(message, "tool_call_id", "") or ""),
        message=message,
    )


def _converted(message: Any) -> BaseMessage:
    from langchain_core.messages import convert_to_messages

    try:
        return convert_to_messages([dict(message) if isinstance(message, Mapping) else message])[0]
    except (ValueError, NotImplementedError, KeyError, TypeError) as exc:
        raise InvalidRequestError(f"got the history message {message!r}, which cannot be read: {exc}.") from exc


def _role(name: str) -> Role | Literal["system"]:
    role = ROLES.get(name)
    if role is None:
        raise InvalidRequestError(f"got a history message of role {name!r}; needed one of {sorted(ROLES)}.")
    return role


def _content(content: Any) -> tuple[str, int]:
    """Return the text of a message's content and the number of images in it."""
    if isinstance(content, str):
        return content, 0
    texts, images = [], 0
    for block in content:
        kind = "text" if isinstance(block, str) else str(block.get("type", ""))
        if kind in TEXT_BLOCKS:
            texts.append(block if isinstance(block, str) else str(block.get("text", "")))
        elif kind in IMAGE_BLOCKS:
            images += 1
            texts.append("(image)")
        elif kind in THOUGHT_BLOCKS:
            texts.append(json.dumps(block, ensure_ascii=False, default=str))
        elif kind not in CALL_BLOCKS:
            raise InvalidRequestError(
                f"got a history message with a content block of type {kind!r}, whose tokens cannot be counted; needed text, images or "
                "tool calls. Leave it out or replace it by a description."
            )
    return "\n".join(texts), images


def _payload(message: BaseMessage | None) -> Mapping[str, Any] | None:
    if message is None:
        return None
    from langchain_core.messages import message_to_dict

    payload: Mapping[str, Any] = json.loads(json.dumps(message_to_dict(message), default=str))
    return payload


def cut(entry: HistoryMessage, text: str) -> HistoryMessage:
    """Return a kept message with another text."""
    payload = entry.payload
    if payload is not None:
        payload = {**payload, "data": {**payload["data"], "content": text}}
    return HistoryMessage(role=entry.role, text=text, tokens=entry.tokens, payload=payload, truncated=True)


def to_langchain(system: str, history: Sequence[HistoryMessage], query: str) -> list[BaseMessage]:
    """Return LangChain messages: the system text, the history, the query."""
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, messages_from_dict

    kept: list[BaseMessage] = []
    for message in history:
        if message.payload is not None:
            kept.extend(messages_from_dict([dict(message.payload)]))
        else:
            kept.append(HumanMessage(message.text) if message.role == "user" else AIMessage(message.text))
    return [SystemMessage(system), *kept, HumanMessage(query)]
