"""The tantivy tier passes the lexical contract on disk and in memory; scores, damage and durability are tested beside it."""

from __future__ import annotations

import inspect
import json
import math
import os
import random
import re
import signal
import string
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from rag2_memory.errors import BackendUnavailableError, CorruptIndexError, InvalidRequestError
from rag2_memory.records import LexicalDocument
from rag2_memory.testing.lexical import LexicalTierContract, Reopen, document, found
from rag2_memory.tiers import lexical_tantivy
from rag2_memory.tiers.analysis import Analyzer
from rag2_memory.tiers.lexical_rank_bm25 import RankBM25LexicalTier
from rag2_memory.tiers.lexical_tantivy import TantivyLexicalTier


class TestOnDisk(LexicalTierContract):
    @pytest.fixture
    def tier(self, tmp_path: Path) -> Iterator[TantivyLexicalTier]:
        tier = TantivyLexicalTier(tmp_path / "lexical")
        yield tier
        tier.close()

    @pytest.fixture
    def reopen(self, tier: TantivyLexicalTier, tmp_path: Path) -> Reopen:
        def again() -> TantivyLexicalTier:
            tier.close()
            return TantivyLexicalTier(tmp_path / "lexical")

        return again


class TestInMemory(LexicalTierContract):
    @pytest.fixture
    def tier(self) -> Iterator[TantivyLexicalTier]:
        tier = TantivyLexicalTier(None)
        yield tier
        tier.close()


def english_passages() -> list[LexicalDocument]:
    """Return real English: the docstrings of the standard library's commonest modules, one passage per paragraph."""
    names = [
        "argparse",
        "asyncio",
        "collections",
        "datetime",
        "decimal",
        "email",
        "logging",
        "os",
        "pathlib",
        "random",
        "statistics",
        "string",
    ]
    texts = []
    for name in names:
        module = __import__(name)
        for _, member in sorted(inspect.getmembers(module, lambda value: inspect.isclass(value) or inspect.isroutine(value)), key=str):
            texts.extend(re.split(r"\n\s*\n", inspect.getdoc(member) or ""))
    kept = dict.fromkeys(text for text in texts if len(text) > 40)
    return [document(f"p{i:04}", text) for i, text in enumerate(kept)]


QUERIES = [
    "how to format a date as a string",
    "return the sum of an iterable",
    "raise an error if the file does not exist",
    "random sample without replacement",
    "standard deviation of the population",
    "parse command line arguments",
    "time zone offset",
    "temporary directory permissions",
]


def bm25(documents: Sequence[LexicalDocument], query: str, *, k1: float = 1.2, b: float = 0.75) -> dict[str, float]:
    """Score documents by BM25 as Robertson & Zaragoza (2009) have it, with Lucene's idf, written out for comparison."""
    analyzer = Analyzer()
    terms = {item.id: Counter(analyzer.terms(item.text)) for item in documents}
    lengths = {key: sum(counts.values()) for key, counts in terms.items()}
    average = sum(lengths.values()) / len(lengths)
    scores: dict[str, float] = {}
    for term, weight in analyzer.query(query).items():
        holding = [key for key, counts in terms.items() if counts[term]]
        idf = math.log(1 + (len(terms) - len(holding) + 0.5) / (len(holding) + 0.5))
        for key in holding:
            frequency = terms[key][term]
            gain = idf * frequency * (k1 + 1) / (frequency + k1 * (1 - b + b * lengths[key] / average))
            scores[key] = scores.get(key, 0.0) + weight * gain
    return scores


@pytest.mark.parametrize("query", QUERIES)
def test_scores_are_bm25_up_to_the_rounding_of_lengths(query: str) -> None:
    documents = english_passages()
    assert len(documents) > 500
    tier, reference = TantivyLexicalTier(None), RankBM25LexicalTier()
    tier.upsert(documents)
    reference.upsert(documents)
    expected = bm25(documents, query)
    everything = {hit.id: hit.score for hit in tier.search(query, k=len(documents), namespace="default")}
    assert everything.keys() == expected.keys()
    lengths = {item.id: len(Analyzer().terms(item.text)) for item in documents}
    for (
        key,
        score,
    ) in expected.items():  # lengths above 40 terms are stored in steps of up to an eighth, and enter with weight k1 * b <= 0.9
        assert everything[key] == pytest.approx(score, rel=1e-4 if lengths[key] <= 40 else 0.1)
    by_reference = {hit.id: hit.score for hit in reference.search(query, k=len(documents), namespace="default")}
    assert by_reference == pytest.approx(expected, rel=1e-9)
    top = [hit.id for hit in reference.search(query, k=10, namespace="default")]
    assert len({*found(tier, query, k=10)} & {*top}) >= 9


