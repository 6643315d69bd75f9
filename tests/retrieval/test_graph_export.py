"""Exports hold every fact, can be read by what they are made for, and cannot be broken out of."""

from __future__ import annotations

import io
import json
import re
from datetime import datetime, timezone
from html.parser import HTMLParser
from typing import Any

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag2_memory.retrieval.graph_export import graph_of, to_graphml, to_html, to_json
from rag2_memory.types import Fact

START = datetime(2020, 1, 1, tzinfo=timezone.utc)
END = datetime(2024, 6, 1, tzinfo=timezone.utc)
FACTS = [
    Fact(
        subject="Ada",
        predicate="OWNS",
        object="Billing API",
        valid_from=START,
        valid_to=END,
        evidence=("c1", "c2"),
        documents=("doc.md",),
        subject_type="Developer",
        object_type="Component",
        confidence=0.5,
        properties={"since": "2020"},
    ),
    Fact(subject="Grace", predicate="OWNS", object="Billing API", valid_from=END, subject_type="Developer"),
    Fact(subject="Billing API", predicate="DEPENDS_ON", object="Ledger"),
    Fact(subject="Ada", predicate="KNOWS", object="Ada"),
]
NASTY = "</script><script>alert(1)</script><!-- & \" ' \u2028 名前"


class Reader(HTMLParser):
    """Collects scripts and every attribute that could load something."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.links: list[str] = []
        self._inside: dict[str, str | None] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "data", "action")]
        if tag == "script":
            self._inside = dict(attrs)
            self.scripts.append((self._inside, ""))

    def handle_data(self, data: str) -> None:
        if self._inside is not None:
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._inside = None


def page(html: str) -> tuple[Reader, dict[str, Any]]:
    """Return what was read and the graph that the page holds."""
    reader = Reader()
    reader.feed(html)
    (data,) = [text for attributes, text in reader.scripts if attributes.get("id") == "graph"]
    return reader, json.loads(data)


def test_nodes_are_names_and_edges_are_facts() -> None:
    graph = graph_of([*FACTS, FACTS[0]], names=["Ada", "Alone"])
    assert [(node["name"], node["type"], node["facts"]) for node in graph["nodes"]] == [
        ("Ada", "Developer", 2),
        ("Alone", "", 0),
        ("Billing API", "Component", 3),
        ("Grace", "Developer", 1),
        ("Ledger", "", 1),
    ]
    assert [(edge["subject"], edge["predicate"], edge["object"]) for edge in graph["edges"]] == [
        (fact.subject, fact.predicate, fact.object) for fact in FACTS
    ]
    names = {node["id"]: node["name"] for node in graph["nodes"]}
    assert all(names[edge["source"]] == edge["subject"] and names[edge["target"]] == edge["object"] for edge in graph["edges"])
    assert graph["edges"][0]["valid_from"] == "2020-01-01T00:00:00+00:00"
    assert graph["edges"][0]["evidence"] == ["c1", "c2"]


def test_facts_that_differ_in_their_window_stay_apart() -> None:
    facts = [Fact(subject="a", predicate="P", object="b", valid_from=moment) for moment in (None, START, END, START)]
    assert len(graph_of(facts)["edges"]) == 3


def test_json_gives_back_the_graph() -> None:
    assert json.loads(to_json(FACTS, names=["Alone"])) == graph_of(FACTS, names=["Alone"])


def test_graphml_is_read_by_networkx() -> None:
    graph = nx.read_graphml(io.BytesIO(to_graphml(FACTS, names=["Alone"]).encode()), force_multigraph=True)
    labels = nx.get_node_attributes(graph, "label")
    assert sorted(labels.values()) == ["Ada", "Alone", "Billing API", "Grace", "Ledger"]
    assert {(labels[a], data["label"], labels[b]) for a, b, data in graph.edges(data=True)} == {
        (f.subject, f.predicate, f.object) for f in FACTS
    }
    (owned,) = [data for a, _, data in graph.edges(data=True) if labels[a] == "Ada" and data["predicate"] == "OWNS"]
    assert owned["valid_to"] == END.isoformat()
    assert owned["status"] == "inactive"
    assert owned["confidence"] == 0.5
    assert owned["evidence"] == "c1 c2"
    assert json.loads(owned["properties"]) == {"since": "2020"}


@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1), st.text(min_size=1)), max_size=5))
def test_any_text_can_be_exported(triples: list[tuple[str, str, str]]) -> None:
    facts = [Fact(subject=a, predicate=p, object=b) for a, p, b in triples]
    graph = nx.read_graphml(io.BytesIO(to_graphml(facts).encode()), force_multigraph=True)
    assert graph.number_of_edges() == len(set(triples))
    assert graph.number_of_nodes() == len({name for a, _, b in triples for name in (a, b)})
    reader, held = page(to_html(facts))
    assert len(reader.scripts) == 2
    assert held["edges"] == graph_of(facts)["edges"]


def test_the_page_holds_the_graph_and_loads_nothing() -> None:
    html = to_html(FACTS, title="Ownership", focus="Ada")
    reader, held = page(html)
    assert held == {"title": "Ownership", "focus": "Ada", **graph_of(FACTS)}
    assert reader.links == []
    assert "default-src 'none'" in html
    urls = set(re.findall(r"https?://[^\s\"'`]+", html))
    assert urls == {"http://www.w3.org/2000/svg"}, "a namespace, which nothing loads"
    assert not re.search(r"@import|url\((?!#)|\bimport\s*\(|fetch\(|XMLHttpRequest|innerHTML|document\.write|eval\(", html)


@pytest.mark.parametrize("where", ["subject", "predicate", "object", "title", "names", "focus"])
def test_text_cannot_break_out_of_the_page(where: str) -> None:
    subject, predicate, target = (NASTY if where == name else "x" for name in ("subject", "predicate", "object"))
    html = to_html(
        [Fact(subject=subject, predicate=predicate, object=target)],
        title=NASTY if where == "title" else "x",
        names=[NASTY] if where == "names" else [],
        focus=NASTY if where == "focus" else "",
    )
    reader, held = page(html)
    assert len(reader.scripts) == 2, "data and code, nothing else"
    assert NASTY in json.dumps(held, ensure_ascii=False).replace('\\"', '"')
    assert html.count("alert(1)") == html.count("\\u003cscript>alert(1)") + html.count("&lt;script>alert(1)")


def test_a_placeholder_in_the_data_stays_what_it_is() -> None:
    _, held = page(to_html([Fact(subject="{{graph}}", predicate="{{title}}", object="x")], title="{{graph}}"))
    assert held["title"] == "{{graph}}"
    assert held["edges"][0]["subject"] == "{{graph}}"


def test_nothing_can_be_exported() -> None:
    assert graph_of([]) == {"nodes": [], "edges": []}
    assert nx.read_graphml(io.BytesIO(to_graphml([]).encode())).number_of_nodes() == 0
    assert page(to_html([]))[1]["nodes"] == []
