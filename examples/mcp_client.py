"""An agent that reaches a memory over MCP: `rag2 mcp` serves it for one user, langchain-mcp-adapters loads its tools, and the agent never learns whose they are.

python examples/mcp_client.py [--model openai:gpt-5-mini]      without a model the answers are scripted, and everything else is real
"""

import argparse
import asyncio
import sys
import tempfile
from typing import Any

from langchain.agents import create_agent
from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools

from rag2_memory import Document, Memory


class Scripted(FakeMessagesListChatModel):
    """Says what stands in its script; may be offered tools."""

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        return self


SCRIPT = [
    AIMessage("", tool_calls=[{"name": "search", "args": {"query": "port of the gateway", "k": 2}, "id": "1"}]),
    AIMessage("", tool_calls=[{"name": "remember", "args": {"text": "Ada asked for the gateway's ports."}, "id": "2"}]),
    AIMessage("It listens on 8443, and its admin port is 9999."),
]


def chat_model() -> BaseChatModel:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="as LangChain's init_chat_model takes it, such as openai:gpt-5-mini")
    name = parser.parse_args().model
    return init_chat_model(name) if name else Scripted(responses=list(SCRIPT))


async def ask(folder: str, model: BaseChatModel) -> None:
    served = ["-m", "rag2_memory.cli", "mcp", "--memory", folder, "--user", "ada"]
    client = MultiServerMCPClient({"memory": {"transport": "stdio", "command": sys.executable, "args": served}})
    async with client.session("memory") as session:  # one connection, since a folder is open in one process at a time
        tools = await load_mcp_tools(session)
        print(f"the server offers {', '.join(sorted(each.name for each in tools))}")
        agent: Any = create_agent(model, tools=tools)
        state = await agent.ainvoke({"messages": [("user", "Which ports does the gateway have? Note that I asked.")]})
        for message in state["messages"]:
            for call in getattr(message, "tool_calls", ()):
                print(f"  calls {call['name']}({call['args']})")
            if message.text:
                print(f"  {message.type}: {' '.join(message.text.split())}")


def main() -> None:
    model = chat_model()
    with tempfile.TemporaryDirectory() as folder:
        with Memory.open(folder) as memory:
            memory.ingest(
                [
                    Document(id="gateway", text="The gateway listens on port 8443."),
                    Document(id="admin", text="The gateway's admin port is 9999.", acl=frozenset({"user:ada"})),
                    Document(id="pay", text="The gateway's owner is paid in May.", acl=frozenset({"group:hr"})),
                ]
            )
        asyncio.run(ask(folder, model))
        with Memory.open(folder) as memory:
            print(f"documents in the memory afterwards: {sorted(state.document_id for state in memory.documents())}")


if __name__ == "__main__":
    main()
