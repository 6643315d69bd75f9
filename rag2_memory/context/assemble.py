"""Compiling a context: everything that was found, fitted to a budget, cited and rendered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final

from rag2_memory.context.account import budget_account
from rag2_memory.context.blocks import Group, PassageSegment
from rag2_memory.context.budget import NO_MAXIMUM, ContextBudget, Fillable, Limits, limits, smallest_window
from rag2_memory.context.compiled import Citation, Context, Dropped, Format, canonical
from rag2_memory.context.history import FittedHistory, History
from rag2_memory.context.messages import IMAGE_TOKENS, read_messages
from rag2_memory.context.render import RENDERERS, Renderer, context_parts, fact_parts, history_parts, statement
from rag2_memory.context.sanitize import SURROGATE, visible
from rag2_memory.context.tokens import default_token_counter
from rag2_memory.context.weigh import Scale
from rag2_memory.errors import BudgetTooSmallError, InvalidRequestError
from rag2_memory.protocols import TokenCounter
from rag2_memory.types import Fact, Passage

QUERY_FRAME_TOKENS: Final = 12
"""What chat formats add around the system message, the query and the start of the answer: three to four tokens each (OpenAI cookbook)."""


def compile_context(
    query: str,
    *,
    passages: Sequence[Passage] = (),
    facts: Sequence[Fact] = (),
    history: Iterable[Any] = (),
    guidelines: str = "",
    budget: ContextBudget | int | None = None,
    counter: TokenCounter | None = None,
    parents: Mapping[str, Any] | None = None,
    format: Format = "xml",
    trace: Mapping[str, Any] | Sequence[Any] | None = None,
    summarizer: Any = None,
    history_summary: str = "",
) -> Context:
    """Compile what was found into a context that never exceeds its budget.

    Args:
        query: The question; its tokens are reserved, it is asked by `Context.messages`.
        passages: Candidates with scores, higher is better; any order. Kept by relevance per token, the best one in any case (shortened
            where it is larger than all room for passages).
        facts: Facts, the most relevant first; kept in this order.
        history: LangChain messages, `(role, text)` tuples or dicts, oldest first.
        guidelines: The application's own instructions; always kept whole.
        budget: A budget, or the tokens of the window.
        counter: What counts tokens; `None`: `default_token_counter()`.
        parents: Parent chunks by id (`Parent` objects or texts). A chunk is replaced by its parent where there is room to spare.
        format: `xml`, `markdown` or `json`.
        trace: What happened before, as JSON values; goes into `Context.trace` (a list under `stages`).
        summarizer: A LangChain chat model that summarises messages which leave the window, or a `RunningSummarizer`, which also continues
            its earlier summaries; `None`: an extractive summary.
        history_summary: Summary of what was said before `history`; it stays, and is continued where messages leave.

    Returns:
        The context. Equal input gives equal output; a larger window never lowers the summed score of the passages kept (given a counter
        whose counts add up, or that never counts a whole higher than its parts plus one each).

    Raises:
        BudgetTooSmallError: If guidelines, frame and query alone exceed the budget.
        InvalidRequestError: If something is malformed.
    """
    if format not in RENDERERS:
        raise InvalidRequestError(f"got format={format!r}; needed one of {sorted(RENDERERS)}.")
    job = _Job(
        query=SURROGATE.sub("\ufffd", query),
        guidelines=visible(guidelines).strip(),
        budget=ContextBudget.of(budget),
        renderer=RENDERERS[format],
        scale=Scale(counter if counter is not None else default_token_counter()),
    )
    room = job.limits()
    conversation = History(read_messages(history, query=query), previous_summary=history_summary, renderer=job.renderer, scale=job.scale)
    graph = _GraphSegment(facts, job)
    segment = PassageSegment(passages, renderer=job.renderer, scale=job.scale)
    needs: dict[Fillable, int] = {"graph": graph.need_tokens, "passages": NO_MAXIMUM, "history": conversation.need_tokens}
    segment.choose(room.grant(needs)["passages"])
    if segment.complete:
        needs["passages"] = segment.tokens
    granted = room.grant(needs)
    graph.choose(granted["graph"])
    fitted = conversation.fit(granted["history"], summarizer=summarizer)
    draft = _Draft(job=job, room=room, segment=segment, graph=graph, fitted=fitted)
    if parents:
        draft.promote(parents)
    return draft.context(format=format, trace=trace)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What all steps share."""

    query: str
    guidelines: str
    budget: ContextBudget
    renderer: Renderer
    scale: Scale

    @property
    def query_tokens(self) -> int:
        """Tokens reserved for asking the query."""
        return self.scale.weigh(self.query) + QUERY_FRAME_TOKENS

    def frame_tokens(self) -> int:
        """Tokens of guidelines and frame."""
        return sum(map(self.scale.weigh, context_parts(self.renderer, guidelines=self.guidelines, facts=(), passages=(), history=())))

    def limits(self) -> Limits:
        """Return what each segment may hold.

        Raises:
            BudgetTooSmallError: If guidelines, frame and query alone exceed the budget.
            InvalidRequestError: If the guidelines exceed their own maximum.
        """
        frame = self.frame_tokens()
        maximum = self.budget.share("guidelines").maximum
        if maximum is not None and frame > maximum:
            raise InvalidRequestError(
                f"got guidelines that take {frame} tokens with the frame; needed at most maximum={maximum}. Shorten them."
            )
        return limits(self.budget, fixed_tokens=frame + self.query_tokens)

    def history_tokens(self, fitted: FittedHistory) -> int:
        """Tokens of the fitted history with its frame and images, at most."""
        parts = history_parts(self.renderer, fitted.summary, fitted.messages)
        if not parts:
            return 0
        frame = self.renderer.opening("history", "conversation"), self.renderer.closing("history")
        return sum(map(self.scale.weigh, (*frame, *parts))) + image_tokens(fitted)


