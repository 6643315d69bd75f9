"""`rag2 demo`: the example corpus taken in, a handful of telling questions, and naive retrieval measured against the layers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag2_memory.commands import options as opt
from rag2_memory.commands.asking import facts_table, snippet
from rag2_memory.commands.opening import opened, waiting
from rag2_memory.commands.terminal import console, emit_json, note, say, say_indented, to_json
from rag2_memory.commands.writing import print_report
from rag2_memory.errors import InvalidRequestError

if TYPE_CHECKING:
    from rag2_memory.context import Context
    from rag2_memory.memory import Memory

DEMO_MEMORY = Path(".demo/memory")
WINDOW_TOKENS = 2_000
"""Budget of a demonstrated answer: small, so that choosing shows."""

PASSAGES_SHOWN, SNIPPETS_SHOWN = 3, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A question of the demonstration."""

    query: str
    why: str
    user: str | None = None
    groups: tuple[str, ...] = ()


SHOWN = (
    Shown(query="what should I look at first when ERR-5031 pages me", why="An identifier: words decide, not meaning."),
    Shown(
        query="Is it fine to do my job from a Portuguese beach for three weeks?", why="No word in common with the policy: meaning decides."
    ),
    Shown(
        query="Who owns the service from which fw-updater takes its ring definitions?",
        why="Two documents: one names the service, the other its owner.",
    ),
    Shown(
        query="who was leading Project Alpha when the database migration occurred in March?",
        why="A question about the past: the graph knows who led when.",
    ),
    Shown(
        query="which component in Project Alpha was updated after the May security audit?",
        why="An event dates the question: the audit stands in one document, the update in another.",
    ),
    Shown(
        query="What exactly did Harrow & Pike find in token-cache?",
        user="ada",
        groups=("security",),
        why="Ada, of security, may see the audit's findings …",
    ),
    Shown(
        query="What exactly did Harrow & Pike find in token-cache?", user="leila", groups=("eng",), why="… Leila, of engineering, may not."
    ),
)

AGAIN = Shown(query="ERR-5031 pages me, what should I look at first?", why="Asked in other words: may the cache answer?")
FACTS_ABOUT, FACTS_PREDICATE = "Project Alpha", "led"


def demo(
    memory: Annotated[Path, typer.Option("--memory", "-m", metavar="DIR", help="Folder of the demonstration's memory.")] = DEMO_MEMORY,
    examples: Annotated[
        Path | None, typer.Option("--examples", metavar="DIR", help="Folder with corpus/ and questions.jsonl.", show_default=False)
    ] = None,
    evaluation: Annotated[
        bool, typer.Option("--evaluation/--no-evaluation", help="Measure retrieval on the example questions at the end.")
    ] = True,
    embedder: opt.EmbedderName = None,
    as_json: opt.AsJson = False,
) -> None:
    """Take the example corpus in, ask telling questions, and measure naive retrieval against the layers."""
    from rag2_memory.commands.comparison import print_comparison
    from rag2_memory.commands.evaluating import measure
    from rag2_memory.commands.progress import Bar, files_in
    from rag2_memory.evaluation.datasets import read_dataset

    folder = examples_folder(examples)
    corpus = folder / "corpus"
    bar = Bar("documents", total=files_in(corpus))
    with opened(memory, embedder=embedder, create=True, watch=bar.embedded) as opened_memory:
        with bar:
            report = opened_memory.ingest(corpus, progress=bar.document)
        if not as_json:
            print_report(report, head=f"1. Ingest: rag2 ingest {shown_path(corpus)} --memory {memory}")
            say("\n2. Ask", style="bold")
        with waiting("loading the embedding model"):
            opened_memory.services.embedder.embed([AGAIN.query])
        answers = [_ask(opened_memory, shown, as_json) for shown in (*SHOWN, AGAIN)]
        facts = opened_memory.facts(FACTS_ABOUT, predicate=FACTS_PREDICATE)
        if not as_json:
            say(f"\n3. Facts: rag2 facts {FACTS_ABOUT!r} --predicate {FACTS_PREDICATE} --memory {memory}", style="bold")
            console().print(facts_table(facts))
        comparison = measure(opened_memory, read_dataset(folder)) if evaluation else None
    if as_json:
        emit_json({"ingest": report, "answers": answers, "facts": facts, "evaluation": comparison and comparison.as_json()})
        return
    if comparison is not None:
        say(
            f"\n4. Naive vector retrieval against the layers, on the {len(comparison.queries)} questions of examples/questions.jsonl",
            style="bold",
        )
        print_comparison(comparison)
    _print_next(memory)


