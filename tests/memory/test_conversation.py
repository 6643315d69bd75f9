"""Conversations: kept verbatim, found again, under the scope of those who held them."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from rag2_memory import InvalidRequestError, Memory, Scope

ADA = Scope(user="ada")


def test_turns_are_found_verbatim_with_speaker_time_and_neighbours(memory: Memory) -> None:
    talk = [
        {"role": "user", "name": "Caroline", "content": "I adopted a greyhound.", "id": "D1:1", "timestamp": "2023-05-08T13:56:00"},
        {"role": "user", "name": "Melanie", "content": "What is she called?", "id": "D1:2", "timestamp": "2023-05-08T13:57:00"},
        {"role": "user", "name": "Caroline", "content": "Pixie!", "id": "D1:3", "timestamp": "2023-05-08T13:58:00"},
    ]
    assert memory.remember(talk, thread_id="conv-1").added == ("D1:1", "D1:2", "D1:3")
    best = memory.search("Pixie", k=1)[0]
    assert (best.document_id, best.text) == ("D1:3", "Pixie!")
    assert best.turn is not None
    assert (best.turn.thread_id, best.turn.ordinal, best.turn.speaker) == ("conv-1", 2, "Caroline")
    assert best.title == "8 May 2023, 13:58"
    assert "D1:3" in [passage.document_id for passage in memory.search("What is the greyhound called?", k=3)]


def test_a_window_follows_when_the_next_turn_arrives(memory: Memory) -> None:
    memory.remember([("user", "Shall we?")], thread_id="t")
    memory.remember([("user", "Zanzibar it is.")], thread_id="t")
    windows = memory.services.registry.lexical_documents(memory.services.registry.indexable())
    assert {document.window.split("\n", 1)[1] for document in windows.values()} == {"user: Shall we?\nuser: Zanzibar it is."}
    assert memory.verify().ok


def test_a_message_with_an_id_is_kept_once(memory: Memory) -> None:
    first, second = HumanMessage("I live in Lisbon.", id="m1"), AIMessage("Noted.", id="m2")
    memory.remember([first, second], thread_id="t")
    report = memory.remember([first, second, HumanMessage("My dog is Rex.", id="m3")], thread_id="t")
    assert report.added == ("m3",)
    assert memory.status()["counts"]["documents"] == 3


def test_an_id_that_another_thread_has_taken_is_told_apart(memory: Memory) -> None:
    memory.remember([HumanMessage("Lisbon.", id="1")], thread_id="one")
    assert memory.remember([HumanMessage("Oslo.", id="1")], thread_id="two").added == ("two/1",)
    assert memory.remember([HumanMessage("Oslo.", id="1")], thread_id="two").added == ()


def test_only_people_and_assistants_are_remembered(memory: Memory) -> None:
    messages = [
        SystemMessage("<context>recalled text</context>", id="s"),
        HumanMessage("What is the time?", id="h"),
        AIMessage("", tool_calls=[{"name": "clock", "args": {}, "id": "c"}], id="a1"),
        ToolMessage("noon", tool_call_id="c", id="t"),
        AIMessage("It is noon.", id="a2"),
    ]
    assert memory.remember(messages, thread_id="t").added == ("h", "a2")


def test_a_users_conversation_is_the_users_alone(memory: Memory) -> None:
    memory.remember([("user", "My badge is 4711.")], thread_id="t", scope=ADA)
    assert memory.search("badge") == []
    assert memory.search("badge", scope=Scope(user="bob")) == []
    assert [passage.text for passage in memory.search("badge", scope=ADA)] == ["My badge is 4711."]


def test_a_turn_that_fewer_may_see_enters_no_other_window(memory: Memory) -> None:
    memory.remember([("user", "The code is")], thread_id="t")
    memory.remember([("user", "zanzibar")], thread_id="t", scope=ADA)
    windows = memory.services.registry.lexical_documents(memory.services.registry.indexable())
    assert not [document for document in windows.values() if "zanzibar" in document.window and "code" in document.window]


def test_content_that_is_not_text_is_refused_by_its_type(memory: Memory) -> None:
    picture = HumanMessage(content=[{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "data:"}}])
    with pytest.raises(InvalidRequestError, match="image_url"):
        memory.remember([picture], thread_id="t")


def test_forgetting_a_turn_leaves_its_words_in_no_window(memory: Memory) -> None:
    memory.remember([("user", "Hello there."), ("user", "My code is zanzibar."), ("user", "Goodbye.")], thread_id="t")
    memory.forget("t/1")
    documents = memory.services.registry.lexical_documents(memory.services.registry.indexable())
    assert not [document for document in documents.values() if "zanzibar" in document.window]
    assert memory.verify().ok
