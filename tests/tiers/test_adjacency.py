"""The resident graph: merging, compaction and the kept file change nothing of what it says."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from rag2_memory.records import GraphPassage
from rag2_memory.testing.graph_cases import EVERYTHING, SPACE, WRITES, edge, link, passage
from rag2_memory.tiers import adjacency as module
from rag2_memory.tiers import adjacency_walk
from rag2_memory.tiers.adjacency import GONE, Adjacency, ordered
from rag2_memory.tiers.adjacency_file import load, save
from rag2_memory.tiers.adjacency_rows import OPEN_END, OPEN_START, micros, moment
from rag2_memory.tiers.adjacency_walk import Bounds, neighbourhood

BOUNDS = Bounds(hops=3, window=None, **EVERYTHING)
NAMESPACES = (SPACE, "other:place")


def around(graph: Adjacency, passages: Sequence[str] = ("p1", "p2"), entities: Sequence[str] = ("a", "b")) -> list[object]:
    """Return what is found in each namespace, without the order."""
    found = [neighbourhood(graph, BOUNDS, namespace=space, passages=passages, entities=entities) for space in NAMESPACES]
    return [(set(part.links), set(part.edges), dict(part.degrees)) for part in found]


@settings(max_examples=60, deadline=None)
@given(writes=WRITES)
def test_compaction_and_the_kept_file_change_nothing(writes: Sequence[Sequence[GraphPassage | str]]) -> None:
    graph = Adjacency()
    stored: dict[str, GraphPassage] = {}
    tied: set[tuple[str, str]] = set()
    for batch in writes:
        upserted = {item.id: ordered(item) for item in batch if isinstance(item, GraphPassage)}
        deleted = [item for item in batch if isinstance(item, str)]
        change = graph.change(list(upserted.values()), deleted)
        graph.view = change.view
        stored = {key: item for key, item in (stored | upserted).items() if key not in deleted}
        assert tied.isdisjoint(change.created)
        assert tied.issuperset(change.orphaned)
        tied = (tied | set(change.created)) - set(change.orphaned)
    assert tied == {
        (item.namespace, end)
        for item in stored.values()
        for end in (*(part.entity_id for part in item.links), *(end for part in item.edges for end in (part.subject_id, part.object_id)))
    }
    compact = graph.compacted()
    with tempfile.TemporaryDirectory() as folder:
        save(graph, Path(folder) / "kept", state="now")
        kept = load(Path(folder) / "kept", state="now")
        assert load(Path(folder) / "kept", state="then") is None
        assert load(Path(folder) / "absent", state="now") is None
    assert kept is not None
    for other in (graph, compact, kept):
        assert other.get(["p1", "p2", "p3", "p4", "p5", "x", "p1"]) == stored
        assert around(other) == around(graph)
    assert len(compact.passages.ids) == len(stored)
    assert set(zip(compact.entities.namespaces, compact.entities.ids, strict=True)) == tied
    assert sum(map(len, compact.view.segments)) == sum(len(item.links) + len(item.edges) for item in stored.values())


def test_segments_stay_few_and_hold_what_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "YOUNG_ROWS", 4)
    rng = random.Random(0)
    names = [f"e{n}" for n in range(50)]
    graph, stored = Adjacency(), dict[str, GraphPassage]()
    for _ in range(600):
        key = f"p{rng.randrange(200)}"
        if rng.random() < 0.3:
            graph.view = graph.change([], [key]).view
            stored.pop(key, None)
        else:
            ends = rng.sample(names, 4)
            stored[key] = ordered(
                passage(key, *(link(key, name) for name in ends), edge(key, ends[0], ends[1]), edge(key, ends[2], ends[3]))
            )
            graph.view = graph.change([stored[key]], []).view
        assert len(graph.view.segments) <= 12
    assert graph.get(stored) == stored
    live = sum(len(item.links) + len(item.edges) for item in stored.values())
    assert sum(map(len, graph.view.segments)) <= 3 * live
    rebuilt = Adjacency()
    rebuilt.view = rebuilt.change(list(stored.values()), []).view
    assert around(graph, list(stored), names) == around(rebuilt, list(stored), names)


@pytest.mark.parametrize("slack", [0, 1, 7, 224])
def test_the_heaviest_links_that_count_are_kept(monkeypatch: pytest.MonkeyPatch, slack: int) -> None:
    monkeypatch.setattr(adjacency_walk, "CLIP_SLACK", slack)
    rng = random.Random(slack)
    weights = rng.sample(range(1, 60_000), 900)
    graph, stored = Adjacency(), dict[str, dict[str, float]]()
    for number, weight in enumerate(weights):
        key, ends = f"p{number % 400}", rng.sample(["hub", "e1", "e2", "e3"], 2)
        stored[key] = dict.fromkeys(ends, weight / 65_535)
        graph.view = graph.change([passage(key, *(link(key, end, weight=stored[key][end]) for end in ends))], []).view
    seeds = list(stored)[:3]
    for most in (1, 5, 1_000):
        bounds = replace(BOUNDS, hops=1, mentions_per_entity=most)
        found = neighbourhood(graph, bounds, namespace=SPACE, passages=seeds, entities=["hub", "e1"])
        for entity in ("hub", "e1"):
            others = [(weights[entity], key) for key, weights in stored.items() if entity in weights and key not in seeds]
            expected = [key for _, key in sorted(others, reverse=True)[:most]]
            assert [item.passage_id for item in found.links if item.entity_id == entity and item.passage_id not in seeds] == expected
        assert found.truncated == (most < 1_000)


def test_names_of_what_is_gone_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SPARE_NAMES", 10)
    graph = Adjacency()
    for number in range(20):
        graph.view = graph.change([passage(f"p{number}", link(f"p{number}", "a"))], [f"p{number - 1}"]).view
        assert graph.wasteful == (number + 1 > 10 + 2)
    assert not graph.compacted().wasteful
    assert graph.compacted().passages.ids == ["p19"]


def test_a_view_never_changes_once_it_is_made() -> None:
    graph = Adjacency()
    graph.view = graph.change([passage("p1", link("p1", "a"), edge("p1", "a", "b"))], []).view
    before = graph.view
    home, links_of, edges_of = before.home.copy(), before.links_of.copy(), before.edges_of.copy()
    graph.view = graph.change([passage("p1", link("p1", "c")), passage("p2", link("p2", "a"))], []).view
    graph.view = graph.change([], ["p1", "p2"]).view
    assert np.array_equal(before.home, home)
    assert np.array_equal(before.links_of, links_of)
    assert np.array_equal(before.edges_of, edges_of)
    assert set(graph.view.home.tolist()) == {GONE}


def test_moments_survive_as_microseconds() -> None:
    for value in (OPEN_START, OPEN_END, 0, -1, 1, 253_402_300_799_999_999, -62_135_596_800_000_000):
        assert micros(moment(value), value) == value
