"""Looking after a memory: status, verify, repair, rebuild, the cache."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from rag2_memory import Memory
from rag2_memory.testing.fakes import FakeEmbedder

Run = Callable[..., Result]
Read = Callable[..., Any]


def test_status_counts_and_lists_documents(run: Run, read: Read, memory: Path) -> None:
    told = read("status", "--documents", "--memory", memory)
    assert told["counts"]["documents"] == 3
    assert {document["document_id"] for document in told["documents"]} == {"teams/alpha.md", "runbooks/err-5031.md", "hr/salaries.md"}
    shown = run("status", "--documents", "--memory", memory).stdout
    assert "group:hr" in shown
    assert "backlog: none" in shown


def test_the_memory_comes_from_the_environment(read: Read, memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG2_MEMORY", str(memory))
    assert read("status")["path"] == str(memory)


def test_a_memory_that_agrees_passes_verification(run: Run, read: Read, memory: Path) -> None:
    told = read("verify", "--memory", memory)
    assert told["ok"]
    assert {check["tier"] for check in told["tiers"]} >= {"vector", "lexical", "graph"}
    assert "Every index agrees" in run("verify", "--memory", memory).stdout


def test_an_index_that_lost_a_chunk_fails_verification_and_is_repaired(run: Run, memory: Path) -> None:
    with Memory.open(memory, embedder=FakeEmbedder()) as opened:
        opened.services.lexical.delete([next(iter(opened.services.lexical.ids()))])
    result = run("verify", "--memory", memory, code=4)
    assert "differ" in result.stdout
    assert "rag2 repair" in result.stderr
    run("repair", "--memory", memory)
    run("verify", "--memory", memory)


@pytest.mark.parametrize("tier", ["vector", "lexical", "graph", "cache"])
def test_every_index_can_be_rebuilt(run: Run, read: Read, memory: Path, tier: str) -> None:
    run("rebuild", tier, "--memory", memory)
    run("verify", "--memory", memory)
    assert read("search", "ERR-5031 panel", "--memory", memory)[0]["document_id"] == "runbooks/err-5031.md"


def test_an_unknown_index_is_wrong_usage(run: Run, memory: Path) -> None:
    assert "registry" in run("rebuild", "registry", "--memory", memory, code=2).stderr


def test_an_index_whose_files_are_gone_comes_back_by_itself(run: Run, read: Read, memory: Path) -> None:
    shutil.rmtree(memory / "vector")
    assert read("search", "ERR-5031 panel", "--route", "dense", "--memory", memory)
    run("verify", "--memory", memory)


def test_the_cache_counts_explains_and_forgets(run: Run, read: Read, memory: Path) -> None:
    run("ask", "Who leads Project Alpha?", "--memory", memory)
    run("ask", "Who leads Project Alpha?", "--memory", memory)
    assert read("cache", "stats", "--memory", memory)["entries"] == 1
    told = read("cache", "explain", "Who leads Project Beta?", "--memory", memory)
    assert told["outcome"] == "miss"
    assert [(item["query"], item["allowed"]) for item in told["nearest"]] == [("Who leads Project Alpha?", False)]
    assert "names" in told["nearest"][0]["reason"]
    other = read("cache", "explain", "Who leads Project Alpha?", "--user", "ada", "--memory", memory)
    assert (other["outcome"], other["nearest"][0]["allowed"]) == ("miss", False)
    assert read("cache", "explain", "Who leads Project Alpha?", "--memory", memory)["outcome"] == "exact"
    assert read("cache", "stats", "--memory", memory)["outcomes"]["exact"] == 1, "explaining counted as asking"
    assert read("cache", "clear", "--memory", memory) == {"cleared": 1}
    assert read("cache", "stats", "--memory", memory)["entries"] == 0


def test_no_cache_leaves_the_cache_alone(run: Run, read: Read, memory: Path) -> None:
    run("ask", "Who leads Project Alpha?", "--no-cache", "--memory", memory)
    assert read("cache", "stats", "--memory", memory)["entries"] == 0
