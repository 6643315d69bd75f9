"""How a model's window is shared out: the shares a caller states, and the limits that follow once the fixed parts are known.

All limits are exact fractions. Each one grows with the window and never shrinks, which rounding would spoil; what is kept under a
growing limit can then be made to grow as well (see `pack`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from functools import cache
from typing import Any, Final, Literal

from rag2_memory.errors import BudgetTooSmallError, InvalidRequestError

Segment = Literal["guidelines", "graph", "passages", "history", "response"]
Fillable = Literal["graph", "passages", "history"]

FILLABLE: Final[tuple[Fillable, ...]] = ("graph", "passages", "history")
"""Segments that hold as much as fits; the guidelines are kept whole and the response reserve stays empty."""

SEGMENTS: Final[tuple[Segment, ...]] = ("guidelines", "graph", "passages", "history", "response")

NO_MAXIMUM: Final = 10**12


@dataclass(frozen=True, slots=True)
class Share:
    """A segment's part of the window."""

    of: int | float
    """Tokens if an int, else a fraction of the window in [0, 1]."""
    minimum: int = 0
    """The share is at least this many tokens, at the cost of the other segments."""
    maximum: int | None = None
    """The segment never holds more tokens than this, not even of what others leave; `None`: no bound."""

    def __post_init__(self) -> None:
        is_number = isinstance(self.of, (int, float)) and not isinstance(self.of, bool)
        if not is_number or not 0 <= self.of <= (NO_MAXIMUM if isinstance(self.of, int) else 1.0):
            raise InvalidRequestError(
                f"got a share of {self.of!r}; needed a fraction of the window in [0.0, 1.0], or an int of tokens that is not negative."
            )
        if self.minimum < 0 or (self.maximum is not None and self.maximum < self.minimum):
            raise InvalidRequestError(f"got minimum={self.minimum}, maximum={self.maximum}; needed 0 <= minimum <= maximum, in tokens.")

    def tokens(self, window_tokens: int) -> Fraction:
        """Return the share of a window, in tokens, within its bounds."""
        part = Fraction(self.of) if isinstance(self.of, int) else Fraction(repr(float(self.of))) * window_tokens
        return min(max(part, Fraction(self.minimum)), Fraction(NO_MAXIMUM if self.maximum is None else self.maximum))


