"""Which token counter a memory uses, and the cache that all counters share."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from threading import Lock
from typing import Any

from rag2_memory.errors import InvalidRequestError
from rag2_memory.protocols import TokenCounter

LOGGER = logging.getLogger(__name__)

DEFAULT_ENCODING = "o200k_base"

CACHED_COUNTS = 16_384
"""Counts kept per counter: the chunks of some hundred contexts, at about 150 bytes each."""

HASHED_FROM_CHARACTERS = 256
"""Longer texts are remembered by length and hash, so that the cache never keeps documents alive."""


TextKey = str | tuple[int, int]


class CountCache:
    """Counts of the most recently seen texts. Safe to use from several threads."""

    def __init__(self, *, entries: int = CACHED_COUNTS) -> None:
        self._entries = entries
        self._counts: OrderedDict[TextKey, int] = OrderedDict()
        self._lock = Lock()

    @staticmethod
    def key(text: str) -> TextKey:
        """Return what stands for a text: itself while short, else its length and 64-bit hash, which is keyed by a secret of the process."""
        return text if len(text) < HASHED_FROM_CHARACTERS else (len(text), hash(text))

    def get(self, key: TextKey) -> int | None:
        """Return a remembered count and mark it used."""
        with self._lock:
            found = self._counts.get(key)
            if found is not None:
                self._counts.move_to_end(key)
            return found

    def put(self, key: TextKey, count: int) -> None:
        """Remember a count, forgetting the least recently used beyond the bound."""
        with self._lock:
            self._counts[key] = count
            if len(self._counts) > self._entries:
                self._counts.popitem(last=False)

    def __len__(self) -> int:
        return len(self._counts)


class CountingBase(ABC):
    """What every counter of this package does the same way: an empty text counts 0 and counts are cached."""

    def __init__(self) -> None:
        self._cache = CountCache()

    @abstractmethod
    def _count(self, text: str) -> int:
        """Count a non-empty text."""

    def count(self, text: str) -> int:
        """Return the number of tokens of `text`, at least 0."""
        return self._remembered(text, self._count) if text else 0

    def _remembered(self, text: str, count: Callable[[str], int]) -> int:
        key = self._cache.key(text)
        found = self._cache.get(key)
        if found is None:
            found = count(text)
            self._cache.put(key, found)
        return found


def default_token_counter() -> TokenCounter:
    """Return the counter used where none is given: tiktoken's o200k_base if its vocabulary is on this machine.

    Nothing is ever downloaded here. Where the vocabulary is absent, a counter that never counts fewer tokens than
    o200k_base takes over, and one warning is logged that says how to get the exact one.
    """
    from rag2_memory.context.counter_tiktoken import TiktokenCounter, vocabulary_is_local

    if vocabulary_is_local(DEFAULT_ENCODING):
        return _shared(TiktokenCounter, DEFAULT_ENCODING)
    _warn_once()
    return offline_token_counter()


def offline_token_counter() -> TokenCounter:
    """Return the counter that needs no vocabulary from elsewhere and never undercounts o200k_base."""
    from rag2_memory.context.counter_tiktoken import OfflineCounter

    return _shared(OfflineCounter)


@cache
def _shared(kind: Any, *arguments: str) -> TokenCounter:
    counter: TokenCounter = kind(*arguments)
    return counter


@cache
def _warn_once() -> None:
    LOGGER.warning(
        "tiktoken's vocabulary %s is not on this machine, so tokens are counted by an upper bound (about a tenth too many). "
        "For exact counts set TIKTOKEN_CACHE_DIR to a folder that holds it, or run once with network: "
        "python -c \"import tiktoken; tiktoken.get_encoding('%s')\"",
        DEFAULT_ENCODING,
        DEFAULT_ENCODING,
    )


def token_counter(source: Any = None) -> TokenCounter:
    """Return a token counter for what a caller has.

    Args:
        source: `None` for the default; a counter, returned as it is; a tiktoken encoding or model name such as `"cl100k_base"` or
            `"gpt-4o"`; a path to a Hugging Face `tokenizer.json` or a `tokenizers`/`transformers` tokenizer; or a LangChain chat
            model, whose own `get_num_tokens` counts.

    Raises:
        InvalidRequestError: If it is none of these.
    """
    if source is None:
        return default_token_counter()
    if isinstance(source, TokenCounter):
        return source
    if isinstance(source, str) and not source.endswith(".json"):
        from rag2_memory.context.counter_tiktoken import TiktokenCounter

        return TiktokenCounter(source)
    if hasattr(source, "get_num_tokens"):
        from rag2_memory.context.counter_langchain import LangChainCounter

        return LangChainCounter(source)
    from rag2_memory.context.counter_huggingface import HuggingFaceCounter, is_tokenizer

    if is_tokenizer(source):
        return HuggingFaceCounter(source)
    raise InvalidRequestError(
        f"got a token counter of type {type(source).__name__}; needed a tiktoken encoding or model name, a Hugging Face tokenizer "
        "(object or path to tokenizer.json), a LangChain chat model, or an object with `name` and `count(text)`."
    )
