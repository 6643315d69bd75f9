"""Comparisons: what is measured for whom, how it is shown, and how a line is held."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest

from rag2_memory.errors import InvalidRequestError
from rag2_memory.evaluation.baseline import check_against, check_floors, read_floors, save_baseline
from rag2_memory.evaluation.datasets import Query
from rag2_memory.evaluation.page import html_page
from rag2_memory.evaluation.report import Comparison, Found, System, compare


@dataclass(frozen=True)
class Queries:
    """The least that can be compared on."""

    queries: Sequence[Query]
    name: str = "set"


def queries(count: int = 40) -> Queries:
    return Queries(
        [
            Query(
                id=f"q{number}",
                text=f"question <{number}>",
                gold=(f"g{number}", f"h{number}"),
                kind="odd" if number % 2 else "even",
            )
            for number in range(count)
        ]
    )


def good(query: Query) -> list[str]:
    return [*query.gold, "x"]


def poor(query: Query) -> list[str]:
    return ["x", "x", "y", query.gold[0]] if query.gold and query.kind == "odd" else ["x"]


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare(queries(), {"poor": poor, "good": good}, k=5)


def test_every_system_is_measured_by_class_against_the_first(comparison: Comparison) -> None:
    assert comparison.systems == ("poor", "good")
    assert comparison.classes == ("all", "even", "odd")
    assert [comparison.mean("poor", "recall@5", kind) for kind in comparison.classes] == [0.25, 0.0, 0.5]
    assert comparison.mean("good", "ndcg@5") == 1.0
    difference = comparison.difference("good", "recall@5")
    assert difference.mean == 0.75
    assert difference.excludes_zero
    assert not comparison.difference("poor", "recall@5").excludes_zero


def test_repeated_documents_count_once(comparison: Comparison) -> None:
    outcome = comparison.outcomes["poor"][1]
    assert outcome.found == ("x", "y", "g1")
    assert outcome.values["mrr"] == pytest.approx(1 / 3)


def test_queries_without_gold_are_asked_but_not_measured() -> None:
    asked: list[str] = []

    def system(query: Query) -> list[str]:
        asked.append(query.id)
        return ["a"]

    made = compare(Queries([Query(id="1", text="?", gold=("a",)), Query(id="2", text="?")]), {"s": system})
    assert asked == ["1", "2"]
    assert made.values("s", "recall@5") == [1.0]
    only = compare(Queries([Query(id="2", text="?")]), {"s": system})
    assert math.isnan(only.mean("s", "recall@5"))
    assert only.as_json()["systems"]["s"]["measures"]["all"]["recall@5"] == {"mean": None}


def test_what_must_not_be_found_is_a_leak_at_any_rank(comparison: Comparison) -> None:
    asked = Queries([Query(id="q", text="?", gold=("a",), forbidden=("secret",))])
    made = compare(asked, {"s": lambda query: ["a", *map(str, range(50)), "secret"]})
    assert [outcome.leaked for outcome in made.leaks("s")] == [("secret",)]
    assert made.worst("s")[0][0].id == "q"
    assert comparison.leaks("good") == []


def test_times_are_kept_as_a_whole_and_by_stage() -> None:
    def staged(query: Query) -> Found:
        time.sleep(0.002)
        return Found(documents=["a"], stages={"dense": 0.5, "fuse": 0.1 if query.id == "q0" else 0.3})

    made = compare(queries(3), {"staged": staged, "plain": good})
    assert made.latency("staged")["fuse"] == (0.3, 0.3)
    assert made.latency("staged")["dense"] == (0.5, 0.5)
    assert made.latency("staged")["total"][0] >= 0.002
    assert list(made.latency("plain")) == ["total"]


def test_the_worst_queries_come_first_and_perfect_ones_not_at_all(comparison: Comparison) -> None:
    assert comparison.worst("good") == []
    worst = comparison.worst("poor", limit=30)
    assert len(worst) == 30
    assert [query.kind for query, _ in worst] == ["even"] * 20 + ["odd"] * 10


def test_progress_is_told_and_empty_comparisons_are_refused() -> None:
    told: list[tuple[str, int]] = []
    compare(queries(2), {"a": good, "b": good}, progress=lambda name, done: told.append((name, done)))
    assert told == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    nothing: list[tuple[Queries, dict[str, System]]] = [(queries(0), {"a": good}), (queries(2), {})]
    for asked, systems in nothing:
        with pytest.raises(InvalidRequestError, match="needed at least one of each"):
            compare(asked, systems)


def test_what_a_system_raises_is_not_hidden() -> None:
    def broken(query: Query) -> list[str]:
        raise RuntimeError(query.id)

    with pytest.raises(RuntimeError, match="q0"):
        compare(queries(2), {"broken": broken})


# Shown


class Tags(HTMLParser):
    """Checks that tags are balanced and collects what the page loads or links."""

    VOID = frozenset({"meta", "br", "link", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.loaded += [str(value) for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_self_contained_and_escapes_what_it_shows(comparison: Comparison) -> None:
    page = html_page(comparison, title="A <b> & c", worst=30)
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.loaded == []
    assert "script" not in tags.seen
    assert "<title>A &lt;b&gt; &amp; c</title>" in page
    assert "question &lt;0&gt;" in page
    assert "question <0>" not in page
    assert '<td class="better">100.0<small>+75.0' in page
    assert "Worst queries of poor" in page
    assert '<li class="gold">g1</li>' in page
    assert "Not among them: <b>g0</b>, <b>h0</b>" in page
    assert "Found everything for every query." in page


def test_the_page_opens_with_leaks() -> None:
    asked = Queries([Query(id="q<1>", text="?", gold=("a",), forbidden=("secret",))])
    page = html_page(compare(asked, {"s": lambda query: ["secret", "a"]}))
    assert page.index("must not see, for 1 queries: q&lt;1&gt;") < page.index("<h2>")
    assert '<li class="forbidden">secret</li>' in page


def test_the_json_is_strict_and_holds_every_outcome(comparison: Comparison) -> None:
    value = json.loads(json.dumps(comparison.as_json(), allow_nan=False))
    assert value["systems"]["good"]["measures"]["odd"]["recall@5"]["difference"] == 0.5
    assert value["systems"]["poor"]["outcomes"]["q1"]["found"] == ["x", "y", "g1"]


# Held


def test_a_saved_baseline_is_compared_query_by_query(tmp_path: Path, comparison: Comparison) -> None:
    path = tmp_path / "folder" / "baseline.json"
    save_baseline(comparison, path)
    assert check_against(comparison, path) == []

    def changed(query: Query) -> list[str]:
        return [query.gold[0]] if query.id < "q3" else good(query)

    falls = check_against(compare(queries(), {"good": changed}), path)
    assert falls[0].startswith("good: recall@5 fell by 0.")
    assert "40 queries" in falls[0]
    assert not any("mrr" in fall for fall in falls)
    better = compare(queries(), {"poor": good})
    assert check_against(better, path) == []


def test_a_fall_within_chance_is_none(tmp_path: Path, comparison: Comparison) -> None:
    save_baseline(comparison, tmp_path / "baseline.json")
    once_worse = compare(queries(), {"good": lambda query: ["x"] if query.id == "q7" else good(query)})
    assert check_against(once_worse, tmp_path / "baseline.json") == []


@pytest.mark.parametrize("content", [None, "not json", "{}", '{"systems": {"good": {}}}', '{"systems": []}'])
def test_a_file_that_is_no_baseline_is_refused(tmp_path: Path, comparison: Comparison, content: str | None) -> None:
    path = tmp_path / "baseline.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidRequestError, match="save one first"):
        check_against(comparison, path)


def test_a_baseline_of_something_else_is_refused(tmp_path: Path, comparison: Comparison) -> None:
    save_baseline(comparison, tmp_path / "baseline.json")
    with pytest.raises(InvalidRequestError, match="has the systems poor, good; needed one of other"):
        check_against(compare(queries(), {"other": good}), tmp_path / "baseline.json")
    elsewhere = Queries([Query(id="z", text="?", gold=("a",))])
    with pytest.raises(InvalidRequestError, match="share no query"):
        check_against(compare(elsewhere, {"good": good}), tmp_path / "baseline.json")


def test_floors_are_read_and_held(comparison: Comparison) -> None:
    floors = read_floors(["recall@5=0.80", "mrr = .5"])
    assert floors == {"recall@5": 0.8, "mrr": 0.5}
    assert check_floors(comparison, floors) == []
    assert check_floors(comparison, floors, system="poor") == [
        "poor: recall@5 is 0.250, below 0.8",
        "poor: mrr is 0.167, below 0.5",
    ]


@pytest.mark.parametrize("text", ["recall@5", "recall@5=", "=0.5", "recall@5=80", "recall@5=nan", "recall@5=a"])
def test_a_malformed_floor_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="needed MEASURE=VALUE"):
        read_floors([text])


def test_floors_of_unknown_measures_and_systems_are_refused(comparison: Comparison) -> None:
    with pytest.raises(InvalidRequestError, match="got the measure 'recall@7'; needed one of recall@5"):
        check_floors(comparison, {"recall@7": 0.5})
    with pytest.raises(InvalidRequestError, match="got system='x'; needed one of poor, good"):
        check_floors(comparison, {"mrr": 0.5}, system="x")


def test_an_unmeasured_floor_is_not_held() -> None:
    made = compare(Queries([Query(id="q", text="?")]), {"s": lambda query: ["a"]})
    assert check_floors(made, {"mrr": 0.1}) == ["s: mrr is nan, below 0.1"]
