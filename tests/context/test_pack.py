from __future__ import annotations

from itertools import chain
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from rag2_memory.context.pack import LOOK_AHEAD, Packed, pack


class Thing(NamedTuple):
    """An item with its weight and value."""

    name: int
    weight: int
    value: float


def packed(things: list[Thing], limit: int) -> Packed[Thing]:
    return pack(iter(things), weight=lambda thing: thing.weight, value=lambda thing: thing.value, limit=limit)


@st.composite
def orders(draw: st.DrawFn) -> list[Thing]:
    """Items as `pack` wants them: the most valuable first, the others by density."""
    pairs = draw(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 20)), min_size=1, max_size=25))
    things = [Thing(name, weight, float(value)) for name, (weight, value) in enumerate(pairs)]
    best = max(things, key=lambda thing: thing.value)
    return [best, *sorted((thing for thing in things if thing is not best), key=lambda thing: -thing.value / thing.weight)]


def best_of_the_family(things: list[Thing], limit: int) -> float:
    """Try every prefix alone and with each of the next items, by brute force."""
    prefixes = (things[:size] for size in range(1, len(things) + 1))
    family = chain.from_iterable([prefix, *([*prefix, extra] for extra in things[len(prefix) :][:LOOK_AHEAD])] for prefix in prefixes)
    return max((sum(thing.value for thing in chosen) for chosen in family if sum(thing.weight for thing in chosen) <= limit), default=-1.0)


@given(orders(), st.integers(0, 200))
def test_the_choice_fits_and_is_the_best_of_its_family(things: list[Thing], limit: int) -> None:
    result = packed(things, limit)
    assert len(set(result.chosen)) == len(result.chosen)
    assert result.tokens == sum(thing.weight for thing in result.chosen) <= limit
    assert result.complete == (sum(thing.weight for thing in things) <= limit)
    assert result.best_fits == (things[0].weight <= limit)
    if result.best_fits:
        assert things[0] in result.chosen
        assert sum(thing.value for thing in result.chosen) == best_of_the_family(things, limit)
    else:
        assert len(result.chosen) <= 1


@given(orders(), st.integers(0, 150), st.integers(1, 60))
def test_a_larger_limit_never_gives_less_value(things: list[Thing], limit: int, more: int) -> None:
    smaller, larger = packed(things, limit), packed(things, limit + more)
    assert sum(thing.value for thing in larger.chosen) >= sum(thing.value for thing in smaller.chosen)


def test_items_are_weighed_only_as_far_as_needed() -> None:
    weighed = []
    things = [Thing(name, 10, 1.0) for name in range(1_000)]
    pack(iter(things), weight=lambda thing: weighed.append(thing) or thing.weight, value=lambda thing: thing.value, limit=100)  # type: ignore[func-returns-value]
    assert len(weighed) == 10 + LOOK_AHEAD


def test_nothing_is_chosen_from_nothing() -> None:
    assert packed([], 100) == Packed(chosen=(), tokens=0, complete=True)
