"""`rag2 cache`: what the semantic cache holds and did, and how it would treat a question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag2_memory.commands import options as opt
from rag2_memory.commands.asking import Question, Route, budget_of
from rag2_memory.commands.opening import opened
from rag2_memory.commands.terminal import console, count, emit_json, note, say, table, to_json
from rag2_memory.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rag2_memory.graphs.cache_access import Found
    from rag2_memory.graphs.state import Request
    from rag2_memory.memory import Memory
    from rag2_memory.tiers.base import CacheTier

SHOWN = 5
"""Cached questions compared with a new one, nearest first."""

app = typer.Typer(help="Look into the semantic cache.", no_args_is_help=True)


def cache_of(memory: Memory) -> CacheTier:
    """Return a memory's cache.

    Raises:
        InvalidRequestError: If it has none.
    """
    if memory.services.cache is None:
        raise InvalidRequestError("this memory was opened without a cache; there is nothing to show.")
    return memory.services.cache


@app.command()
def stats(memory: opt.MemoryDir = opt.DEFAULT_MEMORY, embedder: opt.EmbedderName = None, as_json: opt.AsJson = False) -> None:
    """Print what the cache holds and what it did since it was cleared."""
    with opened(memory, embedder=embedder) as opened_memory:
        told = cache_of(opened_memory).statistics()
    if as_json:
        emit_json(to_json(told) | {"hit_rate": told.hit_rate})
        return
    say(f"{count(told.entries, 'cached context')}, {told.size_bytes / 1024:,.0f} KiB", style="bold")
    say(f"  hit rate {told.hit_rate:.0%}; saved {told.tokens_saved:,} tokens of compiling and {told.seconds_saved:.1f} s")
    for outcome, number in sorted(told.outcomes.items()):
        say(f"  {outcome}: {number:,}")


@app.command()
def clear(memory: opt.MemoryDir = opt.DEFAULT_MEMORY, embedder: opt.EmbedderName = None, as_json: opt.AsJson = False) -> None:
    """Empty the cache, statistics included."""
    with opened(memory, embedder=embedder) as opened_memory:
        entries = cache_of(opened_memory).statistics().entries
        opened_memory.rebuild("cache")
    if as_json:
        emit_json({"cleared": entries})
    else:
        say(f"Cleared {count(entries, 'cached context')}.")


@app.command()
def explain(
    question: Question,
    memory: opt.MemoryDir = opt.DEFAULT_MEMORY,
    budget: Annotated[str | None, typer.Option("--budget", "-b", metavar="TOKENS", help="As for `rag2 ask`.", show_default=False)] = None,
    as_of: opt.When = None,
    known_at: opt.KnownAt = None,
    user: opt.User = None,
    group: opt.Groups = None,
    namespace: opt.Namespace = "default",
    route: Route = "auto",
    embedder: opt.EmbedderName = None,
    as_json: opt.AsJson = False,
) -> None:
    """Say whether the cache would answer a question, and why the nearest cached ones may or may not stand in."""
    request = {
        "query": question,
        "budget": budget_of(budget),
        "scope": opt.scope_of(namespace, user, group),
        "as_of": opt.as_of_of(as_of, known_at),
        "route": route,
    }
    with opened(memory, embedder=embedder) as opened_memory:
        told = verdict(opened_memory, request)
    if as_json:
        emit_json(told)
        return
    say(f"{told['outcome']}: {told['reason']}" if told["reason"] else told["outcome"], style="bold")
    if not told["nearest"]:
        note("No question of this namespace is cached yet.")
        return
    listed = table("cosine", "cached question", "may stand in", "why", right=["cosine"], whole=["cached question", "why"])
    for item in told["nearest"]:
        listed.add_row(
            "–" if item["cosine"] is None else f"{item['cosine']:.3f}", item["query"], "yes" if item["allowed"] else "no", item["reason"]
        )
    console().print(listed)


def verdict(memory: Memory, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the cache would do with a request, and the nearest cached questions with the guard's verdict on each; counts nothing."""
    from rag2_memory.graphs.cache_access import look_up
    from rag2_memory.graphs.state import request_of

    cache, services = cache_of(memory), memory.services
    asked = request_of(dict(request))  # type: ignore[arg-type]  # the keys are those of the state
    found = look_up(cache, asked, services, counted=False)
    vector = found.vector or services.embedder.embed([asked.query])[0].tolist()
    return {"outcome": found.outcome, "reason": found.reason, "nearest": nearest(cache, asked, vector, found)}


def nearest(cache: CacheTier, asked: Request, vector: Sequence[float], found: Found) -> list[dict[str, Any]]:
    """Compare a question with the cached ones of its namespace, nearest first; one of another partition was asked under other conditions."""
    import numpy as np

    from rag2_memory.graphs.cache_access import WRITTEN_SINCE
    from rag2_memory.retrieval.cache_guard import guard

    compared = []
    for entry in cache.entries(namespace=asked.scope.namespace):
        cosine = float(np.dot(entry.vector, vector)) if len(entry.vector) == len(vector) else None
        compared.append((cosine, entry))
    compared.sort(key=lambda pair: -1.0 if pair[0] is None else pair[0], reverse=True)
    told = []
    for cosine, entry in compared[:SHOWN]:
        judged = guard(asked.query, entry.query)
        allowed, reason = judged.allowed, judged.reason
        if entry.partition != found.partition:
            allowed, reason = False, "asked by somebody else, of another time, or with another budget, route or configuration"
        elif entry.dependencies.generation != found.generation:
            allowed, reason = False, WRITTEN_SINCE if entry.key == found.key else "something was written since it was stored"
        elif found.entry is not None and entry.key == found.entry.key:
            allowed, reason = True, found.reason or "the same request"
        told.append({"query": entry.query, "cosine": None if cosine is None else round(cosine, 4), "allowed": allowed, "reason": reason})
    return told
