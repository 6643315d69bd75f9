"""Passages that state the day that a question speaks of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from rag2_memory.graphs.services import RecallServices
from rag2_memory.graphs.state import Request
from rag2_memory.knowledge.dates import find_dates
from rag2_memory.retrieval.plan import Plan
from rag2_memory.types import Chunk

HITS_READ = 30
"""Best hits whose texts are read for dates, about 0.1 ms each."""

LONGEST = timedelta(days=3)
"""A longer window is no day; its month or year is found by its words."""
SHORTEST = timedelta(hours=1)
"""A shorter one is the present moment."""

DAY_WEIGHT = 0.3
"""What stating the day adds to a passage, on the scale of calibrated fusion, where a best hit has about 0.7."""


def dated_first(ranking: Sequence[tuple[str, float]], request: Request, decided: Plan, services: RecallServices) -> list[tuple[str, float]]:
    """Return a ranking in which passages that state the question's day, in whichever form, have gained; unchanged where it has none."""
    start, end = decided.valid_from, decided.valid_to
    if start is None or end is None or not SHORTEST <= end - start <= LONGEST:
        return list(ranking)
    chunks = services.registry.chunks([chunk_id for chunk_id, _ in ranking[:HITS_READ]], request.scope, request.as_of)
    scores = dict(ranking)
    for chunk_id, chunk in chunks.items():
        if _states(chunk, start, end):
            scores[chunk_id] += DAY_WEIGHT
    return sorted(scores.items(), key=lambda item: -item[1])


def _states(chunk: Chunk, start: datetime, end: datetime) -> bool:
    dates = find_dates(chunk.index_text, reference=chunk.modified_at, prefer="nearest")
    return any(date.precision in ("day", "instant") and not date.bare and start <= date.start < end for date in dates)
