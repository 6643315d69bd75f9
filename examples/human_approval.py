"""The reference agent stops where two names may be one, a person decides, and the answer to the same question changes.

python examples/human_approval.py [--model openai:gpt-5-mini]      without a model the agent quotes what the memory ranks first

LangGraph logs a warning for each type that it restores from a checkpoint; with LANGGRAPH_STRICT_MSGPACK=true it restores those that the state declares, and no others.
"""

import argparse
from typing import Any

from langchain.chat_models import init_chat_model
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from rag2_memory import Document, Memory
from rag2_memory.graphs.agent import build_agent_graph
from rag2_memory.integrations.quoting import QuotingChatModel

PAGES = (
    "Vatsal Shah leads Project Alpha since 1 January 2026.",
    "Viktor Shah leads Project Beta since 1 January 2026.",
    "V. Shah leads Project Gamma since 3 March 2026.",
)
RUN: Any = {"configurable": {"thread_id": "shah"}}
QUESTION: Any = {"messages": [("user", "What does V. Shah lead?")]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="as LangChain's init_chat_model takes it, such as openai:gpt-5-mini")
    name = parser.parse_args().model
    model = init_chat_model(name) if name else QuotingChatModel()
    with Memory.in_memory() as memory:
        memory.ingest([Document(id=f"page-{number}", text=text) for number, text in enumerate(PAGES)])
        agent = build_agent_graph(memory, model).compile(checkpointer=InMemorySaver())
        state = agent.invoke(QUESTION, RUN)
        print(f"answer: {state['messages'][-1].text}\nfacts: {[str(fact) for fact in memory.facts('V. Shah')]}\n\nThe agent asks:")
        (stop,) = state["__interrupt__"]
        answers = []
        for action in stop.value["action_requests"]:
            answers.append({"type": "approve" if action["args"]["kept"] == "Vatsal Shah" else "reject"})
            print(f"{action['description']}\n=> {answers[-1]['type']}")
        state = agent.invoke(Command(resume={"decisions": answers}), RUN)
        for decision in state["decided"]:
            print(f"\n{decision['absorbed']} and {decision['kept']}: {decision['outcome']}", end="")
        print("\n\nNow V. Shah is Vatsal Shah:")
        for fact in memory.facts("V. Shah"):
            print(f"- {fact}")


if __name__ == "__main__":
    main()
