from __future__ import annotations

import json
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag2_memory.context import PRESETS, ContextBudget, Share
from rag2_memory.context.budget import FILLABLE, NO_MAXIMUM, Fillable, limits, smallest_window
from rag2_memory.errors import BudgetTooSmallError, InvalidRequestError

fractions = st.sampled_from([0.0, 0.01, 0.1, 0.125, 0.2])
shares = st.one_of(
    fractions,
    st.integers(0, 500),
    st.builds(Share, fractions | st.integers(0, 500), minimum=st.integers(0, 50), maximum=st.none() | st.integers(50, 900)),
)
budgets = st.builds(
    ContextBudget,
    window_tokens=st.integers(1, 5_000),
    guidelines=fractions,
    graph=shares,
    passages=shares,
    history=shares,
    response=fractions | st.integers(0, 100),
    flow=st.permutations(FILLABLE).flatmap(lambda order: st.integers(0, 3).map(lambda size: tuple(order[:size]))),
)
needs = st.fixed_dictionaries({name: st.integers(0, 3_000) | st.just(NO_MAXIMUM) for name in FILLABLE})


def granted(budget: ContextBudget, fixed: int, need: dict[Fillable, int]) -> dict[Fillable, Fraction] | None:
    try:
        return limits(budget, fixed_tokens=fixed).grant(need)
    except BudgetTooSmallError:
        return None


def test_the_default_shares_of_128k_are_those_of_the_design() -> None:
    room = limits(ContextBudget(), fixed_tokens=0)
    assert {name: int(room.shares[name]) for name in FILLABLE} == {"graph": 32_000, "passages": 51_200, "history": 12_800}
    assert (ContextBudget().response_tokens, ContextBudget().input_tokens) == (12_800, 115_200)


def test_what_nobody_needs_flows_in_the_stated_order() -> None:
    budget = ContextBudget(window_tokens=1_000, flow=("graph", "passages"))
    need: dict[Fillable, int] = {"graph": 300, "passages": 5_000, "history": 20}
    limit = limits(budget, fixed_tokens=100).grant(need)
    assert limit["graph"] == 300, "first in the flow: all it needs"
    assert limit["passages"] == 900 - 100 - 300 - 20, "second: the rest"
    assert limits(budget, fixed_tokens=100).grant(need | {"history": 5_000})["history"] == 100, "not in the flow: its share"


def test_long_guidelines_are_paid_for_by_all_other_segments_but_not_by_the_response() -> None:
    room = limits(ContextBudget(window_tokens=1_000), fixed_tokens=525)
    assert {name: float(room.shares[name]) for name in FILLABLE} == {"graph": 125.0, "passages": 200.0, "history": 50.0}


def test_a_minimum_is_kept_and_a_maximum_not_exceeded() -> None:
    budget = ContextBudget(window_tokens=1_000, history=Share(0.0, minimum=200), passages=Share(0.4, maximum=410), graph=0.25)
    room = limits(budget, fixed_tokens=100)
    assert room.shares["history"] == 200
    assert room.grant({"graph": 0, "passages": 9_000, "history": 0})["passages"] == 410


def test_a_window_of_ten_tokens_is_refused_with_the_smallest_that_works() -> None:
    with pytest.raises(BudgetTooSmallError) as caught:
        limits(ContextBudget(window_tokens=10), fixed_tokens=60)
    assert (caught.value.budget_tokens, caught.value.needed_tokens) == (10, 67)
    assert limits(ContextBudget(window_tokens=67), fixed_tokens=60).available >= 0


@given(budgets, st.integers(0, 3_000), needs)
def test_no_limit_exceeds_the_share_and_what_others_leave(budget: ContextBudget, fixed: int, need: dict[Fillable, int]) -> None:
    limit = granted(budget, fixed, need)
    if limit is None:
        return
    room = limits(budget, fixed_tokens=fixed)
    used = {name: min(Fraction(need[name]), limit[name]) for name in FILLABLE}
    assert sum(used.values()) + fixed <= budget.input_tokens + 1
    assert sum(used.values()) + fixed <= budget.window_tokens - budget.share("response").tokens(budget.window_tokens)
    for name in FILLABLE:
        left = room.available - sum(room.shares.values())
        left += sum(max(Fraction(0), room.shares[other] - need[other]) for other in FILLABLE if other != name)
        assert room.shares[name] <= limit[name] <= room.shares[name] + left
        assert limit[name] <= room.maxima[name]
        assert used[name] >= min(Fraction(need[name]), room.shares[name]), "a segment did not get its own share"


@given(budgets, st.integers(0, 3_000), needs, st.integers(1, 50) | st.integers(1, 5_000))
def test_no_limit_shrinks_when_the_window_grows(budget: ContextBudget, fixed: int, need: dict[Fillable, int], more: int) -> None:
    smaller = granted(budget, fixed, need)
    if smaller is None:
        return
    larger = granted(ContextBudget.from_dict(budget.to_dict() | {"window_tokens": budget.window_tokens + more}), fixed, need)
    assert larger is not None
    for name in FILLABLE:
        assert min(larger[name], Fraction(need[name])) >= min(smaller[name], Fraction(need[name]))


@given(budgets, st.integers(0, 3_000))
def test_the_smallest_window_is_the_smallest(budget: ContextBudget, wanted: int) -> None:
    window = smallest_window(budget, input_tokens=wanted)
    reserve = budget.share("response")
    assert window - reserve.tokens(window) >= wanted
    assert window == 1 or window - 1 - reserve.tokens(window - 1) < wanted


@given(budgets)
def test_a_budget_survives_json(budget: ContextBudget) -> None:
    assert ContextBudget.from_dict(json.loads(json.dumps(budget.to_dict()))) == budget


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_leave_room_for_the_answer(name: str) -> None:
    budget = ContextBudget.preset(name.upper())
    assert budget.response_tokens >= 1_600
    room = limits(budget, fixed_tokens=0)
    assert sum(room.shares.values()) + budget.response_tokens <= budget.window_tokens


def test_an_int_is_a_window_and_none_the_default() -> None:
    assert ContextBudget.of(8_000) == ContextBudget(window_tokens=8_000)
    assert ContextBudget.of(None) == ContextBudget()
    assert ContextBudget.of(PRESETS["8k"]) is PRESETS["8k"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"window_tokens": 0}, "positive"),
        ({"window_tokens": True}, "positive"),
        ({"window_tokens": 1.5}, "positive"),
        ({"passages": 1.5}, "fraction"),
        ({"passages": -1}, "fraction"),
        ({"passages": float("nan")}, "fraction"),
        ({"passages": True}, "fraction"),
        ({"passages": "40%"}, "fraction"),
        ({"passages": 0.9}, "add up"),
        ({"flow": ("passages", "passages")}, "flow"),
        ({"flow": ("response",)}, "flow"),
    ],
)
def test_a_malformed_budget_is_refused(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(InvalidRequestError, match=complaint):
        ContextBudget(**options)  # type: ignore[arg-type]


def test_malformed_bounds_and_presets_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="minimum"):
        Share(0.1, minimum=5, maximum=4)
    with pytest.raises(InvalidRequestError, match="128k"):
        ContextBudget.preset("64k")
    with pytest.raises(InvalidRequestError, match="positive"):
        ContextBudget.of("8k")  # type: ignore[arg-type]
