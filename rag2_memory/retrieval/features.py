"""What a query looks like before anything is searched: the features that routing, fusion and the cache's guard read.

Temporal expressions are parsed elsewhere; here is only what can be read off the words.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rag2_memory.errors import InvalidRequestError
from rag2_memory.knowledge.mentions import FUNCTION_WORDS, identifiers, mentioned_names, quoted_strings

QuestionType = Literal["who", "what", "when", "where", "why", "how", "how_many", "which", "yes_no", "statement"]

RARE_SHARE = 0.01
"""A term is rare if at most this share of the chunks holds it; the BM25 weight of such a term is above ln(100) = 4.6."""

_RELATIONS = """
    owns owned owner manages managed manager leads led leader works worked employs employed employer reports depends dependency
    uses used calls called blocks blocked replaces replaced maintains maintained maintainer founded founder created creator wrote
    author directed director produced producer starring stars starred performed performer composed composer married spouse wife
    husband father mother parent child son daughter brother sister grandfather grandmother sibling born died located capital
    member part belongs between related connected relationship same both
"""
RELATION_WORDS = frozenset(_RELATIONS.split())
"""Words that ask for a link between things, which the graph can follow; a hint for routing, never a filter."""

_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:[.,]\d+)*%?(?![\w])")
_KINDS: tuple[QuestionType, ...] = ("who", "what", "when", "where", "why", "how", "which")
_QUESTION = re.compile(r"\b(how (?:many|much|often|long|old)|who|whom|whose|what|when|where|why|how|which)\b", re.IGNORECASE)
_YES_NO = re.compile(r"^\W*(?:is|are|was|were|do|does|did|has|have|had|can|could|will|would|should|may|might|must)\b", re.IGNORECASE)
_REQUEST = re.compile(r"^\W*(?:name|list|find|give|tell|show|identify|describe|explain)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryFeatures:
    """What can be read off a query's words."""

    text: str
    words: int
    """Number of words."""
    identifiers: tuple[str, ...] = ()
    """Codes, versions, paths and code names, as written."""
    quoted: tuple[str, ...] = ()
    """Strings in quotes or backticks, without them."""
    names: tuple[str, ...] = ()
    """Capitalised names, as written; a lower-case name is found by `knowledge.mentions.query_names` instead."""
    numbers: tuple[str, ...] = ()
    """Free-standing numbers, as written."""
    question_type: QuestionType = "statement"
    rare_terms: tuple[str, ...] = ()
    """Lower-cased content words that at most `RARE_SHARE` of the chunks hold, unseen ones included."""
    rare_term_share: float | None = None
    """In [0, 1]: part of the content words' inverse document frequency that rare terms carry; `None` without frequencies."""
    relation_words: tuple[str, ...] = ()
    """Lower-cased words of the query that ask for a link between things."""

    @property
    def exact(self) -> tuple[str, ...]:
        """What must be found letter by letter: identifiers, then quoted strings."""
        return tuple(dict.fromkeys((*self.identifiers, *self.quoted)))


def query_features(query: str, *, document_frequency: Callable[[str], int] | None = None, chunks: int | None = None) -> QueryFeatures:
    """Read the features of a query.

    Args:
        query: The question as asked.
        document_frequency: Given a lower-cased word, returns how many chunks hold it (the index may stem it first).
        chunks: Number of chunks in the index; needed with `document_frequency`.

    Returns:
        The features; a pure function of the arguments.

    Raises:
        InvalidRequestError: If `document_frequency` is given without a positive number of `chunks`.
    """
    words = _WORD.findall(query)
    content = list(dict.fromkeys(word.lower() for word in words if word.lower() not in FUNCTION_WORDS))
    rare, share = _rare_terms(content, document_frequency, chunks)
    return QueryFeatures(
        text=query,
        words=len(words),
        identifiers=identifiers(query),
        quoted=quoted_strings(query),
        names=mentioned_names(query),
        numbers=tuple(dict.fromkeys(_NUMBER.findall(query))),
        question_type=_question_type(query),
        rare_terms=rare,
        rare_term_share=share,
        relation_words=tuple(word for word in content if word in RELATION_WORDS),
    )


def _rare_terms(
    content: list[str], document_frequency: Callable[[str], int] | None, chunks: int | None
) -> tuple[tuple[str, ...], float | None]:
    if document_frequency is None:
        return (), None
    if chunks is None or chunks < 1:
        raise InvalidRequestError(f"got document_frequency with chunks={chunks!r}; needed the number of chunks in the index, at least 1.")
    frequencies = {word: min(chunks, document_frequency(word)) for word in content}
    idf = {word: math.log(1 + (chunks - count + 0.5) / (count + 0.5)) for word, count in frequencies.items()}
    rare = tuple(word for word, count in frequencies.items() if count <= max(1.0, RARE_SHARE * chunks))
    total = sum(idf.values())
    return rare, (sum(idf[word] for word in rare) / total if total > 0 else 0.0)


def _question_type(query: str) -> QuestionType:
    if _YES_NO.match(query):
        return "yes_no"
    match = _QUESTION.search(query)
    if match is None:
        return "what" if _REQUEST.match(query) else "statement"
    word = match[1].lower()
    if word.startswith("how "):
        return "how_many"
    return next((kind for kind in _KINDS if kind == word), "who")  # what remains are whom and whose
