"""From a context to an answer: a chat model, and the sources that its answer cites."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rag2_memory.commands.terminal import console, harmless, note, table, to_json
from rag2_memory.errors import BackendUnavailableError, InvalidRequestError, MissingExtraError

if TYPE_CHECKING:
    from rag2_memory.context import Context

MESSAGE_CHARACTERS = 240
"""Of a provider's error: enough for what went wrong."""


def chat_model(name: str) -> Any:
    """Return the LangChain chat model of a name such as `openai:gpt-5-mini`.

    Raises:
        MissingExtraError: If LangChain is not installed.
        InvalidRequestError: If there is no such model, or its package or key is missing.
    """
    try:
        from langchain.chat_models import init_chat_model
    except ImportError as exc:
        raise MissingExtraError(package="langchain", extra="agent", purpose="rag2 ask --model") from exc
    try:
        return init_chat_model(name)
    except Exception as exc:  # each provider's package raises its own kind for an unknown name, a missing package or a missing key
        raise InvalidRequestError(f"got --model {name}, which cannot be used: {shortened(str(exc))}") from exc


def shortened(message: str) -> str:
    """Return a foreign error's message without its tail: providers list all they know, or a whole response."""
    line = " ".join(message.split())
    return line if len(line) <= MESSAGE_CHARACTERS else f"{line[:MESSAGE_CHARACTERS]} …"


def answer(chat: Any, context: Context, *, live: bool) -> str:
    """Have a model answer from a context; `live` writes the words to stdout as they come.

    Raises:
        BackendUnavailableError: If the model fails.
    """
    pieces: list[str] = []
    try:
        for piece in chat.stream(context.messages()):
            pieces.append(_text_of(piece))
            if live:
                sys.stdout.write(harmless(pieces[-1]))
                sys.stdout.flush()
    except Exception as exc:  # a provider's own errors, network errors among them
        raise BackendUnavailableError(f"the chat model failed: {type(exc).__name__}: {shortened(str(exc))}") from exc
    finally:
        if live and pieces:
            sys.stdout.write("\n")
    return "".join(pieces)


def _text_of(message: Any) -> str:
    content = message.content
    if isinstance(content, str):
        return content
    return "".join(block if isinstance(block, str) else str(block.get("text", "")) for block in content)


def print_sources(context: Context, text: str) -> None:
    """List what an answer cites, and name the citations that it made up."""
    cited = context.cite(text)
    if cited.citations:
        listed = table("cited", "document", "what", whole=["document"])
        for citation in cited.citations:
            what = citation.statement or " › ".join(dict.fromkeys((citation.title, *citation.heading_path)))
            listed.add_row(citation.id, citation.uri or citation.document_id, what)
        screen = console()
        screen.print()
        screen.print(listed)
    else:
        note("\nThe answer cites nothing from the memory.")
    if cited.unknown:
        note(f"The answer cites what it was never given: {', '.join(cited.unknown)}", style="yellow")


def answer_json(text: str, context: Context) -> dict[str, Any]:
    """Return an answer with its sources for other programs."""
    cited = context.cite(text)
    return {
        "query": context.query,
        "answer": text,
        "citations": to_json(cited.citations),
        "unknown_citations": list(cited.unknown),
        "context_tokens": context.tokens,
    }
