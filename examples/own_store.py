"""The memory as LangGraph's long-term store: `compile(store=…)` and `create_agent(store=…)` take it in place of theirs, and items survive a restart.

python examples/own_store.py [--model openai:gpt-5-mini]      without a model the answers are scripted, and everything else is real
"""

import argparse
import tempfile
from typing import Any

from langchain.agents import create_agent
from langchain.chat_models import init_chat_model
from langchain.tools import ToolRuntime
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.runtime import Runtime

from rag2_memory import Memory
from rag2_memory.integrations.langgraph import MemoryStore

PREFERENCES = ("ada", "preferences")


class Scripted(FakeMessagesListChatModel):
    """Says what stands in its script; may be offered tools."""

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        return self


SCRIPT = [
    AIMessage("", tool_calls=[{"name": "keep_preference", "args": {"name": "drink", "text": "oolong tea in the afternoon"}, "id": "1"}]),
    AIMessage("I will keep that in mind."),
]


@tool
def keep_preference(name: str, text: str, runtime: ToolRuntime) -> str:
    """Keep a preference of the user for later conversations."""
    assert runtime.store is not None
    runtime.store.put(PREFERENCES, name, {"text": text})
    return f"Kept {name}."


def greet(state: MessagesState, runtime: Runtime) -> dict[str, Any]:
    """A node of a plain StateGraph: reads the store that the graph was compiled with."""
    assert runtime.store is not None
    (best,) = runtime.store.search(PREFERENCES, query=str(state["messages"][-1].text), limit=1)
    return {"messages": [("assistant", f"I would offer {best.value['text']} (found with score {best.score:.2f}).")]}


def chat_model() -> BaseChatModel:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="as LangChain's init_chat_model takes it, such as openai:gpt-5-mini")
    name = parser.parse_args().model
    return init_chat_model(name) if name else Scripted(responses=list(SCRIPT))


def main() -> None:
    model = chat_model()
    with tempfile.TemporaryDirectory() as folder:
        with Memory.open(folder) as memory:
            agent: Any = create_agent(model, tools=[keep_preference], store=MemoryStore(memory))
            told = agent.invoke({"messages": [("user", "Remember that I like oolong tea in the afternoon.")]})
            print(f"agent: {told['messages'][-1].text}")
            MemoryStore(memory).put(PREFERENCES, "editor", {"text": "a dark theme and large letters"})
        with Memory.open(folder) as memory:
            store = MemoryStore(memory)
            print(f"after a restart the store holds {[item.key for item in store.search(PREFERENCES)]} under {store.list_namespaces()}")
            builder = StateGraph(MessagesState).add_node(greet).add_edge(START, "greet")
            graph: Any = builder.compile(store=store)
            for question in ("Something to drink?", "How should the screen look?"):
                print(f"{question} {graph.invoke({'messages': [('user', question)]})['messages'][-1].text}")


if __name__ == "__main__":
    main()
