"""Documents that age has made unlikely to be asked for: proposals for the archive. Nothing is deleted by decay."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from rag2_memory.errors import InvalidRequestError
from rag2_memory.tiers.base import RegistryTier

SECONDS_PER_DAY = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FadedDocument:
    """A document whose weight fell below the line."""

    document_id: str
    namespace: str
    key: str
    age_days: float
    """Since its own date or, without one, since it was taken in."""
    weight: float
    """2^(-age / half-life), in (0, 1]: what decay leaves of a score."""
    facts: int = 0
    """Facts without an end that only faded documents state. One that states any is kept out of the archive: they would go with it."""


def faded_documents(registry: RegistryTier, namespace: str, *, half_life_days: float, below: float, now: datetime) -> list[FadedDocument]:
    """Return the live documents of a namespace whose weight is below a line, the oldest first; reads only.

    Args:
        registry: The memory's truth.
        namespace: Where.
        half_life_days: Age at which a weight is one half, above 0.
        below: The line, in (0, 1).
        now: Aware.
    """
    check_fading(half_life_days=half_life_days, below=below)
    found = []
    for state in registry.states(namespace=namespace):
        moment = state.modified_at or state.recorded_at
        if state.state != "live" or state.live_version is None or moment is None:
            continue
        age_days = max((now - moment).total_seconds() / SECONDS_PER_DAY, 0.0)
        weight = 0.5 ** (age_days / half_life_days)
        if weight < below:
            age = round(age_days, 1)
            found.append(FadedDocument(document_id=state.document_id, namespace=namespace, key=state.key, age_days=age, weight=weight))
    alone = registry.alone_in_stating([document.key for document in found])
    told = [replace(document, facts=alone.get(document.key, 0)) for document in found]
    return sorted(told, key=lambda document: (-document.age_days, document.document_id))


def check_fading(*, half_life_days: float, below: float) -> None:
    """Refuse a half-life or a line out of its range.

    Raises:
        InvalidRequestError: If one is; the message names it.
    """
    if not half_life_days > 0:
        raise InvalidRequestError(f"got half_life_days={half_life_days!r}; needed a positive number of days.")
    if not 0.0 < below < 1.0:
        raise InvalidRequestError(f"got archive_below={below!r}; needed a weight between 0 and 1, such as 0.05.")
