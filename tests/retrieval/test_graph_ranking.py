"""Graph ranking: each kind of link, its way told, and what must not change it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import networkx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag2_memory.errors import InvalidRequestError
from rag2_memory.retrieval.features import query_features
from rag2_memory.retrieval.graph_ranking import (
    GraphConfig,
    GraphSlice,
    follows_links,
    personalized_pagerank,
    rank_with_graph,
)

FILM = GraphSlice(
    mentions=[("film", "tim burton", 1.0), ("film", "ed wood", 1.0), ("other", "tim burton", 1.0)],
    subjects=[("film", "ed wood"), ("burton", "tim burton"), ("other", "glory")],
    passages=1000,
)


def order(seeds: dict[str, float], graph: GraphSlice, **options: Any) -> list[str]:
    return [passage for passage, _ in rank_with_graph(seeds, graph, **options).ranking]


def test_without_links_the_seeds_keep_their_ranking() -> None:
    result = rank_with_graph({"a": 0.9, "b": 0.9, "c": 0.1}, GraphSlice())
    assert result.ranking == (("a", 0.9), ("b", 0.9), ("c", 0.1))
    assert result.lifts == {}


def test_a_hit_leads_to_the_page_about_what_it_names() -> None:
    result = rank_with_graph({"film": 0.8, "noise": 0.3}, FILM)
    assert [passage for passage, _ in result.ranking] == ["film", "burton", "noise"]
    (lift,) = result.lifts["burton"]
    assert (lift.kind, lift.entities, lift.from_passage) == ("step", ("tim burton",), "film")


def test_a_step_carries_its_share_divided_by_the_root_of_what_leaves() -> None:
    graph = GraphSlice(
        mentions=[("hit", "x", 1.0), ("hit", "y", 0.5)],
        subjects=[("px", "x"), ("py", "y")],
        passages=100,
        passage_counts={"x": 4, "y": 20},
    )
    config = GraphConfig(step_weight=0.8, naming_share=0.0)
    scores = dict(rank_with_graph({"hit": 0.5}, graph, config=config).ranking)
    x, y = (math.log(1 + 100 / 4) / math.log(101), 0.5 * math.log(1 + 100 / 20) / math.log(101))
    assert scores["px"] == pytest.approx(0.8 * 0.5 * x / math.sqrt(x + y))
    assert scores["py"] == pytest.approx(0.8 * 0.5 * y / math.sqrt(x + y))


def test_pages_of_one_name_share_the_link() -> None:
    graph = replace(FILM, subjects=[*FILM.subjects, ("burton the cricketer", "tim burton")])
    alone = dict(rank_with_graph({"film": 0.8}, FILM).ranking)
    shared = dict(rank_with_graph({"film": 0.8}, graph).ranking)
    assert shared["burton"] == shared["burton the cricketer"] < alone["burton"]


def test_a_cap_on_pages_does_not_make_a_name_less_ambiguous() -> None:
    capped = replace(FILM, page_counts={"tim burton": 40})
    assert dict(rank_with_graph({"film": 0.8}, capped).ranking)["burton"] < dict(rank_with_graph({"film": 0.8}, FILM).ranking)["burton"]


def test_a_link_to_a_page_of_many_passages_lifts_its_best_passage_alone() -> None:
    one = replace(FILM, passage_counts={"tim burton": 9})
    two = replace(one, subjects=[*FILM.subjects, ("burton 2", "tim burton")], pages={"burton": "page", "burton 2": "page"})
    result = rank_with_graph({"film": 0.8, "burton 2": 0.1}, two)
    assert "burton" not in dict(result.ranking)
    assert result.lifts["burton 2"][0].amount == rank_with_graph({"film": 0.8}, one).lifts["burton"][0].amount


def test_what_the_query_names_is_lifted_and_followed() -> None:
    result = rank_with_graph({"noise": 0.3}, FILM, query_entities={"ed wood": 1.0})
    assert [passage for passage, _ in result.ranking] == ["film", "burton", "noise"]
    assert result.lifts["film"][0].kind == "named"
    assert result.lifts["burton"][0].from_passage == "film"


def test_a_found_passage_rises_by_what_it_shares_with_a_hit() -> None:
    graph = GraphSlice(
        mentions=[("hit", "mississippi", 1.0), ("history", "mississippi", 1.0), ("unfound", "mississippi", 1.0)],
        passages=1000,
        passage_counts={"mississippi": 5},
    )
    result = rank_with_graph({"hit": 0.9, "b": 0.31, "c": 0.3, "d": 0.29, "history": 0.28}, graph)
    assert [passage for passage, _ in result.ranking][:2] == ["hit", "history"]
    assert result.lifts["history"][0].kind == "shared"
    assert "unfound" not in dict(result.ranking)


def test_what_the_query_itself_names_is_no_news_to_share() -> None:
    graph = GraphSlice(mentions=[("hit", "x", 1.0), ("other", "x", 1.0)], passages=1000)
    assert "other" not in rank_with_graph({"hit": 0.9, "other": 0.2}, graph, query_entities={"x": 1.0}).lifts


def test_an_entity_that_everyone_names_ties_nothing() -> None:
    mentions = [("hit", "x", 1.0), ("other", "x", 1.0)]
    hub = GraphSlice(mentions=mentions, passages=10_000, passage_counts={"x": 2_000})
    few = GraphSlice(mentions=mentions, passages=30, passage_counts={"x": 6})
    assert rank_with_graph({"hit": 0.9, "other": 0.2}, hub).lifts == {}
    assert "other" in rank_with_graph({"hit": 0.9, "other": 0.2}, few).lifts


def test_relations_lead_from_what_the_query_names_and_the_way_is_told() -> None:
    graph = GraphSlice(
        mentions=[("audit", "billing", 1.0)],
        subjects=[("billing page", "billing"), ("ledger page", "ledger")],
        relations=[("project alpha", "billing", 1.0), ("billing", "ledger", 1.0)],
        passages=1000,
    )
    result = rank_with_graph({"noise": 0.05, "audit": 0.05}, graph, query_entities={"project alpha": 1.0})
    assert result.ranking[0][0] == "billing page"
    (billing,) = (lift for lift in result.lifts["billing page"] if lift.kind == "related")
    (ledger,) = (lift for lift in result.lifts["ledger page"] if lift.kind == "related")
    assert billing.entities == ("project alpha", "billing")
    assert ledger.entities == ("project alpha", "billing", "ledger")
    assert billing.amount > ledger.amount > 0
    assert any(lift.kind == "related" for lift in result.lifts["audit"])


@pytest.mark.parametrize(
    ("query", "asks_for_relation", "linked"),
    [
        ("Who directed it?", False, True),
        ("Name its director", False, True),
        ("One of its lamps?", False, True),
        ("the lead of Project Alpha", True, True),
        ("Lamps inhibit growth.", False, False),
    ],
)
def test_a_question_follows_links_and_a_statement_does_not(query: str, asks_for_relation: bool, linked: bool) -> None:
    assert follows_links(query_features(query), asks_for_relation=asks_for_relation) == linked


def test_strength_scales_what_relations_lead_to() -> None:
    graph = GraphSlice(subjects=[("billing page", "billing")], relations=[("alpha", "billing", 1.0)], passages=1000)
    full, half = (
        rank_with_graph({"noise": 0.1}, graph, query_entities={"alpha": 1.0}, strength=s).lifts["billing page"][0].amount
        for s in (1.0, 0.5)
    )
    assert half == pytest.approx(full / 2)


def test_strength_scales_what_flows_between_passages_and_not_what_the_query_names() -> None:
    full, half = (rank_with_graph({"film": 0.8}, FILM, query_entities={"glory": 1.0}, strength=s).lifts for s in (1.0, 0.5))
    assert half["burton"][0].amount == pytest.approx(full["burton"][0].amount / 2)
    assert [lift for lift in half["other"] if lift.kind == "named"] == [lift for lift in full["other"] if lift.kind == "named"]


def test_a_negative_strength_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="strength"):
        rank_with_graph({"film": 0.8}, FILM, strength=-1.0)


def test_a_negative_score_sends_nothing_on() -> None:
    assert rank_with_graph({"film": -0.2}, FILM).lifts == {}


names = st.sampled_from("abcdef")
passages = st.sampled_from(["p", "q", "r", "s", "t"])
slices = st.builds(
    GraphSlice,
    mentions=st.lists(st.tuples(passages, names, st.floats(0.1, 1)), max_size=15),
    subjects=st.lists(st.tuples(passages, names), max_size=8),
    relations=st.lists(st.tuples(names, names, st.floats(0.1, 1)), max_size=6),
    passages=st.integers(0, 500),
)
seeds = st.dictionaries(passages, st.floats(-0.5, 1.0), min_size=1)
named = st.dictionaries(names, st.floats(0.1, 1), max_size=3)


@settings(max_examples=60, deadline=None)
@given(seeds, slices, named, st.randoms())
def test_the_order_of_the_rows_does_not_count(found: dict[str, float], graph: GraphSlice, asked: dict[str, float], random: Any) -> None:
    def shuffled(rows: Any) -> Any:
        rows = list(rows)
        random.shuffle(rows)
        return rows

    other = replace(graph, mentions=shuffled(graph.mentions), subjects=shuffled(graph.subjects), relations=shuffled(graph.relations))
    one, two = (rank_with_graph(found, each, query_entities=asked) for each in (graph, other))
    assert dict(one.ranking) == pytest.approx(dict(two.ranking))


@settings(max_examples=60, deadline=None)
@given(seeds, slices, named)
def test_a_score_is_the_seed_and_its_lifts_and_nothing_sinks(found: dict[str, float], graph: GraphSlice, asked: dict[str, float]) -> None:
    result = rank_with_graph(found, graph, query_entities=asked)
    scores = dict(result.ranking)
    assert set(scores) == set(found) | set(result.lifts)
    for passage, score in scores.items():
        lifts = result.lifts.get(passage, ())
        assert all(lift.amount > 0 and lift.passage_id == passage for lift in lifts)
        assert score == pytest.approx(found.get(passage, 0.0) + sum(lift.amount for lift in lifts))


@settings(deadline=None)
@given(
    st.lists(st.tuples(names, names, st.floats(0.1, 2)), min_size=1, max_size=12),
    st.dictionaries(names, st.floats(0.1, 1), min_size=1),
    st.floats(0.1, 0.9),
)
def test_personalized_pagerank_agrees_with_networkx(edges: list[tuple[str, str, float]], restart: dict[str, float], damping: float) -> None:
    graph = networkx.DiGraph()
    graph.add_nodes_from(restart)
    for left, right, weight in edges:
        for source, target in ((left, right), (right, left)):
            before = graph.get_edge_data(source, target, {"weight": 0.0})["weight"]
            graph.add_edge(source, target, weight=before + weight)
    expected = networkx.pagerank(graph, alpha=damping, personalization=restart, dangling=restart, tol=1e-12, max_iter=1000)
    assert personalized_pagerank(edges, restart, damping=damping, max_rounds=1000) == pytest.approx(expected, abs=1e-7)


def test_pagerank_without_a_place_to_restart_is_empty() -> None:
    assert personalized_pagerank([("a", "b", 1.0)], {}) == {}
    assert personalized_pagerank([("a", "b", 1.0)], {"a": 0.0}) == {}


def test_pagerank_of_lone_nodes_is_where_it_restarts() -> None:
    assert personalized_pagerank([], {"a": 3.0, "b": 1.0}) == pytest.approx({"a": 0.75, "b": 0.25})


@pytest.mark.parametrize("options", [{"damping": 1.0}, {"damping": -0.1}, {"hits": -1}, {"step_weight": math.nan}, {"named_weight": -1.0}])
def test_impossible_configurations_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        GraphConfig(**options)
