"""Facts for other tools and for people: JSON, GraphML (yEd, Gephi, networkx), and one HTML file that draws them and opens offline.

The input is what `memory.facts` returns, so an export holds what its scope may see and nothing else.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rag2_memory.knowledge.temporal import fact_json
from rag2_memory.retrieval.graph_page import PAGE
from rag2_memory.types import Fact

EDGE_KEYS: Mapping[str, str] = {
    "predicate": "string",
    "valid_from": "string",
    "valid_to": "string",
    "recorded_at": "string",
    "retracted_at": "string",
    "created_at": "string",
    "updated_at": "string",
    "ended_at": "string",
    "status": "string",
    "confidence": "double",
    "evidence": "string",
    "documents": "string",
    "properties": "string",
}
"""GraphML attributes of an edge with their types. GraphML knows no lists: evidence and documents are separated by spaces, properties are JSON."""


def graph_of(facts: Iterable[Fact], *, names: Iterable[str] = ()) -> dict[str, list[dict[str, Any]]]:
    """Return nodes and edges as JSON values; equal input gives equal output.

    Args:
        facts: Edges; equal ones are given once. Their ends become nodes, known by name.
        names: Entities that are nodes even if no fact speaks of them.

    Returns:
        `nodes` with `id`, `name`, `type` and `facts` (how many speak of it), by name; `edges` with `id`, `source`, `target` (node ids), every field
        of the fact, its `relation` in words, `created_at`, `updated_at` and `ended_at` as `fact_json` gives them, and moments as ISO 8601 text or
        `None`, in the order of the facts.
    """
    kept = list({_identity(fact): fact for fact in facts}.values())
    types: dict[str, str] = dict.fromkeys(names, "")
    counts: dict[str, int] = {}
    for fact in kept:
        for name, kind in ((fact.subject, fact.subject_type), (fact.object, fact.object_type)):
            types[name] = types.get(name) or kind
        for name in {fact.subject, fact.object}:
            counts[name] = counts.get(name, 0) + 1
    ids = {name: f"n{number}" for number, name in enumerate(sorted(types))}
    return {
        "nodes": [{"id": ids[name], "name": name, "type": types[name], "facts": counts.get(name, 0)} for name in sorted(types)],
        "edges": [_edge(f"e{number}", fact, ids) for number, fact in enumerate(kept)],
    }


def to_json(facts: Iterable[Fact], *, names: Iterable[str] = (), indent: int | None = 2) -> str:
    """Return `graph_of` as JSON text."""
    return json.dumps(graph_of(facts, names=names), ensure_ascii=False, indent=indent)


def to_graphml(facts: Iterable[Fact], *, names: Iterable[str] = ()) -> str:
    """Return a directed GraphML document (http://graphml.graphdrawing.org); `label` is the name of a node and the relation of an edge.

    Characters that XML 1.0 cannot hold are replaced by U+FFFD.
    """
    graph = graph_of(facts, names=names)
    root = ElementTree.Element("graphml", {"xmlns": "http://graphml.graphdrawing.org/xmlns"})
    for name, kind in {"label": "string", "type": "string"}.items():
        ElementTree.SubElement(root, "key", {"id": f"node_{name}", "for": "node", "attr.name": name, "attr.type": kind})
    for name, kind in {"label": "string", **EDGE_KEYS}.items():
        ElementTree.SubElement(root, "key", {"id": f"edge_{name}", "for": "edge", "attr.name": name, "attr.type": kind})
    body = ElementTree.SubElement(root, "graph", {"edgedefault": "directed"})
    for node in graph["nodes"]:
        element = ElementTree.SubElement(body, "node", {"id": node["id"]})
        _data(element, "node_label", node["name"])
        _data(element, "node_type", node["type"])
    for edge in graph["edges"]:
        element = ElementTree.SubElement(body, "edge", {"id": edge["id"], "source": edge["source"], "target": edge["target"]})
        _data(element, "edge_label", edge["relation"])
        for name in EDGE_KEYS:
            _data(element, f"edge_{name}", _as_attribute(name, edge[name]))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def to_html(facts: Iterable[Fact], *, names: Iterable[str] = (), title: str = "Facts", focus: str = "") -> str:
    """Return one HTML document that draws the graph and loads nothing from anywhere.

    It has a slider over validity, where facts have any, a search, and the list of facts with their evidence. It stays fluent up to some
    hundred nodes.

    Args:
        facts: What is drawn.
        names: Entities that are drawn even if no fact speaks of them.
        title: Heading of the page.
        focus: Name of the entity in the middle; empty: the one with most facts.
    """
    graph: dict[str, Any] = {"title": title, "focus": focus, **graph_of(facts, names=names)}
    # Inside a script element only "<" can begin something that ends it or hides its end.
    data = json.dumps(graph, ensure_ascii=False).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    heading = title.replace("&", "&amp;").replace("<", "&lt;")
    return PAGE.replace("{{graph}}", data, 1).replace("{{title}}", heading, 1)  # data may name the title, which stands before it


def _identity(fact: Fact) -> tuple[Any, ...]:
    return fact.subject, fact.predicate, fact.object, fact.valid_from, fact.valid_to, fact.recorded_at, fact.retracted_at, fact.edge_id


def _edge(key: str, fact: Fact, ids: Mapping[str, str]) -> dict[str, Any]:
    stamps = fact_json(fact)["properties"]
    return {
        "id": key,
        "source": ids[fact.subject],
        "target": ids[fact.object],
        "subject": fact.subject,
        "predicate": fact.predicate,
        "object": fact.object,
        "relation": fact.relation,
        "valid_from": _text(fact.valid_from),
        "valid_to": _text(fact.valid_to),
        "recorded_at": _text(fact.recorded_at),
        "retracted_at": _text(fact.retracted_at),
        "created_at": stamps.get("created_at"),
        "updated_at": stamps.get("updated_at"),
        "ended_at": stamps.get("ended_at"),
        "status": fact.status,
        "confidence": fact.confidence,
        "evidence": list(fact.evidence),
        "documents": list(fact.documents),
        "properties": dict(fact.properties),
        "edge_id": fact.edge_id,
    }


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _as_attribute(name: str, value: Any) -> str | None:
    if name == "properties":
        return json.dumps(value, ensure_ascii=False, sort_keys=True) if value else None
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(value) or None
    return None if value is None else str(value)


def _data(element: ElementTree.Element, key: str, value: str | None) -> None:
    if value:
        ElementTree.SubElement(element, "data", {"key": key}).text = "".join(char if _allowed(char) else "\ufffd" for char in value)


def _allowed(char: str) -> bool:
    """Tell whether XML 1.0 can hold a character (section 2.2 of the recommendation)."""
    return char in "\t\n\r" or "\x20" <= char <= "\ud7ff" or "\ue000" <= char <= "\ufffd" or char >= "\U00010000"
