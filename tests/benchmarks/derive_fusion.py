"""Derives the constants of fusion and graph ranking from evaluation sets, and says how well they carry over.

Run with `python -m tests.benchmarks.derive_fusion BENCH --cache FOLDER`. BENCH holds one folder per set with `corpus.jsonl` (id, title,
text; turns also conv and session) and `queries.jsonl` (query, gold; conv). Vectors are computed once and kept in the cache folder.
Printed are recall@5/@10 of every arm and fusion, paired bootstrap intervals where it matters, and for each constant the choice
that the other sets make for a set left out. The arms are the library's own: cosine of MiniLM vectors, BM25 of the tantivy tier.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rag2_memory.embedders import SentenceTransformerEmbedder
from rag2_memory.knowledge.mentions import mentioned_names, normalize_name, query_names, subject_names
from rag2_memory.knowledge.schema import DEFAULT_SCHEMA
from rag2_memory.records import LexicalDocument
from rag2_memory.retrieval.fact_relevance import asks_for_relation
from rag2_memory.retrieval.features import QueryFeatures, query_features
from rag2_memory.retrieval.fusion import Arm, FusionConfig, fuse, reciprocal_rank_fusion
from rag2_memory.retrieval.graph_ranking import GraphConfig, GraphSlice, follows_links, rank_with_graph
from rag2_memory.tiers.lexical_tantivy import TantivyLexicalTier

C = TypeVar("C")

SETS = ("musique", "2wiki", "hotpotqa", "locomo", "scifact", "timeqa")
DEPTH = 100
"""Hits per arm."""
LINK_SEEDS = 10
"""Best hits whose entities' pages are fetched."""
PAGE_CAP = 50
"""Passages fetched per entity."""
HELD_OUT_QUERIES = 150
"""Queries per set in the search for constants; the tables use all."""
WORDS_TO_TOKENS = 1.3
"""Tokens per English word, near enough for the prior by length."""
LEXICAL_UNITS = (30.0, 40.0, 50.0, 60.0, 75.0)
SHORT_CHUNK_WEIGHTS = (0.0, 0.05, 0.1, 0.15)
STEP_WEIGHTS = (0.7, 0.85, 1.0)
NAMING_SHARES = (0.0, 0.15, 0.25, 0.35)


@dataclass(kw_only=True)
class Bench:
    """One set, searched: everything that fusion and graph ranking are given."""

    name: str
    gold: list[list[str]]
    asked_in: list[str]
    """The namespace of each query."""
    spaces: dict[str, str]
    """Passage to namespace."""
    arms: list[dict[str, Arm]]
    features: list[QueryFeatures]
    named: list[tuple[str, ...]]
    titles: dict[str, str]
    tokens: dict[str, int]
    pages: dict[str, str]
    mentions: dict[str, set[str]]
    about: dict[str, set[str]]
    passages: dict[str, list[str]] = field(default_factory=dict)
    """Entity key to the passages about it."""
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    """Namespace to entity key to the number of passages that name it or are about it."""
    relations: dict[str, set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for passage, keys in self.about.items():
            for key in keys:
                self.passages.setdefault(key, []).append(passage)
        for passage, keys in self.mentions.items():
            self.counts.setdefault(self.spaces[passage], Counter()).update(keys | self.about[passage])
        self.sizes = Counter(self.spaces.values())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path, help="folder with one folder per evaluation set")
    parser.add_argument("--cache", type=Path, default=Path(".benchmarks"), help="where vectors are kept (default: %(default)s)")
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    parser.add_argument("--constants", action="store_true", help="also search the constants with each set left out (minutes)")
    options = parser.parse_args(arguments)
    missing = [name for name in options.sets if not (options.bench / name / "queries.jsonl").is_file()]
    if missing:
        print(
            f"no evaluation data for {', '.join(missing)}: {options.bench}/<set>/corpus.jsonl and queries.jsonl are needed.",
            file=sys.stderr,
        )
        return 2
    benches = [load(options.bench, name, options.cache) for name in options.sets]
    for bench in benches:
        report(bench)
        if (triples := options.bench / bench.name / "triples.jsonl").is_file():
            report(with_triples(bench, read(triples)))
    if options.constants:
        derive(benches)
    return 0


