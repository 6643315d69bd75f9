"""The cache in the recall graph: what is served, what a write drops, what is searched for again, and what a broken cache costs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rag2_memory import Context, Document, InvalidRequestError, Memory, MemoryConfig, Scope
from rag2_memory.commands.cache import verdict
from rag2_memory.embedders import as_embedder
from rag2_memory.records import CacheEntry
from rag2_memory.retrieval.rerank import CrossEncoderReranker
from rag2_memory.testing.clock import FakeClock
from rag2_memory.testing.fakes import FakeEmbedder

QUESTION = "Which port does the gateway listen on?"
DAY = 86_400.0


class CountingEmbedder(FakeEmbedder):
    """Counts the texts that it embeds."""

    embedded = 0

    def embed(self, texts: Any) -> Any:
        self.embedded += len(texts)
        return super().embed(texts)


@pytest.fixture
def filled(memory: Memory) -> Memory:
    """A memory that has answered the question once, from more documents than an arm returns."""
    memory.services = replace(memory.services, config=MemoryConfig(arm_depth=3))
    memory.ingest(Document(id="gateway", text="The gateway listens on port 8443."))
    memory.ingest([Document(id=f"noise-{n}", text=f"The gateway of site {n} has a port and does not listen.") for n in range(8)])
    ask(memory)
    return memory


def ask(memory: Memory, question: str = QUESTION, **options: Any) -> Context:
    return memory.recall(question, budget=2_000, **options)


def outcome(context: Context) -> str:
    """Say what the look-up came to, and whether a stale entry proved right."""
    stages = {record["stage"]: record for record in context.trace["stages"]}
    found = str(stages["cache_lookup"]["outcome"])
    return found if found != "stale" else "revalidated" if stages["cache_store"]["revalidated"] else "changed"


def test_a_question_asked_before_is_served_without_a_search(filled: Memory) -> None:
    again = ask(filled)
    assert outcome(again) == "exact"
    assert [record["stage"] for record in again.trace["stages"]] == ["cache_lookup"]
    assert filled.services.cache is not None
    assert filled.services.cache.statistics().outcomes["exact"] == 1


def test_an_unrelated_document_keeps_the_entry_and_nothing_is_embedded_again(clock: FakeClock) -> None:
    embedder = CountingEmbedder()
    with Memory.in_memory(embedder=embedder, clock=clock, config=MemoryConfig(arm_depth=3)) as memory:
        memory.ingest(Document(id="gateway", text="The gateway listens on port 8443."))
        memory.ingest([Document(id=f"noise-{n}", text=f"The gateway of site {n} has a port and does not listen.") for n in range(8)])
        before = ask(memory)
        memory.ingest(Document(id="zoo", text="Zebras graze near rivers."))
        embedder.embedded = 0
        after = ask(memory)
        assert (outcome(after), after.text, embedder.embedded) == ("revalidated", before.text, 0)
        assert outcome(ask(memory)) == "exact"
        assert memory.services.cache is not None
        assert memory.services.cache.statistics().hit_rate == pytest.approx(2 / 3)


WRITES: dict[str, Callable[[Memory], object]] = {
    "an update": lambda memory: memory.ingest(Document(id="gateway", text="The gateway listens on port 9000.")),
    "a new title": lambda memory: memory.ingest(Document(id="gateway", title="Ports", text="The gateway listens on port 8443.")),
    "a removal": lambda memory: memory.remove(["gateway"]),
    "a permission": lambda memory: memory.set_acl("gateway", ["user:ada"]),
    "archiving": lambda memory: memory.archive("gateway"),
    "forgetting": lambda memory: memory.forget("gateway"),
    "a nearer document": lambda memory: memory.ingest(Document(id="new", text="Which port does the gateway listen on? Port 8444.")),
    "a rebuilt index": lambda memory: memory.rebuild("lexical"),
    "a repair": lambda memory: memory.repair(),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_what_a_write_touched_is_dropped_at_once(filled: Memory, write: Callable[[Memory], object]) -> None:
    write(filled)
    assert filled.services.cache is not None
    assert list(filled.services.cache.entries()) == []
    assert outcome(ask(filled, max_stale_seconds=DAY)) == "miss"


def test_another_namespace_leaves_entries_fresh(filled: Memory) -> None:
    filled.ingest(Document(id="gateway", text="The gateway listens on port 1."), namespace="elsewhere")
    assert outcome(ask(filled)) == "exact"


def test_an_allowed_age_spares_the_search(filled: Memory, clock: FakeClock) -> None:
    filled.ingest(Document(id="zoo", text="Zebras graze near rivers."))
    clock.advance(seconds=30)
    assert outcome(ask(filled, max_stale_seconds=60)) == "exact"
    assert outcome(ask(filled, max_stale_seconds=20)) == "revalidated"


def test_an_age_is_not_allowed_while_a_write_is_followed(filled: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag2_memory.graphs.cache_access.follow_writes", lambda services: 0)
    filled.set_acl("gateway", ["user:ada"])
    withheld = ask(filled, max_stale_seconds=DAY)
    assert outcome(withheld) == "changed"
    assert "8443" not in withheld.text


def test_a_write_during_the_put_drops_what_was_put(filled: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, registry = filled.services.cache, filled.services.registry
    assert cache is not None
    cache.clear()
    put, writer = cache.put, threading.Thread(target=lambda: filled.set_acl("gateway", ["user:ada"]))

    def put_late(entry: CacheEntry) -> None:
        if not writer.ident:
            writer.start()
            deadline = time.monotonic() + 20.0
            while not registry.pending("cache", limit=1) and time.monotonic() < deadline:
                time.sleep(0.005)
            assert registry.pending("cache", limit=1), "the write never reached the registry"
        put(entry)

    monkeypatch.setattr(cache, "put", put_late)
    filled.graph.invoke({"query": QUESTION, "budget": 2_000})
    writer.join(timeout=20.0)
    assert list(cache.entries()) == []


@pytest.mark.parametrize("age", [-1, float("inf"), float("nan"), "long"], ids=str)
def test_an_impossible_age_is_refused(filled: Memory, age: Any) -> None:
    with pytest.raises(InvalidRequestError, match="max_stale_seconds"):
        ask(filled, max_stale_seconds=age)


def test_a_stale_entry_never_stands_in_for_another_wording(filled: Memory) -> None:
    assert outcome(ask(filled, "On which port does the gateway listen?")) == "semantic"
    filled.ingest(Document(id="zoo", text="Zebras graze near rivers."))
    assert outcome(ask(filled, "On what port does the gateway listen?")) == "miss"


def test_explaining_says_that_a_write_made_an_entry_stale_and_counts_nothing(filled: Memory) -> None:
    assert filled.services.cache is not None
    request = {"query": QUESTION, "budget": 2_000}
    assert verdict(filled, request)["outcome"] == "exact"
    filled.ingest(Document(id="zoo", text="Zebras graze near rivers."))
    before = filled.services.cache.statistics().outcomes
    told = verdict(filled, request)
    assert (told["outcome"], told["nearest"][0]["allowed"]) == ("stale", False)
    assert "search is done again" in told["reason"]
    assert filled.services.cache.statistics().outcomes == before


def test_a_context_about_the_present_ends_with_the_day(memory: Memory, clock: FakeClock) -> None:
    memory.ingest(Document(id="a", text="Ada Lovelace leads Project Alpha since 2026-01-10."))
    asked = "Who currently leads Project Alpha?"
    ask(memory, asked)
    clock.advance(hours=2)
    assert outcome(ask(memory, asked)) == "exact"
    clock.advance(hours=12)
    assert outcome(ask(memory, asked)) == "miss"


def test_passages_that_age_are_compiled_anew_before_their_order_can_change(clock: FakeClock) -> None:
    with Memory.in_memory(embedder=FakeEmbedder(), clock=clock, config=MemoryConfig(half_life_days=1.0)) as memory:
        memory.ingest(Document(id="gateway", text="The gateway listens on port 8443."))
        ask(memory)
        clock.advance(seconds=80)
        assert outcome(ask(memory)) == "exact"
        clock.advance(seconds=10)
        assert outcome(ask(memory)) == "miss"


def test_history_that_changes_a_question_is_part_of_the_key(filled: Memory) -> None:
    ask(filled, "And in April?", history=[("user", "What was decided in March about Alpha?")])
    assert outcome(ask(filled, "And in April?", history=[("user", "What was decided in March about Beta?")])) == "miss"
    assert outcome(ask(filled, "And in April?", history=[("user", "What was decided in March about Alpha?")])) == "exact"


def test_scopes_do_not_share_entries(filled: Memory) -> None:
    assert outcome(ask(filled, scope=Scope(user="ada"))) == "miss"
    assert outcome(ask(filled, scope=Scope(user="ada"))) == "exact"


def test_the_fingerprint_names_the_models_and_engines(filled: Memory) -> None:
    services = filled.services
    assert replace(services).fingerprint == services.fingerprint
    others = [
        replace(services, reranker=CrossEncoderReranker("first")),
        replace(services, reranker=CrossEncoderReranker("second")),
        replace(services, router=route_dense),
        replace(services, config=MemoryConfig(arm_depth=4)),
        replace(services, embedder=as_embedder(FakeEmbedder(dimensions=32))),
    ]
    assert len({services.fingerprint, *(other.fingerprint for other in others)}) == 1 + len(others)


def route_dense(query: str) -> str:
    return "dense"


@pytest.mark.parametrize("method", ["get", "nearest", "put"])
def test_a_cache_that_fails_costs_no_answer(filled: Memory, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("the cache is gone")

    expected = ask(filled).text
    monkeypatch.setattr(filled.services.cache, method, fail)
    assert ask(filled).text == expected
    assert "8443" in ask(filled, "On which port is the gateway listening?").text


def test_a_cache_file_that_cannot_be_read_is_emptied(open_memory: Callable[..., Memory], tmp_path: Any) -> None:
    memory = open_memory()
    memory.ingest(Document(id="gateway", text="The gateway listens on port 8443."))
    ask(memory)
    memory.close()
    (tmp_path / "memory" / "cache.sqlite").write_bytes(b"no database" * 50)
    memory = open_memory()
    memory.ingest(Document(id="gateway", text="The gateway listens on port 9000."))
    assert "9000" in ask(memory).text
    assert outcome(ask(memory)) == "exact"


def test_entries_outlive_the_process(open_memory: Callable[..., Memory]) -> None:
    memory = open_memory()
    memory.ingest(Document(id="gateway", text="The gateway listens on port 8443."))
    ask(memory)
    memory.close()
    assert outcome(ask(open_memory())) == "exact"
