"""Nodes for any graph with messages: recall for the latest question, remember what was said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph

from rag2_memory import Document, Memory, Scope
from rag2_memory.context import Context
from rag2_memory.errors import InvalidRequestError
from rag2_memory.integrations.langgraph import recall_node, remember_node
from rag2_memory.testing.fakes import FakeEmbedder


class State(MessagesState):
    """Messages, and what was recalled for the latest."""

    context: Context


@pytest.fixture
def memory() -> Iterator[Memory]:
    with Memory.in_memory(embedder=FakeEmbedder()) as memory:
        memory.ingest(
            [
                Document(id="lamps", text="The lighthouse lamps are trimmed on Mondays."),
                Document(id="nets", text="The fishing nets are mended on Fridays."),
            ]
        )
        yield memory


def agent(memory: Memory, **options: Any) -> Any:
    """Return a graph that recalls and remembers, and answers nothing."""
    builder = StateGraph(State)
    builder.add_node("recall", recall_node(memory, budget=2_000, **options))
    builder.add_node("remember", remember_node(memory))
    builder.add_edge(START, "recall")
    builder.add_edge("recall", "remember")
    builder.add_edge("remember", END)
    return builder.compile(checkpointer=InMemorySaver())


def run(thread: str, **configurable: Any) -> dict[str, Any]:
    return {"configurable": {"thread_id": thread, **configurable}}


def test_the_latest_question_is_recalled_for_with_what_was_said_before_it(memory: Memory) -> None:
    state = agent(memory, guidelines="Be brief.").invoke(
        {"messages": [HumanMessage("Hello."), AIMessage("Good day."), HumanMessage("When are the nets mended?")]}, run("t1")
    )
    context = state["context"]
    assert context.query == "When are the nets mended?"
    assert context.blocks[0].document_id == "nets"
    assert [message.text for message in context.history] == ["Hello.", "Good day."]
    assert context.guidelines == "Be brief."


def test_a_digest_of_the_conversation_is_neither_asked_nor_remembered(memory: Memory) -> None:
    digest = HumanMessage("Here is a summary of the conversation so far: lamps.", additional_kwargs={"lc_source": "summarization"})
    state = agent(memory).invoke({"messages": [HumanMessage("When are the nets mended?"), digest]}, run("t1"))
    assert state["context"].query == "When are the nets mended?"
    assert len([state for state in memory.documents() if state.thread_id == "t1"]) == 1


def test_what_was_said_is_found_in_the_next_conversation_by_its_own_speaker_alone(memory: Memory) -> None:
    graph = agent(memory)
    graph.invoke({"messages": [HumanMessage("My boat is called Petrel.", id="m1")]}, run("t1", user="ann"))
    graph.invoke({"messages": [HumanMessage("It is green.", id="m2")]}, run("t1", user="ann"))
    assert sorted(state.document_id for state in memory.documents() if state.thread_id == "t1") == ["m1", "m2"]
    found = {
        user: {block.document_id for block in memory.recall("What is the boat called?", scope=Scope(user=user)).blocks}
        for user in ("ann", "bob")
    }
    assert "m1" in found["ann"]
    assert not {"m1", "m2"} & found["bob"]


@pytest.mark.parametrize("messages", [[AIMessage("I begin.")], []])
def test_a_state_in_which_nobody_asks_is_refused(memory: Memory, messages: list[Any]) -> None:
    with pytest.raises(InvalidRequestError, match="got a state without"):
        recall_node(memory)({"messages": messages}, {})


def test_a_conversation_without_a_name_is_refused(memory: Memory) -> None:
    with pytest.raises(InvalidRequestError, match="thread_id"):
        remember_node(memory)({"messages": [HumanMessage("Hello.")]}, {})
    assert not [state for state in memory.documents() if state.thread_id]
