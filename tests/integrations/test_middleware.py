"""The middleware in real agents of `create_agent`, with a scripted model."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool

from rag2_memory import Document, Memory, Scope
from rag2_memory.integrations.middleware import MemoryMiddleware


class Scripted(BaseChatModel):
    """Answers from a script and keeps what it was asked."""

    answers: list[AIMessage]
    asked: list[list[BaseMessage]]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **options: Any) -> ChatResult:
        self.asked.append(messages)
        return ChatResult(generations=[ChatGeneration(message=self.answers[(len(self.asked) - 1) % len(self.answers)])])


@pytest.fixture
def filled(memory: Memory) -> Memory:
    """A memory with one open and one restricted document."""
    memory.ingest(
        [
            Document(id="gateway", text="The gateway listens on port 8443."),
            Document(id="secret", text="The gateway's admin port is 9999.", acl=frozenset({"user:ada"})),
        ]
    )
    return memory


def ask(agent: Any, text: str, **configurable: str) -> list[BaseMessage]:
    """Run an agent on one message; returns its messages."""
    messages: list[BaseMessage] = agent.invoke({"messages": [HumanMessage(text)]}, config={"configurable": configurable})["messages"]
    return messages


def test_the_model_sees_what_was_recalled_and_the_state_does_not(filled: Memory) -> None:
    model = Scripted(answers=[AIMessage("8443 [c1]")], asked=[])
    agent = create_agent(model, system_prompt="Be brief.", middleware=[MemoryMiddleware(filled)])
    messages = ask(agent, "Which port does the gateway listen on?", thread_id="t")
    system = model.asked[0][0].text
    assert system.startswith("Be brief.")
    assert "The gateway listens on port 8443." in system
    assert "9999" not in system
    assert [message.type for message in messages] == ["human", "ai"]


def test_the_turn_is_kept_for_its_user_and_recalled_text_is_not(filled: Memory) -> None:
    agent = create_agent(Scripted(answers=[AIMessage("8443 [c1]")], asked=[]), middleware=[MemoryMiddleware(filled)])
    ask(agent, "Which port does the gateway listen on?", thread_id="t", user="bob")
    kept = [p.text for p in filled.search("port gateway", k=10, scope=Scope(user="bob")) if p.turn]
    assert sorted(kept) == ["8443 [c1]", "Which port does the gateway listen on?"]
    assert not [p for p in filled.search("port gateway", k=10, scope=Scope(user="eve")) if p.turn]


def test_two_users_at_once_do_not_mix(filled: Memory) -> None:
    model = Scripted(answers=[AIMessage("noted")], asked=[])
    agent = create_agent(model, middleware=[MemoryMiddleware(filled)])
    configs: Any = [{"configurable": {"thread_id": user, "user": user}} for user in ("ada", "bob")]
    agent.batch([{"messages": [HumanMessage("What is the gateway's admin port?")]}] * 2, config=configs)
    told = ["9999" in asked[0].text for asked in model.asked]
    assert sorted(told) == [False, True]


def test_tool_calls_pass_through_and_only_words_are_kept(filled: Memory) -> None:
    @tool
    def clock() -> str:
        """Tell the time."""
        return "noon"

    calls = AIMessage("", tool_calls=[{"name": "clock", "args": {}, "id": "c1"}])
    model = Scripted(answers=[calls, AIMessage("It is noon.")], asked=[])
    agent = create_agent(model, [clock], middleware=[MemoryMiddleware(filled)])
    ask(agent, "What time is it at the gateway?", thread_id="t", user="bob")
    assert len(model.asked) == 2
    assert sorted(p.text for p in filled.search("time noon", k=10, scope=Scope(user="bob")) if p.turn) == [
        "It is noon.",
        "What time is it at the gateway?",
    ]


def test_a_small_window_is_never_overfilled(filled: Memory) -> None:
    count = filled.services.counter.count
    question = "Which port does the gateway listen on? " * 3
    for window in (60, 120, 250, 2_000):
        model = Scripted(answers=[AIMessage("ok")], asked=[])
        ask(create_agent(model, middleware=[MemoryMiddleware(filled, window_tokens=window, remember=False)]), question)
        total = sum(count(message.text) for message in model.asked[0])
        assert total <= max(window, count(question))


async def test_it_works_off_the_event_loop_and_streams(filled: Memory) -> None:
    model = Scripted(answers=[AIMessage("8443 [c1]")], asked=[])
    agent = create_agent(model, middleware=[MemoryMiddleware(filled)])
    config: Any = {"configurable": {"thread_id": "t", "user": "bob"}}
    asked: Any = {"messages": [HumanMessage("Which port does the gateway listen on?")]}
    updates = [update async for update in agent.astream(asked, config, stream_mode="updates")]
    assert any("model" in update for update in updates)
    assert "8443" in model.asked[0][0].text
    assert [p for p in filled.search("port gateway", k=10, scope=Scope(user="bob")) if p.turn]


def test_without_a_thread_nothing_is_kept(filled: Memory) -> None:
    before = filled.status()["counts"]["documents"]
    ask(create_agent(Scripted(answers=[AIMessage("ok")], asked=[]), middleware=[MemoryMiddleware(filled)]), "Which port?")
    assert filled.status()["counts"]["documents"] == before
