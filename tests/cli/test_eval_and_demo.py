"""`rag2 eval` and `rag2 demo`: what they compare, what they refuse, and that nobody is shown what is not theirs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from rag2_memory import Memory
from rag2_memory.commands.systems import KINDS, names_in, systems_of
from rag2_memory.errors import InvalidRequestError
from rag2_memory.evaluation.datasets import Query
from rag2_memory.retrieval.fusion import RRF_K
from rag2_memory.testing.fakes import FakeEmbedder
from rag2_memory.types import Document, Scope

Run = Callable[..., Result]
Read = Callable[..., Any]

COLOURS = ["amber", "blue", "crimson", "denim", "ebony", "fawn", "green", "hazel", "indigo", "jade", "khaki", "lilac"]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve documents, one of them for group hr alone, and a question for each."""
    made = tmp_path / "set"
    made.mkdir()
    rows: list[dict[str, Any]] = [
        {"id": f"d{at}", "title": colour, "text": f"The {colour} room is on floor {at}."} for at, colour in enumerate(COLOURS)
    ]
    rows[3]["acl"] = ["group:hr"]
    write_jsonl(made / "corpus.jsonl", rows)
    queries: list[dict[str, Any]] = [
        {"id": f"q{at}", "query": f"Where is the {colour} room?", "gold": [f"d{at}"], "class": "even" if at % 2 == 0 else "odd"}
        for at, colour in enumerate(COLOURS)
    ]
    queries[3] |= {"scope": {"user": "ada", "groups": ["hr"]}}
    queries.append({"id": "nosy", "query": "Where is the denim room?", "gold": [], "class": "odd", "forbidden": ["d3"]})
    write_jsonl(made / "queries.jsonl", queries)
    return made


def test_eval_compares_every_system_on_the_same_questions(read: Read, folder: Path) -> None:
    told = read("eval", folder)
    assert list(told["systems"]) == [kind.title for kind in KINDS.values()]
    assert told["queries"] == 13
    assert told["ingest"]["documents"] == 12
    assert told["failures"] == []
    for system in told["systems"].values():
        assert system["measures"]["all"]["recall@5"]["mean"] == 1.0
        assert set(system["measures"]) == {"all", "even", "odd"}
        assert system["latency_seconds"]["total"]["p50"] > 0
        assert system["leaks"] == {}


def test_eval_prints_recall_at_two_five_and_ten_by_class_and_time(run: Run, folder: Path) -> None:
    shown = run("eval", folder, "--systems", "bm25,full").stdout
    for part in ("recall@2", "recall@5", "recall@10", "nDCG@10", "recall@5 by class", "even (6)", "Milliseconds", "no system returned any"):
        assert part in shown
    assert "naive" not in shown


def test_a_floor_that_is_missed_fails_the_check(run: Run, folder: Path) -> None:
    run("eval", folder, "--systems", "full", "--fail-below", "recall@5=0.9")
    write_jsonl(folder / "queries.jsonl", [{"id": "q", "query": "What is the weather?", "gold": ["nowhere"]}])
    missed = run("eval", folder, "--systems", "full", "--fail-below", "recall@5=0.9", code=4)
    assert "below 0.9" in missed.stderr
    assert "not in the corpus" in missed.stderr


@pytest.mark.parametrize("floor", ["recall@5", "recall@5=2", "=0.5"])
def test_a_malformed_floor_is_refused_before_anything_is_embedded(run: Run, folder: Path, floor: str) -> None:
    assert "recall@5=0.80" in run("eval", folder, "--fail-below", floor, code=1).stderr


