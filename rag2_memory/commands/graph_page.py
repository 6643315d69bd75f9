"""A neighbourhood of the graph as one HTML page: a picture in SVG and a table, no script and nothing loaded from elsewhere."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from rag2_memory.commands.terminal import count, span

if TYPE_CHECKING:
    from rag2_memory.types import Fact

WIDTH, HEIGHT = 1100, 760
RADIUS = 345
"""Of the outermost ring, in pixels."""

LABEL_AT = 0.6
"""Where on its line a relation's name stands, from the inner end; in the middle the names around the centre would meet."""

STRETCH = 1.1
"""Rings are wider than high; beside the outermost there is room for names of 25 characters."""

COLOURS = {"Developer": "#4269d0", "Project": "#3ca951", "Component": "#d47b00", "Document": "#9c6b4e"}
"""By node type; others are grey. Told apart by the colour-blind as well (Observable 10)."""
GREY = "#8a929b"

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1100px;padding:0 1rem;color:#1b1e23;background:#fff}
svg{width:100%;height:auto;border:1px solid #d9dce1;border-radius:8px}text{font:12px system-ui,sans-serif;fill:#1b1e23}
line{stroke:#9aa3ad}line.past{stroke-dasharray:5 4;opacity:.6}.relation{fill:#5b6570;font-size:10px}
table{border-collapse:collapse;margin-top:1.5rem;width:100%}td,th{padding:.35rem .7rem .35rem 0;border-bottom:1px solid #e4e7eb;text-align:left;vertical-align:top}
tr.past{color:#78828c}
@media(prefers-color-scheme:dark){body{background:#16191d;color:#e6e8ea}text{fill:#e6e8ea}.relation{fill:#9aa3ad}svg{border-color:#333940}td,th{border-color:#2b3036}}
"""


def page(name: str, facts: Sequence[Fact], *, as_of: str | None = None) -> str:
    """Return the page; every text in it is escaped."""
    title = f"{name}: {count(len(facts), 'fact')}" + (f" as of {as_of}" if as_of else "")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><h1>{escape(title)}</h1>\n"
        f"{picture(name, facts)}\n{_table(facts)}\n</body></html>\n"
    )


def picture(name: str, facts: Sequence[Fact]) -> str:
    """Draw the facts around a name; ended ones are dashed."""
    places, middle = positions(name, facts), _middle(name, facts)
    types = {entity: kind for fact in facts for entity, kind in ((fact.subject, fact.subject_type), (fact.object, fact.object_type))}
    pairs: Counter[frozenset[str]] = Counter()
    lines = ""
    for fact in facts:
        pair = frozenset((fact.subject, fact.object))
        lines += _edge(fact, places[fact.subject], places[fact.object], nth=pairs[pair])
        pairs[pair] += 1
    nodes = "".join(_node(entity, types.get(entity, ""), place, radius=9 if entity == middle else 6) for entity, place in places.items())
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)} and its neighbours">'
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="14" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0 8 4 0 8z" fill="#9aa3ad"/></marker></defs>{lines}{nodes}</svg>'
    )


def _edge(fact: Fact, start: tuple[float, float], end: tuple[float, float], *, nth: int) -> str:
    """Draw a fact; the label of the nth one between the same two entities stands below those before it."""
    (x1, y1), (x2, y2) = start, end
    inner, outer = sorted((start, end), key=lambda place: math.dist(place, (WIDTH / 2, HEIGHT / 2)))
    x, y = (near + LABEL_AT * (far - near) for near, far in zip(inner, outer, strict=True))
    past = ' class="past"' if fact.status == "inactive" else ""
    held = span(fact.valid_from, fact.valid_to)
    told = escape(f"{fact.subject} {fact.relation} {fact.object}" + (f", {held}" if held else ""))
    return (
        f'<line x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}"{past} marker-end="url(#arrow)"><title>{told}</title></line>'
        f'<text class="relation" text-anchor="middle" x="{x:.0f}" y="{y - 3 + 11 * nth:.0f}">{escape(fact.relation)}</text>'
    )


def _node(entity: str, kind: str, place: tuple[float, float], *, radius: int) -> str:
    """Draw an entity with its name beside it, on the side that has room."""
    (x, y), told = place, escape(f"{entity} {kind}".strip())
    side = f'text-anchor="end" x="{x - 11:.0f}"' if x < WIDTH / 2 - 1 else f'x="{x + 11:.0f}"'
    return (
        f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{radius}" fill="{COLOURS.get(kind, GREY)}"><title>{told}</title></circle>'
        f'<text {side} y="{y + 4:.0f}">{escape(entity)}</text>'
    )


def positions(name: str, facts: Sequence[Fact]) -> dict[str, tuple[float, float]]:
    """Place the name in the middle and what it leads to around it, each entity in the sector of the one it was reached from.

    A radial tree: rings by distance, narrower outwards, and sectors by number of leaves, so that no two entities share a place.
    """
    middle = _middle(name, facts)
    parents, depth = _reached(middle, facts)
    leaves = dict.fromkeys(depth, 0)
    for entity in reversed(depth):
        leaves[entity] = leaves[entity] or 1
        if entity != middle:
            leaves[parents[entity]] += leaves[entity]
    deepest = max(1, *depth.values())
    begins = {middle: 0.0}
    placed: dict[str, tuple[float, float]] = {}
    for entity, distance in depth.items():
        share = leaves[entity] / leaves[middle]
        if entity != middle:
            begin = begins[entity] = begins[parents[entity]]
            begins[parents[entity]] = begin + share  # the next one from there begins where this one ends
        angle = 2 * math.pi * (begins[entity] + share / 2 + 1 / 8)
        radius = RADIUS * math.sqrt(distance / deepest)
        placed[entity] = (WIDTH / 2 + STRETCH * radius * math.cos(angle), HEIGHT / 2 + radius * math.sin(angle))
    return placed


def _reached(middle: str, facts: Sequence[Fact]) -> tuple[dict[str, str], dict[str, int]]:
    """Return from where each entity is reached first, and its distance, nearest first; what nothing joins hangs on the middle."""
    parents: dict[str, str] = {}
    depth, order = {middle: 0}, [middle]
    for entity in order:
        for fact in facts:
            if entity in (fact.subject, fact.object):
                other = fact.object if entity == fact.subject else fact.subject
                if other not in depth:
                    parents[other], depth[other] = entity, depth[entity] + 1
                    order.append(other)
    for fact in facts:
        for entity in (fact.subject, fact.object):
            if entity not in depth:
                parents[entity], depth[entity] = middle, 1
    return parents, dict(sorted(depth.items(), key=lambda item: item[1]))


def _middle(name: str, facts: Sequence[Fact]) -> str:
    """Return the entity that the name stands for: the one on most facts, one so spelt before others."""
    names = [entity for fact in facts for entity in (fact.subject, fact.object)]
    if not names:
        return name
    return max(dict.fromkeys(names), key=lambda entity: (entity.casefold() == name.casefold(), names.count(entity)))


def _table(facts: Sequence[Fact]) -> str:
    rows = []
    for fact in facts:
        past = ' class="past"' if fact.status == "inactive" else ""
        cells = (fact.subject, fact.relation, fact.object, span(fact.valid_from, fact.valid_to), ", ".join(fact.documents))
        rows.append(f"<tr{past}>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>\n")
    heads = "".join(f"<th>{head}</th>" for head in ("Subject", "Relation", "Object", "Held", "Stated by"))
    return f"<table><tr>{heads}</tr>\n{''.join(rows)}</table>"
