"""Contract suite of `GraphTier`. Subclass it and supply the fixture `tier`: an empty one per test. Needs pytest and hypothesis."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag2_memory.errors import InvalidRequestError
from rag2_memory.records import GraphEdge, GraphPassage, Subgraph
from rag2_memory.testing.graph_cases import EVERYTHING, IDS, SPACE, WRITES, YEARS, ReferenceGraph, edge, entities_of, link, passage, year
from rag2_memory.tiers.base import GraphTier


class GraphTierContract:
    """What every graph tier must do."""

    # --- writing ----------------------------------------------------------------------------------------------------------------------------
    def test_what_was_written_is_read_back(self, tier: GraphTier) -> None:
        written = [
            passage("p1", link("p1", "a", "subject"), link("p1", "b", weight=0.25), edge("p1", "a", "b", 2001, 2003), edge("p1", "b", "a")),
            passage("p2", edge("p2", "a", "b", 2001, 2003), edge("p2", "a", "b", None, 2004), namespace="other"),
            passage("p3"),
        ]
        tier.upsert(written)
        assert dict(tier.passages(["p1", "p2", "p3", "absent"])) == {item.id: item for item in written}
        assert sorted(tier.ids()) == ["p1", "p2", "p3"]

    def test_an_upsert_replaces_a_passage(self, tier: GraphTier) -> None:
        tier.upsert([passage("p1", link("p1", "a", "subject"), link("p1", "b"), edge("p1", "a", "b")), passage("p2", link("p2", "a"))])
        new = passage("p1", link("p1", "c"), edge("p1", "c", "a"))
        tier.upsert([new])
        found = tier.neighbourhood(namespace=SPACE, passages=["p1"], entities=["a", "b"], hops=2)
        assert tier.passages(["p1"])["p1"] == new
        assert set(found.links) == {link("p1", "c"), link("p2", "a")}
        assert set(found.edges) == {edge("p1", "c", "a")}

    def test_upserting_twice_changes_nothing(self, tier: GraphTier) -> None:
        once = [passage("p1", link("p1", "a"), edge("p1", "a", "b")), passage("p2", link("p2", "b"))]
        tier.upsert(once)
        tier.upsert([*once, *once])
        found = tier.neighbourhood(namespace=SPACE, passages=["p1", "p2"], entities=["a"])
        assert sorted(found.links, key=str) == sorted([link("p1", "a"), link("p2", "b")], key=str)
        assert list(found.edges) == [edge("p1", "a", "b")]
        assert found.degrees == {"a": 1, "b": 1}

    def test_a_passage_can_move_to_another_namespace(self, tier: GraphTier) -> None:
        tier.upsert([passage("p1", link("p1", "a"), edge("p1", "a", "b"))])
        moved = passage("p1", link("p1", "a"), edge("p1", "a", "b"), namespace="other")
        tier.upsert([moved])
        assert tier.passages(["p1"]) == {"p1": moved}
        assert tier.neighbourhood(namespace=SPACE, passages=["p1"], entities=["a"]) == Subgraph()
        assert tier.neighbourhood(namespace="other", entities=["a"]).edges == (edge("p1", "a", "b"),)

    def test_the_last_of_equal_ids_in_one_upsert_counts(self, tier: GraphTier) -> None:
        tier.upsert([passage("p1", link("p1", "a")), passage("p1", link("p1", "b"))])
        assert tier.passages(["p1"]) == {"p1": passage("p1", link("p1", "b"))}
        assert list(tier.ids()) == ["p1"]

    def test_a_link_of_another_passage_is_refused_and_nothing_is_written(self, tier: GraphTier) -> None:
        with pytest.raises(InvalidRequestError, match="p2"):
            tier.upsert([passage("p0", link("p0", "a")), passage("p1", link("p2", "a"))])
        assert list(tier.ids()) == []

    def test_empty_and_invalid_text_is_refused(self, tier: GraphTier) -> None:
        for bad in (passage(""), passage("p1", link("p1", "")), passage("p1", edge("p1", "a", "")), passage("p1", link("p1", "\ud800"))):
            with pytest.raises(InvalidRequestError):
                tier.upsert([bad])

    def test_deleting_the_last_evidence_removes_the_edge(self, tier: GraphTier) -> None:
        tier.upsert([passage("p1", edge("p1", "a", "b")), passage("p2", edge("p2", "a", "b")), passage("p3", link("p3", "a"))])
        tier.delete(["p1"])
        assert tier.neighbourhood(namespace=SPACE, entities=["a"]).edges == (edge("p2", "a", "b"),)
        tier.delete(["p2"])
        found = tier.neighbourhood(namespace=SPACE, entities=["a", "b"])
        assert found.edges == ()
        assert found.degrees == {"a": 1}, "b is tied to nothing any longer"

    def test_deleting_absent_ids_is_no_error(self, tier: GraphTier) -> None:
        tier.upsert([passage("p1", link("p1", "a"))])
        tier.delete(["absent", "p1", "p1"])
        tier.delete(["p1"])
        assert list(tier.ids()) == []

    def test_what_was_deleted_can_come_back(self, tier: GraphTier) -> None:
        item = passage("p1", link("p1", "a"), edge("p1", "a", "b"))
        for _ in range(3):
            tier.upsert([item])
            assert tier.passages(["p1"]) == {"p1": item}
            tier.delete(["p1"])
            assert tier.passages(["p1"]) == {}
            assert tier.neighbourhood(namespace=SPACE, entities=["a", "b"]) == Subgraph()

    def test_empty_requests_are_answered(self, tier: GraphTier) -> None:
        tier.upsert([])
        tier.delete([])
        assert tier.neighbourhood(namespace=SPACE) == Subgraph()
        assert tier.neighbourhood(namespace="nowhere", passages=["x"], entities=["y"], hops=3) == Subgraph()
        assert tier.paths(namespace=SPACE, source="x", target="y") == []
        assert tier.passages([]) == {}
        assert list(tier.ids()) == []

    @pytest.mark.parametrize(
        "text", ["名前", "naïve café", "a'b\"c\\d", "x\ny\tz", "tab\x1fsep\x1e", "🙂🙃", "$id {x} `y`", "0", " space ", "-"]
    )
    def test_ids_are_text_of_any_kind(self, tier: GraphTier, text: str) -> None:
        item = passage(text, link(text, f"{text}1"), edge(text, f"{text}1", f"{text}2", predicate=text), namespace=text)
        tier.upsert([item])
        assert tier.passages([text]) == {text: item}
        assert tier.neighbourhood(namespace=text, passages=[text], hops=2).edges == item.edges
        assert tier.paths(namespace=text, source=f"{text}1", target=f"{text}2") == [item.edges]
        tier.delete([text])
        assert list(tier.ids()) == []

    @pytest.mark.parametrize(
        "moment", [datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999), datetime(1969, 7, 20, 20, 17, 40, 123456)]
    )
    def test_moments_keep_their_microseconds(self, tier: GraphTier, moment: datetime) -> None:
        at = moment.replace(tzinfo=timezone.utc)
        item = passage(
            "p1", GraphEdge(edge_id="x", subject_id="a", predicate="P", object_id="b", passage_id="p1", valid_from=at, valid_to=at)
        )
        tier.upsert([item])
        assert tier.passages(["p1"]) == {"p1": item}
        assert tier.neighbourhood(namespace=SPACE, entities=["a"]).edges == item.edges
        assert tier.paths(namespace=SPACE, source="a", target="b", valid_at=at) == [item.edges]

    def test_other_time_zones_mean_the_same_moment(self, tier: GraphTier) -> None:
        at = datetime(2020, 1, 1, 3, tzinfo=timezone(timedelta(hours=3)))
        tier.upsert([passage("p1", GraphEdge(edge_id="x", subject_id="a", predicate="P", object_id="b", passage_id="p1", valid_from=at))])
        assert tier.passages(["p1"])["p1"].edges[0].valid_from == year(2020)
        assert tier.neighbourhood(namespace=SPACE, entities=["a"]).edges[0].valid_from == year(2020)

    def test_moments_without_a_zone_are_utc(self, tier: GraphTier) -> None:
        naive = datetime(2020, 1, 1)
        tier.upsert(
            [passage("p1", GraphEdge(edge_id="x", subject_id="a", predicate="P", object_id="b", passage_id="p1", valid_from=naive))]
        )
        assert tier.passages(["p1"])["p1"].edges[0].valid_from == year(2020)
        assert len(tier.neighbourhood(namespace=SPACE, entities=["a"], valid_to=datetime(2020, 1, 2)).edges) == 1
        assert tier.neighbourhood(namespace=SPACE, entities=["a"], valid_to=naive).edges == ()
        assert len(tier.paths(namespace=SPACE, source="a", target="b", valid_at=naive)) == 1

    def test_impossible_bounds_are_refused(self, tier: GraphTier) -> None:
        wrong: list[dict[str, Any]] = [
            {"hops": 0},
            {"limit": 0},
            {"subjects_per_entity": -1},
            {"mentions_per_entity": -1},
            {"edges_per_entity": -1},
        ]
        for bounds in wrong:
            with pytest.raises(InvalidRequestError, match=next(iter(bounds))):
                tier.neighbourhood(namespace=SPACE, entities=["a"], **bounds)
        with pytest.raises(InvalidRequestError, match="max_hops"):
            tier.paths(namespace=SPACE, source="a", target="b", max_hops=0)

    def test_many_passages_are_replaced_and_removed_at_once(self, tier: GraphTier) -> None:
        def projections(target: str) -> list[GraphPassage]:
            return [passage(f"p{n}", link(f"p{n}", f"e{n % 7}"), edge(f"p{n}", f"e{n % 7}", target)) for n in range(300)]

        tier.upsert(projections("old"))
        tier.upsert(projections("new"))
        assert tier.passages([f"p{n}" for n in range(300)]) == {item.id: item for item in projections("new")}
        assert "old" not in tier.neighbourhood(namespace=SPACE, entities=[f"e{n}" for n in range(7)], hops=2).degrees
        tier.delete([f"p{n}" for n in range(1, 300)])
        assert list(tier.ids()) == ["p0"]
        assert tier.neighbourhood(namespace=SPACE, entities=["new"]).edges == (edge("p0", "e0", "new"),)

    def test_clear_removes_everything(self, tier: GraphTier) -> None:
        tier.upsert([passage("p1", link("p1", "a"), edge("p1", "a", "b"))])
        tier.clear()
        assert list(tier.ids()) == []
        assert tier.neighbourhood(namespace=SPACE, passages=["p1"], entities=["a"]) == Subgraph()
        tier.upsert([passage("p2", link("p2", "a"))])
        assert list(tier.ids()) == ["p2"]

    # --- neighbourhoods ---------------------------------------------------------------------------------------------------------------------
    def test_a_neighbourhood_stays_in_its_namespace(self, tier: GraphTier) -> None:
        tier.upsert(
            [
                passage("p1", link("p1", "a"), edge("p1", "a", "b")),
                passage("q1", link("q1", "a"), edge("q1", "a", "c"), edge("q1", "c", "b"), namespace="other"),
            ]
        )
        found = tier.neighbourhood(namespace=SPACE, passages=["p1", "q1"], entities=["a", "c"], hops=3)
        assert found.links == (link("p1", "a"),)
        assert found.edges == (edge("p1", "a", "b"),)
        assert found.degrees == {"a": 1, "b": 0}
        assert tier.paths(namespace=SPACE, source="a", target="c") == []

    def test_seed_passages_lead_to_what_they_name_and_to_who_else_names_it(self, tier: GraphTier) -> None:
        tier.upsert(
            [
                passage("p1", link("p1", "a", "subject"), link("p1", "b")),
                passage("p2", link("p2", "b", "subject")),
                passage("p3", link("p3", "b")),
                passage("p4", link("p4", "c")),
            ]
        )
        found = tier.neighbourhood(namespace=SPACE, passages=["p1"])
        assert set(found.links[:2]) == {link("p1", "a", "subject"), link("p1", "b")}, "the seeds' links come first"
        assert found.links[2:] == (link("p2", "b", "subject"), link("p3", "b")), "what is about it comes before what mentions it"
        assert found.degrees == {"a": 1, "b": 3}
        assert not found.truncated

    def test_hops_are_counted_from_the_seeds(self, tier: GraphTier) -> None:
        chain = [edge("p1", "a", "b"), edge("p1", "c", "b"), edge("p1", "c", "d"), edge("p1", "d", "e")]
        tier.upsert([passage("p1", *chain), passage("p2", link("p2", "b"))])
        for hops, expected in ((1, set()), (2, set(chain[:2])), (3, set(chain[:3])), (4, set(chain))):
            assert set(tier.neighbourhood(namespace=SPACE, passages=["p2"], hops=hops).edges) == expected
        for hops, reached in ((1, "ab"), (2, "abc"), (3, "abcd"), (4, "abcde"), (9, "abcde")):
            found = tier.neighbourhood(namespace=SPACE, entities=["a"], hops=hops)
            assert entities_of(found) == set(reached) == set(found.degrees)

    def test_a_window_is_kept_at_every_hop(self, tier: GraphTier) -> None:
        edges = [edge("p1", "a", "b", 2000, 2005), edge("p1", "b", "c", None, 2003), edge("p1", "c", "d", 2004, None), edge("p1", "d", "e")]
        tier.upsert([passage("p1", *edges)])

        def reached(start: int | None, end: int | None) -> str:
            valid_from, valid_to = year(start) if start else None, year(end) if end else None
            found = tier.neighbourhood(namespace=SPACE, entities=["a"], hops=9, valid_from=valid_from, valid_to=valid_to)
            return "".join(sorted(entities_of(found)))

        assert reached(None, None) == "abcde"
        assert reached(2001, 2002) == "abc"
        assert reached(2003, 2004) == "ab", "b to c ended as the window begins, c to d begins as it ends"
        assert reached(2002, 2005) == "abcde"
        assert reached(2005, None) == ""
        assert reached(None, 2000) == ""
        assert reached(2000, 2000) == "abc", "an empty window is its one moment"
        assert reached(2003, 2003) == "ab"

    def test_loops_and_parallel_edges_are_returned_once(self, tier: GraphTier) -> None:
        edges = [
            edge("p1", "a", "a"),
            edge("p1", "a", "b"),
            edge("p1", "b", "a"),
            edge("p1", "a", "b", predicate="LIKES"),
            edge("p2", "a", "b"),
        ]
        tier.upsert([passage("p1", *edges[:4]), passage("p2", edges[4])])
        found = tier.neighbourhood(namespace=SPACE, entities=["a", "b", "a"], hops=3)
        assert len(found.edges) == 5
        assert set(found.edges) == set(edges)

    def test_a_hub_is_cut_and_that_is_told(self, tier: GraphTier) -> None:
        tier.upsert(
            [
                passage("p0", link("p0", "hub"), *(edge("p0", "hub", f"e{n}", 2000 + n) for n in range(30))),
                *(passage(f"m{n}", link(f"m{n}", "hub", "mention", 1 - n / 100)) for n in range(20)),
                *(passage(f"s{n}", link(f"s{n}", "hub", "subject", 1 - n / 100)) for n in range(20)),
                passage("old", edge("old", "hub", "gone", 2050, 2051)),
            ]
        )
        found = tier.neighbourhood(
            namespace=SPACE, passages=["p0"], entities=["hub"], subjects_per_entity=3, mentions_per_entity=2, edges_per_entity=4
        )
        assert found.truncated
        assert [item.passage_id for item in found.links] == ["p0", "s0", "s1", "s2", "m0", "m1"], "the heaviest of each kind"
        assert [item.object_id for item in found.edges] == ["e29", "e28", "e27", "e26"], "no end before ended, then the latest"
        assert found.degrees["hub"] == 41
        whole = tier.neighbourhood(namespace=SPACE, passages=["p0"], entities=["hub"])
        assert (len(whole.links), len(whole.edges), whole.truncated) == (41, 31, False)

    def test_a_bound_of_zero_leaves_out_and_is_no_cut(self, tier: GraphTier) -> None:
        tier.upsert(
            [
                passage("p1", link("p1", "a"), edge("p1", "a", "b")),
                passage("p2", link("p2", "a")),
                passage("p3", link("p3", "a", "subject")),
            ]
        )
        found = tier.neighbourhood(
            namespace=SPACE, passages=["p1"], entities=["a"], subjects_per_entity=0, mentions_per_entity=0, edges_per_entity=0
        )
        assert (found.links, found.edges, found.truncated) == ((link("p1", "a"),), (), False)

    def test_edges_among_what_was_reached_survive_the_cut(self, tier: GraphTier) -> None:
        edges = [edge("p1", "hub", f"e{n}", 2000 + n) for n in range(30)]
        tier.upsert([passage("p1", *edges), passage("p2", link("p2", "e0"), link("p2", "hub"))])
        found = tier.neighbourhood(namespace=SPACE, entities=["hub", "e0", "e1"], edges_per_entity=2)
        assert {item.object_id for item in found.edges} == {"e0", "e1", "e28", "e29"}

    def test_the_limit_keeps_what_was_reached_first(self, tier: GraphTier) -> None:
        tier.upsert(
            [passage(f"p{n}", *(link(f"p{n}", f"e{n}{m}") for m in range(5)), edge(f"p{n}", f"e{n}0", f"e{n}1")) for n in range(10)]
        )
        found = tier.neighbourhood(namespace=SPACE, passages=["p7", "p3", "p1"], hops=2, limit=10)
        assert found.truncated
        assert [item.passage_id for item in found.links] == ["p7"] * 5 + ["p3"] * 5
        assert len(found.degrees) == 10
        assert all(item.passage_id in ("p7", "p3") for item in found.edges)

    def test_random_writes_read_as_a_scan_of_everything(self, tier: GraphTier) -> None:
        @settings(max_examples=40, deadline=None)
        @given(
            writes=WRITES,
            seeds=st.lists(st.sampled_from(["p1", "p2", "p3", "x"]), max_size=3),
            entities=st.lists(IDS, max_size=3),
            hops=st.integers(1, 4),
            window=st.tuples(YEARS, st.one_of(st.none(), st.integers(0, 4))),
        )
        def holds(
            writes: Sequence[Sequence[GraphPassage | str]],
            seeds: list[str],
            entities: list[str],
            hops: int,
            window: tuple[int | None, int | None],
        ) -> None:
            tier.delete(list(tier.ids()))
            reference = ReferenceGraph()
            for batch in writes:
                for target in (tier, reference):
                    target.upsert([item for item in batch if isinstance(item, GraphPassage)])
                    target.delete([item for item in batch if isinstance(item, str)])
            assert sorted(tier.ids()) == sorted(reference.stored)
            assert dict(tier.passages([*reference.stored, "x"])) == reference.stored
            first, length = window
            start, end = year(first) if first else None, None if length is None else year((first or 2000) + length)
            for namespace in (SPACE, "other:place"):
                found = tier.neighbourhood(
                    namespace=namespace, passages=seeds, entities=entities, hops=hops, valid_from=start, valid_to=end, **EVERYTHING
                )
                links, edges, degrees = reference.neighbourhood(namespace, seeds, entities, hops, (start, end))
                assert (set(found.links), set(found.edges), dict(found.degrees)) == (links, edges, degrees)
                assert (len(found.links), len(found.edges), found.truncated) == (len(links), len(edges), False)

        holds()

    # --- paths ------------------------------------------------------------------------------------------------------------------------------
    def test_paths_are_the_shortest_in_either_direction(self, tier: GraphTier) -> None:
        edges = [
            edge("p1", "a", "b"),
            edge("p1", "c", "b"),
            edge("p1", "a", "d"),
            edge("p1", "d", "c"),
            edge("p1", "a", "x"),
            edge("p1", "x", "y"),
        ]
        tier.upsert([passage("p1", *edges, edge("p1", "y", "c"))])
        found = tier.paths(namespace=SPACE, source="a", target="c")
        assert sorted(found, key=str) == sorted([(edges[0], edges[1]), (edges[2], edges[3])], key=str)
        assert tier.paths(namespace=SPACE, source="c", target="a", limit=1)[0][0] in (edges[1], edges[3])
        assert tier.paths(namespace=SPACE, source="a", target="c", max_hops=1) == []
        assert tier.paths(namespace=SPACE, source="a", target="a") == []
        assert tier.paths(namespace=SPACE, source="a", target="absent") == []

    def test_paths_keep_to_a_moment(self, tier: GraphTier) -> None:
        early, late, way = edge("p1", "a", "b", 2000, 2005), edge("p1", "a", "c", 2003, None), edge("p1", "c", "b", None, 2010)
        tier.upsert([passage("p1", early, late, way)])
        assert tier.paths(namespace=SPACE, source="a", target="b", valid_at=year(2004)) == [(early,)]
        assert tier.paths(namespace=SPACE, source="a", target="b", valid_at=year(2005)) == [(late, way)]
        assert tier.paths(namespace=SPACE, source="a", target="b", valid_at=year(2010)) == []

    def test_paths_go_around_forbidden_evidence(self, tier: GraphTier) -> None:
        tier.upsert([passage("secret", edge("secret", "a", "b")), passage("open", edge("open", "a", "c"), edge("open", "c", "b"))])
        assert tier.paths(namespace=SPACE, source="a", target="b") == [(edge("secret", "a", "b"),)]
        around = tier.paths(namespace=SPACE, source="a", target="b", without_passages=["secret"])
        assert around == [(edge("open", "a", "c"), edge("open", "c", "b"))]
        assert tier.paths(namespace=SPACE, source="a", target="b", without_passages={"secret", "open"}) == []

    def test_each_evidence_makes_a_path_of_its_own_up_to_the_limit(self, tier: GraphTier) -> None:
        tier.upsert([passage(f"p{n}", edge(f"p{n}", "a", "b")) for n in range(30)])
        found = tier.paths(namespace=SPACE, source="a", target="b", limit=20)
        assert len({chain[0].passage_id for chain in found}) == len(found) == 20

    # --- threads ----------------------------------------------------------------------------------------------------------------------------
    def test_readers_see_each_passage_whole_while_one_writes(self, tier: GraphTier) -> None:
        def state(number: int) -> GraphPassage:
            return passage("p1", *(link("p1", f"e{n}", weight=number / 100) for n in range(5)), edge("p1", "e0", "e1", 2000 + number))

        tier.upsert([state(0), passage("p2", edge("p2", "e1", "e2"))])
        failures: list[object] = []
        done = threading.Event()

        def read() -> None:
            while not done.is_set():
                found = tier.neighbourhood(namespace=SPACE, passages=["p1"], hops=2)
                weights = {item.weight for item in found.links}
                if len(found.links) != 5 or len(weights) != 1 or len(found.edges) != 2:
                    failures.append(found)
                if not 1 <= len(tier.paths(namespace=SPACE, source="e0", target="e2")) <= 1:
                    failures.append("path")

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        for number in range(1, 15):
            tier.upsert([state(number)])
        done.set()
        for reader in readers:
            reader.join()
        assert failures == []

    def test_closing_twice_is_no_error(self, tier: GraphTier) -> None:
        tier.close()
        tier.close()
