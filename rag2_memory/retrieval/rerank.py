"""Reranking: cross-encoders and LangChain compressors as rerankers, and their use within a time limit that never costs
the answer."""

from __future__ import annotations

import contextvars
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from rag2_memory.errors import BackendUnavailableError, InvalidRequestError
from rag2_memory.protocols import Reranker
from rag2_memory.types import Passage, index_text

logger = logging.getLogger(__name__)

MAX_RUNNING = 8
"""Rerankings at once in this process. One that ran out of time cannot be stopped, only left alone; this bounds how many
linger."""

_slots = threading.BoundedSemaphore(MAX_RUNNING)


def rerank(query: str, passages: Sequence[Passage], reranker: Reranker, *, depth: int, timeout_seconds: float) -> tuple[list[Passage], str]:
    """Order the first `depth` passages by the reranker's scores; the others follow in their old order.

    Scores stay comparable: a passage that was not reranked is scored below all that were, by as much as the old scores
    lay apart. A reranker that fails, answers nonsense or takes too long leaves the ranking as it was. A model that is
    not loaded yet loads before the clock starts.

    Args:
        query: The question.
        passages: Best first.
        reranker: Scores texts; it is given title, headings and text of each passage.
        depth: Passages that are reranked.
        timeout_seconds: Time limit of the scoring.

    Returns:
        The passages, best first (ties in the old order), and a note for the trace: what was reranked, or why nothing
        was.
    """
    head, rest = list(passages[: max(depth, 0)]), list(passages[max(depth, 0) :])
    if len(head) < 2:
        return list(passages), "nothing to rerank"
    texts = [index_text(passage.title, passage.heading_path, passage.text) for passage in head]
    started = time.monotonic()
    try:
        prepare = getattr(reranker, "prepare", None)
        if callable(prepare):
            prepare()
            started = time.monotonic()
        scores = _within(lambda: reranker.rerank(query, texts), timeout_seconds)
        values = _checked(scores, expected=len(head))
    except TimeoutError:
        return list(passages), f"kept the fused order: the reranker took longer than {timeout_seconds:g} s"
    except Exception as exc:  # any model, a user's own included; without it the fused order is still an answer
        logger.warning("the reranker failed: %s", exc)
        return list(passages), f"kept the fused order: the reranker failed ({type(exc).__name__}: {exc})"
    order = sorted(range(len(head)), key=lambda place: -values[place])
    ranked = [replace(head[place], score=values[place]) for place in order]
    offset = min(values) - rest[0].score - 1e-6 if rest else 0.0
    ranked += [replace(passage, score=passage.score + offset) for passage in rest]
    return ranked, f"reranked {len(head)} passages in {time.monotonic() - started:.3f} s"


def _checked(scores: Sequence[float], *, expected: int) -> list[float]:
    values = [float(score) for score in scores]
    if len(values) != expected or not all(map(math.isfinite, values)):
        raise ValueError(f"got {len(values)} scores, {sum(map(math.isfinite, values))} of them finite; needed {expected}")
    return values


def _within(call: Callable[[], Any], timeout_seconds: float) -> Any:
    """Run a call on a thread of its own and return its result.

    Raises:
        TimeoutError: If it takes longer; the thread goes on unheeded.
    """
    deadline = time.monotonic() + timeout_seconds
    if not _slots.acquire(timeout=max(timeout_seconds, 0.0)):
        raise TimeoutError
    results: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()

    def run() -> None:
        try:
            results.put((context.run(call), None))
        except BaseException as exc:  # handed to the caller, who decides
            results.put((None, exc))
        finally:
            _slots.release()

    context = contextvars.copy_context()
    threading.Thread(target=run, name="rag2-rerank", daemon=True).start()
    try:
        result, error = results.get(timeout=max(deadline - time.monotonic(), 0.0))
    except Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return result


