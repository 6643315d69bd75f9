"""Messages of a conversation as documents: one turn each, verbatim, with speaker and time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rag2_memory.errors import InvalidRequestError
from rag2_memory.types import Document, Scope, Turn, in_words, utc

REMEMBERED_ROLES = {"human": "user", "user": "user", "ai": "assistant", "assistant": "assistant"}
"""Message types that are remembered, and the speaker where none is named."""

SILENT_ROLES = frozenset({"system", "developer", "tool", "function", "remove"})
"""Message types that carry instructions or machinery, compiled contexts among them, and are left out."""

TIME_KEYS = ("timestamp", "created_at", "at", "date")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Message:
    role: str
    text: str
    id: str | None
    speaker: str | None
    at: datetime | None


def turns_of(
    messages: Sequence[Any],
    *,
    thread_id: str,
    scope: Scope,
    first_ordinal: int,
    now: datetime,
    known: Callable[[Sequence[str]], Mapping[str, str | None]],
) -> list[Document]:
    """Return the messages that are new to the thread as documents.

    A document's id is the message's own id, with the thread's in front where another thread or document has taken it; a message without an id is numbered.

    Args:
        messages: LangChain messages, `(role, text)` pairs or mappings with `role`, `content` and optionally `id`, `name`, `timestamp`.
        thread_id: Names the conversation.
        scope: Its user (else its groups) become the documents' ACL.
        first_ordinal: Position of the first new turn.
        now: Time of messages that state none.
        known: Given document ids, returns those that exist with the thread that each belongs to.

    Raises:
        InvalidRequestError: If a message is of no known kind, or holds anything but text.
    """
    if not isinstance(thread_id, str) or not thread_id:
        raise InvalidRequestError(f"got thread_id={thread_id!r}; needed a non-empty name for the conversation.")
    if isinstance(messages, (str, bytes, Mapping)):
        raise InvalidRequestError(f"got messages of type {type(messages).__name__}; needed a sequence of messages.")
    read = [message for message in map(_read, messages) if message is not None]
    names = [name for message in read if message.id is not None for name in (message.id, f"{thread_id}/{message.id}")]
    owners = known(names) if names else {}
    acl = {f"user:{scope.user}"} if scope.user else {f"group:{group}" for group in scope.groups}
    return list(_documents(read, thread_id=thread_id, acl=frozenset(acl), first_ordinal=first_ordinal, now=now, owners=owners))


def _documents(
    read: Sequence[_Message], *, thread_id: str, acl: frozenset[str], first_ordinal: int, now: datetime, owners: Mapping[str, str | None]
) -> Iterator[Document]:
    ordinal = first_ordinal
    met: set[str] = set()
    for message in read:
        name = message.id if message.id is not None else f"{thread_id}/{ordinal}"
        if name in owners and owners[name] != thread_id:
            name = f"{thread_id}/{name}"
        if name in met or owners.get(name) == thread_id:
            continue
        met.add(name)
        at = message.at or now
        speaker = message.speaker or REMEMBERED_ROLES[message.role]
        yield Document(
            id=name,
            text=message.text,
            title=in_words(at),
            acl=acl,
            modified_at=at,
            metadata={"thread_id": thread_id, "message_id": message.id, "role": REMEMBERED_ROLES[message.role], "speaker": speaker},
            media_type="text/plain",
            turn=Turn(thread_id=thread_id, ordinal=ordinal, speaker=speaker, at=at),
        )
        ordinal += 1


def _read(message: Any) -> _Message | None:
    """Return a message's parts, or `None` for one that is not remembered."""
    if isinstance(message, Mapping):
        fields = dict(message)
        role, content, name = fields.get("role", fields.get("type")), fields.get("content"), fields.get("name", fields.get("speaker"))
        identity, moment = fields.get("id"), next((fields[key] for key in TIME_KEYS if fields.get(key)), None)
    elif isinstance(message, (tuple, list)) and len(message) == 2:
        (role, content), name, identity, moment = message, None, None, None
    elif hasattr(message, "type") and hasattr(message, "content"):
        role, content, name, identity = message.type, message.content, getattr(message, "name", None), getattr(message, "id", None)
        extra = {**getattr(message, "response_metadata", {}), **getattr(message, "additional_kwargs", {})}
        moment = next((extra[key] for key in TIME_KEYS if extra.get(key)), None)
    else:
        raise InvalidRequestError(
            f"got a message of type {type(message).__name__}; needed a LangChain message, a (role, text) pair, or a mapping with role and content."
        )
    if role in SILENT_ROLES:
        return None
    if role not in REMEMBERED_ROLES:
        raise InvalidRequestError(f"got a message with role {role!r}; needed one of {', '.join(sorted(REMEMBERED_ROLES))}.")
    text = _text_of(content)
    if not text.strip():
        return None  # an assistant message that only calls tools
    return _Message(role=role, text=text, id=identity or None, speaker=name, at=utc(moment) if moment else None)


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, (list, tuple)):
        raise InvalidRequestError(f"got message content of type {type(content).__name__}; needed text or a list of text blocks.")
    pieces = []
    for block in content:
        if isinstance(block, str):
            pieces.append(block)
        elif isinstance(block, Mapping) and block.get("type") == "text":
            pieces.append(str(block.get("text", "")))
        elif isinstance(block, Mapping) and block.get("type") in ("tool_use", "tool_call", "tool_result", "reasoning", "thinking"):
            continue
        else:
            kind = block.get("type") if isinstance(block, Mapping) else type(block).__name__
            raise InvalidRequestError(f"got a content block of type {kind!r}; only text can be remembered. Describe images in words first.")
    return "\n".join(pieces)