def test_a_leak_fails_the_check(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    del rows[3]["acl"]
    write_jsonl(folder / "corpus.jsonl", rows)
    result = run("eval", folder, "--systems", "naive", code=4)
    assert "question nosy returned the forbidden d3" in result.stderr
    assert "1 answers held a document" in result.stdout


def test_results_are_saved_compared_and_written_as_a_page(run: Run, folder: Path, tmp_path: Path) -> None:
    baseline, page = tmp_path / "baseline.json", tmp_path / "page.html"
    run("eval", folder, "--systems", "bm25,full", "--save-baseline", baseline, "--html", page)
    assert "<table" in page.read_text(encoding="utf-8")
    run("eval", folder, "--systems", "full", "--baseline", baseline)
    saved = json.loads(baseline.read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]
    write_jsonl(folder / "queries.jsonl", [row | {"gold": ["d11"]} if row["id"] != "q11" else row for row in rows])
    assert set(saved["systems"]) == {"BM25", "layers"}
    assert "recall@5 fell" in run("eval", folder, "--systems", "full", "--baseline", baseline, code=4).stderr


def test_a_kept_memory_is_not_embedded_twice_and_a_limit_shortens_the_questions(read: Read, folder: Path, tmp_path: Path) -> None:
    first = read("eval", folder, "--memory", tmp_path / "kept", "--systems", "full", "--limit", "2")
    second = read("eval", folder, "--memory", tmp_path / "kept", "--systems", "full", "--limit", "2")
    assert (first["queries"], first["ingest"]["embedded"], second["ingest"]["embedded"]) == (2, 12, 0)


def test_conversations_are_asked_in_their_own_namespace(read: Read, tmp_path: Path) -> None:
    rows = [
        {"id": f"{conv}:{at}", "conv": conv, "speaker": "Ann", "session": 1, "text": f"I bought a {thing} for {conv}."}
        for conv in ("one", "two")
        for at, thing in enumerate(("kite", "drum"))
    ]
    write_jsonl(tmp_path / "corpus.jsonl", rows)
    write_jsonl(tmp_path / "queries.jsonl", [{"id": "q", "conv": "two", "query": "Who bought a kite?", "gold": ["two:0"]}])
    told = read("eval", tmp_path, "--systems", "naive,bm25,full")
    for system in told["systems"].values():
        assert system["outcomes"]["q"]["found"][0] == "two:0"
        assert not any(name.startswith("one") for name in system["outcomes"]["q"]["found"])


@pytest.mark.parametrize("names", ["", "naive,magic", ","])
def test_unknown_systems_are_refused(names: str) -> None:
    with pytest.raises(InvalidRequestError, match="naive,bm25,rrf"):
        names_in(names)


def test_a_missing_folder_or_file_is_refused(run: Run, tmp_path: Path) -> None:
    assert "does not exist" in run("eval", tmp_path / "none", code=1).stderr
    assert "neither corpus.jsonl nor corpus" in run("eval", tmp_path, code=1).stderr


def test_the_baselines_are_the_indexes_own_rankings_and_their_plain_fusion() -> None:
    with Memory.in_memory(embedder=FakeEmbedder(), cache=False) as memory:
        memory.ingest([Document(id=f"d{at}", text=f"The {colour} room {'is warm ' * at}") for at, colour in enumerate(COLOURS)])
        query, services = Query(id="q", text="warm amber room", scope=Scope()), memory.services
        found = {name: system(query).documents for name, system in systems_of(memory, list(KINDS)).items()}
        chunks = services.registry.chunks(list(services.lexical.ids()), Scope())
        names = {chunk_id: chunk.document_id for chunk_id, chunk in chunks.items()}
        vector = services.embedder.embed([query.text])[0]
        dense = [names[hit.id] for hit in services.vector.search(vector, k=100, namespace="default")]
        words = [names[hit.id] for hit in services.lexical.search(query.text, k=100, namespace="default")]
    assert list(found["naive dense"]) == dense
    assert list(found["BM25"]) == words
    scores = {name: sum(1 / (RRF_K + 1 + arm.index(name)) for arm in (dense, words) if name in arm) for name in dense}
    fused = [scores[name] for name in found["plain RRF"]]
    assert fused == sorted(scores.values(), reverse=True)


def test_the_demo_ingests_asks_shows_facts_and_measures(run: Run, read: Read, tmp_path: Path) -> None:
    told = read("demo", "--memory", tmp_path / "demo")
    assert told["ingest"]["added"]
    assert told["evaluation"]["queries"] == 50
    assert all(not system["leaks"] for system in told["evaluation"]["systems"].values())
    by_asker = {answer["user"]: answer["documents"] for answer in told["answers"] if "Harrow" in answer["query"]}
    assert "security/2026-05-audit-findings.md" in by_asker["ada"]
    assert "security/2026-05-audit-findings.md" not in by_asker["leila"]
    shown = run("demo", "--memory", tmp_path / "demo", "--no-evaluation").stdout
    assert "75 unchanged" in shown
    assert "What to try next" in shown


def test_the_demo_says_where_its_corpus_is_when_there_is_none(run: Run, tmp_path: Path) -> None:
    assert "rag2 demo --examples" in run("demo", "--examples", tmp_path, "--memory", tmp_path / "m", code=1).stderr
