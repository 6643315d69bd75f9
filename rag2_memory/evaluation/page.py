"""A comparison as one HTML page that needs nothing else: no script, no font, no network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from rag2_memory.evaluation.datasets import Query
from rag2_memory.evaluation.report import ALL, Comparison, Outcome

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --good: #2a8a4a; --bad: #c0392b; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th:first-child, td:first-child { text-align: left; }
td small { display: block; color: GrayText; white-space: nowrap; }
td.better small { color: var(--good); font-weight: 600; } td.worse small { color: var(--bad); font-weight: 600; }
.leak { color: var(--bad); font-weight: 600; }
details { border-bottom: 1px solid var(--line); padding: .4rem 0; } summary { cursor: pointer; }
ol { margin: .3rem 0; } li.gold, p.gold b { color: var(--good); font-weight: 600; }
li.forbidden { color: var(--bad); font-weight: 600; }
.note { color: GrayText; }
"""


def html_page(comparison: Comparison, *, title: str | None = None, worst: int = 20) -> str:
    """Return the page: measures by class with confidence intervals, latencies, and the worst queries of each system
    with what was found.

    Args:
        comparison: What was measured.
        title: Heading; default: the name of the evaluation set.
        worst: Queries shown per system.
    """
    heading = escape(title or f"Retrieval on {comparison.dataset}")
    systems = comparison.systems
    body = [
        f"<h1>{heading}</h1>",
        f'<p class="note">{len(comparison.queries)} queries. Values in percent. Below each, the difference from '
        f"{escape(systems[0])} with its 95&nbsp;% interval (paired bootstrap), coloured where it excludes zero.</p>",
        *(_leaks(comparison, system) for system in systems),
        "<h2>Measures</h2>",
        *(_measures(comparison, kind) for kind in comparison.classes),
        "<h2>Time</h2>",
        _latencies(comparison),
        *(_worst(comparison, system, limit=worst) for system in systems),
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{heading}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head>\n<body>\n" + "\n".join(part for part in body if part) + "\n</body></html>\n"
    )


def _table(caption: str, head: Sequence[str], rows: Iterable[str]) -> str:
    cells = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    return (
        f'<div class="wide"><table><caption>{escape(caption)}</caption><thead><tr>{cells}</tr></thead>'
        f"<tbody>{''.join(f'<tr>{row}</tr>' for row in rows)}</tbody></table></div>"
    )


def _measures(comparison: Comparison, kind: str) -> str:
    count = len(comparison.values(comparison.systems[0], comparison.measures[0], kind))
    name = "All queries" if kind == ALL else kind or "No class"
    rows = [
        f'<th scope="row">{escape(system)}</th>' + "".join(_value(comparison, system, measure, kind) for measure in comparison.measures)
        for system in comparison.systems
    ]
    return _table(f"{name} ({count})", ["System", *comparison.measures], rows)


def _value(comparison: Comparison, system: str, measure: str, kind: str) -> str:
    mean = comparison.mean(system, measure, kind)
    if mean != mean:
        return "<td>–</td>"
    if system == comparison.systems[0]:
        return f"<td>{100 * mean:.1f}</td>"
    found = comparison.difference(system, measure, kind)
    style = ("better" if found.mean > 0 else "worse") if found.excludes_zero else ""
    return (
        f'<td class="{style}">{100 * mean:.1f}<small>{100 * found.mean:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]</small></td>'
    )


def _latencies(comparison: Comparison) -> str:
    times = {system: comparison.latency(system) for system in comparison.systems}
    stages = list(dict.fromkeys(stage for system in comparison.systems for stage in times[system]))
    rows = [
        f'<th scope="row">{escape(system)}</th>'
        + "".join(
            f"<td>{1000 * known[stage][0]:.1f} / {1000 * known[stage][1]:.1f}</td>" if stage in known else "<td>–</td>" for stage in stages
        )
        for system, known in times.items()
    ]
    return _table("Milliseconds per query, median / 95th percentile", ["System", *stages], rows)


def _leaks(comparison: Comparison, system: str) -> str:
    leaks = comparison.leaks(system)
    if not leaks:
        return ""
    names = ", ".join(escape(outcome.query_id) for outcome in leaks)
    return f'<p class="leak">{escape(system)} found documents that the asker must not see, for {len(leaks)} queries: {names}</p>'


def _worst(comparison: Comparison, system: str, *, limit: int) -> str:
    pairs = comparison.worst(system, limit=limit)
    if not pairs:
        return f"<h2>{escape(system)}</h2><p>Found everything for every query.</p>"
    queries = "".join(_query(comparison, query, outcome) for query, outcome in pairs)
    return f"<h2>Worst queries of {escape(system)}</h2>{queries}"


def _query(comparison: Comparison, query: Query, outcome: Outcome) -> str:
    recall = outcome.values.get(f"recall@{comparison.k}")
    shown = "leak" if outcome.leaked else "–" if recall is None else f"{100 * recall:.0f} %"
    kinds = dict.fromkeys(query.gold, "gold") | dict.fromkeys(query.forbidden, "forbidden")
    found = "".join(f'<li class="{kinds.get(document, "")}">{escape(document)}</li>' for document in outcome.found)
    missed = ", ".join(f"<b>{escape(document)}</b>" for document in query.gold if document not in outcome.found)
    return (
        f"<details><summary>{shown} · {escape(query.text)} "
        f'<span class="note">{escape(query.id)} {escape(query.kind)}</span></summary>'
        f"<ol>{found or '<li>nothing</li>'}</ol>" + (f'<p class="gold">Not among them: {missed}</p>' if missed else "") + "</details>"
    )