def load(folder: Path, name: str, cache: Path) -> Bench:
    """Read one set and search it with every arm."""
    corpus, queries = list(read(folder / name / "corpus.jsonl")), list(read(folder / name / "queries.jsonl"))
    queries = [query for query in queries if query["gold"]]
    own = [f"{row['title']}\n{row['text']}" for row in corpus]
    windows = list(turn_windows(corpus)) if "conv" in corpus[0] else []
    namespaces = [row.get("conv", "all") for row in corpus]
    ids = [row["id"] for row in corpus]
    texts = [query["query"] for query in queries]
    asked = vectors(texts, cache / f"{name}.queries.npy")
    arms: list[dict[str, Arm]] = [{} for _ in queries]
    tier = TantivyLexicalTier(None)
    tier.upsert(
        [
            LexicalDocument(id=key, namespace=namespace, text=text, window=window)
            for key, namespace, text, window in itertools.zip_longest(ids, namespaces, own, windows, fillvalue="")
        ]
    )
    for suffix, passages in (("", own), ("_window", windows)):
        if passages:
            scores = asked @ vectors(passages, cache / f"{name}.{'window' if suffix else 'corpus'}.npy").T
            for place, query in enumerate(queries):
                space = query.get("conv", "all")
                arms[place][f"dense{suffix}"] = best(scores[place], ids, np.array([other == space for other in namespaces]))
                hits = tier.search(query["query"], k=DEPTH, namespace=space, field="window" if suffix else "text")
                arms[place][f"lexical{suffix}"] = [(hit.id, hit.score) for hit in hits]
    tier.close()
    return _with_names(name, corpus, queries, arms)


def _with_names(name: str, corpus: list[dict[str, Any]], queries: list[dict[str, Any]], arms: list[dict[str, Arm]]) -> Bench:
    mentions = {row["id"]: keys_of(mentioned_names(f"{row['title']}\n{row['text']}")) for row in corpus}
    about = {row["id"]: keys_of(subject_names(row["title"])) for row in corpus}
    known = set().union(*mentions.values(), *about.values())
    return Bench(
        name=name,
        gold=[query["gold"] for query in queries],
        asked_in=[query.get("conv", "all") for query in queries],
        spaces={row["id"]: row.get("conv", "all") for row in corpus},
        arms=arms,
        features=[query_features(query["query"]) for query in queries],
        named=[query_names(query["query"], lambda keys: known.intersection(keys)) for query in queries],
        titles={row["id"]: row["title"] for row in corpus},
        tokens={row["id"]: round(WORDS_TO_TOKENS * len(row["text"].split())) for row in corpus},
        pages={row["id"]: row["id"].rpartition(":")[0] or row["id"] for row in corpus},
        mentions=mentions,
        about=about,
    )


def with_triples(bench: Bench, triples: Iterable[dict[str, Any]]) -> Bench:
    """Return a set with extracted triples as further mentions and relations."""
    mentions = {passage: set(keys) for passage, keys in bench.mentions.items()}
    relations: dict[str, set[str]] = {}
    for triple in triples:
        left, right = normalize_name(triple["subject"]), normalize_name(str(triple["object"]))
        mentions[triple["passage_id"]] |= {left, right} - {""}
        if left and right and left != right:
            relations.setdefault(left, set()).add(right)
            relations.setdefault(right, set()).add(left)
    return replace(bench, name=f"{bench.name}+triples", mentions=mentions, relations=relations, passages={}, counts={})


