from __future__ import annotations

import logging
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.language_models import FakeListChatModel
from tiktoken.registry import ENCODINGS
from tokenizers import Tokenizer, models, pre_tokenizers

from rag2_memory.context import default_token_counter, token_counter, tokens
from rag2_memory.context.counter_huggingface import HuggingFaceCounter
from rag2_memory.context.counter_langchain import LangChainCounter
from rag2_memory.context.counter_tiktoken import OfflineCounter, TiktokenCounter, vocabulary_is_local
from rag2_memory.context.tokens import CountCache, CountingBase
from rag2_memory.errors import BackendUnavailableError, InvalidRequestError
from rag2_memory.protocols import TokenCounter


class WordModel(FakeListChatModel):
    """A chat model that counts words."""

    def get_num_tokens(self, text: str) -> int:
        return len(text.split())


class OfflineModel(FakeListChatModel):
    """A chat model whose counting endpoint cannot be reached."""

    def get_num_tokens(self, text: str) -> int:
        raise ConnectionError("no route")


@pytest.fixture
def no_vocabulary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with neither tiktoken's cache nor a network; returns the empty cache folder."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.delitem(ENCODINGS, "o200k_base", raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    tokens._warn_once.cache_clear()
    return tmp_path


@pytest.mark.parametrize("text", ["", "Hello, world!", "naïve café 漢字 👩‍👩‍👧", "<|endoftext|>", "\ud800 lone"])
@pytest.mark.parametrize("name", ["o200k_base", "gpt-4o"])
def test_tiktoken_counts_are_tiktokens_own(o200k: TiktokenCounter, name: str, text: str) -> None:
    expected = len(tiktoken.get_encoding("o200k_base").encode(text, disallowed_special=()))
    assert TiktokenCounter(name).count(text) == expected
    assert TiktokenCounter(name).name == o200k.name == "tiktoken:o200k_base"


def test_an_unknown_encoding_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidRequestError, match="o200k_base"):
        TiktokenCounter("no-such-model")


def test_a_million_spaces_are_counted(o200k: TiktokenCounter) -> None:
    assert 1_000 < o200k.count(" " * 1_500_000 + "x") < 100_000
    assert 1_000 < OfflineCounter().count("a" + "\t" * 1_500_000) < 1_000_000


visible_lines = st.lists(
    st.text(min_size=1, max_size=30).map(str.strip).filter(lambda line: line and not line.startswith("/")), min_size=1, max_size=6
)


@settings(max_examples=300, deadline=None)
@given(visible_lines, st.sampled_from(["o200k_base", "cl100k_base"]))
def test_counts_of_lines_add_up_to_the_count_of_the_whole(lines: list[str], encoding: str) -> None:
    if not vocabulary_is_local(encoding):
        pytest.skip(f"needs tiktoken's vocabulary {encoding}")
    parts = [f"{line}\n" for line in lines]
    assert TiktokenCounter(encoding).count_lines(parts) == len(tiktoken.get_encoding(encoding).encode_ordinary("".join(parts)))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=20), st.text(max_size=20))
def test_a_long_text_counted_by_its_first_line_and_the_rest_counts_the_same(o200k: TiktokenCounter, head: str, rest: str) -> None:
    text = f"{head}\n{rest}" + " more words" * 30
    assert o200k.count(text) == len(tiktoken.get_encoding("o200k_base").encode_ordinary(text))


def test_the_default_is_o200k_where_its_vocabulary_is_on_the_machine(o200k: TiktokenCounter) -> None:
    assert default_token_counter().name == o200k.name
    assert default_token_counter() is default_token_counter()


def test_the_default_works_at_once_without_vocabulary_and_network_and_warns_once(
    no_vocabulary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    started = time.perf_counter()
    with caplog.at_level(logging.WARNING):
        assert default_token_counter().name == "offline:o200k_base"
        assert default_token_counter().count("Hello, world!") >= 4
    assert time.perf_counter() - started < 5.0
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "TIKTOKEN_CACHE_DIR" in caplog.text


def test_a_damaged_vocabulary_is_neither_used_nor_deleted(no_vocabulary: Path) -> None:
    damaged = no_vocabulary / "fb374d419588a4632f3f557e76b4b70aebbca790"
    damaged.write_bytes(b"half a download")
    assert not vocabulary_is_local()
    assert default_token_counter().name == "offline:o200k_base"
    assert damaged.exists()


def test_an_exact_counter_without_vocabulary_and_network_says_what_to_do(no_vocabulary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr("tiktoken.load.read_file", unreachable)
    with pytest.raises(BackendUnavailableError, match="TIKTOKEN_CACHE_DIR"):
        TiktokenCounter("o200k_base").count("text")


@pytest.fixture
def word_tokenizer() -> Tokenizer:
    """A tokenizer of words that is set to cut at three."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "alpha": 1, "beta": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=3)
    return tokenizer


def test_a_hugging_face_tokenizer_counts_the_whole_text_although_it_truncates(word_tokenizer: Tokenizer, tmp_path: Path) -> None:
    saved = tmp_path / "tokenizer.json"
    word_tokenizer.save(str(saved))
    for source in (word_tokenizer, saved, str(saved)):
        assert HuggingFaceCounter(source).count("alpha beta gamma delta alpha") == 5
        assert HuggingFaceCounter(source).count("alpha") == 1
    assert HuggingFaceCounter(saved).name == HuggingFaceCounter(word_tokenizer).name
    assert word_tokenizer.truncation is not None, "the caller's tokenizer was changed"


def test_a_transformers_tokenizer_counts_like_the_tokenizer_inside_it(word_tokenizer: Tokenizer) -> None:
    from transformers import PreTrainedTokenizerFast

    wrapped = PreTrainedTokenizerFast(tokenizer_object=word_tokenizer)  # type: ignore[no-untyped-call]
    assert token_counter(wrapped).count("alpha beta gamma delta") == 4


def test_a_missing_tokenizer_file_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match=r"nowhere\.json"):
        token_counter("nowhere.json")


def test_a_chat_models_own_counter_counts() -> None:
    counter = token_counter(WordModel(responses=[]))
    assert isinstance(counter, LangChainCounter)
    assert counter.count("three small words") == 3
    assert counter.name == "langchain:WordModel"


def test_a_chat_model_that_cannot_count_is_a_backend_failure() -> None:
    with pytest.raises(BackendUnavailableError, match="no route"):
        LangChainCounter(OfflineModel(responses=[])).count("text")


def test_a_counter_factory_takes_what_users_have() -> None:
    own = WordCounter()
    assert token_counter(own) is own
    assert token_counter("gpt-4o").name == "tiktoken:o200k_base"
    assert token_counter().name == default_token_counter().name
    with pytest.raises(InvalidRequestError, match="object"):
        token_counter(object())


class WordCounter(CountingBase):
    """Counts words and how often it had to."""

    name = "words"

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def _count(self, text: str) -> int:
        self.calls += 1
        return len(text.split())


@pytest.mark.parametrize("text", ["short text", "long text " * 100])
def test_a_text_is_counted_once(text: str) -> None:
    counter = WordCounter()
    assert isinstance(counter, TokenCounter)
    assert {counter.count(text) for _ in range(5)} == {len(text.split())}
    assert counter.calls == 1


def test_the_count_cache_forgets_the_least_recently_used() -> None:
    cache = CountCache(entries=2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert (cache.get("a"), cache.get("b"), cache.get("c"), len(cache)) == (1, None, 3, 2)
