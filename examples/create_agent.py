"""An agent of `create_agent` with a memory in two lines: it recalls by itself, looks up facts with a tool, and knows in March what was said in February.

python examples/create_agent.py [--model openai:gpt-5-mini]      without a model the answers are scripted, and everything else is real
"""

import argparse
from typing import Any

from langchain.agents import create_agent
from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage

from rag2_memory import Document, Memory
from rag2_memory.integrations.langchain import memory_tools
from rag2_memory.integrations.middleware import MemoryMiddleware


class Scripted(FakeMessagesListChatModel):
    """Says what stands in its script; may be offered tools."""

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        return self


SCRIPT = [
    AIMessage("", tool_calls=[{"name": "memory_timeline", "args": {"entity": "Project Alpha"}, "id": "1"}]),
    AIMessage("Vatsal Shah led Project Alpha until 1 February 2026, and Priya Raman has led it since [c1]."),
    AIMessage("Noted: green tea, no sugar."),
    AIMessage("You drink green tea without sugar; you told me in another conversation."),
]


def chat_model() -> BaseChatModel:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="as LangChain's init_chat_model takes it, such as openai:gpt-5-mini")
    name = parser.parse_args().model
    return init_chat_model(name) if name else Scripted(responses=list(SCRIPT))


def main() -> None:
    model = chat_model()
    with Memory.in_memory() as memory:
        memory.ingest(
            Document(
                id="handover",
                text="Vatsal Shah leads Project Alpha until 1 February 2026. Priya Raman took over Project Alpha on 1 February 2026.",
            )
        )
        agent: Any = create_agent(model, tools=memory_tools(memory), middleware=[MemoryMiddleware(memory)])
        for thread, question in (
            ("february", "Who has been leading Project Alpha, and when?"),
            ("february", "By the way, I drink green tea without sugar."),
            ("march", "What do I drink?"),
        ):
            print(f"\n[{thread}] ada: {question}")
            run = {"configurable": {"thread_id": thread, "user": "ada"}}
            for update in agent.stream({"messages": [("user", question)]}, run, stream_mode="updates"):
                for message in [message for part in update.values() if part for message in part.get("messages", ())]:
                    for call in getattr(message, "tool_calls", ()):
                        print(f"  calls {call['name']}({call['args']})")
                    if message.text:
                        print(f"  {message.type}: {message.text}")
        kept = [passage.text for passage in memory.search("What do I drink?", k=3) if passage.turn]
        print(f"\nWhat somebody else finds of this conversation: {kept}")


if __name__ == "__main__":
    main()