def report(bench: Bench) -> None:
    """Print recall of every arm, fusion and the graph, with paired bootstrap intervals against what must be beaten."""
    count = range(len(bench.gold))
    rankings = {arm: [[key for key, _ in bench.arms[i].get(arm, ())] for i in count] for arm in bench.arms[0]}
    rankings["rrf"] = [[key for key, _ in reciprocal_rank_fusion([[k for k, _ in arm] for arm in bench.arms[i].values()])] for i in count]
    started = time.perf_counter()
    fused = [fused_ranking(bench, i, FusionConfig()) for i in count]
    between = time.perf_counter()
    slices = [graph_slice(bench, i, fused[i]) for i in count]
    sliced = time.perf_counter()
    rankings["fused"] = [[key for key, _ in ranking] for ranking in fused]
    rankings["fused+graph"] = [graph_ranking(bench, i, fused[i], slices[i], GraphConfig()) for i in count]
    ended = time.perf_counter()
    print(f"\n{bench.name}: {len(bench.titles)} passages, {len(bench.gold)} queries")
    print(f"  ms per query: fuse {(between - started) * 1e3 / len(count):.2f}, graph {(ended - sliced) * 1e3 / len(count):.2f}")
    at5 = {arm: recall(ranked, bench.gold, 5) for arm, ranked in rankings.items()}
    for arm, ranked in rankings.items():
        print(f"  {arm:15} recall@5 {100 * at5[arm].mean():5.1f}   recall@10 {100 * recall(ranked, bench.gold, 10).mean():5.1f}")
    strongest = max((arm for arm in at5 if not arm.startswith("fused")), key=lambda arm: at5[arm].mean())
    for better, worse in (("fused", strongest), ("fused+graph", "fused")):
        low, high = bootstrap(at5[better] - at5[worse])
        print(
            f"  {better} - {worse}: {100 * (at5[better] - at5[worse]).mean():+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] points of recall@5"
        )


