"""Commands that ask: contexts, answers, passages, facts, and who may see what."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from typer.testing import Result

from rag2_memory.commands import answering
from rag2_memory.context import default_token_counter
from rag2_memory.errors import InvalidRequestError

Run = Callable[..., Result]
Read = Callable[..., Any]


def test_ask_prints_a_well_formed_context_and_what_its_citations_mean(run: Run, memory: Path) -> None:
    shown = run("ask", "Who leads Project Alpha?", "--memory", memory).stdout
    text, _, listed = shown.partition("</context>")
    passages = ElementTree.fromstring(f"{text}</context>").findall("passages/passage")
    assert "Priya Raman leads Project Alpha" in "".join(passage.text or "" for passage in passages)
    assert {str(passage.get("id")) for passage in passages} <= set(listed.split())
    assert "teams/alpha.md" in listed


def test_json_is_alone_on_stdout_and_has_every_citation(read: Read, memory: Path) -> None:
    told = read("ask", "Who leads Project Alpha?", "--memory", memory)
    assert told["tokens"] <= 4_096
    assert {block["citation_id"] for block in told["blocks"]} <= set(told["citations"])
    assert "explanation" not in told


@pytest.mark.parametrize("form", ["xml", "markdown", "json"])
def test_every_format_holds_the_same_evidence(read: Read, memory: Path, form: str) -> None:
    told = read("ask", "What does ERR-5031 mean?", "--format", form, "--memory", memory)
    assert "token cache fill" in told["text"]
    if form == "json":
        assert "c1" in json.loads(told["text"])["passages"]


@pytest.mark.parametrize("form", ["xml", "markdown", "json"])
@pytest.mark.parametrize("budget", [150, 190, 230, 400])
def test_the_written_context_never_exceeds_its_budget_in_any_format(read: Read, memory: Path, form: str, budget: int) -> None:
    told = read("ask", "Project Alpha leads ERR-5031", "--budget", budget, "--format", form, "--memory", memory)
    assert default_token_counter().count(told["text"]) == told["tokens"] <= budget * 0.9


def test_a_budget_is_a_number_or_a_preset_and_never_exceeded(run: Run, read: Read, memory: Path) -> None:
    small = read("ask", "Project Alpha", "--budget", "600", "--memory", memory)
    assert small["tokens"] <= 600
    assert read("ask", "Project Alpha", "--budget", "8k", "--memory", memory)["budget"]["window_tokens"] == 8_192
    assert "preset" in run("ask", "Project Alpha", "--budget", "lots", "--memory", memory, code=1).stderr
    refused = run("ask", "Project Alpha", "--budget", "10", "--memory", memory, code=1)
    assert "at least" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_only_who_may_see_a_document_is_told_of_it(read: Read, memory: Path) -> None:
    question = "What does a senior engineer earn?"
    for command in ("search", "ask"):
        secret = json.dumps(read(command, question, "--memory", memory))
        assert "68,000" not in secret
        assert "salaries" not in secret
        assert "68,000" in json.dumps(read(command, question, "--group", "hr", "--group", "eng", "--memory", memory))
        assert "68,000" not in json.dumps(read(command, question, "--group", "hr", "--namespace", "other", "--memory", memory))


def test_an_explanation_never_names_what_the_asker_may_not_see(run: Run, memory: Path) -> None:
    shown = run("ask", "What does a senior engineer earn?", "--explain", "--memory", memory).stdout
    assert "alar" not in shown.replace("What does a senior engineer earn?", "")


def test_explain_shows_route_arms_fusion_budget_and_times(run: Run, read: Read, memory: Path) -> None:
    shown = run("ask", "Who leads Project Alpha?", "--explain", "--no-cache", "--memory", memory).stdout
    for heading in ("Cache", "Route", "What each arm found", "What fusion kept", "Budget", "Left out", "Time"):
        assert heading in shown.splitlines()
    assert "█" in shown
    told = read("ask", "Who leads Project Alpha?", "--explain", "--no-cache", "--memory", memory)["explanation"]
    assert told["arms"]["dense"]["best"][0]["document"]
    assert set(told["budget"]["segments"]) == {"guidelines", "graph", "passages", "history", "response"}
    assert [stage["stage"] for stage in told["stages"]][:2] == ["load_model", "cache_lookup"]


def test_explain_says_that_the_cache_answered(run: Run, read: Read, memory: Path) -> None:
    run("ask", "Who leads Project Alpha?", "--memory", memory)
    told = read("ask", "Who leads Project Alpha?", "--explain", "--memory", memory)["explanation"]
    assert told["cache"]["outcome"] == "exact"
    shown = run("ask", "Who leads Project Alpha?", "--explain", "--memory", memory).stdout
    assert "Hit:" in shown
    assert "What each arm found" not in shown


def test_a_forced_route_runs_its_arms_alone(read: Read, memory: Path) -> None:
    told = read("ask", "ERR-5031", "--route", "lexical", "--explain", "--memory", memory)["explanation"]
    assert told["route"]["arms"] == ["lexical"]
    assert set(told["arms"]) == {"lexical"}


def test_a_model_answers_and_its_citations_are_resolved(run: Run, read: Read, memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "chat_model", lambda name: FakeListChatModel(responses=["Priya Raman [c1], says [c99]."]))
    result = run("ask", "Who leads Project Alpha?", "--model", "test:any", "--memory", memory)
    assert result.stdout.startswith("Priya Raman [c1], says [c99].\n")
    assert ".md" in result.stdout
    assert "never given: c99" in result.stderr
    told = read("ask", "Who leads Project Alpha?", "--model", "test:any", "--memory", memory)
    assert [citation["id"] for citation in told["citations"]] == ["c1"]
    assert told["unknown_citations"] == ["c99"]


def test_a_model_that_fails_is_a_backend_error_without_traceback(run: Run, memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def stream(self, messages: Any) -> Any:
            raise ConnectionError("no route to host")

    monkeypatch.setattr(answering, "chat_model", lambda name: Broken())
    result = run("ask", "Who leads Project Alpha?", "--model", "test:any", "--memory", memory, code=3)
    assert result.stderr == "error: the chat model failed: ConnectionError: no route to host\n"


def test_an_unknown_model_is_refused_before_the_memory_is_opened() -> None:
    with pytest.raises(InvalidRequestError, match="no-such-provider"):
        answering.chat_model("no-such-provider:nothing")


def test_search_tells_where_passages_stand_and_which_arms_found_them(run: Run, read: Read, memory: Path) -> None:
    hits = read("search", "ERR-5031 token cache panel", "-k", "1", "--memory", memory)
    assert [hit["document_id"] for hit in hits] == ["runbooks/err-5031.md"]
    assert "lexical" in hits[0]["sources"]
    shown = run("search", "ERR-5031 token cache panel", "-k", "1", "--memory", memory).stdout
    assert shown.startswith("1. ERR-5031")
    assert "runbooks/err-5031.md" in shown


def test_facts_are_found_by_name_relation_and_time(run: Run, read: Read, memory: Path) -> None:
    facts = read("facts", "Project Alpha", "--predicate", "led", "--memory", memory)
    assert [fact["subject"] for fact in facts] == ["Priya Raman"]
    assert facts[0]["documents"] == ["teams/alpha.md"]
    assert read("facts", "Project Alpha", "--predicate", "led", "--as-of", "2025-01-01", "--memory", memory) == []
    assert "No fact about 'Nobody'" in run("facts", "Nobody", "--memory", memory).stderr


def test_the_graph_is_shown_as_text_and_as_a_page(run: Run, memory: Path, tmp_path: Path) -> None:
    assert "Priya Raman" in run("graph", "show", "Project Alpha", "--memory", memory).stdout
    page = tmp_path / "alpha.html"
    run("graph", "show", "Project Alpha", "--html", page, "--memory", memory)
    assert "<svg" in page.read_text(encoding="utf-8")
    graphml = tmp_path / "graph.graphml"
    run("graph", "show", "Project Alpha", "--export", graphml, "--memory", memory)
    assert "LEAD_ARCHITECT_OF" in graphml.read_text(encoding="utf-8")
    shown = json.loads(run("graph", "show", "Project Alpha", "--as-of", "2026-03-01", "--json", "--memory", memory).stdout)
    assert {"created_at", "updated_at", "ended_at", "status"} <= set(shown["facts"][0])
    assert ".graphml or .json" in run("graph", "show", "Project Alpha", "--export", tmp_path / "x.gexf", "--memory", memory, code=1).stderr
    assert "cannot write" in run("graph", "show", "Project Alpha", "--html", tmp_path / "no" / "x.html", "--memory", memory, code=1).stderr


@pytest.mark.parametrize("option", ["--as-of", "--known-at"])
def test_a_date_that_is_none_is_refused_in_one_line(run: Run, memory: Path, option: str) -> None:
    result = run("ask", "Who leads Project Alpha?", option, "last March", "--memory", memory, code=1)
    assert "ISO 8601" in result.stderr
    assert len(result.stderr.splitlines()) == 1
