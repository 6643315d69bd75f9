"""`rag2 eval`: systems compared side by side on a folder of documents and questions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag2_memory.commands import options as opt
from rag2_memory.commands.opening import opened, watched
from rag2_memory.commands.systems import KINDS, names_in, systems_of
from rag2_memory.commands.terminal import ExitCode, count, emit_json, note, say, write_text
from rag2_memory.errors import InvalidRequestError

if TYPE_CHECKING:
    from rag2_memory.evaluation.datasets import Dataset, Query
    from rag2_memory.evaluation.report import Comparison
    from rag2_memory.memory import Memory
    from rag2_memory.types import SkippedSource

MOST_NAMED = 3
"""Examples named in a remark."""


def evaluate(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="corpus.jsonl and queries.jsonl, or corpus/ and questions.jsonl.", show_default=False),
    ],
    k: Annotated[int, typer.Option("-k", "--k", min=1, max=10, help="Cut-off of recall and nDCG, beside 2 and 10.")] = 5,
    systems: Annotated[str, typer.Option("--systems", metavar="NAMES", help="Which to compare; the first is the baseline.")] = ",".join(
        KINDS
    ),
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="Ask only the first N questions.", show_default=False)
    ] = None,
    memory: Annotated[
        Path | None,
        typer.Option(
            "--memory",
            "-m",
            metavar="DIR",
            help="Keep the memory there, so that the next run embeds nothing; default: none is kept.",
            show_default=False,
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a page with every table and the worst questions.", show_default=False),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option("--save-baseline", metavar="FILE", help="Save the results, to compare later runs with.", show_default=False),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option("--baseline", metavar="FILE", help="Fail where a measure fell significantly below saved results.", show_default=False),
    ] = None,
    fail_below: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-below",
            metavar="MEASURE=VALUE",
            help="Fail if the last system is below, e.g. recall@5=0.80; repeatable.",
            show_default=False,
        ),
    ] = None,
    embedder: opt.EmbedderName = None,
    as_json: opt.AsJson = False,
) -> None:
    """Compare naive dense retrieval, BM25, plain RRF and the layers on the same chunks: recall, nDCG, classes, latencies."""
    from rag2_memory.commands.comparison import print_comparison
    from rag2_memory.evaluation.baseline import check_against, check_floors, read_floors, save_baseline
    from rag2_memory.evaluation.datasets import read_dataset
    from rag2_memory.evaluation.page import html_page

    names, floors = names_in(systems), read_floors(fail_below or ())
    dataset = limited(read_dataset(folder), limit)
    if dataset.missing:
        note(
            f"{count(len(dataset.missing), 'gold document')} are not in the corpus and count as not found, such as {dataset.missing[0]}.",
            style="yellow",
        )
    with evaluation_memory(memory, embedder) as (opened_memory, bar):
        ingested = fill(opened_memory, dataset, bar)
        comparison = measure(opened_memory, dataset, names=names, k=k)
    if html is not None:
        write_text(html, html_page(comparison))
    if save is not None:
        save_baseline(comparison, save)
    failures = check_floors(comparison, floors) + (check_against(comparison, baseline) if baseline else []) + leaks(comparison)
    if as_json:
        emit_json(comparison.as_json() | {"ingest": ingested, "failures": failures})
    else:
        say(
            f"{comparison.dataset}: {dataset.documents:,} documents, {ingested['chunks']:,} chunks, {count(len(dataset.queries), 'question')}",
            style="bold",
        )
        print_comparison(comparison)
        for path in filter(None, (html, save)):
            say(f"→ {path}", style="dim")
    for failure in failures:
        note(f"failed: {failure}", style="bold red")
    if failures:
        raise typer.Exit(ExitCode.CHECK_FAILED)


def limited(dataset: Dataset, limit: int | None) -> Dataset:
    """Return a dataset with its first questions only."""
    return dataset if limit is None else replace(dataset, queries=dataset.queries[:limit])


@contextmanager
def evaluation_memory(folder: Path | None, embedder: str | None) -> Iterator[tuple[Memory, Any]]:
    """Open a memory for an evaluation, in a folder or in the process alone, and a bar for filling it."""
    from rag2_memory.commands.opening import embedder_of
    from rag2_memory.commands.progress import Bar
    from rag2_memory.memory import Memory

    bar = Bar("documents", total=None)
    if folder is not None:
        with opened(folder, embedder=embedder, create=True, watch=bar.embedded, cache=False) as memory:
            yield memory, bar
        return
    with Memory.in_memory(embedder=watched(embedder_of(embedder) if embedder else None, bar.embedded), cache=False) as memory:
        yield memory, bar


def fill(memory: Memory, dataset: Dataset, bar: Any) -> dict[str, Any]:
    """Take a dataset's documents in, each under its namespace; returns totals.

    Raises:
        InvalidRequestError: If not one document could be taken in.
    """
    bar.total(dataset.documents)
    seconds, embedded, documents = 0.0, 0, 0
    skipped: list[SkippedSource] = []
    with bar:
        for namespace, source in dataset.sources():
            before = documents
            report = memory.ingest(
                source, namespace=namespace, progress=lambda done, source, before=before: bar.document(done=before + done, source=source)
            )
            seconds, embedded = seconds + report.seconds, embedded + report.embedded
            documents += report.documents
            skipped.extend(report.skipped)
    if not documents:
        raise InvalidRequestError(
            f"no document of {str(dataset.corpus)!r} could be taken in" + (f": {skipped[0].reason}." if skipped else ".")
        )
    if skipped:
        named = "; ".join(f"{item.source}: {item.reason}" for item in skipped[:MOST_NAMED])
        note(f"{count(len(skipped), 'document')} left out: {named}", style="yellow")
    chunks = memory.status()["counts"]["chunks"]
    return {"documents": documents, "chunks": chunks, "embedded": embedded, "skipped": len(skipped), "seconds": round(seconds, 3)}


def measure(memory: Memory, dataset: Dataset, *, names: Sequence[str] = tuple(KINDS), k: int = 5) -> Comparison:
    """Ask every system every question; models and engines are warm before the clock runs."""
    from rag2_memory.commands.progress import Bar
    from rag2_memory.evaluation.report import compare

    systems = systems_of(memory, names)
    first: Query = dataset.queries[0]
    for system in systems.values():
        system(first)
    with Bar("questions", total=len(systems) * len(dataset.queries)) as bar:
        return compare(dataset, systems, k=k, progress=lambda system, done: bar.step(system))


def leaks(comparison: Comparison) -> list[str]:
    """Return one sentence per question for which a system returned what its asker must not see."""
    return [
        f"{system}: question {outcome.query_id} returned the forbidden {', '.join(outcome.leaked)}"
        for system in comparison.systems
        for outcome in comparison.leaks(system)
    ]
