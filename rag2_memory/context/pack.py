"""Choosing what fits: by relevance per token, the best item first, and never worse under a larger limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")

LOOK_AHEAD: Final = 16
"""Items after the first misfit that may fill the gap; chunks are of similar size, so a longer look finds little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed(Generic[Item]):
    """What was chosen under a limit."""

    chosen: tuple[Item, ...]
    """In the order in which they were chosen: the last is the first to go."""
    tokens: int
    complete: bool
    """Whether everything was chosen."""
    best_fits: bool = True
    """Whether the first item fits alone; if not, at most one other was chosen."""


def pack(items: Iterator[Item], *, weight: Callable[[Item], int], value: Callable[[Item], float], limit: int) -> Packed[Item]:
    """Choose items under a limit of tokens.

    Considered are the prefixes of `items`, each alone or with one of the next sixteen items; the one of highest value that fits is chosen.
    This family of sets does not depend on the limit, so a larger limit never gives a lower value. The first item is part of every choice
    as soon as it fits; while it does not, a single other item, whose value is no higher, may stand in.

    Args:
        items: The most valuable item first, the rest by value per token; drawn only as far as needed.
        weight: Tokens of an item.
        value: Value of an item, at least 0.
        limit: Tokens that the chosen items may take together.
    """
    prefix: list[tuple[Item, int]] = []
    spent, misfit = 0, []
    for item in items:
        cost = weight(item)
        if spent + cost > limit:
            misfit = [(item, cost), *((later, weight(later)) for later in islice(items, LOOK_AHEAD - 1))]
            break
        prefix.append((item, cost))
        spent += cost
    if not misfit:
        return Packed(chosen=tuple(item for item, _ in prefix), tokens=spent, complete=True)
    if not prefix:
        single = max((pair for pair in misfit if pair[1] <= limit), key=lambda pair: value(pair[0]), default=None)
        chosen = (single[0],) if single else ()
        return Packed(chosen=chosen, tokens=single[1] if single else 0, complete=False, best_fits=False)
    kept, extra = _best_filling(prefix, misfit, spent=spent, value=value, limit=limit)
    pairs = prefix[:kept] + ([extra] if extra else [])
    return Packed(chosen=tuple(item for item, _ in pairs), tokens=sum(cost for _, cost in pairs), complete=False)


def _best_filling(
    prefix: Sequence[tuple[Item, int]],
    misfit: Sequence[tuple[Item, int]],
    *,
    spent: int,
    value: Callable[[Item], float],
    limit: int,
) -> tuple[int, tuple[Item, int] | None]:
    """Return how much of the prefix to keep and which misfit to add: shorter prefixes make room for larger misfits."""
    best: tuple[float, int, tuple[Item, int] | None] = (0.0, len(prefix), None)
    lost = 0.0
    for given_up in range(min(len(prefix), LOOK_AHEAD)):
        if given_up:
            item, cost = prefix[-given_up]
            spent -= cost
            lost += value(item)
        for pair in misfit[: LOOK_AHEAD - given_up]:
            gain = value(pair[0]) - lost
            better = gain > best[0] or (best[2] is None and gain == 0.0 == lost)
            if spent + pair[1] <= limit and better:
                best = (gain, len(prefix) - given_up, pair)
    return best[1], best[2]
