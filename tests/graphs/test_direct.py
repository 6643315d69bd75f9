"""A search without LangGraph gives what the recall graph's nodes give."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from rag2_memory import Document, Memory, MemoryConfig, Scope
from rag2_memory.graphs.direct import search_directly
from rag2_memory.testing.fakes import FakeEmbedder

QUERIES = ("Who leads Project Alder?", "AX-200 torque", "which harbour has a crane", "nothing that anybody wrote")


@pytest.fixture(scope="module")
def filled() -> Iterator[Memory]:
    with Memory.in_memory(embedder=FakeEmbedder(), cache=False) as memory:
        memory.ingest(
            [
                Document(id="alder", text="# Project Alder\n\nMaria Lund leads Project Alder since March 2024. It depends on Birch."),
                Document(id="birch", text="# Birch\n\nBirch is a library for harbour cranes. Maria Lund wrote it."),
                *(Document(id=f"part{n}", text=f"Part AX-{n} needs a torque of {n} Nm. The crane lifts it.") for n in range(190, 210)),
                *(Document(id=f"copy{n}", text="The harbour has a crane.") for n in range(12)),
                Document(id="secret", text="The harbour has a second crane, paid by Maria Lund.", acl=frozenset({"user:ann"})),
            ]
        )
        yield memory


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("scope", [Scope(), Scope(user="ann")], ids=["anonymous", "ann"])
def test_the_nodes_called_directly_rank_as_the_graph_does(filled: Memory, query: str, scope: Scope) -> None:
    request = {"query": query, "scope": scope}
    direct, compiled = search_directly(request, filled.services), filled.graph.invoke(request)
    assert direct["passages"] == compiled["passages"]
    assert direct.get("facts") == compiled.get("facts")
    stages = [record["stage"] for record in direct["trace"]]
    assert [record["stage"] for record in compiled["trace"] if record["stage"] in stages] == stages


@pytest.mark.parametrize("query", QUERIES)
def test_fewer_passages_are_the_first_of_more(filled: Memory, query: str) -> None:
    more = filled.search(query, k=20)
    assert len({passage.chunk_id for passage in more}) == len(more)
    for k in (1, 2, 5, 11):
        assert filled.search(query, k=k) == more[:k]


def test_reading_goes_on_where_the_best_hits_repeat_each_other(filled: Memory) -> None:
    found = [passage.document_id for passage in filled.search("The harbour has a crane.", k=3)]
    assert len(found) == 3
    assert sum(document.startswith("copy") for document in found) == 1


def test_a_failing_arm_degrades_a_search_too(filled: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise RuntimeError("the engine is gone")

    monkeypatch.setattr(filled.services.vector, "search", fail)
    state = search_directly({"query": QUERIES[1], "scope": None, "k": 5}, filled.services)
    assert state["passages"][0].document_id == "part200"
    assert state["degraded"] == {"dense": "RuntimeError: the engine is gone"}


def test_an_arm_that_hangs_does_not_hold_up_a_search() -> None:
    import threading

    with Memory.in_memory(embedder=FakeEmbedder(), config=MemoryConfig(arm_timeout_seconds=0.2), cache=False) as memory:
        memory.ingest(Document(id="gateway", text="The gateway listens on port 8443."))
        released = threading.Event()

        class Hanging:
            def search(self, *args: object, **options: object) -> list[object]:
                released.wait(10)
                return []

        services = replace(memory.services, vector=Hanging())  # type: ignore[arg-type]
        state = search_directly({"query": "which port", "scope": None, "k": 5}, services)
        released.set()
        assert state["passages"][0].document_id == "gateway"
        assert state["degraded"] == {"dense": "no answer within 0.2 s"}