class _GraphSegment:
    """The facts of one context."""

    def __init__(self, facts: Sequence[Fact], job: _Job) -> None:
        self._repeated: list[Dropped] = []
        self._facts = [replace(fact, properties=canonical(fact.properties)) if fact.properties else fact for fact in self._distinct(facts)]
        self._weights = [job.scale.weigh(part) for part in fact_parts(job.renderer, self._facts)]
        self._frame = job.scale.weigh(job.renderer.opening("facts", "retrieved")) + job.scale.weigh(job.renderer.closing("facts"))
        self.chosen: list[int] = []

    def _distinct(self, facts: Sequence[Fact]) -> list[Fact]:
        first: dict[tuple[Any, ...], Fact] = {}
        for fact in facts:
            said = (*(name.casefold() for name in statement(fact)), fact.retracted_at)
            if first.setdefault(said, fact) is not fact:
                self._repeated.append(Dropped(kind="fact", id=fact.edge_id, title=str(fact), reason="the same fact twice"))
        return list(first.values())

    @property
    def need_tokens(self) -> int:
        """Tokens that hold all facts."""
        return self._frame + sum(self._weights) if self._facts else 0

    @property
    def tokens(self) -> int:
        """Tokens of the chosen facts with their frame, at most."""
        return self._frame + sum(self._weights[at] for at in self.chosen) if self.chosen else 0

    @property
    def facts(self) -> tuple[Fact, ...]:
        """The chosen facts."""
        return tuple(self._facts[at] for at in self.chosen)

    def choose(self, limit: Fraction) -> None:
        """Choose facts in their order while they fit, and one more that fits where the next does not."""
        left = limit - self._frame
        self.chosen = []
        for at, weight in enumerate(self._weights):
            if weight > left:
                filling = next((later for later in range(at + 1, len(self._weights)) if self._weights[later] <= left), None)
                self.chosen.extend([] if filling is None else [filling])
                return
            left -= weight
            self.chosen.append(at)

    def give_up(self) -> bool:
        """Remove the last fact; whether there was one."""
        return bool(self.chosen and self.chosen.pop() is not None)

    def dropped(self) -> list[Dropped]:
        """Return the facts that were not chosen."""
        kept = set(self.chosen)
        return self._repeated + [
            Dropped(kind="fact", id=fact.edge_id, title=str(fact), reason="no room left for facts", tokens=self._weights[at])
            for at, fact in enumerate(self._facts)
            if at not in kept
        ]


def image_tokens(fitted: FittedHistory) -> int:
    """Tokens of the images in the kept messages, which the rendered text only names."""
    return IMAGE_TOKENS * sum(message.images for message in fitted.messages)