ShareLike = int | float | Share


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextBudget:
    """A model's window and how it is shared. A share is a fraction of the window (float), tokens (int), or a `Share` with bounds."""

    window_tokens: int = 128_000
    guidelines: ShareLike = 0.15
    """System guidelines and the frame. They are kept whole: longer ones borrow from every other segment but the response."""
    graph: ShareLike = 0.25
    """Facts of the knowledge graph."""
    passages: ShareLike = 0.40
    history: ShareLike = 0.10
    """Recent messages and the summary of older ones."""
    response: ShareLike = 0.10
    """Reserved for the answer; nothing is ever put there."""
    flow: tuple[Fillable, ...] = ("passages", "graph", "history")
    """Who may use what others leave, in this order; a segment that is not named never exceeds its share."""

    def __post_init__(self) -> None:
        if not isinstance(self.window_tokens, int) or isinstance(self.window_tokens, bool) or self.window_tokens < 1:
            raise InvalidRequestError(f"got window_tokens={self.window_tokens!r}; needed a positive int of tokens.")
        for name in SEGMENTS:
            value = getattr(self, name)
            if not isinstance(value, (int, float, Share)):
                raise InvalidRequestError(f"got {name}={value!r}; needed a fraction (float), tokens (int) or a Share.")
            self.share(name)
        object.__setattr__(self, "flow", tuple(self.flow))
        if len(set(self.flow)) != len(self.flow) or not set(self.flow) <= set(FILLABLE):
            raise InvalidRequestError(f"got flow={self.flow!r}; needed each of {FILLABLE} at most once.")
        fractions = sum(Fraction(repr(float(self.share(name).of))) for name in SEGMENTS if isinstance(self.share(name).of, float))
        if fractions > 1:
            raise InvalidRequestError(f"got fractional shares that add up to {float(fractions):.3f}; needed at most 1.0.")

    @classmethod
    def of(cls, value: ContextBudget | int | None) -> ContextBudget:
        """Read what callers pass as `budget`: an int is the window with the default shares; `None` is the default budget.

        Raises:
            InvalidRequestError: If it is something else.
        """
        if isinstance(value, ContextBudget):
            return value
        return _usual() if value is None else cls(window_tokens=value)

    @classmethod
    def preset(cls, name: str) -> ContextBudget:
        """Return a ready-made budget for a common window: `8k`, `32k`, `128k`, `200k` or `1M`.

        Raises:
            InvalidRequestError: If there is no such preset.
        """
        found = PRESETS.get(name.lower())
        if found is None:
            raise InvalidRequestError(f"got the preset {name!r}; needed one of {sorted(PRESETS)}, or ContextBudget(window_tokens=…).")
        return found

    def share(self, segment: Segment) -> Share:
        """Return a segment's share with its bounds."""
        value: ShareLike = getattr(self, segment)
        return value if isinstance(value, Share) else Share(value)

    @property
    def response_tokens(self) -> int:
        """The response reserve, rounded up."""
        return math.ceil(self.share("response").tokens(self.window_tokens))

    @property
    def input_tokens(self) -> int:
        """What a context may take: the window without the response reserve; negative if the reserve alone exceeds the window."""
        return self.window_tokens - self.response_tokens

    def to_dict(self) -> dict[str, Any]:
        """Return the budget as JSON values."""
        return asdict(self) | {"flow": list(self.flow)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ContextBudget:
        """Read what `to_dict` wrote."""
        known = {item.name: data[item.name] for item in fields(cls) if item.name in data}
        shares = {name: Share(**known[name]) for name in SEGMENTS if isinstance(known.get(name), dict)}
        return cls(**(known | shares | {"flow": tuple(known["flow"])}))


@cache
def _usual() -> ContextBudget:
    """The default budget, checked once: every search reads one."""
    return ContextBudget()


PRESETS: Final[Mapping[str, ContextBudget]] = {
    "8k": ContextBudget(window_tokens=8_192, guidelines=0.15, graph=0.15, passages=0.40, history=0.10, response=0.20),
    "32k": ContextBudget(window_tokens=32_768, guidelines=0.15, graph=0.20, passages=0.40, history=0.10, response=0.15),
    "128k": ContextBudget(),
    "200k": ContextBudget(window_tokens=200_000, guidelines=0.10, graph=0.25, passages=0.45, history=0.12, response=0.08),
    "1m": ContextBudget(window_tokens=1_000_000, guidelines=0.05, graph=0.25, passages=0.50, history=0.15, response=Share(32_000)),
}
"""Small windows reserve a larger part for the answer, whose length does not shrink with the window; large ones a smaller part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What each fillable segment may hold once the fixed parts are known, in tokens."""

    fixed_tokens: int
    available: Fraction
    """The input without the fixed parts."""
    shares: Mapping[Fillable, Fraction]
    """Each segment's own share, lowered where the guidelines exceeded theirs; together at most `available`."""
    flow: tuple[Fillable, ...]
    maxima: Mapping[Fillable, int]

    def grant(self, needs: Mapping[Fillable, int]) -> dict[Fillable, Fraction]:
        """Return each segment's limit: its share, plus what the others do not need, handed out in flow order.

        Args:
            needs: Tokens that would hold all of a segment's material.

        Returns:
            Limits that together never exceed `available`, each between the segment's share and its maximum. The limit of a segment grows
            with the window: the part of `available` that others need grows by no more than `available` itself.
        """
        own = {name: min(Fraction(needs[name]), self.shares[name]) for name in FILLABLE}
        left = self.available - sum(own.values())
        granted = dict(self.shares)
        for name in self.flow:
            extra = min(left, max(Fraction(0), min(needs[name], self.maxima[name]) - own[name]))
            granted[name] = own[name] + extra if extra > 0 else granted[name]
            left -= extra
        return granted


def limits(budget: ContextBudget, *, fixed_tokens: int) -> Limits:
    """Return the limits of a budget whose fixed parts (frame, guidelines, query) take `fixed_tokens`.

    Guidelines that exceed their share, and minima, are paid for by the other segments in proportion to what they have above their own
    minimum.

    Raises:
        BudgetTooSmallError: If the input cannot hold the fixed parts and the minima.
    """
    shares = {name: budget.share(name) for name in FILLABLE}
    minima = sum(share.minimum for share in shares.values())
    available = budget.window_tokens - budget.share("response").tokens(budget.window_tokens) - fixed_tokens
    if available < minima:
        raise BudgetTooSmallError(
            budget_tokens=budget.window_tokens, needed_tokens=smallest_window(budget, input_tokens=fixed_tokens + minima)
        )
    wanted = {name: share.tokens(budget.window_tokens) for name, share in shares.items()}
    above = sum(wanted.values()) - minima
    ratio = Fraction(1) if above <= available - minima else (available - minima) / above
    return Limits(
        fixed_tokens=fixed_tokens,
        available=available,
        shares={name: shares[name].minimum + (wanted[name] - shares[name].minimum) * ratio for name in FILLABLE},
        flow=budget.flow,
        maxima={name: NO_MAXIMUM if (top := shares[name].maximum) is None else top for name in FILLABLE},
    )


def smallest_window(budget: ContextBudget, *, input_tokens: int) -> int:
    """Return the smallest window that leaves `input_tokens` beside the response reserve, the shares staying as they are."""
    reserve = budget.share("response")
    low, high = 1, 2
    while high - reserve.tokens(high) < input_tokens and high < NO_MAXIMUM:
        low, high = high, high * 2
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if middle - reserve.tokens(middle) >= input_tokens else (middle + 1, high)
    return low
