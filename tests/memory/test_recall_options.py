"""What `recall` takes besides the question: the rendering, and a model that summarises what left the history's window."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel

from rag2_memory import Document, InvalidRequestError, Memory
from rag2_memory.context.parse import parse_context
from rag2_memory.testing.fakes import FakeEmbedder

QUESTION = "Which port does the gateway use?"
HISTORY = [("user" if number % 2 == 0 else "assistant", f"Sentence {number} about greyhounds and tea. " * 8) for number in range(20)]


class Flaky(FakeListChatModel):
    """Fails as often as it is told, then answers; counts the calls."""

    failures: int = 0
    calls: int = 0

    def _call(self, *args: Any, **kwargs: Any) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise ConnectionError("no route")
        return super()._call(*args, **kwargs)


def ported(**options: Any) -> Memory:
    memory = Memory.in_memory(embedder=FakeEmbedder(), **options)
    memory.ingest(Document(id="gateway", text="The gateway uses port 8443."))
    return memory


@pytest.mark.parametrize("form", ["xml", "markdown", "json"])
def test_the_context_is_rendered_and_counted_in_the_format_asked_for(form: Any) -> None:
    with ported() as memory:
        context = memory.recall(QUESTION, budget=2_000, format=form)
        assert context.format == form
        assert context.tokens == memory.services.counter.count(context.text)
        assert [block.document_id for block in context.blocks] == ["gateway"]
        assert "8443" in str(parse_context(context.text, form))


def test_a_cached_context_is_not_served_in_another_format() -> None:
    with ported() as memory:
        assert memory.recall(QUESTION, budget=2_000).text.startswith("<")
        again = memory.recall(QUESTION, budget=2_000, format="markdown")
        assert not again.text.startswith("<")
        assert again.trace["stages"][0]["outcome"] == "miss"


def test_an_unknown_format_is_refused() -> None:
    with ported() as memory, pytest.raises(InvalidRequestError, match="markdown"):
        memory.recall(QUESTION, format="yaml")  # type: ignore[arg-type]


def test_a_chat_model_summarises_what_left_the_window() -> None:
    with ported(summarizer=FakeListChatModel(responses=["They spoke of greyhounds."])) as memory:
        context = memory.recall(QUESTION, budget=2_000, history=HISTORY)
        assert context.summary == "They spoke of greyhounds."
        assert "They spoke of greyhounds." in context.text


def test_without_a_model_the_summary_is_extracted() -> None:
    with ported() as memory:
        context = memory.recall(QUESTION, budget=2_000, history=HISTORY)
        assert "greyhounds" in context.summary
        assert context.trace["budget"]["summary"] == "extractive"


def test_a_context_whose_summary_failed_is_not_kept() -> None:
    model = Flaky(responses=["They spoke of greyhounds."], failures=1)
    with ported(summarizer=model) as memory:
        first = memory.recall(QUESTION, budget=2_000, history=HISTORY)
        assert first.trace["budget"]["summary"].startswith("extractive: ")
        second = memory.recall(QUESTION, budget=2_000, history=HISTORY)
        assert second.summary == "They spoke of greyhounds."
        assert memory.recall(QUESTION, budget=2_000, history=HISTORY).summary == second.summary
        assert model.calls == 2