@dataclass(slots=True, kw_only=True)
class _Draft:
    """Everything chosen, before it is known that the whole fits."""

    job: _Job
    room: Limits
    segment: PassageSegment
    graph: _GraphSegment
    fitted: FittedHistory

    def promote(self, parents: Mapping[str, Any]) -> None:
        """Let the passages take what nobody uses, if they take part in the flow, or else the rest of their share."""
        used = self.segment.tokens
        free = self.room.available - self.graph.tokens - self.job.history_tokens(self.fitted) - used
        bound = Fraction(self.room.maxima["passages"]) if "passages" in self.room.flow else self.room.shares["passages"]
        self.segment.promote(parents, min(free, bound - used))

    def fitting(self) -> tuple[list[Group], list[str], int]:
        """Return what is shown of the passages, the rendered parts of the whole and their count, after giving up the least valuable ones while the whole is over budget.

        Raises:
            BudgetTooSmallError: If nothing is left to give up.
        """
        while True:
            groups = self.segment.arranged()
            parts = context_parts(
                self.job.renderer,
                guidelines=self.job.guidelines,
                facts=fact_parts(self.job.renderer, self.graph.facts),
                passages=[group.shown.part for group in groups],
                history=history_parts(self.job.renderer, self.fitted.summary, self.fitted.messages),
            )
            tokens = self.job.scale.whole(parts)
            excess = tokens + self.job.query_tokens + image_tokens(self.fitted) - self.job.budget.input_tokens
            if excess <= 0:
                return groups, parts, tokens
            self._give_up(excess)

    def _give_up(self, excess: int) -> None:
        """Give up passages, then facts, then the history."""
        if self.segment.give_up(excess) or self.graph.give_up():
            return
        if not self.fitted.messages and not self.fitted.summary:
            budget = self.job.budget
            needed = smallest_window(budget, input_tokens=budget.input_tokens + excess)
            raise BudgetTooSmallError(budget_tokens=budget.window_tokens, needed_tokens=needed)
        lost = tuple(
            Dropped(kind="message", id=f"message {at}", title=message.text[:60], reason="no room left: the rendered whole was over budget")
            for at, message in enumerate(self.fitted.messages)
        )
        self.fitted = FittedHistory(dropped=(*self.fitted.dropped, *lost))

    def account(self, tokens: int) -> dict[str, Any]:
        """Return what each segment was allotted, used, borrowed and lent."""
        return budget_account(
            self.job.budget,
            self.room,
            counter=self.job.scale.counter.name,
            whole=tokens,
            query=self.job.query_tokens,
            frame=self.job.frame_tokens(),
            graph=self.graph.tokens,
            history=self.job.history_tokens(self.fitted),
            images=image_tokens(self.fitted),
            summary=self.fitted.note,
        )

    def context(self, *, format: Format, trace: Mapping[str, Any] | Sequence[Any] | None) -> Context:
        """Render the context."""
        groups, parts, tokens = self.fitting()
        facts, dropped = self.graph.facts, self.segment.dropped
        return Context(
            query=self.job.query,
            text="".join(parts),
            tokens=tokens,
            blocks=tuple(group.shown.block for group in groups),
            facts=facts,
            citations=_citations(groups, facts),
            dropped=(*(dropped[at] for at in sorted(dropped)), *self.graph.dropped(), *self.fitted.dropped),
            history=self.fitted.messages,
            summary=self.fitted.summary,
            guidelines=self.job.guidelines,
            format=format,
            budget=self.job.budget,
            counter=self.job.scale.counter.name,
            trace=_trace(trace) | {"budget": self.account(tokens)},
        )


def _citations(groups: Sequence[Group], facts: Sequence[Fact]) -> dict[str, Citation]:
    found = {
        block.citation_id: Citation(
            id=block.citation_id,
            kind="passage",
            document_id=block.document_id,
            chunk_ids=block.chunk_ids,
            title=block.title,
            uri=block.uri,
            heading_path=block.heading_path,
            modified_at=block.modified_at,
            version=block.version,
            metadata=canonical(metadata) if (metadata := group.members[0].passage.metadata) else {},
        )
        for group in groups
        for block in [group.shown.block]
    }
    for number, fact in enumerate(facts, start=1):
        stated = statement(fact)
        found[f"f{number}"] = Citation(
            id=f"f{number}",
            kind="fact",
            document_id=fact.documents[0] if fact.documents else "",
            chunk_ids=fact.evidence,
            statement=stated.line + (f" [{stated.valid}]" if stated.valid else ""),
        )
    return found


def _trace(trace: Mapping[str, Any] | Sequence[Any] | None) -> dict[str, Any]:
    if trace is None:
        return {}
    told: dict[str, Any] = canonical(dict(trace) if isinstance(trace, Mapping) else {"stages": list(trace)})
    return told