def examples_folder(given: Path | None) -> Path:
    """Return the folder with the example corpus: the one given, or the one beside the package in a checkout.

    Raises:
        InvalidRequestError: If there is none.
    """
    folder = given or Path(__file__).resolve().parents[2] / "examples"
    if not (folder / "corpus").is_dir() or not (folder / "questions.jsonl").is_file():
        where = (
            f"no corpus/ and questions.jsonl in {str(folder)!r}"
            if given
            else "the example corpus comes with a checkout of the project, not with the package"
        )
        raise InvalidRequestError(f"{where}. Run `make demo` in a checkout, or name its examples folder: rag2 demo --examples DIR")
    return folder


def shown_path(path: Path) -> str:
    """Return a path as one would type it here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _ask(memory: Memory, shown: Shown, as_json: bool) -> dict[str, Any]:
    """Ask one question, print what came, and return it."""
    started = time.perf_counter()
    context = memory.recall(shown.query, budget=WINDOW_TOKENS, scope=opt.scope_of("default", shown.user, list(shown.groups)))
    ms = (time.perf_counter() - started) * 1000
    if not as_json:
        _print_answer(shown, context, ms)
    return {
        "query": shown.query,
        "user": shown.user,
        "groups": list(shown.groups),
        "tokens": context.tokens,
        "ms": round(ms, 1),
        "cache": cache_outcome(context),
        "documents": list(dict.fromkeys(block.document_id for block in context.blocks)),
        "facts": to_json(context.facts),
    }


def cache_outcome(context: Context) -> str:
    """Return what the cache did for a context, as its trace says."""
    stages: Sequence[Any] = context.trace.get("stages", ())
    return next((str(record.get("outcome", "")) for record in stages if record.get("stage") == "cache_lookup"), "")


def _print_answer(shown: Shown, context: Context, ms: float) -> None:
    who = f"   (as {shown.user}, {', '.join(shown.groups)})" if shown.user else ""
    say("")
    say_indented((f"? {shown.query}", "bold cyan"), (who, "cyan"), by=0)
    say_indented((shown.why, "italic dim"), by=2)
    for number, fact in enumerate(context.facts[:PASSAGES_SHOWN], start=1):
        say_indented((f"[f{number}] ", "green"), str(fact), (f"  {', '.join(fact.documents)}", "dim"), by=2)
    best = sorted(context.blocks, key=lambda block: -block.score)[:PASSAGES_SHOWN]
    for rank, block in enumerate(best, start=1):
        place = " › ".join(dict.fromkeys((block.title, *block.heading_path)))
        say_indented((f"[{block.citation_id}] ", "green"), place, (f"  {block.document_id}", "dim"), by=2)
        if rank <= SNIPPETS_SHOWN:
            say_indented(snippet(block.text), by=7)
    outcome = cache_outcome(context)
    told = f"{len(context.blocks)} passages, {len(context.facts)} facts, {context.tokens:,} tokens of {WINDOW_TOKENS:,}; {ms:.0f} ms"
    say_indented((told + (f"; cache {outcome}" if outcome else ""), "dim"), by=2)


def _print_next(memory: Path) -> None:
    say("\n5. What to try next", style="bold")
    for command, what in (
        (f'rag2 ask "Who owns the token cache?" --explain -m {memory}', "see how a context comes about"),
        (f'rag2 ask "Who led Project Alpha?" --as-of 2025-03-01 -m {memory}', "ask about the past"),
        (f'rag2 ask "…" --model openai:gpt-5-mini -m {memory}', "have a model answer, with sources"),
        (f'rag2 graph show "Project Alpha" --html alpha.html -m {memory}', "look at the graph"),
        ("rag2 ingest your/documents && rag2 ask …", "your own documents, into ./memory"),
    ):
        say(f"  {command}\n      {what}")
    note("The memory of this demonstration is a folder like any other; delete it when done.")
