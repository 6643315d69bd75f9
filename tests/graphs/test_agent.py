"""The reference agent: what the model is given, tools, what is kept, checkpoints, and a person who decides which names are one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Command

from rag2_memory import Document, InvalidRequestError, Memory, Scope
from rag2_memory.graphs.agent import build_agent_graph
from rag2_memory.integrations.langchain import memory_tools
from tests.scripted import Scripted, calling

PORT = "Which port does the gateway listen on?"
LEAD = "What does V. Shah lead?"


@pytest.fixture
def filled(memory: Memory) -> Memory:
    """A memory with an open and a restricted document, and a name that may be another's."""
    memory.ingest(
        [
            Document(id="gateway", text="The gateway listens on port 8443."),
            Document(id="secret", text="The gateway's admin port is 9999.", acl=frozenset({"user:ada"})),
            Document(id="alpha", text="Vatsal Shah leads Project Alpha since 1 January 2026."),
            Document(id="beta", text="Viktor Shah leads Project Beta since 1 January 2026."),
            Document(id="gamma", text="V. Shah leads Project Gamma since 3 March 2026."),
        ]
    )
    return memory


def run_of(thread: str = "t", **configurable: Any) -> Any:
    return {"configurable": {"thread_id": thread, **configurable}}


def asking(text: str) -> Any:
    return {"messages": [HumanMessage(text)]}


def turns(memory: Memory, query: str, scope: Scope | None = None) -> list[str]:
    """Return what was said and kept, as a scope sees it."""
    return sorted(passage.text for passage in memory.search(query, k=20, scope=scope) if passage.turn)


def led(memory: Memory, name: str) -> set[str]:
    return {fact.object for fact in memory.facts(name)}


def test_the_model_is_given_the_context_and_the_turn_is_kept(filled: Memory) -> None:
    model = Scripted("8443 [c1]")
    agent = build_agent_graph(filled, model, guidelines="Be brief.").compile()
    state = agent.invoke(asking(PORT), run_of(user="bob"))
    system, question = model.asked[0]
    assert isinstance(system, SystemMessage) and system.text.startswith("Be brief.")
    assert "The gateway listens on port 8443." in system.text and "9999" not in system.text
    assert question.text == PORT
    assert [citation.document_id for citation in state["context"].cite("8443 [c1]").citations] == ["gateway"]
    assert turns(filled, PORT, Scope(user="bob")) == ["8443 [c1]", PORT]
    assert turns(filled, PORT, Scope(user="eve")) == []


def test_an_earlier_turn_is_history_and_the_question_stays_last(filled: Memory) -> None:
    model = Scripted("8443 [c1]", "Since March.")
    agent = build_agent_graph(filled, model).compile(checkpointer=InMemorySaver())
    agent.invoke(asking(PORT), run_of())
    agent.invoke(asking("Since when?"), run_of())
    assert [message.text for message in model.asked[1][1:]] == [PORT, "8443 [c1]", "Since when?"]


def test_the_model_calls_tools_under_the_scope_of_the_run(filled: Memory) -> None:
    for user, sees in (("ada", True), ("bob", False)):
        model = Scripted(calling("search_memory", query="admin port of the gateway"), "Done.")
        agent = build_agent_graph(filled, model, tools=memory_tools(filled), budget=500).compile()
        messages = agent.invoke(asking("Look it up."), run_of(f"tools-{user}", user=user))["messages"]
        (found,) = [message for message in messages if isinstance(message, ToolMessage)]
        assert ("9999" in found.text) is sees
        assert [message.type for message in model.asked[1][-3:]] == ["human", "ai", "tool"]
        assert {tool.name for tool in model.tools} >= {"search_memory", "memory_facts"}


def test_a_tool_that_is_called_wrongly_answers_what_was_wrong(filled: Memory) -> None:
    for call in (calling("memory_facts", entity="Project Alpha", as_of="someday"), calling("search_memory", k=3)):
        model = Scripted(call, "Sorry.")
        agent = build_agent_graph(filled, model, tools=memory_tools(filled)).compile()
        messages = agent.invoke(asking("When?"), run_of())["messages"]
        assert messages[-2].status == "error" and messages[-1].text == "Sorry."