def derive(benches: Sequence[Bench]) -> None:
    """Print, for each set left out, the constants that the others choose and what the set gets with them and with its own best."""
    fusions = [
        FusionConfig(lexical_unit=unit, short_chunk_weight=weight) for unit, weight in itertools.product(LEXICAL_UNITS, SHORT_CHUNK_WEIGHTS)
    ]
    sample = {bench.name: range(0, len(bench.gold), max(1, len(bench.gold) // HELD_OUT_QUERIES)) for bench in benches}

    def fusion_recall(bench: Bench, config: FusionConfig) -> float:
        ranked = [[key for key, _ in fused_ranking(bench, i, config)] for i in sample[bench.name]]
        return float(recall(ranked, [bench.gold[i] for i in sample[bench.name]], 5).mean())

    leave_one_out("lexical_unit, short_chunk_weight", benches, fusions, fusion_recall, lambda c: (c.lexical_unit, c.short_chunk_weight))
    started = {bench.name: {i: fused_ranking(bench, i, FusionConfig()) for i in sample[bench.name]} for bench in benches}
    slices = {bench.name: {i: graph_slice(bench, i, started[bench.name][i]) for i in sample[bench.name]} for bench in benches}
    graphs = [GraphConfig(step_weight=step, naming_share=share) for step, share in itertools.product(STEP_WEIGHTS, NAMING_SHARES)]

    def graph_recall(bench: Bench, config: GraphConfig) -> float:
        ranked = [graph_ranking(bench, i, started[bench.name][i], slices[bench.name][i], config) for i in sample[bench.name]]
        return float(recall(ranked, [bench.gold[i] for i in sample[bench.name]], 5).mean())

    leave_one_out("step_weight, naming_share", benches, graphs, graph_recall, lambda c: (c.step_weight, c.naming_share))


def leave_one_out(
    title: str, benches: Sequence[Bench], configs: Sequence[C], measure: Callable[[Bench, C], float], show: Callable[[C], object]
) -> None:
    table = {bench.name: np.array([measure(bench, config) for config in configs]) for bench in benches}
    everywhere = np.mean(list(table.values()), axis=0)
    print(f"\n{title}: all sets choose {show(configs[int(everywhere.argmax())])}; the five best {_five_best(configs, everywhere, show)}")
    for name, row in table.items():
        others = np.mean([other for key, other in table.items() if key != name], axis=0) if len(table) > 1 else row
        chosen = int(others.argmax())
        print(
            f"  {name:10} left out: the others choose {show(configs[chosen])} -> {100 * row[chosen]:.1f}; its own best {100 * row.max():.1f}"
        )


def _five_best(configs: Sequence[C], values: NDArray[np.float64], show: Callable[[C], object]) -> str:
    return ", ".join(f"{show(configs[place])}: {100 * values[place]:.2f}" for place in np.argsort(-values)[:5])


def fused_ranking(bench: Bench, place: int, config: FusionConfig) -> list[tuple[str, float]]:
    arms = bench.arms[place]
    return list(fuse(arms, bench.features[place], token_counts=bench.tokens, titles=bench.titles, config=config).ranking)


def graph_slice(bench: Bench, place: int, ranking: Sequence[tuple[str, float]]) -> GraphSlice:
    """Return what a caller would fetch for one query, with the caps of a large memory."""
    named = bench.named[place]
    pages = [passage for entity in named for passage in bench.passages.get(entity, ())[:PAGE_CAP]]
    candidates = list(dict.fromkeys([*pages, *(key for key, _ in ranking[:DEPTH])]))
    first = dict.fromkeys([*pages, *(key for key, _ in ranking[:LINK_SEEDS])])
    relations = list(_relations_near(bench, named))
    entities = {key for passage in first for key in bench.mentions[passage]} | set(named) | {right for _, right, _ in relations}
    subjects = [(passage, entity) for entity in sorted(entities) for passage in bench.passages.get(entity, ())[:PAGE_CAP]]
    subjects += [(passage, entity) for passage in candidates for entity in sorted(bench.about[passage])]
    return GraphSlice(
        mentions=[(passage, entity, 1.0) for passage in candidates for entity in sorted(bench.mentions[passage])],
        subjects=subjects,
        relations=relations,
        passages=bench.sizes[bench.asked_in[place]],
        passage_counts=bench.counts[bench.asked_in[place]],
        pages=bench.pages,
    )


def _relations_near(bench: Bench, named: Iterable[str]) -> Iterator[tuple[str, str, float]]:
    frontier, seen = set(named), set[str]()
    for _ in range(2):
        following: set[str] = set()
        for left in sorted(frontier - seen):
            for right in sorted(bench.relations.get(left, ()))[:PAGE_CAP]:
                yield left, right, 1.0
                following.add(right)
        seen |= frontier
        frontier = following


def graph_ranking(bench: Bench, place: int, ranking: Sequence[tuple[str, float]], part: GraphSlice, config: GraphConfig) -> list[str]:
    named = dict.fromkeys(bench.named[place], 1.0)
    asked = asks_for_relation(bench.features[place].text, DEFAULT_SCHEMA)
    strength = float(follows_links(bench.features[place], asks_for_relation=asked))
    return [key for key, _ in rank_with_graph(dict(ranking), part, query_entities=named, strength=strength, config=config).ranking]


def turn_windows(corpus: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield each turn with the session's date, the turn before and the turn after."""
    for place, row in enumerate(corpus):
        near = [
            corpus[other]["text"] if 0 <= other < len(corpus) and _same_session(corpus[other], row) else ""
            for other in (place - 1, place, place + 1)
        ]
        yield "\n".join([row["title"], *near])


def _same_session(left: dict[str, Any], right: dict[str, Any]) -> bool:
    return (left["conv"], left["session"]) == (right["conv"], right["session"])


def keys_of(names: Iterable[str]) -> set[str]:
    return {normalize_name(name) for name in names}


def best(scores: NDArray[np.float32], ids: Sequence[str], allowed: NDArray[np.bool_]) -> Arm:
    masked = np.where(allowed, scores, -np.inf)
    order = np.argsort(-masked, kind="stable")[:DEPTH]
    return [(ids[place], float(scores[place])) for place in order if allowed[place]]


def vectors(texts: Sequence[str], path: Path) -> NDArray[np.float32]:
    """Embed texts, or read what an earlier run kept."""
    if path.is_file():
        kept: NDArray[np.float32] = np.load(path)
        if len(kept) == len(texts):
            return kept
    path.parent.mkdir(parents=True, exist_ok=True)
    found = SentenceTransformerEmbedder().embed(texts)
    np.save(path, found)
    return found


def recall(rankings: Sequence[Sequence[str]], gold: Sequence[Sequence[str]], k: int) -> NDArray[np.float64]:
    return np.array([len(set(ranked[:k]) & set(right)) / len(set(right)) for ranked, right in zip(rankings, gold, strict=True)])


def bootstrap(differences: NDArray[np.float64], *, rounds: int = 2_000) -> tuple[float, float]:
    """Return the 95 % interval of the mean of paired differences."""
    draws = np.random.default_rng(0).integers(0, len(differences), size=(rounds, len(differences)))
    low, high = np.percentile(differences[draws].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def read(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


if __name__ == "__main__":
    raise SystemExit(main())
