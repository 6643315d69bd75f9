from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, FunctionMessage, HumanMessage, SystemMessage, ToolMessage

from rag2_memory.context import Context, ContextBudget, Share, compile_context, offline_token_counter
from rag2_memory.context.messages import IMAGE_TOKENS
from rag2_memory.errors import InvalidRequestError

COUNTER = offline_token_counter()


def compiled(history: list[Any], tokens: int = 12_800, **options: Any) -> Context:
    """Compile with a history segment of so many tokens and nothing to borrow."""
    budget = ContextBudget(window_tokens=128_000, history=Share(tokens, maximum=tokens), flow=())
    return compile_context("And now?", history=history, budget=budget, counter=COUNTER, **options)


def segment_tokens(context: Context) -> int:
    used: int = context.trace["budget"]["segments"]["history"]["used"]
    return used


def call(number: int, **options: Any) -> AIMessage:
    return AIMessage(f"Looking {number}.", tool_calls=[{"name": "look", "args": {"n": number}, "id": f"t{number}"}], **options)


def result(number: int, text: str = "found") -> ToolMessage:
    return ToolMessage(f"{text} {number}", tool_call_id=f"t{number}")


CONVERSATION = [
    ("user", "Hello, I am Ada and I run the billing service in Vienna."),
    ("assistant", "Nice to meet you, Ada."),
    ("user", "Our billing service failed on 11 February 2025 because of a duplicate invoice run."),
    ("assistant", "The billing service charged 412 customers twice; refunds were issued by Ben on 12 February."),
    ("user", "Please remember that invoices must be checked by Ben."),
    ("assistant", "Noted: Ben checks invoices for the billing service."),
    ("user", "What is the weather like?"),
    ("assistant", "I cannot know that."),
]  # fmt: skip


def test_all_forms_of_messages_are_read_and_kept_as_messages() -> None:
    tool_dicts = [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "x", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
        },
        {"role": "tool", "content": "seen", "tool_call_id": "x"},
    ]
    given_messages = [
        ("user", "one"),
        {"role": "assistant", "content": "two"},
        HumanMessage("three"),
        AIMessage("four"),
        ChatMessage(content="five", role="user"),
        HumanMessage([{"type": "text", "text": "six"}]),
        *tool_dicts,
    ]
    context = compiled(given_messages)
    kinds = [type(message) for message in context.messages()]
    assert kinds == [
        SystemMessage,
        HumanMessage,
        AIMessage,
        HumanMessage,
        AIMessage,
        ChatMessage,
        HumanMessage,
        AIMessage,
        ToolMessage,
        HumanMessage,
    ]
    assert [message.role for message in context.history] == ["user", "assistant"] * 2 + ["user", "user", "assistant", "tool"]
    assert context.dropped == ()


def test_kept_langchain_messages_come_back_as_they_were() -> None:
    history: list[BaseMessage] = [
        HumanMessage("hi", id="m1"),
        call(1, id="m2"),
        result(1),
        AIMessage("done", response_metadata={"model": "x"}),
    ]
    before = copy.deepcopy(history)
    context = compiled(history)
    assert context.messages()[1:-1] == before
    assert Context.from_json(context.to_json()).messages() == context.messages()
    assert history == before


def test_the_latest_messages_stay_and_older_ones_are_summarised() -> None:
    context = compiled(list(CONVERSATION), 160)
    assert segment_tokens(context) <= 160
    shown = [message.text for message in context.history]
    assert shown == [text for _, text in CONVERSATION[-len(shown) :]]
    assert context.history[0].role == "user"
    assert "billing service" in context.summary
    left = [item for item in context.dropped if item.kind == "message"]
    assert [item.reason for item in left] == ["left the window and was summarised"] * (len(CONVERSATION) - len(shown))
    assert context.summary in context.text


def test_an_extractive_summary_quotes_whole_sentences_in_their_order() -> None:
    context = compiled(list(CONVERSATION), 160)
    sentences = [line.split(": ", 1)[1] for line in context.summary.split("\n")]
    said = " ".join(text for _, text in CONVERSATION)
    positions = [said.index(sentence.split(". ")[0].rstrip(".")) for sentence in sentences]
    assert positions == sorted(positions)
    assert compiled(list(CONVERSATION), 160).summary == context.summary


def test_an_earlier_summary_is_kept_and_continued() -> None:
    context = compiled(list(CONVERSATION), 160, history_summary="Ada likes tea.")
    assert context.summary.startswith("Earlier: Ada likes tea.")
    assert len(context.summary) > len("Earlier: Ada likes tea.")
    again = compiled(list(CONVERSATION), 160, history_summary=context.summary)
    assert again.summary.startswith("Earlier: Ada likes tea.")
    assert compiled([("user", "Hi")], history_summary="Ada likes tea.").summary == "Ada likes tea."


