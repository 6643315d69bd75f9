"""An explanation as a person reads it: route, arms, fusion, links, the budget as bars, what was dropped, times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rag2_memory.commands.terminal import console, count, say, table

BAR_WIDTH = 40
"""Characters of the longest bar: the whole window."""

STAGE_BAR_WIDTH = 20

MOST_DROPPED = 10
"""Dropped candidates listed one by one; the rest are counted by reason."""


def print_explanation(told: Mapping[str, Any]) -> None:
    """Print an explanation as `recall_explained` returns it."""
    _heading("Cache")
    _line(cache_line(told["cache"]))
    if told["route"]:
        _print_search(told)
    if told["budget"]:
        _print_budget(told["budget"])
    _print_dropped(told["dropped"])
    _print_stages(told["stages"])


def cache_line(cache: Mapping[str, Any]) -> str:
    """Say in one sentence what the cache did."""
    outcome, reason = cache.get("outcome", "off"), cache.get("reason", "")
    said = {
        "exact": "Hit: this very question was answered before and nothing that it depends on has changed.",
        "semantic": "Hit: a question with the same meaning was answered before",
        "miss": "Miss: the question was searched for.",
        "off": "Off.",
    }.get(outcome, f"{outcome}.")
    return f"{said} ({reason})" if reason else said


def _print_search(told: Mapping[str, Any]) -> None:
    route = told["route"]
    _heading("Route")
    _line(
        f"arms {', '.join(route.get('arms', ()))}; hops {route.get('hops', 0)}; names {', '.join(route.get('entities', ())) or 'none known'}"
    )
    for reason in route.get("reasons", ()):
        _line(f"– {reason}")
    _heading("What each arm found")
    for name, arm in told["arms"].items():
        _print_hits(f"{name}: {count(arm['found'], 'fact' if name == 'graph' else 'hit')}", arm["best"])
    for name, why in told["degraded"].items():
        _line(f"{name} was left out: {why}", style="yellow")
    fusion = told["fusion"]
    _heading("What fusion kept")
    weights = ", ".join(f"{arm} × {weight:g}" for arm, weight in fusion.get("weights", {}).items())
    _line(f"{count(fusion.get('candidates', 0), 'candidate')}; weights {weights or 'none'}")
    for reason in fusion.get("reasons", ()):
        _line(f"– {reason}")
    _print_hits("", fusion["best"])
    links = told["links"]
    if "links" in links:
        _heading("Links followed")
        _line(f"{count(links['links'], 'link')} around the best hits lifted {count(links.get('lifted', 0), 'passage')}")
        for item in links["risen"]:
            was = f"from place {item['was']}" if item["was"] else "found by no other arm"
            _line(f"  {item['rank']:>2}. {item['heading']}  ({was})")
    rerank = told["rerank"]
    if rerank:
        _heading("After ranking")
        _line("; ".join(f"{key.replace('_', ' ')} {value}" for key, value in rerank.items()))


def _print_hits(label: str, hits: Sequence[Mapping[str, Any]]) -> None:
    if label:
        _line(label, style="bold")
    for hit in hits:
        if "fact" in hit:
            _line(f"  {hit['rank']:>2}. {hit['fact']}")
        else:
            _line(f"  {hit['rank']:>2}. {hit['score']:>8.3f}  {hit['heading']}  [{hit['document']}]")


def _print_budget(budget: Mapping[str, Any]) -> None:
    _heading("Budget")
    window = budget["window"]
    _line(
        f"window {window:,}: {budget['used']:,} tokens of context, {budget['query']:,} for the question, {budget['unused']:,} unused; counted by {budget['counter']}"
    )
    listed = table("segment", "", "allotted", "used", "borrowed", "lent", right=["allotted", "used", "borrowed", "lent"])
    largest = max(max(entry["allotted"], entry["used"]) for entry in budget["segments"].values()) or 1
    for name, entry in budget["segments"].items():
        numbers = [f"{entry[key]:,}" if entry[key] else "·" for key in ("allotted", "used", "borrowed", "lent")]
        listed.add_row(name, bar(entry, largest=largest), *numbers)
    console().print(listed)
    _line("█ used of its own share   ▓ borrowed   ░ free   ▒ lent to others", style="dim")


def bar(entry: Mapping[str, int], *, largest: int) -> str:
    """Draw one segment: what it used of its share, what it borrowed, what it lent, and what stayed free.

    Args:
        entry: `allotted`, `used`, `borrowed` and `lent`, in tokens.
        largest: Tokens of a full bar.
    """
    own = entry["used"] - entry["borrowed"]
    free = entry["allotted"] - own - entry["lent"]
    drawn, told = "", 0
    for tokens, character in ((own, "█"), (entry["borrowed"], "▓"), (entry["lent"], "▒"), (free, "░")):
        told += max(0, tokens)
        drawn += character * (round(told / largest * BAR_WIDTH) - len(drawn))
    return drawn


def _print_dropped(dropped: Sequence[Mapping[str, Any]]) -> None:
    _heading("Left out")
    if not dropped:
        _line("nothing")
    for item in dropped[:MOST_DROPPED]:
        _line(f"  {item['kind']} {item['title']}: {item['reason']}" + (f" ({item['tokens']:,} tokens)" if item["tokens"] else ""))
    for reason, number in Counter(item["reason"] for item in dropped[MOST_DROPPED:]).most_common():
        _line(f"  … {number} more: {reason}")


def _print_stages(stages: Sequence[Mapping[str, Any]]) -> None:
    _heading("Time")
    own = [stage for stage in stages if stage["stage"] != "load_model"]
    slowest = max((stage["ms"] for stage in own), default=0.0) or 1.0
    for stage in own:
        _line(f"  {stage['stage']:<14} {stage['ms']:>9.1f} ms  {'▪' * round(stage['ms'] / slowest * STAGE_BAR_WIDTH)}".rstrip())
    for stage in stages:
        if stage not in own:
            _line(f"  loading the embedding model took {stage['ms'] / 1000:.1f} s more, once per process", style="dim")


def _heading(text: str) -> None:
    screen = console()
    screen.print()
    screen.print(text, style="bold cyan")


def _line(text: str, style: str = "") -> None:
    say(text, style=style)
