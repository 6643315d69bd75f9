"""When the event that a question dates itself by took place, as far as the scope can read it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from rag2_memory.graphs.services import RecallServices
from rag2_memory.graphs.state import Request
from rag2_memory.knowledge.events import ENDED_AT, OCCURRED_AT
from rag2_memory.knowledge.question_time import DatedEvent, EventDates, EventReference, TimeWindow, match_event
from rag2_memory.knowledge.windows import moment_of
from rag2_memory.records import Mention

CANDIDATES = 40
"""Chunks that speak most of the event; what they date, and their documents' own titles and dates, are the candidates."""


def event_dates(request: Request, services: RecallServices) -> EventDates:
    """Return a look-up of event dates among what the scope sees."""

    def look_up(reference: EventReference) -> TimeWindow | None:
        return match_event(reference, _candidates(reference, request, services))

    return look_up


def _candidates(reference: EventReference, request: Request, services: RecallServices) -> Iterator[DatedEvent]:
    hits = services.lexical.search(reference.phrase, k=CANDIDATES, namespace=request.scope.namespace)
    chunks = services.registry.chunks([hit.id for hit in hits], request.scope, request.as_of)
    for mention in services.registry.mentions_in(chunks):
        event = _stated(mention)
        if event is not None:
            yield event
    for chunk in chunks.values():
        if chunk.modified_at is not None:
            for name in (chunk.title, *chunk.heading_path):
                yield _on_day(name, chunk.modified_at)


def _stated(mention: Mention) -> DatedEvent | None:
    start = moment_of(mention.properties.get(OCCURRED_AT))
    if start is None:
        return None
    end = moment_of(mention.properties.get(ENDED_AT))
    return DatedEvent(name=mention.name, start=start, end=end or start + timedelta(days=1))


def _on_day(name: str, moment: datetime) -> DatedEvent:
    start = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return DatedEvent(name=name, start=start, end=start + timedelta(days=1))
