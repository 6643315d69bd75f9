"""A running summary is continued, never started over, and only by who hands in the same messages."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import BaseMessage

from rag2_memory.context.messages import Entry, read_messages
from rag2_memory.context.summary import RunningSummarizer
from rag2_memory.errors import BackendUnavailableError

WORDS = 50


class Recording(FakeListChatModel):
    """Answers from a list and keeps what it was asked."""

    asked: list[str] = []  # noqa: RUF012  (pydantic copies it)

    def _call(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> str:
        self.asked.append(str(messages[0].content))
        return super()._call(messages, *args, **kwargs)


def turns(*texts: str) -> list[Entry]:
    return read_messages([("user", text) for text in texts])


def summarise(running: RunningSummarizer, entries: list[Entry], previous: str = "", limit: int = 1_000) -> str:
    return running.summarise(entries, previous=previous, words=WORDS, fits=lambda text: len(text) <= limit)


def test_the_model_reads_only_what_no_earlier_summary_covers() -> None:
    model = Recording(responses=["Ada likes tea.", "Ada likes tea and dogs."])
    running = RunningSummarizer(model)
    assert summarise(running, turns("I like tea.")) == "Ada likes tea."
    assert summarise(running, turns("I like tea.", "I like dogs.")) == "Ada likes tea and dogs."
    assert "Ada likes tea." in model.asked[1]
    assert "I like dogs." in model.asked[1]
    assert "I like tea." not in model.asked[1]


def test_the_same_messages_cost_no_second_call_even_in_less_room() -> None:
    model = Recording(responses=["Ada likes green tea from Uji. She drinks it at noon.", "never asked"])
    running = RunningSummarizer(model)
    whole = summarise(running, turns("I like tea."))
    assert summarise(running, turns("I like tea.")) == whole
    shorter = summarise(running, turns("I like tea."), limit=35)
    assert len(shorter) <= 35
    assert whole.startswith(shorter[:20])
    assert len(model.asked) == 1


def test_other_messages_or_another_start_share_nothing() -> None:
    model = Recording(responses=["Summary A.", "Summary B.", "Summary C."])
    running = RunningSummarizer(model)
    summarise(running, turns("My code is 1234."))
    summarise(running, turns("My code is 9999.", "Hello."))
    summarise(running, turns("My code is 1234."), previous="Ada speaking.")
    assert len(model.asked) == 3
    assert "Summary A." not in model.asked[1]
    assert "My code is 1234." in model.asked[2]


def test_only_so_many_summaries_are_held() -> None:
    model = Recording(responses=["a", "b", "c"])
    running = RunningSummarizer(model, most=1)
    summarise(running, turns("first"))
    summarise(running, turns("second"))
    summarise(running, turns("first"))
    assert len(model.asked) == 3


def test_a_model_that_fails_leaves_nothing_behind() -> None:
    class Failing(Recording):
        def _call(self, *args: Any, **kwargs: Any) -> str:
            if not self.asked:
                self.asked.append("failed")
                raise ConnectionError("no route")
            return "recovered"

    running = RunningSummarizer(Failing(responses=[]))
    with pytest.raises(BackendUnavailableError, match="no route"):
        summarise(running, turns("first"))
    assert summarise(running, turns("first")) == "recovered"
