"""Conversations remembered turn by turn: how often the turns that answer a question are found, and how many of them reach a context of a given size.

python -m tests.benchmarks.bench_conversation --data ../shared/bench

Reads the set `locomo` (five conversations, MiniLM, no language model). Every conversation is a namespace and a thread of its own, taken in by `Memory.remember`.
The naive context is what a simple program would build: the nearest turns by cosine, one after the other, while they fit.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rag2_memory import ContextBudget, Memory, Scope
from rag2_memory.embedders import SentenceTransformerEmbedder

WINDOWS = (1_000, 2_000, 4_000, 8_000)
CUTS = (5, 10)
DEPTH = 100


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON Lines file."""
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def message(turn: Mapping[str, Any]) -> dict[str, Any]:
    """Return a turn as a message: the speaker's name and the session's date stand beside the words."""
    said = datetime.strptime(turn["date"], "%I:%M %p on %d %B, %Y").replace(tzinfo=timezone.utc)
    text = turn["text"].removeprefix(f"{turn['speaker']}: ")
    return {"role": "user", "content": text, "id": turn["id"], "name": turn["speaker"], "timestamp": said.isoformat()}


def budget_of(tokens: int) -> ContextBudget:
    """Return a budget of which a context may fill so many tokens: nothing is set aside for the answer."""
    return ContextBudget(window_tokens=tokens, guidelines=0.0, graph=0.25, passages=0.75, history=0.0, response=0)


def naive_context(memory: Memory, query: str, scope: Scope, tokens: int) -> set[str]:
    """Return the documents that fit one after the other, nearest first."""
    counter, held, left = memory.services.counter, set[str](), tokens
    for passage in memory.search(query, k=DEPTH, scope=scope, route="dense"):
        left -= counter.count(f"{passage.title}\n{passage.text}\n")
        if left < 0:
            break
        held.add(passage.document_id)
    return held


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the evaluation sets")
    parser.add_argument("--limit", type=int, default=None, help="questions of each conversation")
    options = parser.parse_args()
    turns, queries = defaultdict[str, list[dict[str, Any]]](list), defaultdict[str, list[dict[str, Any]]](list)
    for turn in rows(options.data / "locomo" / "corpus.jsonl"):
        turns[turn["conv"]].append(turn)
    for query in rows(options.data / "locomo" / "queries.jsonl"):
        if query["gold"]:  # a few questions name no turn
            queries[query["conv"]].append(query)
    found = {k: list[float]() for k in CUTS}
    held: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder, Memory.open(folder, embedder=SentenceTransformerEmbedder(), cache=False) as memory:
        for conversation, said in turns.items():
            scope = Scope(namespace=conversation)
            memory.remember([message(turn) for turn in said], thread_id=conversation, scope=scope)
            for query in queries[conversation][: options.limit]:
                gold = set(query["gold"])
                ranked = [passage.document_id for passage in memory.search(query["query"], k=max(CUTS), scope=scope)]
                for k in CUTS:
                    found[k].append(len(gold.intersection(ranked[:k])) / len(gold))
                for tokens in WINDOWS:
                    context = memory.recall(query["query"], budget=budget_of(tokens), scope=scope)
                    assert context.tokens <= tokens
                    for system, documents in (
                        ("recall", {block.document_id for block in context.blocks}),
                        ("naive", naive_context(memory, query["query"], scope, tokens)),
                    ):
                        held[system, tokens].append((len(gold & documents), len(gold)))
    _print(found, held)


def _print(found: Mapping[int, Sequence[float]], held: Mapping[tuple[str, int], Sequence[tuple[int, int]]]) -> None:
    print(
        f"{len(found[CUTS[0]])} questions: " + ", ".join(f"recall@{k} {100 * sum(values) / len(values):.1f}" for k, values in found.items())
    )
    print(f"{'gold turns inside a context of':<32}" + "".join(f"{tokens:>8,}" for tokens in WINDOWS) + "  tokens")
    for system in ("recall", "naive"):
        shares = [
            100 * sum(part for part, _ in held[system, tokens]) / sum(whole for _, whole in held[system, tokens]) for tokens in WINDOWS
        ]
        print(f"  {system:<30}" + "".join(f"{share:>7.1f}%" for share in shares))


if __name__ == "__main__":
    main()