class CrossEncoderReranker:
    """Scores with a sentence-transformers `CrossEncoder`, by name or from a folder. Thread-safe: it loads once, and
    scoring takes turns."""

    def __init__(
        self,
        model_name_or_path: str | Path,
        *,
        batch_size: int = 32,
        max_length: int | None = 512,
        device: str | None = None,
    ) -> None:
        """Remember what to load; nothing is loaded yet.

        Args:
            model_name_or_path: Hub name such as `cross-encoder/ms-marco-MiniLM-L6-v2`, or a folder.
            batch_size: Pairs per forward pass.
            max_length: Tokens of query and passage together beyond which the passage is cut; `None`: what the model
                allows.
            device: As torch names it; default: the CPU.
        """
        self._source, self._batch_size, self._max_length, self._device = (
            str(model_name_or_path),
            batch_size,
            max_length,
            device,
        )
        self._model: Any = None
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """Names the model; cached contexts depend on it."""
        return f"{self._source} ({self._max_length})"

    def prepare(self) -> None:
        """Load the model unless it is loaded.

        Raises:
            BackendUnavailableError: If it cannot be loaded or gives several scores per pair.
        """
        with self._lock:
            if self._model is None:
                self._model = self._load()

    def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        """Return one score per text, higher is better, in the order given; the range is the model's (most end in a
        sigmoid).

        Raises:
            BackendUnavailableError: If the model cannot be loaded.
        """
        if not texts:
            return []
        self.prepare()
        with self._lock:
            scores = self._model.predict(
                [(query, text) for text in texts],
                batch_size=self._batch_size,
                show_progress_bar=False,
                convert_to_numpy=True,
            )
        return [float(score) for score in scores]

    def _load(self) -> Any:
        try:
            from sentence_transformers import CrossEncoder

            model = CrossEncoder(self._source, max_length=self._max_length, device=self._device or "cpu")
        except (ImportError, OSError, ValueError) as exc:
            raise BackendUnavailableError(
                f"the cross-encoder {self._source!r} cannot be loaded ({exc}). Give the folder of a saved model, "
                "allow access to the model hub, or open the memory without a reranker."
            ) from exc
        if model.num_labels != 1:
            raise BackendUnavailableError(
                f"the model {self._source!r} gives {model.num_labels} scores per pair; needed a cross-encoder with "
                "one, such as cross-encoder/ms-marco-MiniLM-L6-v2."
            )
        return model


class CompressorReranker:
    """Adapts what LangChain reranks with: a document compressor (`compress_documents`) or a cross-encoder (`score`)."""

    def __init__(self, compressor: Any) -> None:
        """Take the object to adapt.

        Raises:
            InvalidRequestError: If it has neither method.
        """
        if not (callable(getattr(compressor, "compress_documents", None)) or callable(getattr(compressor, "score", None))):
            raise InvalidRequestError(
                f"got a {type(compressor).__name__} as reranker; needed an object with rerank(query, texts), or a "
                "LangChain document compressor (compress_documents) or cross-encoder (score)."
            )
        self._compressor = compressor

    @property
    def name(self) -> str:
        """Names the adapted object and its model where it tells one; cached contexts depend on it."""
        told = (getattr(self._compressor, attribute, None) for attribute in ("model_name", "model"))
        return f"{type(self._compressor).__qualname__} {next((value for value in told if isinstance(value, str)), '')}"

    def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        """Return one score per text, higher is better, in the order given.

        A compressor's `relevance_score` counts where every returned document has one, its order otherwise; what it left
        out comes last.
        """
        if not hasattr(self._compressor, "compress_documents"):
            return [float(score) for score in self._compressor.score([(query, text) for text in texts])]
        from langchain_core.documents import Document

        documents = [Document(page_content=text, metadata={"index": place}) for place, text in enumerate(texts)]
        kept = list(self._compressor.compress_documents(documents, query))
        scores = [document.metadata.get("relevance_score") for document in kept]
        if not all(isinstance(score, (int, float)) for score in scores):
            scores = [float(-rank) for rank in range(len(kept))]
        lowest = min(scores, default=0.0) - 1.0
        found = dict(zip((document.metadata.get("index") for document in kept), map(float, scores), strict=True))
        return [found.get(place, lowest) for place in range(len(texts))]


def as_reranker(value: Any) -> Reranker | None:
    """Return a `Reranker`: the value itself, a LangChain object adapted, a cross-encoder for a name or folder; `None`
    stays `None`.

    Raises:
        InvalidRequestError: If it is none of these.
    """
    if value is None or callable(getattr(value, "rerank", None)):
        return value  # type: ignore[no-any-return]
    return CrossEncoderReranker(value) if isinstance(value, (str, Path)) else CompressorReranker(value)
