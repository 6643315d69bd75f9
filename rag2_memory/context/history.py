"""The history segment: a sliding window over the latest messages, and a running summary of what left it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final

from rag2_memory.context.compiled import Dropped, HistoryMessage
from rag2_memory.context.messages import IMAGE_TOKENS, Entry, cut
from rag2_memory.context.render import Renderer
from rag2_memory.context.sanitize import clean
from rag2_memory.context.shorten import cut_to_fit
from rag2_memory.context.summary import RunningSummarizer, extractive_summary
from rag2_memory.context.weigh import Scale
from rag2_memory.errors import BackendUnavailableError

SUMMARY_PART: Final = Fraction(1, 4)
"""Of the history's room when messages must leave: recent messages verbatim matter more than a digest of old ones."""

MIN_SUMMARY_TOKENS: Final = 24

WORDS_PER_TOKEN: Final = 0.6
"""English prose has about 0.75; a summary that is cut loses its end, so ask for less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedHistory:
    """What of a conversation goes into the context."""

    messages: tuple[HistoryMessage, ...] = ()
    summary: str = ""
    dropped: tuple[Dropped, ...] = ()
    note: str = ""
    """Which summary was made, and why not the wished one; empty without a summary."""


class History:
    """A conversation that is to be fitted into its segment."""

    def __init__(self, entries: Sequence[Entry], *, previous_summary: str, renderer: Renderer, scale: Scale) -> None:
        self._renderer, self._scale, self._previous = renderer, scale, clean(previous_summary).strip()
        self._refused: list[Dropped] = []
        self._units = self._paired(entries)
        self._frame = scale.weigh(renderer.opening("history", "conversation")) + scale.weigh(renderer.closing("history"))

    @property
    def need_tokens(self) -> int:
        """Tokens that hold everything."""
        everything = sum(self._unit_tokens(unit) for unit in self._units) + self._summary_tokens(self._previous)
        return everything + self._frame if everything else 0

    def fit(self, limit: Fraction, *, summarizer: Any = None) -> FittedHistory:
        """Keep the latest messages that fit, and summarise the others.

        A tool call and its results stay or go together. The latest message is shortened if it alone is larger than the window. Once messages
        had to go, the window starts with a user's message, as chat models expect.

        Args:
            limit: Tokens for the whole segment, its frame and images included.
            summarizer: A LangChain chat model, or a `RunningSummarizer` around one; without it, or when it fails, the summary is extractive.
        """
        if self.need_tokens <= limit:
            kept = tuple(self._kept(entry) for unit in self._units for entry in unit)
            return FittedHistory(messages=kept, summary=self._previous, dropped=tuple(self._refused))
        room = limit - self._frame
        reserve = room * SUMMARY_PART if room * SUMMARY_PART >= MIN_SUMMARY_TOKENS else Fraction(0)
        window, spent = self._window(room - reserve)
        left = [entry for unit in self._units[: len(self._units) - len(window)] for entry in unit]
        messages = [self._kept(entry) for unit in window for entry in unit]
        if not window and self._units:
            shortened = self._shortened(self._units[-1], room - reserve)
            if shortened:
                messages, left = shortened, left[: -len(self._units[-1])]
                spent = sum(message.tokens for message in messages)
        summary, note = self._summarised(left, room - spent, summarizer)
        reason = "left the window and was summarised" if summary else "left the window"
        return FittedHistory(
            messages=tuple(messages),
            summary=summary,
            dropped=(*self._refused, *(self._dropped(entry, reason) for entry in left)),
            note=note,
        )

    def _paired(self, entries: Sequence[Entry]) -> list[list[Entry]]:
        """Group each message that calls tools with the results it got; refuse what belongs to no pair."""
        units: list[list[Entry]] = []
        for entry in entries:
            if entry.role == "system":
                self._refused.append(self._dropped(entry, "a system message; pass its text as guidelines"))
            elif entry.role == "tool":
                if units and entry.answers and entry.answers in units[-1][0].calls:
                    units[-1].append(entry)
                else:
                    self._refused.append(self._dropped(entry, "a tool result without its call before it"))
            else:
                units.append([entry])
        complete = []
        for unit in units:
            unanswered = set(unit[0].calls) - {entry.answers for entry in unit[1:]}
            if unanswered:
                self._refused.extend(self._dropped(entry, "a tool call without its result") for entry in unit)
            else:
                complete.append(unit)
        return complete

    def _window(self, limit: Fraction) -> tuple[list[list[Entry]], int]:
        start, spent = len(self._units), 0
        while start and spent + self._unit_tokens(self._units[start - 1]) <= limit:
            start -= 1
            spent += self._unit_tokens(self._units[start])
        asked = [at for at in range(start, len(self._units)) if self._units[at][0].role == "user"]
        if start and asked:
            spent -= sum(self._unit_tokens(unit) for unit in self._units[start : asked[0]])
            start = asked[0]
        return self._units[start:], spent

    def _shortened(self, unit: Sequence[Entry], limit: Fraction) -> list[HistoryMessage]:
        """Return the unit's messages with its longest text cut so that all fit; empty if that is not possible."""
        at = max(range(len(unit)), key=lambda at: len(unit[at].text))
        if unit[at].calls or unit[at].images:
            return []
        others = self._unit_tokens([*unit[:at], *unit[at + 1 :]])
        text = cut_to_fit(unit[at].text, lambda text: others + self._message_tokens(unit[at], text) <= limit)
        if text is None:
            return []
        messages = [self._kept(entry) for entry in unit]
        messages[at] = replace(cut(messages[at], text), tokens=self._message_tokens(unit[at], text))
        return messages

    def _summarised(self, left: Sequence[Entry], room: Fraction, summarizer: Any) -> tuple[str, str]:
        def count(text: str) -> int:
            return self._summary_tokens(clean(text))

        if room < MIN_SUMMARY_TOKENS or not (left or self._previous):
            return "", ""
        note = "extractive"
        if summarizer is not None and left:
            running = summarizer if isinstance(summarizer, RunningSummarizer) else RunningSummarizer(summarizer)
            words = int(room * Fraction(WORDS_PER_TOKEN))
            try:
                told = running.summarise(left, previous=self._previous, words=words, fits=lambda text: count(text) <= room)
                return clean(told), "model"
            except BackendUnavailableError as exc:
                note = f"extractive: {exc}"
        summary = clean(extractive_summary(left, previous=self._previous, count=count, room=int(room)))
        return summary, note if summary else ""

    def _kept(self, entry: Entry) -> HistoryMessage:
        return replace(entry.kept, tokens=self._message_tokens(entry, entry.text))

    def _message_tokens(self, entry: Entry, text: str) -> int:
        return self._scale.weigh(self._renderer.message(entry.index + 1, entry.role, clean(text))) + IMAGE_TOKENS * entry.images

    def _unit_tokens(self, unit: Sequence[Entry]) -> int:
        return sum(self._message_tokens(entry, entry.text) for entry in unit)

    def _summary_tokens(self, text: str) -> int:
        return self._scale.weigh(self._renderer.summary(text)) if text else 0

    def _dropped(self, entry: Entry, reason: str) -> Dropped:
        tokens = self._message_tokens(entry, entry.text)
        return Dropped(kind="message", id=f"message {entry.index}", title=entry.text[:60], reason=reason, tokens=tokens)
