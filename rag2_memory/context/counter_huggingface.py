"""Counting with a Hugging Face tokenizer: `tokenizers` or `transformers` objects, or a tokenizer.json."""

from __future__ import annotations

import hashlib
from os import PathLike
from pathlib import Path
from typing import Any

from rag2_memory.context.tokens import CountingBase
from rag2_memory.errors import InvalidRequestError


def is_tokenizer(source: Any) -> bool:
    """Whether `HuggingFaceCounter` can take this."""
    is_path = isinstance(source, (str, PathLike)) and str(source).endswith(".json")
    return is_path or hasattr(source, "backend_tokenizer") or hasattr(source, "encode_batch") or hasattr(source, "get_vocab")


class HuggingFaceCounter(CountingBase):
    """Counts a model's own tokens, without the special tokens that it adds around a text.

    Truncation and padding that a tokenizer brings along are switched off on a copy: a tokenizer that cuts at 256 tokens would
    otherwise count every long text as 256.
    """

    def __init__(self, tokenizer: Any) -> None:
        """Take a `tokenizers.Tokenizer`, a `transformers` tokenizer (fast or slow), or a path to a tokenizer.json."""
        super().__init__()
        if isinstance(tokenizer, (str, PathLike)):
            tokenizer = _tokenizer_class().from_str(_read(Path(tokenizer)))
        fast = getattr(tokenizer, "backend_tokenizer", tokenizer)
        self._slow: Any = None
        if hasattr(fast, "to_str"):
            serialized: str = fast.to_str()
            self._fast = _tokenizer_class().from_str(serialized)
            self._fast.no_truncation()
            self._fast.no_padding()
            self._name = "huggingface:" + hashlib.blake2b(serialized.encode(), digest_size=8).hexdigest()
        else:
            self._slow = tokenizer
            self._name = f"huggingface:{getattr(tokenizer, 'name_or_path', type(tokenizer).__name__)}"

    @property
    def name(self) -> str:
        """Identifies the counting rule."""
        return self._name

    def _count(self, text: str) -> int:
        readable = text.encode("utf-8", "replace").decode("utf-8")
        if self._slow is not None:
            return len(self._slow.encode(readable, add_special_tokens=False))
        return len(self._fast.encode(readable, add_special_tokens=False).ids)


def _tokenizer_class() -> Any:
    from tokenizers import Tokenizer  # sentence-transformers brings it

    return Tokenizer


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as exc:
        raise InvalidRequestError(f"cannot read the tokenizer at {str(path)!r} ({exc.strerror}); needed a tokenizer.json.") from exc
