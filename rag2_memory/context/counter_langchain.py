"""Counting with a LangChain chat model's own `get_num_tokens`."""

from __future__ import annotations

from typing import Any

from rag2_memory.context.tokens import CountingBase
from rag2_memory.errors import BackendUnavailableError, InvalidRequestError


class LangChainCounter(CountingBase):
    """Counts as a LangChain language model says; some models count over the network, so counts are cached."""

    def __init__(self, model: Any) -> None:
        """Take any object with `get_num_tokens(text) -> int`, as every LangChain language model has.

        Raises:
            InvalidRequestError: If it has no such method.
        """
        super().__init__()
        if not callable(getattr(model, "get_num_tokens", None)):
            raise InvalidRequestError(
                f"got {type(model).__name__} as a counting model; needed a LangChain model with get_num_tokens(text)."
            )
        self._model = model
        label = getattr(model, "model_name", None) or getattr(model, "model", None) or ""
        self._name = f"langchain:{type(model).__name__}" + (f":{label}" if isinstance(label, str) and label else "")

    @property
    def name(self) -> str:
        """Identifies the counting rule."""
        return self._name

    def _count(self, text: str) -> int:
        try:
            return int(self._model.get_num_tokens(text))
        except Exception as exc:  # whatever a provider's client raises
            raise BackendUnavailableError(
                f"{type(self._model).__name__}.get_num_tokens failed ({type(exc).__name__}: {exc}). "
                "Pass another token counter, for instance token_counter('o200k_base')."
            ) from exc
