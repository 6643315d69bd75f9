"""Measures entity resolution: precision and recall over thresholds on labelled name pairs, and over whole alias groups.

Run: python -m tests.benchmarks.bench_resolution BENCH_FOLDER [--corpus examples]

BENCH_FOLDER holds `entity_names/author_variants.jsonl` ({a, b, label}: names of people) and `entity_names/citations.jsonl` ({a, b, label}:
records with title and authors). The corpus folder holds `aliases.jsonl` ({type, names} or {distinct}). What is missing is said and skipped.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from rag2_memory.knowledge.assembly import entity_id
from rag2_memory.knowledge.mentions import normalize_name
from rag2_memory.knowledge.name_matching import person_name
from rag2_memory.knowledge.resolution import Profile, ResolutionConfig, canonical_ids, compare, resolve
from rag2_memory.records import Entity

THRESHOLDS = (0.75, 0.80, 0.85, 0.88, 0.90, 0.92, 0.95, 0.97)
NAMESPACE = "bench"

Rows = list[dict[str, Any]]


def rows_of(path: Path) -> Rows | None:
    """Read JSON Lines; say so and return `None` where the file is missing."""
    if not path.is_file():
        print(f"\n{path} is missing: give the folder of the evaluation data as the argument, see the module's docstring.")
        return None
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def profile(name: str, node_type: str, neighbours: frozenset[str] = frozenset()) -> Profile:
    """An entity that is known by its name, its type and perhaps its neighbours."""
    key = normalize_name(name)
    entity = Entity(id=entity_id(NAMESPACE, key), namespace=NAMESPACE, key=key, name=name, type=node_type)
    return Profile(entity=entity, neighbours=neighbours)


def people(row: dict[str, Any]) -> float:
    """Score a pair of people's names."""
    return compare(profile(row["a"], "Developer"), profile(row["b"], "Developer")).score


def records(row: dict[str, Any]) -> float:
    """Score a pair of bibliographic records: documents whose neighbours are their authors, by surname."""
    one, other = (profile(side["title"], "Document", frozenset(surnames(side["authors"]))) for side in (row["a"], row["b"]))
    return compare(one, other).score


def titles(row: dict[str, Any]) -> float:
    """Score a pair of bibliographic records by their titles alone."""
    return compare(profile(row["a"]["title"], "Document"), profile(row["b"]["title"], "Document")).score


def surnames(authors: str) -> Iterator[str]:
    """Yield the surnames of a comma-separated list."""
    yield from (person_name(author).surname for author in authors.split(",") if author.strip())


def curve(title: str, rows: Rows, score: Callable[[dict[str, Any]], float]) -> None:
    """Print precision and recall of "the score reaches the threshold" for each threshold."""
    started = time.perf_counter()
    scored = [(score(row), bool(row["label"])) for row in rows]
    seconds = time.perf_counter() - started
    positives = sum(label for _, label in scored)
    print(f"\n{title}: {len(rows)} pairs, {positives} the same; {len(rows) / seconds:,.0f} pairs/s")
    print("  threshold  precision  recall     F1")
    for threshold in THRESHOLDS:
        hits = [label for value, label in scored if value >= threshold]
        precision = sum(hits) / len(hits) if hits else 1.0
        recall = sum(hits) / positives
        balance = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        mark = "  <- merges" if threshold == ResolutionConfig().merge_score else ""
        print(f"       {threshold:.2f}     {precision:.4f}  {recall:.4f}  {balance:.4f}{mark}")


def alias_groups(rows: Rows) -> None:
    """Resolve all names of the corpus at once and compare the groups with the labelled ones."""
    typed = [row for row in rows if "names" in row]
    names = {name: row.get("type", "") for row in typed for name in row["names"]}
    for row in rows:
        names.update({name: "" for name in row.get("distinct", ()) if name not in names})
    profiles = {each.entity.id: each for each in (profile(name, node_type) for name, node_type in names.items())}
    proposals = resolve(list(profiles.values()))
    roots = canonical_ids(proposals)

    def root(name: str) -> str:
        identity = entity_id(NAMESPACE, normalize_name(name))
        return roots.get(identity, identity)

    wanted = [pair for row in typed for pair in combinations(row["names"], 2)]
    group = {name: number for number, row in enumerate(typed) for name in row["names"]}
    wrong = [pair for pair in combinations(group, 2) if group[pair[0]] != group[pair[1]] and root(pair[0]) == root(pair[1])]
    wrong += [tuple(row["distinct"]) for row in rows if "distinct" in row and root(row["distinct"][0]) == root(row["distinct"][1])]
    missed = [pair for pair in wanted if root(pair[0]) != root(pair[1])]
    found = len(wanted) - len(missed)
    reviews = sum(each.decision == "review" for each in proposals)
    print(f"\naliases of the corpus: {len(names)} names, {len(wanted)} pairs of one entity; {reviews} pairs for review")
    print(f"  precision {found / (found + len(wrong)):.4f}  recall {found / len(wanted):.4f}")
    for label, pairs in (("joined wrongly", wrong), ("not joined", missed)):
        if pairs:
            print(f"  {label}: " + "; ".join(f"{one} | {other}" for one, other in pairs))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print all measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path, help="folder that holds entity_names/")
    parser.add_argument("--corpus", type=Path, default=Path("examples"), help="folder that holds aliases.jsonl")
    options = parser.parse_args(arguments)
    variants = rows_of(options.bench / "entity_names" / "author_variants.jsonl")
    if variants is not None:
        curve("author_variants", variants, people)
    citations = rows_of(options.bench / "entity_names" / "citations.jsonl")
    if citations is not None:
        curve("citations, titles alone", citations, titles)
        curve("citations, titles with authors as neighbours", citations, records)
    aliases = rows_of(options.corpus / "aliases.jsonl")
    if aliases is not None:
        alias_groups(aliases)


if __name__ == "__main__":
    main()