def test_another_namespace_changes_no_score() -> None:
    documents = english_passages()[:300]
    tier = TantivyLexicalTier(None)
    tier.upsert(documents)
    before = [tier.search(query, k=20, namespace="default") for query in QUERIES]
    tier.upsert([document(f"other{i}", "date string error sample zone " * (i % 7), namespace="other") for i in range(400)])
    assert [tier.search(query, k=20, namespace="default") for query in QUERIES] == before


def identifiers(count: int, *, seed: int = 0) -> list[str]:
    """Return distinct part numbers, symbols, paths, versions, codes and addresses, most of them one character from another."""
    rng = random.Random(seed)
    words = [
        "user",
        "token",
        "cache",
        "init",
        "auth",
        "order",
        "http",
        "parse",
        "index",
        "store",
        "query",
        "sync",
        "load",
        "batch",
        "node",
        "edge",
    ]

    def letters(low: int, high: int) -> str:
        return "".join(rng.choices(string.ascii_uppercase, k=rng.randint(low, high)))

    def some(low: int, high: int) -> list[str]:
        return rng.choices(words, k=rng.randint(low, high))

    def camel(parts: list[str]) -> str:
        return parts[0] + "".join(part.capitalize() for part in parts[1:])

    makers = [
        lambda: f"{letters(1, 3)}-{rng.randint(100, 999)}-V{rng.randint(1, 9)}",
        lambda: f"{letters(2, 4)}-{rng.randint(1, 9999):04}",
        lambda: f"{letters(1, 2)}{rng.randint(10, 99)}.{rng.randint(100, 999)}/{rng.randint(1, 20)}",
        lambda: "_".join([*some(2, 4), f"v{rng.randint(1, 9)}"]),
        lambda: camel([*some(3, 4)]) + rng.choice(["", str(rng.randint(1, 99))]),
        lambda: "_".join(some(3, 4)).upper(),
        lambda: "/".join([*some(2, 3), "_".join(some(2, 2)) + rng.choice([".py", ".ts", ".md"])]),
        lambda: ".".join([*some(2, 3), camel(some(2, 3))]),
        lambda: f"v{rng.randint(0, 30)}.{rng.randint(0, 30)}.{rng.randint(0, 30)}",
        lambda: f"{rng.choice(words)}@{rng.randint(0, 9)}.{rng.randint(0, 30)}.{rng.randint(0, 30)}",
        lambda: f"{rng.choice(words)}.{rng.choice(words)}{rng.randint(1, 99)}@example-{rng.choice(words)}.com",
        lambda: f"10.{rng.randint(0, 255)}.{rng.randint(0, 255)}.{rng.randint(0, 255)}:{rng.randint(1000, 9999)}",
        lambda: f"{rng.getrandbits(32):08x}-{rng.getrandbits(16):04x}-{rng.getrandbits(16):04x}",
        lambda: f"ns::{rng.choice(words)}::{camel([part.capitalize() for part in some(2, 3)])}",
    ]
    made: dict[str, None] = {}
    while len(made) < count:
        identifier = rng.choice(makers)()
        twins = (identifier, identifier.lower(), identifier.replace("_", "-"), identifier.replace("-", "_"))
        made.setdefault(rng.choice(twins) if rng.random() < 0.2 else identifier)
    return list(made)


def identifier_corpus(names: Sequence[str], *, seed: int = 0) -> list[LexicalDocument]:
    """Return one document about each identifier; every other also names a few more of the corpus in passing."""
    rng = random.Random(seed)
    frames = [
        "{} was replaced after the spring inspection; torque it to {} Nm.",
        "Release notes: {} fixes the crash that {} users saw.",
        "See {} for details. Owner is team {}.",
        "The call to {} fails with code {} when the cache is cold, and is tried again twice before the request is given up for good.",
    ]
    return [document(f"d{i:05}", rng.choice(frames).format(name, rng.randint(2, 99))) for i, name in enumerate(names)]


def test_every_identifier_is_found_first_by_itself() -> None:
    names = identifiers(10_000)
    tier = TantivyLexicalTier(None)
    tier.upsert(identifier_corpus(names))
    missed = [name for i, name in enumerate(names) if found(tier, name, k=1) != [f"d{i:05}"]]
    assert missed == []


