"""The middleware in real agents of `create_agent`, with a scripted model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware, ModelRequest, SummarizationMiddleware, wrap_model_call
from langchain.agents.structured_output import AutoStrategy, ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import create_model

from rag2_memory import ContextBudget, Document, Memory, Scope
from rag2_memory.integrations.middleware import MemoryMiddleware
from rag2_memory.testing.fakes import FakeEmbedder
from tests.scripted import Scripted, calling

PORT = "Which port does the gateway listen on?"


@tool
def clock(zone: str = "UTC") -> str:
    """Tell the time in a zone."""
    return "noon"


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


def run_of(**configurable: Any) -> Any:
    return {"configurable": configurable}


def asking(text: str = PORT) -> Any:
    return {"messages": [HumanMessage(text)]}


def ask(agent: Any, text: str = PORT, **configurable: str) -> list[BaseMessage]:
    """Run an agent on one message; returns its messages."""
    messages: list[BaseMessage] = agent.invoke(asking(text), run_of(**configurable))["messages"]
    return messages


def turns(memory: Memory, query: str = "port gateway", user: str | None = None) -> list[str]:
    """Return what was said and kept, as a user sees it."""
    return sorted(passage.text for passage in memory.search(query, k=20, scope=Scope(user=user)) if passage.turn)


def system_of(asked: list[BaseMessage]) -> str:
    return asked[0].text if isinstance(asked[0], SystemMessage) else ""


def test_the_model_sees_what_was_recalled_and_the_state_does_not(filled: Memory) -> None:
    model = Scripted("8443 [c1]")
    agent = create_agent(model, system_prompt="Be brief.", middleware=[MemoryMiddleware(filled)])
    state = agent.invoke(asking(), run_of(thread_id="t"))
    system = system_of(model.asked[0])
    assert system.startswith("Be brief.")
    assert "The gateway listens on port 8443." in system
    assert "9999" not in system
    assert [message.type for message in state["messages"]] == ["human", "ai"]
    assert set(state) == {"messages"}


def test_a_system_message_of_blocks_keeps_them(filled: Memory) -> None:
    model = Scripted("ok")
    block: Any = {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}
    ask(create_agent(model, system_prompt=SystemMessage([block]), middleware=[MemoryMiddleware(filled)]))
    first, second = list(model.asked[0][0].content)
    assert first == block
    assert isinstance(second, dict) and "8443" in second["text"]


def test_the_turn_is_kept_for_its_user_and_recalled_text_is_not(filled: Memory) -> None:
    agent = create_agent(Scripted("8443 [c1]"), middleware=[MemoryMiddleware(filled)])
    ask(agent, thread_id="t", user="bob")
    assert turns(filled, user="bob") == ["8443 [c1]", PORT]
    assert turns(filled, user="eve") == []


def test_tool_calls_pass_through_and_only_words_are_kept(filled: Memory) -> None:
    model = Scripted(calling("clock"), "It is noon.")
    ask(create_agent(model, [clock], middleware=[MemoryMiddleware(filled)]), "What time is it at the gateway?", thread_id="t", user="bob")
    assert ["8443" in system_of(asked) for asked in model.asked] == [True, True]
    assert turns(filled, "time noon", "bob") == ["It is noon.", "What time is it at the gateway?"]


def test_pictures_reach_the_model_and_their_words_the_memory(filled: Memory) -> None:
    model = Scripted("A gateway.")
    picture = HumanMessage([{"type": "text", "text": "What is this?"}, {"type": "image", "url": "https://example.org/a.png"}])
    agent = create_agent(model, middleware=[MemoryMiddleware(filled, window_tokens=8_000)])
    agent.invoke({"messages": [picture]}, run_of(thread_id="t"))
    assert model.asked[0][-1].content == picture.content
    assert turns(filled, "gateway") == ["A gateway.", "What is this?"]


def test_without_a_thread_nothing_is_kept(filled: Memory) -> None:
    before = filled.status()["counts"]["documents"]
    ask(create_agent(Scripted("ok"), middleware=[MemoryMiddleware(filled)]))
    assert filled.status()["counts"]["documents"] == before


# --- sync, async, streaming, side by side ----------------------------------------------------------------------------------------------
async def test_it_works_off_the_event_loop_and_streams(filled: Memory) -> None:
    model = Scripted("8443 [c1]")
    agent: Any = create_agent(model, middleware=[MemoryMiddleware(filled)])
    updates = [update async for update in agent.astream(asking(), run_of(thread_id="t", user="bob"), stream_mode="updates")]
    assert any("model" in update for update in updates)
    assert "8443" in system_of(model.asked[0])
    assert turns(filled, user="bob") == ["8443 [c1]", PORT]
    words = [
        chunk.text async for chunk, _ in agent.astream(asking(), run_of(thread_id="u"), stream_mode="messages") if chunk.type != "human"
    ]
    assert "".join(words) == "8443 [c1]"


def test_it_streams_in_sync(filled: Memory) -> None:
    agent: Any = create_agent(Scripted("8443 [c1]"), middleware=[MemoryMiddleware(filled)])
    words = [chunk.text for chunk, _ in agent.stream(asking(), run_of(thread_id="t"), stream_mode="messages") if chunk.type != "human"]
    assert "".join(words) == "8443 [c1]"


def admin_port(asked: list[BaseMessage]) -> str:
    return "It is 9999." if "9999" in system_of(asked) else "I do not know."


USERS = ("ada", "bob") * 6


def test_two_users_at_once_do_not_mix(filled: Memory) -> None:
    agent: Any = create_agent(Scripted(admin_port), middleware=[MemoryMiddleware(filled)])
    configs = [run_of(thread_id=f"{user}-{at}", user=user) for at, user in enumerate(USERS)]
    states = agent.batch([asking("What is the gateway's admin port?")] * len(USERS), config=configs)
    assert [state["messages"][-1].text for state in states] == ["It is 9999.", "I do not know."] * 6
    assert "It is 9999." in turns(filled, "admin port", "ada") and "It is 9999." not in turns(filled, "admin port", "bob")


async def test_two_users_at_once_do_not_mix_on_one_event_loop(filled: Memory) -> None:
    agent: Any = create_agent(Scripted(admin_port), middleware=[MemoryMiddleware(filled)])
    runs = [agent.ainvoke(asking("What is the gateway's admin port?"), run_of(thread_id=f"{u}-{at}", user=u)) for at, u in enumerate(USERS)]
    assert [state["messages"][-1].text for state in await asyncio.gather(*runs)] == ["It is 9999.", "I do not know."] * 6


def test_two_memories_at_once_do_not_mix(filled: Memory) -> None:
    with Memory.in_memory(embedder=FakeEmbedder()) as other:
        other.ingest(Document(id="gateway", text="The gateway listens on port 1234."))
        agents: Any = [
            create_agent(Scripted(lambda asked: system_of(asked)), middleware=[MemoryMiddleware(memory)]) for memory in (filled, other)
        ]

        async def both() -> list[Any]:
            return await asyncio.gather(*(agent.ainvoke(asking(), run_of(thread_id="t")) for agent in agents * 4))

        told = [state["messages"][-1].text for state in asyncio.run(both())]
        assert [("8443" in text, "1234" in text) for text in told] == [(True, False), (False, True)] * 4
        assert not [text for text in turns(filled) if "1234" in text]


def test_one_agent_may_have_two_memories(filled: Memory) -> None:
    with Memory.in_memory(embedder=FakeEmbedder()) as other:
        other.ingest(Document(id="tea", text="At the gateway tea is served at four."))
        model = Scripted("ok")
        second = MemoryMiddleware(other, name="company", remember=False)
        ask(create_agent(model, middleware=[MemoryMiddleware(filled), second]), thread_id="t")
        assert "8443" in system_of(model.asked[0]) and "tea is served" in system_of(model.asked[0])
        assert turns(other) == []
        assert turns(filled) == [PORT, "ok"]


# --- budget --------------------------------------------------------------------------------------------------------------------------------
def whole_call(model: Scripted, count: Callable[[str], int]) -> int:
    """Count the last call apart from the middleware: every message as JSON text and every tool as providers are sent it."""
    calls = [json.dumps(message.tool_calls) for message in model.asked[-1] if isinstance(message, AIMessage) and message.tool_calls]
    messages = [*(message.text for message in model.asked[-1]), *calls]
    return sum(map(count, messages)) + sum(count(json.dumps(convert_to_openai_tool(each))) for each in model.tools)


@pytest.mark.parametrize("window", [300, 500, 800, 1_500, 4_000])
def test_system_prompt_tools_history_and_context_fit_the_window_together(filled: Memory, window: int) -> None:
    filled.ingest([Document(id=f"page-{at}", text=f"Gateway note {at}: port {at} is closed. " * 20) for at in range(12)])
    count = filled.services.counter.count
    model = Scripted(calling("clock", zone="Europe/Berlin"), "8443")
    history = [HumanMessage("Hello there, gateway. " * 3), AIMessage("Hello. " * 3), HumanMessage(PORT)]
    middleware = MemoryMiddleware(filled, window_tokens=window, remember=False)
    agent: Any = create_agent(model, [clock], system_prompt="Be brief. " * 5, middleware=[middleware])
    agent.invoke({"messages": history})
    assert whole_call(model, count) <= window
    assert "<context>" in system_of(model.asked[-1]) or window < 800


def test_the_window_is_the_models_own_where_its_profile_tells(filled: Memory) -> None:
    filled.ingest([Document(id=f"page-{at}", text=f"Gateway note {at}: port {at} is closed. " * 40) for at in range(20)])
    sizes = []
    for profile in ({"max_input_tokens": 600}, {"max_input_tokens": 2_000}, None):
        model = Scripted("ok", profile=profile)
        ask(create_agent(model, middleware=[MemoryMiddleware(filled, budget=5_000, remember=False)]))
        sizes.append(filled.services.counter.count(system_of(model.asked[0])))
    assert 0 < sizes[0] <= 600 < sizes[1] <= 2_000 < sizes[2] <= 5_000


def test_a_conversation_that_fills_the_window_is_sent_as_it_is(filled: Memory) -> None:
    model = Scripted("ok")
    agent: Any = create_agent(model, system_prompt="Be brief.", middleware=[MemoryMiddleware(filled, window_tokens=200, remember=False)])
    agent.invoke({"messages": [HumanMessage("word " * 400), AIMessage("ok"), HumanMessage(PORT)]})
    assert system_of(model.asked[0]) == "Be brief."


def test_the_callers_shares_stay_when_the_window_is_small(filled: Memory) -> None:
    model = Scripted("ok")
    budget = ContextBudget(graph=0.0, passages=0.7, history=0.0, flow=("passages",))
    filled.ingest(Document(id="alpha", text="Priya Raman leads Project Alpha since 1 February 2026."))
    middleware = MemoryMiddleware(filled, budget=budget, window_tokens=2_000, remember=False)
    ask(create_agent(model, middleware=[middleware]), "Who leads Project Alpha?")
    assert "<passage" in system_of(model.asked[0]) and "<fact " not in system_of(model.asked[0])


@pytest.mark.parametrize("strategy", [None, ToolStrategy, ProviderStrategy, AutoStrategy])
def test_tools_and_an_answers_schema_are_counted(filled: Memory, strategy: Any) -> None:
    @tool
    def told(text: str) -> str:
        """Do something."""
        return text

    for words, recalled in ((1, True), (2_000, False)):
        described = "at length " * words
        told.description = described
        schema = create_model("Answer", __doc__=described, port=(int, 0))
        options: Any = {"tools": [told]} if strategy is None else {"response_format": strategy(schema)}
        model = Scripted("ok" if strategy is None else calling("Answer", port=8443))
        middleware = MemoryMiddleware(filled, window_tokens=1_000, remember=False)
        taken: list[ModelRequest[Any]] = []

        @wrap_model_call
        def stop(request: ModelRequest[Any], handler: Any, taken: list[Any] = taken) -> Any:
            taken.append(request)
            raise InterruptedError

        with pytest.raises(InterruptedError):
            ask(create_agent(model, middleware=[middleware, stop], **options))
        assert (taken[0].system_message is not None) is recalled


# --- beside other middleware -----------------------------------------------------------------------------------------------------------
def test_it_composes_with_human_in_the_loop(filled: Memory) -> None:
    model = Scripted(calling("clock"), "It is noon at the gateway.")
    middleware: Any = [MemoryMiddleware(filled), HumanInTheLoopMiddleware(interrupt_on={"clock": True})]
    for order in (middleware, middleware[::-1]):
        model.asked.clear()
        agent: Any = create_agent(model, [clock], middleware=order, checkpointer=InMemorySaver())
        run = run_of(thread_id=f"t{order is middleware}", user=f"user-{order is middleware}")
        stopped = agent.invoke(asking("What time is it at the gateway?"), run)
        assert stopped["__interrupt__"][0].value["action_requests"][0]["name"] == "clock"
        assert turns(filled, "time noon", run["configurable"]["user"]) == []
        state = agent.invoke(Command(resume={"decisions": [{"type": "approve"}]}), run)
        assert state["messages"][-1].text == "It is noon at the gateway."
        assert ["8443" in system_of(asked) for asked in model.asked] == [True, True]
        assert turns(filled, "time noon", run["configurable"]["user"]) == ["It is noon at the gateway.", "What time is it at the gateway?"]


@pytest.mark.parametrize("first", [True, False], ids=["before it", "behind it"])
def test_it_composes_with_summarization(filled: Memory, first: bool) -> None:
    """Tool results push the question itself into a digest: it is still what is recalled for, and kept in its own words."""
    model = Scripted(calling("clock"), calling("clock", zone="CET"), "It listens on 8443.")
    digests = SummarizationMiddleware(model=Scripted("They talked about ports."), trigger=("messages", 4), keep=("messages", 2))
    memory = MemoryMiddleware(filled)
    agent: Any = create_agent(model, [clock], middleware=[memory, digests] if first else [digests, memory], checkpointer=InMemorySaver())
    state = agent.invoke(asking(), run_of(thread_id="t", user="bob"))
    assert PORT not in [message.text for message in state["messages"]]
    assert any("They talked about ports." in message.text for message in state["messages"])
    assert ["port 8443" in system_of(asked) for asked in model.asked] == [True, True, True]
    assert turns(filled, user="bob") == ["It listens on 8443.", PORT]
    model.asked.clear()
    model.answers[:] = ["At four."]
    agent.invoke(asking("When is tea?"), run_of(thread_id="t", user="bob"))
    assert turns(filled, "tea port", "bob") == sorted(["It listens on 8443.", PORT, "When is tea?", "At four."])
