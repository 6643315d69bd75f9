"""The time that a question speaks of: a window of calendar time, or an event whose date has to be looked up."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from rag2_memory.knowledge.dates import DateSpan, find_dates
from rag2_memory.knowledge.mentions import FUNCTION_WORDS, normalize_name

EventRelation = Literal["before", "after", "during"]

MIN_EVENT_OVERLAP = 0.6
"""Share of an event's words that a dated thing must have in its name to be taken for it: two of three words, and always the last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeWindow:
    """A half-open stretch of time, [start, end), open where `None`."""

    start: datetime | None = None
    end: datetime | None = None
    phrase: str = ""
    """The words of the question that it was read from."""
    approximate: bool = False
    """Whether an event without a known date was replaced by the month or year that the question gives for it."""

    def overlaps(self, other: TimeWindow) -> bool:
        """Whether some moment lies in both."""
        return _before(self.start, other.end) and _before(other.start, self.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventReference:
    """An event that a question dates itself by: "after the May security audit"."""

    phrase: str
    """The event as the question calls it, without articles and dates: `security audit`."""
    relation: EventRelation
    within: TimeWindow | None = None
    """When it happened, as far as the question says: `May`."""
    words: str = ""
    """The words of the question that it was read from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatedEvent:
    """Something that may be the event of a question: a dated document, or a thing with an `occurred_at`."""

    name: str
    start: datetime
    end: datetime
    """Exclusive."""


EventDates = Callable[[EventReference], TimeWindow | None]
"""Looks up when an event took place; `None` where nothing is known of it."""

_ENDED = r"(?:,|\?|!|;|\.(?=\s|$)|\band (?:who|what|which|how|when|where|why|did|is|was|does)\b|\b(?:who|what|which|how|did|does|do)\b|$)"
_EVENT = re.compile(
    rf"""\b(?:
        (?P<during>during|amid|throughout|in\ the\ course\ of|(?:at|around|by)\ the\ time\ of|(?:on|at)\ the\ (?:day|date|moment)\ of|while)
      | (?P<after>(?<!look\ )(?<!looks\ )(?<!looked\ )(?<!named\ )after(?!\ all\b)|following(?=\ (?:the|a|an|our)\b)|since|ever\ since|subsequent\ to)
      | (?P<before>before|prior\ to|ahead\ of|leading\ up\ to|until|till|up\ to)
    )\s+(?P<event>[^?!;,]+?)\s*(?={_ENDED})""",
    re.VERBOSE | re.IGNORECASE,
)
_OCCURRED = (
    r"(?:occurr?ed|happened|took place|(?:was|were|got|had been|has been) (?:[a-z]+ly )?(?:done|completed|carried out|released|deployed|launched|merged|finished|held|performed"
    r"|made|started|announced|signed|approved|rolled out|discovered|reported|conducted|run)|began|started|ended|finished|completed|failed|broke(?: down)?|crashed"
    r"|went (?:down|live|out|wrong|through)|shipped|launched|came out|ran|was (?:on|under way|in progress|ongoing)|hit|struck)"
)
_WHEN = re.compile(
    rf"\b(?:when|as|once|(?:by|at|around) the time(?: that)?|the (?:day|week|month|time) (?:that )?)\s+(?!(?:did|do|does|was|were|is|are|will|has|have|had|can|should)\b)(?P<event>(?:the |a |an |our )?[^?!;,]{{2,70}}?)\s+{_OCCURRED}\b(?P<rest>[^?!;,]*)",
    re.IGNORECASE,
)
_NOW = re.compile(
    r"\b(?:currently|right now|at the moment|at present|presently|nowadays|these days|as of (?:now|today)|(?<!what )now(?=\s*[?.!]|\s*$))",
    re.IGNORECASE,
)
_ONWARDS = re.compile(
    r"\b(?:since(?=\s*[?,.]|$)|since then|afterwards?|after that|next(?=\s*[?,.]|$)|later(?=\s*[?,.]|$)|or later|onwards?)", re.IGNORECASE
)
"""The question also asks how it went on."""
_PREPOSITION = re.compile(
    r"\b(?P<word>in|on|at|during|throughout|within|around|about|by|before|prior to|ahead of|until|till|through|up to|since|after|from|starting|as of|of|for|over|between|and|to|late|early|mid|following"
    r"|back in|or)(?: the)?(?: (?:month|year|quarter|week|day|beginning|start|end|middle) of)?\s*$",
    re.IGNORECASE,
)
_TRAILING = re.compile(rf"\s+(?:{_OCCURRED}|was|were|is|has|had|in|on|at|of|from)\s*$", re.IGNORECASE)
_NO_EVENT = re.compile(
    r"(?:it|they|he|she|we|you|I|how|what|which|who|that|there|one|\w+ing (?:the|a|an|it|them|any|anything|all|your|my))\b", re.IGNORECASE
)
_ARTICLES = re.compile(r"^(?:(?:the|a|an|our|their|its|this|that|last|latest|recent|most recent|first|big|same)\s+)+", re.IGNORECASE)


def time_expression(question: str, *, now: datetime) -> TimeWindow | EventReference | None:
    """Return the time that a question speaks of; an event goes before a date that only tells when the event was.

    A bare month is the latest such month not after now, `March` in March 2026 means March 2026. `after March` starts when March is over, `since
    March` when it begins; `until` and `by` include what they name, `before` does not.

    Args:
        question: English text.
        now: Aware; what relative expressions refer to.

    Returns:
        A window, an event still to be resolved, or `None` where the question says nothing of time.
    """
    dates = find_dates(question, reference=now)
    event = _event(question, dates)
    if event is not None:
        return event
    windows = list(_windows(question, dates))
    if windows:
        joined = _joined(windows)
        if _ONWARDS.search(question):
            joined = replace(joined, end=None)
        return joined if joined.start or joined.end else None
    present = _NOW.search(question)
    return TimeWindow(start=now, end=now + timedelta(microseconds=1), phrase=present[0]) if present else None


def question_window(question: str, *, now: datetime, event_dates: EventDates | None = None) -> TimeWindow | None:
    """Return the window of time that a question speaks of, with events replaced by their dates.

    Args:
        question: English text.
        now: Aware; what relative expressions refer to.
        event_dates: Looks events up; `match_event` over dated documents serves.

    Returns:
        A window; `approximate` where the event is unknown and only the month or year given for it could be used; `None` where nothing of time
        is said or known.
    """
    found = time_expression(question, now=now)
    if not isinstance(found, EventReference):
        return found
    span = event_dates(found) if event_dates is not None else None
    return _around(found, span) if span is not None else _around_hint(found)


def match_event(reference: EventReference, events: Iterable[DatedEvent]) -> TimeWindow | None:
    """Return when the event of a question took place, among dated things.

    The best match shares the most words with the question's phrase, relative to both names, and lies in the month or year that the question
    gives; the earlier of equals.

    Args:
        reference: The event that the question names.
        events: Candidates, for instance search hits with their dates.

    Returns:
        Its dates, or `None` where no candidate has its words.
    """
    wanted = _content(reference.phrase)
    best: tuple[float, float, DatedEvent] | None = None
    for event in events:
        if reference.within and not reference.within.overlaps(TimeWindow(start=event.start, end=event.end)):
            continue
        words = set(_content(event.name))
        shared = [word for word in wanted if word in words]
        if not wanted or wanted[-1] not in words or len(shared) < MIN_EVENT_OVERLAP * len(wanted):
            continue
        score = len(shared) / len(wanted) + len(shared) / len(words)
        if best is None or (score, -event.start.timestamp()) > best[:2]:
            best = (score, -event.start.timestamp(), event)
    return TimeWindow(start=best[2].start, end=best[2].end, phrase=best[2].name) if best else None


def _event(question: str, dates: Sequence[DateSpan]) -> EventReference | None:
    when = _WHEN.search(question)
    if when:
        return _reference(question, when.start(), when.start("event"), when.end("event"), when.end("rest"), "during", dates)
    for match in _EVENT.finditer(question):
        begin, stop = match.span("event")
        inside = [date for date in dates if date.begin < stop and date.stop > begin]
        if inside and not _content(_without(question, begin, stop, inside)):
            continue
        relation: EventRelation = "during" if match["during"] else "after" if match["after"] else "before"
        reference = _reference(question, match.start(), begin, stop, stop, relation, dates)
        if reference is not None:
            return reference
    return None


def _reference(
    question: str, at: int, begin: int, stop: int, end: int, relation: EventRelation, dates: Sequence[DateSpan]
) -> EventReference | None:
    """Read an event's name and the dates inside its clause."""
    inside = [date for date in dates if date.begin >= begin and date.stop <= end]
    name = " ".join(_without(question, begin, stop, inside).split())
    previous = ""
    while name != previous:
        previous, name = name, _ARTICLES.sub("", _TRAILING.sub("", name)).strip()
    if not _content(name) or _NO_EVENT.match(name):
        return None
    within = (
        _joined([TimeWindow(start=date.start, end=date.end, phrase=question[date.begin : date.stop]) for date in inside])
        if inside
        else None
    )
    return EventReference(phrase=name, relation=relation, within=within, words=question[at:end].strip())


def _without(text: str, begin: int, stop: int, dates: Sequence[DateSpan]) -> str:
    for date in sorted(dates, key=lambda each: -each.begin):
        low, high = max(begin, date.begin), min(stop, date.stop)
        if low < high:
            text = text[:low] + " " + text[high:]
            stop -= high - low - 1
    return text[begin:stop]


def _windows(question: str, dates: Sequence[DateSpan]) -> Iterator[TimeWindow]:
    skip = False
    for index, date in enumerate(dates):
        if skip:
            skip = False
            continue
        before = _PREPOSITION.search(question, 0, date.begin)
        word = before["word"].lower() if before else ""
        if date.bare and not word:
            continue
        phrase = question[before.start() if before else date.begin : date.stop]
        following = dates[index + 1] if index + 1 < len(dates) else None
        if (
            following is not None
            and word in ("between", "from")
            and re.fullmatch(r"\s*(?:and|to|until|till|through|-|–)\s*(?:the\s+)?", question[date.stop : following.begin])
        ):
            yield _range(date, following, question[before.start() if before else date.begin : following.stop])
            skip = True
        elif word in ("since", "from", "starting"):
            yield TimeWindow(start=date.start, phrase=phrase)
        elif word in ("after", "following"):
            yield TimeWindow(start=date.end, phrase=phrase)
        elif word in ("before", "prior to", "ahead of"):
            yield TimeWindow(end=date.start, phrase=phrase)
        elif word in ("until", "till", "through", "up to", "by", "to"):
            yield TimeWindow(end=date.end, phrase=phrase)
        elif "week of" in phrase.lower() and date.precision == "day":
            monday = date.start - timedelta(days=date.start.weekday())
            yield TimeWindow(start=monday, end=monday + timedelta(days=7), phrase=phrase)
        else:
            yield TimeWindow(start=date.start, end=date.end, phrase=phrase)


def _range(first: DateSpan, last: DateSpan, phrase: str) -> TimeWindow:
    """From the first to the end of the last; where years were missing, the first moves to the year before the last."""
    start = first.start
    if first.relative and first.precision in ("month", "day", "quarter"):
        year = last.start.year
        start = start.replace(year=year) if start.replace(year=year) <= last.start else start.replace(year=year - 1)
    return TimeWindow(start=start, end=last.end, phrase=phrase)


def _joined(windows: Sequence[TimeWindow]) -> TimeWindow:
    """What windows have in common ("after March and before June"), or all from the first to the last where they compare unlike times."""
    joined = windows[0]
    for window in windows[1:]:
        if not joined.overlaps(window):
            starts, ends = (joined.start, window.start), (joined.end, window.end)
            joined = TimeWindow(
                start=None if None in starts else min(moment for moment in starts if moment),
                end=None if None in ends else max(moment for moment in ends if moment),
                phrase=f"{joined.phrase} … {window.phrase}",
            )
            continue
        start = max((moment for moment in (joined.start, window.start) if moment), default=None)
        end = min((moment for moment in (joined.end, window.end) if moment), default=None)
        joined = TimeWindow(start=start, end=end, phrase=f"{joined.phrase} … {window.phrase}")
    return joined


def _around(reference: EventReference, span: TimeWindow) -> TimeWindow:
    if reference.relation == "during":
        return replace(span, phrase=reference.words)
    if reference.relation == "after":
        return TimeWindow(start=span.end or span.start, phrase=reference.words, approximate=span.approximate)
    return TimeWindow(end=span.start or span.end, phrase=reference.words, approximate=span.approximate)


def _around_hint(reference: EventReference) -> TimeWindow | None:
    """Without the event's own date: generous, so that nothing that may be meant is lost."""
    hint = reference.within
    if hint is None:
        return None
    if reference.relation == "during":
        return TimeWindow(start=hint.start, end=hint.end, phrase=reference.words, approximate=True)
    if reference.relation == "after":
        return TimeWindow(start=hint.start, phrase=reference.words, approximate=True)
    return TimeWindow(end=hint.end, phrase=reference.words, approximate=True)


def _content(name: str) -> list[str]:
    """The words that carry meaning, cut to their stems' first letters so that `migrated` and `migration` meet."""
    return [_stem(word) for word in normalize_name(name).split() if word not in FUNCTION_WORDS]


def _stem(word: str) -> str:
    for ending in ("ations", "ation", "ating", "ates", "ated", "ions", "ion", "ings", "ing", "es", "ed", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def _before(start: datetime | None, end: datetime | None) -> bool:
    return start is None or end is None or start < end