def test_a_model_that_calls_no_tools_is_refused_with_tools(filled: Memory) -> None:
    model = FakeListChatModel(responses=["ok"])
    with pytest.raises(InvalidRequestError, match="cannot call tools"):
        build_agent_graph(filled, model, tools=memory_tools(filled))
    assert build_agent_graph(filled, model).compile().invoke(asking(PORT), run_of())["messages"][-1].text == "ok"


@pytest.mark.parametrize("messages", [[], [AIMessage("hello")], [HumanMessage("  ")]])
def test_without_a_question_it_says_what_is_missing(filled: Memory, messages: list[Any]) -> None:
    with pytest.raises(InvalidRequestError, match="human message"):
        build_agent_graph(filled, Scripted("ok")).compile().invoke({"messages": messages}, run_of())


def test_without_a_thread_it_says_what_is_missing(filled: Memory) -> None:
    with pytest.raises(InvalidRequestError, match="thread_id"):
        build_agent_graph(filled, Scripted("ok")).compile().invoke(asking(PORT))


def test_pictures_reach_the_model_and_words_the_memory(filled: Memory) -> None:
    model = Scripted("A gateway.")
    picture = HumanMessage([{"type": "text", "text": "What is on this picture?"}, {"type": "image", "url": "https://example.org/a.png"}])
    build_agent_graph(filled, model).compile().invoke({"messages": [picture]}, run_of())
    assert model.asked[0][-1].content == picture.content
    assert turns(filled, "picture") == ["A gateway.", "What is on this picture?"]


async def test_it_streams_and_runs_off_the_event_loop(filled: Memory) -> None:
    agent: Any = build_agent_graph(filled, Scripted("8443 [c1]")).compile()
    nodes = [name async for update in agent.astream(asking(PORT), run_of(), stream_mode="updates") for name in update]
    assert nodes == ["recall", "respond", "remember"]
    parts = [part async for part in agent.astream(asking(PORT), run_of("u"), stream_mode="messages")]
    assert "".join(chunk.text for chunk, about in parts if about["langgraph_node"] == "respond") == "8443 [c1]"


# --- a person decides ----------------------------------------------------------------------------------------------------------------------
def interrupted(agent: Any, config: Any, text: str = LEAD) -> list[dict[str, Any]]:
    """Ask, and return the actions that a person is asked to approve."""
    state = agent.invoke(asking(text), config)
    (stop,) = state["__interrupt__"]
    assert stop.value["review_configs"] == [{"action_name": "merge_entities", "allowed_decisions": ["approve", "reject"]}]
    actions: list[dict[str, Any]] = stop.value["action_requests"]
    return actions


@pytest.fixture
def agent(filled: Memory) -> Any:
    return build_agent_graph(filled, Scripted("He leads Project Gamma [c1].")).compile(checkpointer=InMemorySaver())


def decisions(actions: list[dict[str, Any]], **answers: str) -> Any:
    """Return a resume value that answers by the first name of the kept side."""
    return Command(resume={"decisions": [{"type": answers[action["args"]["kept"].split()[0]]} for action in actions]})


def test_a_person_accepts_one_reading_of_a_name_and_rejects_the_other(filled: Memory, agent: Any) -> None:
    actions = interrupted(agent, run_of())
    assert {action["args"]["kept"] for action in actions} == {"Vatsal Shah", "Viktor Shah"}
    assert all("Project Gamma" in action["description"] for action in actions)
    assert led(filled, "V. Shah") == {"Project Gamma"}
    state = agent.invoke(decisions(actions, Vatsal="approve", Viktor="reject"), run_of())
    assert {decision["kept"]: decision["outcome"] for decision in state["decided"]} == {"Vatsal Shah": "merge", "Viktor Shah": "rejected"}
    assert led(filled, "V. Shah") == {"Project Alpha", "Project Gamma"}
    assert filled.merge_reviews() == []
    assert "__interrupt__" not in agent.invoke(asking(LEAD), run_of())


def test_one_word_answers_all(filled: Memory, agent: Any) -> None:
    interrupted(agent, run_of())
    assert {decision["outcome"] for decision in agent.invoke(Command(resume="reject"), run_of())["decided"]} == {"rejected"}
    assert led(filled, "V. Shah") == {"Project Gamma"}


