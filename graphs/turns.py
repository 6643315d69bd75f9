"""Reading a conversation in a graph's state: which message asks, and which ones somebody said."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import BaseMessage

from rag2_memory.errors import InvalidRequestError

SUMMARY_SOURCE = "summarization"
"""How LangChain's `SummarizationMiddleware` marks its digest, which it writes as a human message that no human wrote."""

SPEAKERS = ("human", "ai")


def is_digest(message: BaseMessage) -> bool:
    """Whether a message only repeats earlier ones in short."""
    return message.additional_kwargs.get("lc_source") == SUMMARY_SOURCE


def question_at(messages: Sequence[BaseMessage]) -> int | None:
    """Return the place of the latest message that a human wrote; `None` where there is none."""
    return next((at for at in reversed(range(len(messages))) if messages[at].type == "human" and not is_digest(messages[at])), None)


def asked(messages: Sequence[BaseMessage]) -> int:
    """Return the place of the latest message that a human wrote in words.

    Raises:
        InvalidRequestError: If there is none.
    """
    at = question_at(messages)
    if at is None or not messages[at].text.strip():
        raise InvalidRequestError("got no human message with text; needed `messages` in which somebody asks something.")
    return at


def spoken(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return what people and assistants said, in words: a picture stays the agent's, a digest would be remembered twice."""
    kept = []
    for message in messages:
        text = str(message.text)
        if message.type in SPEAKERS and text.strip() and not is_digest(message):
            kept.append(message if isinstance(message.content, str) else message.model_copy(update={"content": text}))
    return kept