def test_an_identifier_is_found_first_ahead_of_passages_that_repeat_its_parts() -> None:
    names = identifiers(2_000, seed=1)
    tier = TantivyLexicalTier(None)
    rng = random.Random(2)
    distractors = [
        document(f"x{i}", " and ".join(parts * 3))
        for i, name in enumerate(names)
        if (parts := [part for part in re.split(r"[-_/.:@]+", name) if part]) and rng.random() < 0.5 and len(parts) > 1
    ]
    tier.upsert([*identifier_corpus(names), *distractors])
    for template in ("{}", "what is {}?", "How do I configure {} in the staging environment"):
        missed = [name for i, name in enumerate(names) if found(tier, template.format(name), k=1) != [f"d{i:05}"]]
        assert len(missed) <= len(names) * 0.001, missed[:10]


def test_only_the_rarest_terms_of_a_long_query_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lexical_tantivy, "MAX_QUERY_TERMS", 2)
    tier = TantivyLexicalTier(None)
    tier.upsert([document("common", "alpha"), document("both", "alpha beta"), document("rare", "gamma"), document("also", "alpha beta")])
    assert found(tier, "alpha beta gamma unknown") == ["rare", "also", "both"]
    assert found(tier, "none of these words") == []


def test_a_repeated_word_weighs_more() -> None:
    tier = TantivyLexicalTier(None)
    tier.upsert([document("a", "redis session"), document("b", "postgres session")])
    assert found(tier, "redis postgres postgres")[0] == "b"
    assert found(tier, "redis redis postgres")[0] == "a"


def test_more_namespaces_than_stay_open_are_all_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lexical_tantivy, "MAX_OPEN_INDEXES", 3)
    tier = TantivyLexicalTier(tmp_path)
    tier.upsert([document(f"d{i}", "redis", namespace=f"n{i}") for i in range(10)])
    assert [found(tier, "redis", namespace=f"n{i}") for i in range(10)] == [[f"d{i}"] for i in range(10)]
    assert sorted(tier.ids()) == [f"d{i}" for i in range(10)]
    tier.delete(["d2", "d9"])
    assert len(list(tier.ids())) == 8
    tier.close()


@pytest.mark.parametrize("ids", [("", "a", "é" * 20), ("x" * 40, "x" * 41, "x" * 400), ("nul\0", "nul", "\0"), ("x" * 41, "x" * 42)])
def test_ids_of_every_length_come_back_whole(tmp_path: Path, ids: Sequence[str]) -> None:
    tier = TantivyLexicalTier(tmp_path)
    tier.upsert([document(name, "the same words") for name in ids])
    assert sorted(tier.ids()) == sorted(ids)
    assert {hit.id for hit in tier.search("words", k=10, namespace="default")} == set(ids)


def test_documents_of_another_analyser_show_as_stale(tmp_path: Path) -> None:
    tier = TantivyLexicalTier(tmp_path)
    tier.upsert([document("a", "Häuser"), document("b", "Haus")])
    expected = dict(tier.digests(["a", "b"]))
    tier.close()
    german = TantivyLexicalTier(tmp_path, language="german")
    assert german.digests(["a", "b"]).keys() == expected.keys()
    assert not set(german.digests(["a", "b"]).values()) & set(expected.values())
    german.upsert([document("a", "Häuser")])
    assert german.digests(["a"]) == {"a": expected["a"]}
    assert found(german, "haus") == ["a", "b"]
    german.close()


def test_many_small_writes_keep_segments_few(tmp_path: Path) -> None:
    tier = TantivyLexicalTier(tmp_path)
    for i in range(30):
        tier.upsert([document(f"d{i}", f"redis w{i}"), document("changes", f"redis {i}")])
        tier.delete([f"d{i - 5}"])
    assert len(list(tmp_path.glob("*/*.idx"))) <= 10
    assert sorted(tier.ids()) == sorted(["changes", *(f"d{i}" for i in range(25, 30))])
    tier.close()


def folder_with(path: Path) -> Path:
    """Write an index of one namespace and return its folder."""
    tier = TantivyLexicalTier(path)
    tier.upsert([document(f"d{i}", f"redis word{i}") for i in range(500)])
    tier.close()
    return next(path.glob("*/meta.json")).parent


