"""The LLM cache passes LangChain's suites, survives reopening, and serves by meaning only what the guard allows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.caches import BaseCache
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, Generation
from langchain_tests.integration_tests.cache import AsyncCacheTestSuite, SyncCacheTestSuite

from rag2_memory.errors import InvalidRequestError
from rag2_memory.integrations.llm_cache import SEMANTIC_CHARS, LLMCache
from rag2_memory.protocols import Vectors
from rag2_memory.testing.fakes import FakeEmbedder
from rag2_memory.tiers.cache_semantic import SemanticCache


class TestSync(SyncCacheTestSuite):
    @pytest.fixture(params=["exact", "semantic", "on disk"])
    def cache(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseCache]:
        options: dict[str, Any] = {"semantic": {"embedder": FakeEmbedder()}, "on disk": {"path": tmp_path / "llm.sqlite"}}
        cache = LLMCache(**options.get(request.param, {}))
        yield cache
        cache.close()


class TestAsync(AsyncCacheTestSuite):
    @pytest.fixture
    async def cache(self) -> AsyncIterator[BaseCache]:
        cache = LLMCache()
        yield cache
        cache.close()


class CountingEmbedder(FakeEmbedder):
    """A fake embedder that counts what it is asked."""

    asked = 0

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed, and count the texts."""
        self.asked += len(texts)
        return super().embed(texts)


@pytest.fixture
def semantic() -> Iterator[LLMCache]:
    cache = LLMCache(embedder=FakeEmbedder(), similarity=0.5)
    yield cache
    cache.close()


def model(cache: LLMCache, *answers: str) -> GenericFakeChatModel:
    """Return a chat model that gives its answers one after another, each once."""
    return GenericFakeChatModel(messages=iter([AIMessage(answer) for answer in answers]), cache=cache)


def test_a_chat_model_is_asked_once(tmp_path: Path) -> None:
    path = tmp_path / "llm.sqlite"
    cache = LLMCache(path)
    assert model(cache, "42").invoke("What is six times seven?").content == "42"
    cache.close()
    again = LLMCache(path)
    assert model(again).invoke("What is six times seven?").content == "42"
    assert again.statistics().outcomes["exact"] == 1
    assert again.statistics().outcomes["miss"] == 1
    again.close()


async def test_a_chat_model_is_asked_once_asynchronously(semantic: LLMCache) -> None:
    chat = model(semantic, "42")
    assert (await chat.ainvoke("What is six times seven?")).content == "42"
    assert (await chat.ainvoke("What is six times seven?")).content == "42"


def test_a_rewording_is_served_and_an_opposite_is_not(semantic: LLMCache) -> None:
    model(semantic, "Press the green button.").invoke("How do I enable the pump?")
    assert model(semantic).invoke("How can I enable the pump?").content == "Press the green button."
    assert model(semantic, "Press the red button.").invoke("How do I disable the pump?").content == "Press the red button."
    assert semantic.statistics().outcomes["semantic"] == 1
    assert semantic.statistics().outcomes["rejected:antonyms"] == 1


def test_without_an_embedder_only_the_same_prompt_is_served() -> None:
    cache = LLMCache()
    model(cache, "yes").invoke("How do I enable the pump?")
    assert model(cache, "no").invoke("How can I enable the pump?").content == "no"
    cache.close()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([SystemMessage("Be brief.")], [SystemMessage("Be thorough.")]),
        ([HumanMessage("We have a Mark 1."), AIMessage("Good.")], [HumanMessage("We have a Mark 2."), AIMessage("Good.")]),
    ],
    ids=["system message", "conversation"],
)
def test_other_messages_before_the_question_make_it_another_one(
    semantic: LLMCache, before: list[BaseMessage], after: list[BaseMessage]
) -> None:
    model(semantic, "one").invoke([*before, HumanMessage("How do I enable the pump?")])
    assert model(semantic).invoke([*before, HumanMessage("How can I enable the pump?")]).content == "one"
    assert model(semantic, "two").invoke([*after, HumanMessage("How can I enable the pump?")]).content == "two"


def test_another_model_is_another_cache(semantic: LLMCache) -> None:
    semantic.update("How do I enable the pump?", "model a", [Generation(text="one")])
    assert semantic.lookup("How do I enable the pump?", "model b") is None
    assert semantic.lookup("How can I enable the pump?", "model b") is None
    assert semantic.lookup("How can I enable the pump?", "model a") == [Generation(text="one")]


def test_a_prompt_that_ends_in_no_question_is_matched_exactly() -> None:
    embedder = CountingEmbedder()
    cache = LLMCache(embedder=embedder, similarity=0.5)
    call = AIMessage("", tool_calls=[{"name": "look", "args": {}, "id": "1"}])
    messages = [HumanMessage("Look."), call, ToolMessage("It rains.", tool_call_id="1")]
    assert model(cache, "Take an umbrella.").invoke(messages).content == "Take an umbrella."
    assert model(cache).invoke(messages).content == "Take an umbrella."
    cache.update("x" * (SEMANTIC_CHARS + 1), "m", [Generation(text="long")])
    assert cache.lookup("x" * (SEMANTIC_CHARS + 1), "m") == [Generation(text="long")]
    assert embedder.asked == 0
    cache.close()


def test_an_exact_hit_never_embeds_and_a_miss_embeds_once() -> None:
    embedder = CountingEmbedder()
    cache = LLMCache(embedder=embedder)
    model(cache, "42").invoke("What is six times seven?")
    assert embedder.asked == 1
    model(cache).invoke("What is six times seven?")
    assert embedder.asked == 1
    cache.close()


def test_tool_calls_usage_and_further_generations_come_back() -> None:
    cache = LLMCache()
    message = AIMessage(
        "thinking",
        tool_calls=[{"name": "look", "args": {"at": 1}, "id": "1"}],
        usage_metadata={"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
    )
    kept = [ChatGeneration(message=message, generation_info={"finish_reason": "stop"}), Generation(text="plain")]
    cache.update("p", "m", kept)
    assert cache.lookup("p", "m") == kept
    assert cache.statistics().tokens_saved == 7
    cache.close()


def test_what_json_cannot_hold_is_not_kept() -> None:
    cache = LLMCache()
    cache.update("p", "m", [Generation(text="x", generation_info={"socket": object()})])
    assert cache.lookup("p", "m") is None
    cache.close()


def test_a_file_cannot_make_objects_of_its_choice(tmp_path: Path) -> None:
    path = tmp_path / "llm.sqlite"
    cache = LLMCache(path)
    cache.update("p", "m", [Generation(text="x")])
    cache.close()
    forged = {"lc": 1, "type": "constructor", "id": ["langchain_core", "prompts", "PromptTemplate"], "kwargs": {"template": "{a}"}}
    with sqlite3.connect(path) as db:
        db.execute("UPDATE contents SET payload = ?", (json.dumps([{"text": "x", "info": forged}]),))
    db.close()
    cache = LLMCache(path)
    assert cache.lookup("p", "m") == [Generation(text="x", generation_info=forged)]
    cache.close()


@pytest.mark.parametrize("options", [{"path": "x.sqlite"}, {"max_entries": 5}], ids=lambda options: next(iter(options)))
def test_a_cache_comes_with_its_own_bounds(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match="one or the other"):
        LLMCache(cache=SemanticCache(None), **options)


def test_a_similarity_that_is_no_cosine_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="cosine"):
        LLMCache(similarity=95)
