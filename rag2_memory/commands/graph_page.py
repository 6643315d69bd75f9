"""A neighbourhood of the graph as one HTML page: a picture in SVG and a table, no script and nothing loaded from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from rag2_memory.commands.terminal import count, span

if TYPE_CHECKING:
    from rag2_memory.types import Fact

WIDTH, HEIGHT = 1100, 760
RINGS = (0, 215, 345, 345)
"""Radius of each ring in pixels: the name in the middle, its neighbours around it, theirs outside."""

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
    lines = "".join(_edge(fact, places[fact.subject], places[fact.object]) for fact in facts)
    nodes = "".join(_node(entity, types.get(entity, ""), place, radius=9 if entity == middle else 6) for entity, place in places.items())
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)} and its neighbours">'
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="14" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0 8 4 0 8z" fill="#9aa3ad"/></marker></defs>{lines}{nodes}</svg>'
    )


def _edge(fact: Fact, start: tuple[float, float], end: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = start, end
    past = ' class="past"' if fact.status == "inactive" else ""
    held = span(fact.valid_from, fact.valid_to)
    told = escape(f"{fact.subject} {fact.predicate} {fact.object}" + (f", {held}" if held else ""))
    return (
        f'<line x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}"{past} marker-end="url(#arrow)"><title>{told}</title></line>'
        f'<text class="relation" text-anchor="middle" x="{(x1 + x2) / 2:.0f}" y="{(y1 + y2) / 2 - 3:.0f}">{escape(fact.predicate)}</text>'
    )


def _node(entity: str, kind: str, place: tuple[float, float], *, radius: int) -> str:
    (x, y), told = place, escape(f"{entity} {kind}".strip())
    return (
        f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{radius}" fill="{COLOURS.get(kind, GREY)}"><title>{told}</title></circle>'
        f'<text x="{x + 11:.0f}" y="{y + 4:.0f}">{escape(entity)}</text>'
    )


def positions(name: str, facts: Sequence[Fact]) -> dict[str, tuple[float, float]]:
    """Place the name in the middle and every other entity on the ring of its distance, beside what it is linked to."""
    middle = _middle(name, facts)
    distance, order = {middle: 0}, [middle]
    for entity in order:
        for fact in facts:
            if entity in (fact.subject, fact.object):
                other = fact.object if entity == fact.subject else fact.subject
                if other not in distance:
                    distance[other] = distance[entity] + 1
                    order.append(other)
    for fact in facts:
        for entity in (fact.subject, fact.object):
            distance.setdefault(entity, len(RINGS) - 1)
    placed: dict[str, tuple[float, float]] = {}
    for ring in sorted(set(distance.values())):
        members = [entity for entity in distance if distance[entity] == ring]
        radius = RINGS[min(ring, len(RINGS) - 1)]
        for at, entity in enumerate(members):
            angle = 2 * math.pi * (at + 0.5 * (ring % 2)) / len(members) - math.pi / 2
            placed[entity] = (WIDTH / 2 + radius * 1.3 * math.cos(angle), HEIGHT / 2 + radius * math.sin(angle))
    return placed


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
        cells = (fact.subject, fact.predicate, fact.object, span(fact.valid_from, fact.valid_to), ", ".join(fact.documents))
        rows.append(f"<tr{past}>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>\n")
    heads = "".join(f"<th>{head}</th>" for head in ("Subject", "Relation", "Object", "Held", "Stated by"))
    return f"<table><tr>{heads}</tr>\n{''.join(rows)}</table>"
