"""A comparison on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from rag2_memory.evaluation.report import ALL, Comparison


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print measures by class, latencies, and leaks where there are any.

    A difference from the first system stands with its 95 % interval; a star marks one whose interval excludes zero.
    """
    for kind in comparison.classes:
        console.print(_measures(comparison, kind))
    console.print(_latencies(comparison))
    for system in comparison.systems:
        for outcome in comparison.leaks(system):
            console.print(
                f"LEAK {system}: query {outcome.query_id} found {', '.join(outcome.leaked)}",
                style="bold red",
                markup=False,
            )


def _measures(comparison: Comparison, kind: str) -> Table:
    count = len(comparison.values(comparison.systems[0], comparison.measures[0], kind))
    table = Table(
        title=f"{comparison.dataset}: {'all queries' if kind == ALL else kind or 'no class'} ({count})",
        title_justify="left",
    )
    table.add_column("system")
    for measure in comparison.measures:
        table.add_column(measure, justify="right")
    for system in comparison.systems:
        table.add_row(system, *(cell(comparison, system, measure, kind) for measure in comparison.measures))
    return table


def cell(comparison: Comparison, system: str, measure: str, kind: str) -> str:
    """Return a mean in percent, with the difference from the baseline below it."""
    mean = comparison.mean(system, measure, kind)
    if mean != mean:
        return "–"
    if system == comparison.systems[0]:
        return f"{100 * mean:.1f}"
    found = comparison.difference(system, measure, kind)
    star = "*" if found.excludes_zero else ""
    return f"{100 * mean:.1f}\n{100 * found.mean:+.1f}{star} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"


def _latencies(comparison: Comparison) -> Table:
    table = Table(title="ms per query, p50 / p95", title_justify="left")
    table.add_column("system")
    stages = list(dict.fromkeys(stage for system in comparison.systems for stage in comparison.latency(system)))
    for stage in stages:
        table.add_column(stage, justify="right")
    for system in comparison.systems:
        times = comparison.latency(system)
        cells = [f"{1000 * times[stage][0]:.1f} / {1000 * times[stage][1]:.1f}" if stage in times else "–" for stage in stages]
        table.add_row(system, *cells)
    return table
