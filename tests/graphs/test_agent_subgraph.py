"""The recall graph inside a graph of one's own that is checkpointed in SQLite: interrupts survive, and time travel shows the context that was used then."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from rag2_memory import Context, Document, Memory

RUN: Any = {"configurable": {"thread_id": "t"}}
ASKED: Any = {"query": "Which port does the gateway listen on?", "budget": 2_000}


class State(TypedDict, total=False):
    query: str
    budget: int
    context: Context
    answer: str


def answer(state: State) -> State:
    return {"answer": f"{interrupt(state['context'].blocks[0].text)}: {state['context'].blocks[0].text}"}


def graph_over(memory: Memory, saver: SqliteSaver) -> Any:
    builder = StateGraph(State)
    builder.add_node("recall", memory.graph)
    builder.add_node("answer", answer)
    builder.add_edge(START, "recall")
    builder.add_edge("recall", "answer")
    builder.add_edge("answer", END)
    return builder.compile(checkpointer=saver)


def test_an_interrupt_behind_the_subgraph_survives_and_an_old_turn_keeps_its_context(memory: Memory, tmp_path: Path) -> None:
    path = str(tmp_path / "checkpoints.db")
    memory.ingest(Document(id="gateway", text="The gateway listens on port 8443."))
    with SqliteSaver.from_conn_string(path) as saver:
        (stop,) = graph_over(memory, saver).invoke(ASKED, RUN)["__interrupt__"]
        assert stop.value == "The gateway listens on port 8443."
    memory.ingest(Document(id="gateway", text="The gateway listens on port 9443."))
    with SqliteSaver.from_conn_string(path) as saver:
        graph = graph_over(memory, saver)
        assert graph.invoke(Command(resume="yes"), RUN)["answer"] == "yes: The gateway listens on port 8443."
        graph.invoke(ASKED, RUN)
        assert graph.invoke(Command(resume="yes"), RUN)["answer"] == "yes: The gateway listens on port 9443."
        before_answers = [state for state in graph.get_state_history(RUN) if state.next == ("answer",)]
        used = [state.values["context"].blocks[0].text for state in reversed(before_answers)]
        assert used == ["The gateway listens on port 8443.", "The gateway listens on port 9443."]
        replayed = graph.invoke(None, before_answers[-1].config)["__interrupt__"][0].value
        assert replayed == "The gateway listens on port 8443."