@pytest.mark.parametrize("suffix", ["meta.json", ".managed.json", ".term", ".idx", ".store", ".fieldnorm"])
@pytest.mark.parametrize("damage", ["emptied", "halved", "overwritten"])
def test_a_damaged_file_is_corrupt_when_it_is_opened(tmp_path: Path, suffix: str, damage: str) -> None:
    path = tmp_path / "lexical"
    file = next(file for file in folder_with(path).iterdir() if file.name.endswith(suffix))
    size = file.stat().st_size
    if damage == "overwritten":
        file.write_bytes(os.urandom(size))
    else:
        os.truncate(file, 0 if damage == "emptied" else size // 2)
    with pytest.raises(CorruptIndexError, match="rebuild"):
        TantivyLexicalTier(path)


@pytest.mark.parametrize("suffix", [".term", ".idx", ".store"])
def test_a_flipped_byte_crashes_nothing(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "lexical"
    file = next(file for file in folder_with(path).iterdir() if file.name.endswith(suffix))
    content = bytearray(file.read_bytes())
    for position in range(0, len(content) // 2, 7):
        content[position] ^= 0xFF
    file.write_bytes(content)
    tier = TantivyLexicalTier(path)
    for work in (lambda: found(tier, "redis word7"), lambda: list(tier.ids()), lambda: tier.digests(["d7"])):
        with suppress(CorruptIndexError):
            work()
    tier.clear()
    tier.upsert([document("a", "redis")])
    assert found(tier, "redis") == ["a"]
    tier.close()


def test_a_folder_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "lexical").write_text("a file where the folder should be")
    tier = TantivyLexicalTier(tmp_path / "lexical")
    with pytest.raises(BackendUnavailableError, match="permissions"):
        tier.upsert([document("a", "redis")])


def test_a_second_writer_is_refused_as_unavailable(tmp_path: Path) -> None:
    first, second = TantivyLexicalTier(tmp_path), TantivyLexicalTier(tmp_path)
    first.upsert([document("a", "redis")])
    holding, done = threading.Event(), threading.Event()

    def hold() -> None:
        with first._writing(lexical_tantivy._folder("default")):
            holding.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    holding.wait(10)
    try:
        with pytest.raises(BackendUnavailableError, match="Lock"):
            second.upsert([document("b", "redis")])
    finally:
        done.set()
        thread.join()
    second.upsert([document("b", "redis")])
    assert found(second, "redis") == ["a", "b"]


WRITER = """
import sys
from rag2_memory.testing.lexical import document
from rag2_memory.tiers.lexical_tantivy import TantivyLexicalTier
tier = TantivyLexicalTier(sys.argv[1])
for batch in range(1_000):
    tier.upsert([document(f"{batch}-{i}", f"redis {batch}x") for i in range(20)] + [document("changes", f"version{batch}")])
    tier.delete([f"{batch}-0"])
    print(batch, flush=True)
"""


@pytest.mark.parametrize("acknowledged", [0, 5, 20])
def test_a_killed_process_loses_no_acknowledged_write(tmp_path: Path, acknowledged: int) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        while int(writer.stdout.readline()) < acknowledged:
            pass
        writer.send_signal(signal.SIGKILL)
        last = max([acknowledged, *map(int, writer.stdout.read().split())])
    tier = TantivyLexicalTier(tmp_path)
    kept = set(tier.ids())
    for batch in range(last + 1):
        assert {f"{batch}-{i}" for i in range(1, 20)} <= kept
        assert f"{batch}-0" not in kept
    assert len(found(tier, f"{last}x", k=100)) == 19
    assert "changes" in kept
    tier.upsert([document(f"{last + 1}-1", "redis")])
    assert f"{last + 1}-1" in found(tier, "redis", k=1_000_000)
    tier.close()


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="english"):
        TantivyLexicalTier(None, language="klingon")


@pytest.mark.parametrize(("name", "floor"), [("hotpotqa", 0.748), ("2wiki", 0.671), ("scifact", 0.736)])
def test_recall_is_at_least_that_of_stop_words_and_a_stemmer(bench: Path, name: str, floor: float) -> None:
    lines = (bench / name / "corpus.jsonl").read_text().splitlines()
    tier = TantivyLexicalTier(None)
    corpus = [json.loads(line) for line in lines]
    tier.upsert([document(item["id"], f"{item['title']}\n{item['text']}") for item in corpus])
    queries = [json.loads(line) for line in (bench / name / "queries.jsonl").read_text().splitlines()]
    shares = [len({*found(tier, query["query"], k=5)} & {*query["gold"]}) / len(query["gold"]) for query in queries]
    assert sum(shares) / len(shares) >= floor
