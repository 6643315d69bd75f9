"""The check between reading and believing: an edge is kept only if its predicate, its endpoints and its evidence hold."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from rag2_memory.knowledge.lexicon import looks_like_person
from rag2_memory.knowledge.mentions import normalize_name
from rag2_memory.knowledge.schema import GraphSchema
from rag2_memory.records import Relation
from rag2_memory.types import Chunk

VerifyStep = Callable[[Relation, Chunk, GraphSchema], str]
"""Given a relation, its chunk and the schema, returns why the relation is refused; empty if it holds."""

SHORTEST_NAME = 2
"""Characters; a shorter part of a person's name is an initial or a particle."""

_SPACES = re.compile(r"[\s*_`|\[\]]+")
"""Markup that a quote may leave out or add."""


def verify_relation(relation: Relation, chunk: Chunk, schema: GraphSchema) -> str:
    """Say why a relation does not hold; empty if it does.

    Refused are: a predicate outside the schema, endpoint types outside its domain or range, an endpoint that neither the text nor the
    title, a heading or the front matter names (a person's first or last name will do: which person it is, is the extractor's judgement), an edge from a thing to itself, a quote that does not stand in the text, and a window that ends before it
    starts.
    """
    objection = schema.objection(relation.predicate, relation.subject_type, relation.object_type)
    if objection:
        return objection
    subject, target = normalize_name(relation.subject), normalize_name(relation.object)
    if subject == target:
        return f"the edge would tie {relation.subject!r} to itself"
    text = chunk.index_text
    for side, name, key in (("subject", relation.subject, subject), ("object", relation.object, target)):
        if not key:
            return f"the {side} {name!r} is no name"
        if not _names(text, name, key) and not _speaks(chunk, key):
            return f"the {side} {name!r} is not named in the passage"
    if relation.quote and not _stands_in(relation.quote, text):
        return f"the quote {_shortened(relation.quote)!r} does not stand in the passage"
    start, end = relation.valid_from, relation.valid_to
    if start is not None and end is not None and end <= start:
        return f"it would end on {end.date().isoformat()}, not after its start on {start.date().isoformat()}"
    return ""


def ground_predicate(relation: Relation, schema: GraphSchema) -> Relation:
    """Return the relation under the schema's name for its predicate; unchanged where the schema has none."""
    name = schema.predicate_name(relation.predicate)
    return relation if name is None or name == relation.predicate else replace(relation, predicate=name)


def _names(text: str, name: str, key: str) -> bool:
    if name.casefold() in text.casefold():
        return True
    words = f" {normalize_name(text)} "
    return f" {key} " in words or (looks_like_person(name) and any(f" {short} " in words for short in _short_forms(key)))


def _short_forms(key: str) -> list[str]:
    """A person may be called by the first or the last name; initials are no name."""
    parts = key.split()
    return [part for part in (parts[0], parts[-1]) if len(part) > SHORTEST_NAME]


def _speaks(chunk: Chunk, key: str) -> bool:
    """Whether the name is the speaker of a conversation turn, who is meant by `I`, or stands in the document's front matter."""
    if chunk.turn is not None and normalize_name(chunk.turn.speaker) == key:
        return True
    return any(isinstance(value, str) and normalize_name(value) == key for value in chunk.metadata.values())


def _stands_in(quote: str, text: str) -> bool:
    return quote in text or _flat(quote) in _flat(text)


def _flat(text: str) -> str:
    return _SPACES.sub(" ", text).strip().casefold()


def _shortened(text: str, limit: int = 80) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
