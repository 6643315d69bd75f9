"""What callers pass as `extractor`, as an `Extractor`."""

from __future__ import annotations

from typing import Any

from rag2_memory.errors import InvalidRequestError
from rag2_memory.knowledge.extraction import PatternExtractor
from rag2_memory.knowledge.llm_extraction import LLMExtractor
from rag2_memory.knowledge.schema import GraphSchema
from rag2_memory.protocols import Extractor


def as_extractor(value: Any, *, schema: GraphSchema) -> Extractor:
    """Return an `Extractor`: the value itself, a LangChain chat model as one, or the patterns for `None`.

    A chat model without structured output is asked for JSON in its text; the patterns read the chunks that it fails to.

    Raises:
        InvalidRequestError: If it is none of these.
    """
    if value is None:
        return PatternExtractor(schema=schema)
    if callable(getattr(value, "extract", None)):
        return value  # type: ignore[no-any-return]
    if callable(getattr(value, "invoke", None)) and callable(getattr(value, "bind_tools", None)):
        return LLMExtractor(value, schema=schema, fallback=PatternExtractor(schema=schema))
    raise InvalidRequestError(
        f"got a {type(value).__name__} as extractor; needed an object with extract(chunks), such as PatternExtractor, or a LangChain chat model."
    )