def test_a_chat_model_summarises_what_left_the_window() -> None:
    class Recording(FakeListChatModel):
        """Answers from a list and keeps what it was asked."""

        asked: list[Any] = []  # noqa: RUF012  (pydantic copies it)

        def _call(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> str:
            self.asked.append(messages[0].content)
            return super()._call(messages, *args, **kwargs)

    model = Recording(responses=["Ada runs billing. [c1] " + "More. " * 500])
    context = compiled(list(CONVERSATION), 160, summarizer=model, history_summary="Ada likes tea.")
    assert context.summary.startswith("Ada runs billing. (c1)")
    assert segment_tokens(context) <= 160
    assert context.trace["budget"]["summary"] == "model"
    (asked,) = model.asked
    assert "Ada likes tea." in asked
    assert CONVERSATION[0][1] in asked
    assert CONVERSATION[-1][1] not in asked


def test_a_failing_summariser_is_replaced_by_extraction_and_reported() -> None:
    class Failing(FakeListChatModel):
        """A model out of reach."""

        def _call(self, *args: Any, **kwargs: Any) -> str:
            raise ConnectionError("no route")

    context = compiled(list(CONVERSATION), 160, summarizer=Failing(responses=[]))
    assert context.summary == compiled(list(CONVERSATION), 160).summary
    assert "no route" in context.trace["budget"]["summary"]


def test_a_tool_call_and_its_results_stay_or_go_together() -> None:
    history = [
        HumanMessage("first"),
        call(1),
        result(1, "long result " * 40),
        HumanMessage("second"),
        call(2),
        result(2),
        AIMessage("done"),
    ]
    for tokens in range(0, 400, 7):
        kept = compiled(list(history), tokens).messages()[1:-1]
        calls = [each["id"] for message in kept if isinstance(message, AIMessage) for each in message.tool_calls]
        assert calls == [message.tool_call_id for message in kept if isinstance(message, ToolMessage)]


def test_unpaired_tool_messages_are_dropped_with_their_reason() -> None:
    context = compiled([result(7), HumanMessage("hi"), call(8), ("system", "obey"), FunctionMessage(content="x", name="f")])
    assert [message.role for message in context.history] == ["user"]
    assert sorted(item.reason for item in context.dropped) == [
        "a system message; pass its text as guidelines",
        "a tool call without its result",
        "a tool result without its call before it",
        "a tool result without its call before it",
    ]


def test_a_message_larger_than_the_segment_is_cut_with_a_mark() -> None:
    long = HumanMessage("A sentence about the export of invoices. " * 100, id="m1")
    context = compiled([long], 200)
    (kept,) = context.history
    assert kept.truncated
    assert kept.text.endswith(" […]")
    message = context.messages()[1]
    assert (message.content, message.id) == (kept.text, "m1")
    assert segment_tokens(context) <= 200


def test_a_tool_result_larger_than_the_segment_is_cut_and_stays_paired() -> None:
    context = compiled([call(1), result(1, "row " * 2_000)], 300)
    assert [message.role for message in context.history] == ["assistant", "tool"]
    assert context.history[1].text.endswith(" […]")


def test_a_message_that_cannot_be_cut_to_fit_is_dropped() -> None:
    context = compiled([HumanMessage("word " * 500)], 20)
    assert context.history == ()
    assert [item.reason for item in context.dropped] == ["left the window"]


def test_the_query_is_not_asked_twice() -> None:
    context = compiled([("user", "Hi"), ("assistant", "Hello"), HumanMessage("And now? ")])
    assert [message.text for message in context.history] == ["Hi", "Hello"]
    assert context.messages()[-1].content == "And now?"


@pytest.mark.parametrize(
    "block", [{"type": "image_url", "image_url": {"url": "data:"}}, {"type": "image", "base64": "x", "mime_type": "image/png"}]
)
def test_an_image_counts_a_stated_number_of_tokens(block: dict[str, Any]) -> None:
    history = [HumanMessage([{"type": "text", "text": "Look:"}, block])]
    context = compiled(history)
    assert context.messages()[1].content == history[0].content
    assert segment_tokens(context) >= IMAGE_TOKENS
    assert context.trace["budget"]["images"] == IMAGE_TOKENS
    assert compiled(history, IMAGE_TOKENS).history == (), "its tokens count against the segment"


@pytest.mark.parametrize("kind", ["audio", "file", "video", "input_audio", "mystery"])
def test_a_block_that_cannot_be_counted_is_refused_by_name(kind: str) -> None:
    with pytest.raises(InvalidRequestError, match=kind):
        compiled([HumanMessage([{"type": kind}])])


@pytest.mark.parametrize("message", [7, "text", ("user", 7), ("nobody", "hi"), {"role": "nobody", "content": "hi"}, {"content": 7}, None])
def test_what_is_no_message_is_refused(message: Any) -> None:
    with pytest.raises(InvalidRequestError):
        compiled([message])


texts = st.text(max_size=40) | st.sampled_from(["The billing run failed again. ", "Ben checks invoices. "]).map(lambda text: text * 4)
units = st.one_of(
    st.tuples(st.sampled_from(["user", "assistant"]), texts).map(lambda pair: [pair]),
    st.integers(0, 3).map(lambda number: [call(number), result(number)]),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(units, max_size=8), st.integers(0, 400), st.just("") | texts)
def test_the_segment_is_never_exceeded_and_no_message_lost(conversation: list[list[Any]], tokens: int, summary: str) -> None:
    history = [message for unit in conversation for message in unit]
    context = compiled(history, tokens, history_summary=summary)
    assert segment_tokens(context) <= tokens
    assert len(context.history) + len(context.dropped) == len(history)
    texts_kept = [message.text for message in context.history if not message.truncated]
    asked = [message[1] if isinstance(message, tuple) else message.text for message in history]
    assert all(text in asked or "call look" in text for text in texts_kept)
