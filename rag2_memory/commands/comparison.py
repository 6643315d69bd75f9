"""A comparison of systems as a person reads it: all questions, by class, and the time taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag2_memory.commands.terminal import console, say, table

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from rag2_memory.evaluation.report import Comparison

CUTOFFS = (2, 5, 10)
"""Recall is shown at these, and at the cut-off asked for."""

STAGES = ("embed", "plan", "search_dense", "search_lexical", "walk_graph", "fuse", "follow_links", "rerank")
"""In the order of a search; `plan` embeds the question as well. Stages that are not named here come last."""


def print_comparison(comparison: Comparison) -> None:
    """Print three tables and, last, whether anything forbidden was found."""
    screen = console()
    screen.print(_measures(comparison))
    if len(comparison.classes) > 1:
        screen.print()
        screen.print(_classes(comparison))
    screen.print()
    screen.print(_times(comparison))
    _say_leaks(comparison)


def recall_at(comparison: Comparison, system: str, cutoff: int) -> float:
    """Return mean recall at a cut-off of at most ten; questions without gold do not count."""
    from rag2_memory.evaluation.measures import recall

    values = [
        recall(outcome.found, query.gold, k=cutoff)
        for query, outcome in zip(comparison.queries, comparison.outcomes[system], strict=True)
        if query.gold
    ]
    return sum(values) / len(values) if values else float("nan")


def _measures(comparison: Comparison) -> Table:
    cutoffs = sorted({*CUTOFFS, comparison.k})
    first, recall = comparison.systems[0], f"recall@{comparison.k}"
    columns = [f"recall@{cutoff}" for cutoff in cutoffs] + ["nDCG@10", "MRR"]
    against = f"{recall} against {first}"
    shown = table("system", *columns, against, title=f"All questions, in percent ({len(comparison.values(first, recall))})", right=columns)
    best = {cutoff: max(recall_at(comparison, system, cutoff) for system in comparison.systems) for cutoff in cutoffs}
    for system in comparison.systems:
        recalls = {cutoff: recall_at(comparison, system, cutoff) for cutoff in cutoffs}
        others = [comparison.mean(system, measure) for measure in ("ndcg@10", "mrr")]
        cells = [_percent(value, bold=value == best[cutoff]) for cutoff, value in recalls.items()] + [_percent(value) for value in others]
        shown.add_row(system, *cells, "" if system == first else _difference(comparison, system, recall))
    return shown


def _classes(comparison: Comparison) -> Table:
    measure, kinds = f"recall@{comparison.k}", comparison.classes[1:]
    first = comparison.systems[0]
    titles = [f"{kind or 'no class'} ({len(comparison.values(first, measure, kind))})" for kind in kinds]
    shown = table("system", *titles, title=f"{measure} by class, in percent", right=titles)
    best = {kind: max(comparison.mean(system, measure, kind) for system in comparison.systems) for kind in kinds}
    for system in comparison.systems:
        values = {kind: comparison.mean(system, measure, kind) for kind in kinds}
        shown.add_row(system, *(_percent(value, bold=value == best[kind]) for kind, value in values.items()))
    return shown


def _times(comparison: Comparison) -> Table:
    latencies = {system: comparison.latency(system) for system in comparison.systems}
    met = dict.fromkeys(stage for times in latencies.values() for stage in times if stage != "total")
    stages = sorted(met, key=lambda stage: STAGES.index(stage) if stage in STAGES else len(STAGES))
    shown = table("", *latencies, title="Milliseconds per question, medians", right=list(latencies))
    rows = [("total", "total", 0), ("total, 95th percentile", "total", 1), *((f"  {stage}", stage, 0) for stage in stages)]
    for label, stage, which in rows:
        cells = [f"{1000 * times[stage][which]:.1f}" if stage in times else "·" for times in latencies.values()]
        shown.add_row(label, *cells)
    return shown


def _say_leaks(comparison: Comparison) -> None:
    if not any(query.forbidden for query in comparison.queries):
        return
    leaked = sum(len(comparison.leaks(system)) for system in comparison.systems)
    asked = sum(bool(query.forbidden) for query in comparison.queries)
    if leaked:
        say(f"{leaked} answers held a document that the asker must not see.", style="bold red")
    else:
        say(f"{asked} questions name documents that their asker must not see: no system returned any.", style="green")


def _percent(value: float, *, bold: bool = False) -> Text:
    from rich.text import Text

    return Text("–" if value != value else f"{100 * value:.1f}", style="bold" if bold else "")


def _difference(comparison: Comparison, system: str, measure: str) -> str:
    """Return a paired difference with its interval; a star marks one that excludes zero."""
    found = comparison.difference(system, measure)
    if found.mean != found.mean:
        return ""
    return f"{100 * found.mean:+.1f}{'*' if found.excludes_zero else ' '} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
