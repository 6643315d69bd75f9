"""A compiled context: the text for a model, and everything one can ask about it afterwards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

from rag2_memory.context.budget import ContextBudget
from rag2_memory.context.sanitize import CITATION_MARK, CITED_ID
from rag2_memory.types import Fact

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

EXACT_MARK: Final = " "
"""Begins JSON that only Python's own reader reads exactly; orjson is the faster one."""

Format = Literal["xml", "markdown", "json"]
Role = Literal["user", "assistant", "tool"]
Trust = Literal["instructions", "retrieved", "conversation"]
"""Who wrote a part: the application, somebody whose text was found, or the parties of the conversation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextBlock:
    """One passage of the context: a chunk, neighbouring chunks joined, or the parent chunk around them."""

    citation_id: str
    kind: Literal["chunk", "merged", "parent"]
    text: str
    """As the model sees it, before the escaping of the format."""
    tokens: int
    """Tokens of the rendered block with its header."""
    chunk_ids: tuple[str, ...]
    """The chunks that were chosen for it, in reading order."""
    document_id: str
    title: str
    heading_path: tuple[str, ...] = ()
    score: float = 0.0
    """Sum of its chunks' scores; comparable within one context only."""
    uri: str | None = None
    modified_at: datetime | None = None
    valid: str = ""
    """Validity window `from/to` (ISO dates, `..` where open) if the document's metadata states one."""
    speaker: str = ""
    """Who said it, where the block is a turn of a conversation."""
    version: int = 1
    truncated: bool = False
    """Whether the text was cut to fit; only ever the best block, where it is larger than all room for passages."""
    trust: Trust = "retrieved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """What a citation id stands for."""

    id: str
    kind: Literal["passage", "fact"]
    document_id: str
    chunk_ids: tuple[str, ...] = ()
    title: str = ""
    uri: str | None = None
    heading_path: tuple[str, ...] = ()
    modified_at: datetime | None = None
    version: int = 1
    statement: str = ""
    """A fact as one line; empty for passages."""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CitedSources:
    """The citations that an answer used."""

    citations: tuple[Citation, ...] = ()
    """In order of first use, each once."""
    unknown: tuple[str, ...] = ()
    """Ids that the answer used and this context never gave out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """Something that was a candidate and is not in the context."""

    kind: Literal["passage", "fact", "message"]
    id: str
    title: str
    reason: str
    tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryMessage:
    """A message of the conversation, kept as a message."""

    role: Role
    text: str
    """Its text as counted and rendered; tool calls as JSON."""
    tokens: int = 0
    """Tokens of the rendered message, its images included."""
    images: int = 0
    payload: Mapping[str, Any] | None = None
    """The LangChain message as a dict, where it came as one."""
    truncated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What `recall` returns: rendered, cited, and within its budget."""

    query: str
    text: str
    """The rendered whole: guidelines, facts, passages and history."""
    tokens: int
    """`text` counted by the token counter."""
    blocks: tuple[ContextBlock, ...] = ()
    facts: tuple[Fact, ...] = ()
    """The facts in the context; the first is cited as `f1`."""
    citations: dict[str, Citation] = field(
        default_factory=dict
    )  # a dict: LangGraph looks for types that checkpoints may hold in no other mapping
    dropped: tuple[Dropped, ...] = ()
    history: tuple[HistoryMessage, ...] = ()
    summary: str = ""
    """Running summary of the messages that are no longer in `history`."""
    guidelines: str = ""
    format: Format = "xml"
    budget: ContextBudget = field(default_factory=ContextBudget)
    counter: str = ""
    """Name of the token counter."""
    trace: Mapping[str, Any] = field(default_factory=dict)
    """JSON values: what the caller handed in, and `budget`, the account per segment."""

    def messages(self) -> list[BaseMessage]:
        """Return the context as LangChain messages: system (guidelines and context), the kept history as messages, the query.

        Together they take no more than the budget's input, at up to four tokens for the frame of each message.
        """
        from rag2_memory.context.messages import to_langchain
        from rag2_memory.context.render import render_system

        return to_langchain(render_system(self), self.history, self.query)

    def render(self, format: Format) -> str:
        """Return the same content in another format; it may take more tokens than `text`, and so more than the budget."""
        from rag2_memory.context.render import rendered

        return self.text if format == self.format else rendered(self, format)

    def cite(self, answer: str) -> CitedSources:
        """Resolve the citation ids that an answer used; ids that were never given out are reported, not ignored."""
        used = dict.fromkeys(name for mark in CITATION_MARK.findall(answer) for name in CITED_ID.findall(mark))
        known = dict.fromkeys(name.lower() for name in used if name.lower() in self.citations)
        return CitedSources(
            citations=tuple(self.citations[name] for name in known),
            unknown=tuple(name for name in used if name.lower() not in self.citations),
        )

    def to_json(self) -> str:
        """Return the context as JSON; `from_json` restores an equal one."""
        try:
            return orjson.dumps(self, default=_encode, option=orjson.OPT_NON_STR_KEYS).decode()
        except TypeError:  # a lone surrogate or an integer beyond 64 bits
            return EXACT_MARK + json.dumps(self, default=_encode, separators=(",", ":"))

    @classmethod
    def from_json(cls, data: str) -> Context:
        """Restore a context from `to_json`."""
        raw: dict[str, Any] = (json if data.startswith(EXACT_MARK) else orjson).loads(data)
        raw["blocks"] = tuple(_restored(ContextBlock, item) for item in raw["blocks"])
        raw["facts"] = tuple(_restored(Fact, item) for item in raw["facts"])
        raw["citations"] = {name: _restored(Citation, item) for name, item in raw["citations"].items()}
        raw["dropped"] = tuple(Dropped(**item) for item in raw["dropped"])
        raw["history"] = tuple(HistoryMessage(**item) for item in raw["history"])
        return cls(**(raw | {"budget": ContextBudget.from_dict(raw["budget"])}))


MOMENTS: Final[Mapping[type[Any], tuple[str, ...]]] = {
    ContextBlock: ("modified_at",),
    Citation: ("modified_at",),
    Fact: ("valid_from", "valid_to", "recorded_at", "retracted_at"),
}
"""Fields that JSON holds as text."""

TUPLES: Final[Mapping[type[Any], tuple[str, ...]]] = {
    ContextBlock: ("chunk_ids", "heading_path"),
    Citation: ("chunk_ids", "heading_path"),
    Fact: ("evidence", "documents"),
}
"""Fields that JSON holds as lists."""


def _encode(value: Any) -> Any:
    if isinstance(value, ContextBudget):
        return value.to_dict()
    if is_dataclass(value):
        return {item.name: getattr(value, item.name) for item in fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _restored(kind: type[Any], values: dict[str, Any]) -> Any:
    for name in MOMENTS[kind]:
        if values[name] is not None:
            values[name] = datetime.fromisoformat(values[name])
    for name in TUPLES[kind]:
        values[name] = tuple(values[name])
    return kind(**values)


def canonical(value: Any) -> Any:
    """Return a value as plain JSON values, so that it equals itself after a round trip."""
    return json.loads(json.dumps(value, ensure_ascii=False, default=_encode))
