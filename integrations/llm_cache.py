"""A cache of LLM calls for LangChain: `set_llm_cache(LLMCache("llm-cache.sqlite"))`. Exact by default; with an embedder also by meaning."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from langchain_core.caches import RETURN_VAL_TYPE, BaseCache
from langchain_core.messages import AIMessage, messages_from_dict, messages_to_dict
from langchain_core.outputs import ChatGeneration, Generation
from numpy.typing import NDArray

from rag2_memory.embedders import as_embedder
from rag2_memory.errors import InvalidRequestError
from rag2_memory.protocols import Reranker
from rag2_memory.records import CacheEntry, CacheStatistics
from rag2_memory.retrieval.cache_guard import judge
from rag2_memory.tiers.base import CacheTier
from rag2_memory.tiers.cache_semantic import SemanticCache

NAMESPACE = "llm"

SEMANTIC_CHARS = 600
"""Longer questions are matched exactly alone: they carry data (retrieved text, code), of which a vector shows too little."""

SIMILARITY = 0.95
"""Stricter than for contexts: what is served is an answer, and no model reads it with the question before it."""

NEAREST = 4
"""Cached questions that the guard is asked about, nearest first."""

VECTORS_KEPT = 256
"""Embeddings kept between a look-up and the update that follows it."""


class LLMCache(BaseCache):
    """Answers of LLMs and chat models by prompt and model settings, persisted in one SQLite file, bounded by entries, bytes and age.

    A semantic hit needs the same model settings, the same messages before the question, a near vector and the guard's consent
    (`rag2_memory.retrieval.cache_guard`); only prompts that end in a question of text are matched that way. Async calls run these
    methods off the event loop.
    """

    def __init__(
        self,
        path: Path | str | None = None,
        *,
        cache: CacheTier | None = None,
        embedder: Any = None,
        similarity: float = SIMILARITY,
        reranker: Reranker | None = None,
        **bounds: Any,
    ) -> None:
        """Open a cache.

        Args:
            path: The SQLite file; `None` keeps everything in the process.
            cache: Another cache tier, instead of `path` and `bounds`.
            embedder: Turns semantic hits on: an `Embedder`, LangChain `Embeddings`, or the name of a sentence-transformers model.
            similarity: Cosine from which the guard is asked, in [0, 1].
            reranker: A cross-encoder for pairs of questions that must agree as well.
            bounds: `max_entries`, `max_bytes`, `ttl_seconds`, as `SemanticCache` takes them.

        Raises:
            InvalidRequestError: If both `cache` and a path or bounds are given, or the similarity is no cosine.
        """
        if cache is not None and (path is not None or bounds):
            raise InvalidRequestError(f"got cache={cache!r} with path={path!r} and bounds {sorted(bounds)}; needed one or the other.")
        if not 0.0 < similarity <= 1.0:
            raise InvalidRequestError(f"got similarity={similarity!r}; needed a cosine in (0, 1].")
        self._cache = cache if cache is not None else SemanticCache(path, **bounds)
        self._embedder: Any = as_embedder(embedder) if embedder is not None else None
        self._similarity, self._reranker = similarity, reranker
        self._vectors: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._lock = Lock()

    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        """Return the cached generations of this prompt, or of one that asks the same; `None` where there are none."""
        found = self._cache.get(_digest(llm_string, prompt))
        outcome = "exact"
        if found is None and (asked := self._asked(prompt, llm_string)) is not None:
            found, outcome = self._nearest(*asked), "semantic"
        if found is None:
            self._cache.record("miss")
            return None
        self._cache.record(outcome, tokens=found.tokens, seconds=found.seconds)
        return _read(found.payload)

    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """Keep the generations of a prompt; what cannot be written as JSON is not kept."""
        payload = _written(return_val)
        if payload is None:
            return
        question, partition = self._asked(prompt, llm_string) or (prompt, "")
        self._cache.put(
            CacheEntry(
                key=_digest(llm_string, prompt),
                namespace=NAMESPACE,
                partition=partition,
                query=question,
                vector=tuple(self._embed(question).tolist()) if partition else (),
                payload=payload,
                tokens=_tokens(return_val),
            )
        )

    def clear(self, **kwargs: Any) -> None:
        """Empty the cache, statistics included; takes no arguments."""
        self._cache.clear()

    def statistics(self) -> CacheStatistics:
        """Return what the cache holds and did since it was cleared."""
        return self._cache.statistics()

    def close(self) -> None:
        """Release the file. Idempotent."""
        self._cache.close()

    def _asked(self, prompt: str, llm_string: str) -> tuple[str, str] | None:
        """Return the question and the partition that it may share answers in; `None` where only an exact hit will do."""
        if self._embedder is None:
            return None
        question, before = _question(prompt)
        if not question.strip() or len(question) > SEMANTIC_CHARS:
            return None
        return question, _digest(llm_string, before, self._embedder.name)

    def _nearest(self, question: str, partition: str) -> CacheEntry | None:
        for entry, cosine in self._cache.nearest(self._embed(question), partition=partition, k=NEAREST, minimum=self._similarity - 0.1):
            verdict = judge(question, entry.query, cosine=cosine, similarity=self._similarity, reranker=self._reranker)
            if verdict.allowed:
                return entry
            self._cache.record(f"rejected:{verdict.rule}")
        return None

    def _embed(self, question: str) -> NDArray[np.float32]:
        with self._lock:
            vector = self._vectors.pop(question, None)
        if vector is None:
            vector = np.asarray(self._embedder.embed([question])[0], dtype=np.float32)
        with self._lock:
            self._vectors[question] = vector
            while len(self._vectors) > VECTORS_KEPT:
                self._vectors.popitem(last=False)
        return vector


def _digest(*parts: str) -> str:
    """Return a key; lengths keep the parts apart."""
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _question(prompt: str) -> tuple[str, str]:
    """Split a prompt into its question and what came before it; no question where it ends in something else than a person's text.

    Chat models hand in their messages as JSON, LLMs the text itself.
    """
    try:
        messages = json.loads(prompt)
    except ValueError:
        return prompt, ""
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        return prompt, ""
    last = messages[-1].get("kwargs", {})
    content = last.pop("content", "")
    if last.get("type") != "human" or not isinstance(content, str):
        return "", ""
    return content, json.dumps(messages, sort_keys=True)


def _written(generations: Sequence[Generation]) -> str | None:
    """Return generations as JSON; `None` where JSON cannot hold them."""
    rows = []
    for generation in generations:
        row: dict[str, Any] = {"info": generation.generation_info}
        if isinstance(generation, ChatGeneration):
            row["message"] = messages_to_dict([generation.message])[0]
        else:
            row["text"] = generation.text
        rows.append(row)
    try:
        return json.dumps(rows)
    except (TypeError, ValueError):
        return None


def _read(payload: str) -> list[Generation]:
    """Read what `_written` wrote. Only messages are built, never classes that the file names."""
    generations: list[Generation] = []
    for row in json.loads(payload):
        if "message" in row:
            message = messages_from_dict([row["message"]])[0]
            generations.append(ChatGeneration(message=message, generation_info=row["info"]))
        else:
            generations.append(Generation(text=row["text"], generation_info=row["info"]))
    return generations


def _tokens(generations: Sequence[Generation]) -> int:
    """Return the tokens that the model reported for these generations; 0 where it did not."""
    messages = (generation.message for generation in generations if isinstance(generation, ChatGeneration))
    usages = (message.usage_metadata for message in messages if isinstance(message, AIMessage))
    return sum(usage["total_tokens"] for usage in usages if usage is not None)