def test_two_readings_of_one_name_are_never_both_accepted(filled: Memory, agent: Any) -> None:
    interrupted(agent, run_of())
    state = agent.invoke(Command(resume="approve"), run_of())
    assert sorted(decision["outcome"] for decision in state["decided"]) == ["gone", "merge"]
    assert not led(filled, "Vatsal Shah") & led(filled, "Viktor Shah")


def test_an_answer_that_cannot_be_read_is_asked_for_again(filled: Memory, agent: Any) -> None:
    actions = interrupted(agent, run_of())
    for bad in ("perhaps", {"decisions": [{"type": "approve"}]}, {"decisions": [{"type": "edit"}] * 2}, 7):
        (stop,) = agent.invoke(Command(resume=bad), run_of())["__interrupt__"]
        assert stop.value["action_requests"] == actions and "needed" in stop.value["error"]
    assert len(agent.invoke(Command(resume="reject"), run_of())["decided"]) == 2


def test_what_somebody_else_decided_meanwhile_stands(filled: Memory, agent: Any) -> None:
    actions = interrupted(agent, run_of())
    for action in actions:
        filled.decide_merge(action["args"]["merge_id"], "rejected")
    state = agent.invoke(Command(resume="approve"), run_of())
    assert {decision["outcome"] for decision in state["decided"]} == {"gone"}
    assert led(filled, "V. Shah") == {"Project Gamma"}


def test_a_person_may_go_on_without_deciding(filled: Memory, agent: Any) -> None:
    interrupted(agent, run_of())
    state = agent.invoke(asking("Thanks."), run_of())
    assert state["messages"][-2].text == "Thanks."
    assert len(filled.merge_reviews()) == 2


@pytest.mark.parametrize(("says", "stops"), [("8443.", False), ("Ask V. Shah.", True), ("See {cited}.", True)])
def test_a_person_is_asked_about_what_the_turn_says_or_cites(filled: Memory, says: str, stops: bool) -> None:
    context = filled.recall(PORT, budget=16_000)
    (cited,) = [citation.id for citation in context.citations.values() if citation.document_id == "gamma" and citation.kind == "passage"]
    agent = build_agent_graph(filled, Scripted(says.format(cited=f"[{cited}]"))).compile(checkpointer=InMemorySaver())
    assert ("__interrupt__" in agent.invoke(asking(PORT), run_of())) is stops


def test_nobody_is_asked_about_names_from_pages_that_they_cannot_see(memory: Memory) -> None:
    memory.ingest(
        [
            Document(id="open", text="V. Shah leads Project Gamma since 3 March 2026."),
            Document(id="hidden", text="Vatsal Shah leads Project Alpha since 1 January 2026.", acl=frozenset({"user:ada"})),
            Document(id="secret", text="Viktor Shah leads Project Beta since 1 January 2026.", acl=frozenset({"user:eve"})),
        ]
    )
    agent = build_agent_graph(memory, Scripted("ok")).compile(checkpointer=InMemorySaver())
    for user, kept in (("bob", []), ("ada", ["Vatsal Shah"]), ("eve", ["Viktor Shah"])):
        state = agent.invoke(asking(LEAD), run_of(user, user=user))
        asked = [action["args"]["kept"] for stop in state.get("__interrupt__", ()) for action in stop.value["action_requests"]]
        assert asked == kept


def test_it_can_be_built_without_a_person(filled: Memory) -> None:
    agent = build_agent_graph(filled, Scripted("ok"), approve_merges=False).compile(checkpointer=InMemorySaver())
    assert "__interrupt__" not in agent.invoke(asking(LEAD), run_of())


# --- checkpoints ---------------------------------------------------------------------------------------------------------------------------
@pytest.fixture
def saver(tmp_path: Path) -> Iterator[SqliteSaver]:
    with SqliteSaver.from_conn_string(str(tmp_path / "checkpoints.db")) as opened:
        yield opened


