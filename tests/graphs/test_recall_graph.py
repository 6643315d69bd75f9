"""The recall graph as LangGraph sees it: streamed, nested, given its memory at run time, degraded."""

from __future__ import annotations

import threading
from typing import Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph

from rag2_memory import Context, Document, InvalidRequestError, Memory, MemoryConfig, Scope
from rag2_memory.graphs import RecallContext, build_recall_graph
from rag2_memory.testing.fakes import FakeEmbedder

QUESTION = "Which port does the gateway listen on?"


@pytest.fixture
def filled(memory: Memory) -> Memory:
    """A memory with an open and a restricted document."""
    memory.ingest(
        [
            Document(id="gateway", text="The gateway listens on port 8443."),
            Document(id="secret", text="The gateway's admin port is 9999.", acl=frozenset({"user:ada"})),
        ]
    )
    return memory


def test_every_node_streams_its_update(filled: Memory) -> None:
    nodes = [name for update in filled.graph.stream({"query": QUESTION, "budget": 2_000}, stream_mode="updates") for name in update]
    assert nodes[0] == "cache_lookup"
    assert nodes[1] == "plan"
    assert set(nodes[2:5]) == {"search_dense", "search_lexical", "walk_graph"}
    assert nodes[5:] == ["fuse", "follow_links", "rerank", "fit_budget", "cache_store"]
    again = [name for update in filled.graph.stream({"query": QUESTION, "budget": 2_000}, stream_mode="updates") for name in update]
    assert again == ["cache_lookup"]


async def test_the_graph_runs_off_the_event_loop(filled: Memory) -> None:
    state = await filled.graph.ainvoke({"query": QUESTION, "budget": 2_000})
    assert state["context"].blocks[0].text == "The gateway listens on port 8443."
    assert (await filled.arecall(QUESTION, budget=2_000)).text == state["context"].text


def test_plain_values_serve_as_input(filled: Memory) -> None:
    asked = {"query": QUESTION, "scope": {"user": "ada", "groups": ["eng"]}, "as_of": "2030-01-01", "budget": 2_000}
    documents = {block.document_id for block in filled.graph.invoke(asked)["context"].blocks}
    assert documents == {"gateway", "secret"}


@pytest.mark.parametrize(
    "bad", [{}, {"query": " "}, {"query": "x", "scope": "ada"}, {"query": "x", "scope": {"role": "admin"}}, {"query": "x", "route": "y"}]
)
def test_a_bad_input_is_refused(filled: Memory, bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        filled.graph.invoke(bad)


def test_it_is_a_subgraph_of_any_graph_and_survives_a_checkpointer(filled: Memory) -> None:
    class State(TypedDict, total=False):
        query: str
        budget: int
        context: Context
        answer: str

    def answer(state: State) -> State:
        return {"answer": state["context"].blocks[0].text}

    builder = StateGraph(State)
    builder.add_node("recall", filled.graph)
    builder.add_node("answer", answer)
    builder.add_edge(START, "recall")
    builder.add_edge("recall", "answer")
    builder.add_edge("answer", END)
    parent = builder.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    assert parent.invoke({"query": QUESTION, "budget": 2_000}, config)["answer"] == "The gateway listens on port 8443."
    used = parent.get_state(config).values["context"]
    assert (used.query, used.blocks[0].document_id) == (QUESTION, "gateway")


def test_a_run_brings_its_own_memory_and_scope(filled: Memory) -> None:
    graph = build_recall_graph().compile()
    with pytest.raises(InvalidRequestError, match="RecallContext"):
        graph.invoke({"query": QUESTION})
    context = RecallContext(services=filled.services, scope=Scope(user="ada"))
    claimed = {"query": QUESTION, "scope": {"user": "bob"}, "budget": 2_000}
    assert {block.document_id for block in graph.invoke(claimed, context=context)["context"].blocks} == {"gateway", "secret"}


@pytest.mark.parametrize(
    ("tier", "method", "arm"), [("vector", "search", "dense"), ("lexical", "search", "lexical"), ("graph", "neighbourhood", "graph")]
)
def test_a_failing_arm_is_recorded_and_the_others_answer(
    filled: Memory, monkeypatch: pytest.MonkeyPatch, tier: str, method: str, arm: str
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise RuntimeError("the engine is gone")

    monkeypatch.setattr(getattr(filled.services, tier), method, fail)
    state = filled.graph.invoke({"query": QUESTION, "budget": 2_000})
    assert state["context"].blocks[0].document_id == "gateway"
    assert "the engine is gone" in str([record.get("degraded") for record in state["trace"]])
    assert not [record for record in state["trace"] if record["stage"] == "cache_store"], f"a context without the {arm} arm was cached"


def test_an_arm_that_hangs_is_left_behind() -> None:
    with Memory.in_memory(embedder=FakeEmbedder(), config=MemoryConfig(arm_timeout_seconds=0.2)) as memory:
        memory.ingest(Document(id="gateway", text="The gateway listens on port 8443."))
        released = threading.Event()
        original = memory.services.vector.search
        memory.services.vector.search = lambda *args, **options: released.wait(10) and original(*args, **options)  # type: ignore[method-assign, assignment]
        context = memory.recall(QUESTION, budget=2_000)
        released.set()
        assert context.blocks[0].document_id == "gateway"
        assert [record["degraded"] for record in context.trace["stages"] if record["stage"] == "search_dense"] == ["no answer within 0.2 s"]


@pytest.mark.parametrize(("route", "arms"), [("dense", {"dense"}), ("lexical", {"lexical"}), ("hybrid", {"dense", "lexical"})])
def test_a_forced_route_uses_its_arms_alone(filled: Memory, route: str, arms: set[str]) -> None:
    assert {source for passage in filled.search(QUESTION, route=route) for source in passage.sources} == arms


def test_a_router_chooses_the_route() -> None:
    with Memory.in_memory(embedder=FakeEmbedder(), router=lambda query: "lexical" if "port" in query else "auto") as memory:
        memory.ingest(Document(id="gateway", text="The gateway listens on port 8443."))
        assert memory.search(QUESTION)[0].sources == ("lexical",)


def test_the_trace_is_json_and_tells_every_stage(filled: Memory) -> None:
    import json

    trace = filled.recall(QUESTION, budget=2_000).trace
    assert json.loads(json.dumps(trace)) == trace
    assert trace["stages"][0]["stage"] == "cache_lookup"
    assert all(record["ms"] >= 0 for record in trace["stages"])
    assert trace["budget"]
