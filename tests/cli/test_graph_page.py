"""The page that `rag2 graph show --html` writes."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from itertools import combinations
from math import dist
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from rag2_memory.commands.graph_page import HEIGHT, WIDTH, page, picture, positions
from rag2_memory.types import Fact

LEADS = Fact(subject="Priya Raman", predicate="LEADS", object="Project Alpha", subject_type="Developer", documents=("teams/alpha.md",))
LED = Fact(
    subject="Vatsal Shah",
    predicate="LEADS",
    object="Project Alpha",
    valid_from=datetime(2025, 4, 1, tzinfo=timezone.utc),
    valid_to=datetime(2026, 2, 2, tzinfo=timezone.utc),
)
OWNS = Fact(subject="Project Alpha", predicate="OWNS", object="<script>alert(1)</script>", documents=('a"b.md',))


def test_every_entity_has_a_place_inside_the_picture_and_the_name_is_in_the_middle() -> None:
    places = positions("project alpha", [LEADS, LED, OWNS])
    assert set(places) == {"Priya Raman", "Vatsal Shah", "Project Alpha", OWNS.object}
    assert places["Project Alpha"] == (WIDTH / 2, HEIGHT / 2)
    assert len(set(places.values())) == 4
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in places.values())


def test_entities_that_nothing_joins_to_the_name_are_placed_as_well() -> None:
    apart = Fact(subject="A", predicate="KNOWS", object="B")
    assert {"A", "B", "Project Alpha"} <= set(positions("Project Alpha", [LEADS, apart]))


@given(
    st.lists(
        st.tuples(st.sampled_from("ABCDEFGHIJKLMNOP"), st.sampled_from("ABCDEFGHIJKLMNOP")).filter(lambda pair: pair[0] != pair[1]),
        min_size=1,
    )
)
def test_no_two_entities_share_a_place(pairs: list[tuple[str, str]]) -> None:
    places = positions("A", [Fact(subject=one, predicate="KNOWS", object=other) for one, other in pairs])
    assert set(places) == {name for pair in pairs for name in pair}
    for one, other in combinations(places.values(), 2):
        assert dist(one, other) > 5
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in places.values())


def test_the_picture_is_well_formed_and_dashes_what_ended() -> None:
    drawing = ElementTree.fromstring(picture("Project Alpha", [LEADS, LED, OWNS]))
    lines = drawing.findall("line")
    assert [line.get("class") for line in lines] == [None, "past", None]
    assert "2025-04-01 – 2026-02-02" in (lines[1].findtext("title") or "")


def test_text_from_documents_can_open_no_tag_and_nothing_is_loaded_from_elsewhere() -> None:
    made = page('Alpha" onload="x', [LEADS, OWNS])
    assert "<script" not in made
    assert "&lt;script&gt;" in made
    assert not re.search(r"(?:src|href)\s*=|@import|https?://", made)


def test_a_page_without_facts_is_a_page() -> None:
    assert "0 facts" in page("Nobody", [])
