"""One memory, many users: the same question gets each asker the answer that they may see, in the documents, in the facts and in what was said.

python examples/permissions.py [--model openai:gpt-5-mini]      without a model the agent quotes what the memory ranks first
"""

import argparse
from typing import Any

from langchain.agents import create_agent
from langchain.chat_models import init_chat_model

from rag2_memory import Document, Memory, Scope
from rag2_memory.integrations.middleware import MemoryMiddleware
from rag2_memory.integrations.quoting import QuotingChatModel

PAGES = [
    Document(id="handbook", text="Salaries are reviewed once a year."),
    Document(id="pay", text="Salaries are reviewed in May; the raise of 2026 is 4 percent.", acl=frozenset({"group:hr"})),
    Document(id="board", text="Marta Rossi leads Project Nightfall since 1 March 2026.", acl=frozenset({"user:ceo"})),
]
PEOPLE: dict[str, dict[str, Any]] = {
    "bob": {"user": "bob"},
    "ada": {"user": "ada", "groups": ["hr"]},
    "mallory": {"user": "mallory", "namespace": "another-company"},
}
QUESTION = "When are salaries reviewed, and what is the raise of 2026?"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="as LangChain's init_chat_model takes it, such as openai:gpt-5-mini")
    name = parser.parse_args().model
    model = init_chat_model(name) if name else QuotingChatModel()
    with Memory.in_memory() as memory:
        memory.ingest(PAGES)
        agent: Any = create_agent(model, middleware=[MemoryMiddleware(memory)])

        def ask(person: str, question: str) -> str:
            run = {"configurable": {"thread_id": person, **PEOPLE[person]}}  # set by the application, out of the model's reach
            return str(agent.invoke({"messages": [("user", question)]}, run)["messages"][-1].text)

        for person in PEOPLE:
            print(f"{person:8} asks about salaries: {ask(person, QUESTION)}")
        memory.set_acl("pay", ["group:hr", "user:bob"])
        print(f"bob, let in: {ask('bob', 'What is the raise of 2026?')}")
        for who in (Scope(user="ceo"), Scope(user="bob")):
            print(f"facts about Project Nightfall for {who.user}: {[str(fact) for fact in memory.facts('Project Nightfall', scope=who)]}")
        said = [passage.text for passage in memory.search(QUESTION, k=10, scope=Scope(user="bob")) if passage.turn]
        print(f"of what was said bob finds his own {len(said)} turns alone: {said[0]!r}, …")


if __name__ == "__main__":
    main()