def test_an_interrupt_survives_the_process(filled: Memory, tmp_path: Path) -> None:
    path = str(tmp_path / "checkpoints.db")
    with SqliteSaver.from_conn_string(path) as before:
        actions = interrupted(build_agent_graph(filled, Scripted("Gamma.")).compile(checkpointer=before), run_of())
    with SqliteSaver.from_conn_string(path) as after:
        agent = build_agent_graph(filled, Scripted("Gamma.")).compile(checkpointer=after)
        assert agent.get_state(run_of()).interrupts[0].value["action_requests"] == actions
        agent.invoke(decisions(actions, Vatsal="approve", Viktor="reject"), run_of())
    assert led(filled, "V. Shah") == {"Project Alpha", "Project Gamma"}


def test_time_travel_shows_the_context_that_was_used_then(filled: Memory, saver: SqliteSaver) -> None:
    agent = build_agent_graph(filled, Scripted("8443 [c1]", "9443 [c1]")).compile(checkpointer=saver)
    agent.invoke(asking(PORT), run_of())
    first = agent.get_state(run_of())
    filled.ingest(Document(id="gateway", text="The gateway listens on port 9443."))
    agent.invoke(asking(PORT), run_of())
    assert "port 9443" in agent.get_state(run_of()).values["context"].text
    then = agent.get_state(first.config).values["context"]
    assert "port 8443" in then.text and "port 9443" not in then.text
    before_answer = next(
        state for state in agent.get_state_history(run_of()) if state.next == ("respond",) and len(state.values["messages"]) == 1
    )
    again = agent.invoke(None, before_answer.config)
    assert again["context"].text == then.text


STRICT = """
import logging
from typing import TypedDict
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from rag2_memory import Context, Document, Memory, Scope
from rag2_memory.graphs import build_recall_graph
from rag2_memory.graphs.agent import build_agent_graph
from rag2_memory.testing.fakes import FakeEmbedder
from tests.scripted import Scripted

class State(TypedDict, total=False):
    query: str
    scope: Scope
    history: list
    context: Context
    answer: str

logging.basicConfig(level="WARNING", format="LOGGED %(name)s %(message)s")
with Memory.in_memory(embedder=FakeEmbedder()) as memory, SqliteSaver.from_conn_string(":memory:") as saver:
    memory.ingest(Document(id="a", text="Vatsal Shah leads Project Alpha since 1 January 2026.", metadata={"team": "core"}))
    run = {"configurable": {"thread_id": "1"}}
    agent = build_agent_graph(memory, Scripted("He does [c1].")).compile(checkpointer=saver)
    for _ in range(2):
        agent.invoke({"messages": [("user", "Who leads Project Alpha?")]}, run)
    context = agent.get_state(run).values["context"]
    print("CITED", context.cite("[c1] [f1]").citations[0].document_id, context.facts[0].valid_from.year, context.history[0].text)

    run = {"configurable": {"thread_id": "2"}}
    stops = ["plan", "fuse", "rerank", "fit_budget"]
    builder = StateGraph(State)
    builder.add_node("recall", build_recall_graph(memory.services).compile(interrupt_before=stops))
    builder.add_node("answer", lambda state: {"answer": interrupt(state["context"].blocks[0].document_id)})
    builder.add_edge(START, "recall")
    builder.add_edge("recall", "answer")
    parent = builder.compile(checkpointer=saver)
    asked = {"query": "Who leads Project Alpha, then?", "scope": Scope(user="ada"), "history": [("user", "hi"), ("assistant", "ho")]}
    parent.invoke(asked, run)
    while parent.get_state(run).next == ("recall",):
        print("STOPPED", *parent.get_state(run, subgraphs=True).tasks[0].state.next)
        parent.invoke(None, run)
    print("ANSWERED", parent.invoke(Command(resume="yes"), run)["answer"])
"""


def test_checkpoints_restore_every_type_where_unknown_ones_are_blocked() -> None:
    environment = os.environ | {"LANGGRAPH_STRICT_MSGPACK": "true"}
    done = subprocess.run([sys.executable, "-c", STRICT], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert lines[0] == "CITED a 2026 Who leads Project Alpha?"
    assert lines[1:] == ["STOPPED plan", "STOPPED fuse", "STOPPED rerank", "STOPPED fit_budget", "ANSWERED yes"]
    assert "checkpoint" not in done.stderr
