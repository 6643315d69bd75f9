"""A StateGraph of your own with a memory, checkpointed in SQLite: it goes on after a restart, and an old turn still shows the context it was answered from.

python examples/stategraph_agent.py [--model openai:gpt-5-mini]      without a model the agent quotes what the memory ranks first

LangGraph logs a warning for each type that it restores from a checkpoint; with LANGGRAPH_STRICT_MSGPACK=true it restores those that the state declares, and no others.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, MessagesState, StateGraph

from rag2_memory import Context, Document, Memory
from rag2_memory.integrations.langgraph import recall_node, remember_node
from rag2_memory.integrations.quoting import QuotingChatModel

QUESTION = "Which port does the gateway listen on?"
RUN: Any = {"configurable": {"thread_id": "gateway", "user": "ada"}}


class State(MessagesState):
    """Messages, and what they were answered from."""

    context: Context


def build(memory: Memory, model: BaseChatModel) -> Any:
    def respond(state: State) -> dict[str, Any]:
        return {"messages": [model.invoke(state["context"].messages())]}

    builder = StateGraph(State)
    builder.add_node("recall", recall_node(memory, budget=8_000, guidelines="Answer from the context in one sentence and cite it."))
    builder.add_node("respond", respond)
    builder.add_node("remember", remember_node(memory))
    for step, following in ((START, "recall"), ("recall", "respond"), ("respond", "remember"), ("remember", END)):
        builder.add_edge(step, following)
    return builder


def turn(folder: Path, model: BaseChatModel, page: str) -> None:
    """One process: opens memory and checkpoints, takes in a page, answers, and closes everything."""
    with Memory.open(folder / "memory") as memory, SqliteSaver.from_conn_string(str(folder / "checkpoints.db")) as saver:
        memory.ingest(Document(id="gateway", text=page))
        agent = build(memory, model).compile(checkpointer=saver)
        state = agent.invoke({"messages": [("user", QUESTION)]}, RUN)
        answer = state["messages"][-1].text
        print(f"{len(state['messages'])} messages; the latest: {answer}")
        for citation in state["context"].cite(answer).citations:
            print(f"  [{citation.id}] is {citation.document_id}, version {citation.version}")


def look_back(folder: Path, model: BaseChatModel) -> None:
    """Time travel: every checkpoint holds the context of its turn."""
    with Memory.open(folder / "memory") as memory, SqliteSaver.from_conn_string(str(folder / "checkpoints.db")) as saver:
        agent = build(memory, model).compile(checkpointer=saver)
        for state in reversed([state for state in agent.get_state_history(RUN) if state.next == ("respond",)]):
            page = next(block for block in state.values["context"].blocks if block.document_id == "gateway")
            print(f"turn {state.values['messages'][-1].text!r} was answered from version {page.version}: {page.text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="as LangChain's init_chat_model takes it, such as openai:gpt-5-mini")
    name = parser.parse_args().model
    model = init_chat_model(name) if name else QuotingChatModel()
    with tempfile.TemporaryDirectory() as folder:
        turn(Path(folder), model, "The gateway listens on port 8443.")
        turn(Path(folder), model, "The gateway listens on port 9443, since its certificate was renewed.")
        look_back(Path(folder), model)


if __name__ == "__main__":
    main()
