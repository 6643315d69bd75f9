"""Reading what a language model answered, however untidily: prose around JSON, fences, trailing commas, other field names, missing ones."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rag2_memory.knowledge.dates import find_dates
from rag2_memory.knowledge.schema import GraphSchema
from rag2_memory.knowledge.statements import unit_note
from rag2_memory.knowledge.windows import FROM_PRECISION, OBSERVED_AT, TO_PRECISION
from rag2_memory.records import Extraction, NamedEntity, Relation
from rag2_memory.types import Chunk

_FENCE = re.compile(r"```(?:json|JSON)?\s*(.*?)(?:```|$)", re.DOTALL)
_TRAILING_COMMA = re.compile(r",\s*(?=[}\]])")
_BARE_KEY = re.compile(r"(?<=[{,])\s*([A-Za-z_]\w*)\s*:")
_SUBJECT = ("subject", "source", "head", "from", "entity1", "subj")
_OBJECT = ("object", "target", "tail", "to", "entity2", "obj")
_PREDICATE = ("predicate", "relation", "relationship", "type", "label", "edge", "rel")
_START = ("valid_from", "start", "since", "start_date", "created_at", "from_date")
_END = ("valid_to", "end", "until", "end_date", "ended_at", "to_date")
_QUOTE = ("quote", "evidence", "text", "span", "sentence")
_PASSAGES = ("passages", "results", "chunks", "extractions", "documents")
_RELATIONS = ("relations", "relationships", "edges", "triples", "facts")
_ENTITIES = ("entities", "nodes")


def read_answer(answer: Any, chunks: Mapping[str, Chunk], schema: GraphSchema) -> dict[str, Extraction]:
    """Turn an answer about labelled passages into extractions.

    Args:
        answer: Text, or values already parsed.
        chunks: Label in the prompt → chunk.
        schema: Types and predicates to map to; what it does not know is kept for verification to refuse.

    Returns:
        Label → extraction for the passages that the answer speaks of; empty where nothing could be read.
    """
    values = parse_json(answer) if isinstance(answer, str) else answer
    found: dict[str, Extraction] = {}
    labels = list(chunks)
    for position, passage in enumerate(_passages(values)):
        label = str(_first(passage, ("id", "passage_id", "passage", "label", "chunk_id")) or "")
        if label not in chunks:
            label = labels[position] if position < len(labels) and (not label or len(labels) == 1) else ""
        if label and label not in found:
            found[label] = _extraction(passage, chunks[label], schema)
    return found


def parse_json(text: str) -> Any:
    """Return the JSON value that a text contains, mended as far as possible; `None` where there is none."""
    fenced = _FENCE.search(text)
    for candidate in (text, fenced[1] if fenced else "", _outermost(text)):
        if not candidate.strip():
            continue
        for mended in (candidate, _TRAILING_COMMA.sub("", _BARE_KEY.sub(r'"\1":', candidate))):
            value = _loads(mended.strip())
            if isinstance(value, dict | list):
                return value
    return None


def _loads(text: str) -> Any:
    try:
        return json.loads(text, strict=False)
    except ValueError:
        pass
    try:
        return ast.literal_eval(text)  # single quotes, True and None: Python instead of JSON
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        pass
    return _loads_cut(text)


def _loads_cut(text: str) -> Any:
    """Read JSON that ends in the middle, as answers do that met their token limit: close what is open after the last complete value."""
    for end in _ends(text):
        closing = _open_brackets(text[:end])
        if closing is not None:
            try:
                return json.loads(text[:end] + closing, strict=False)
            except ValueError:
                continue
    return None


def _ends(text: str) -> Iterator[int]:
    yield len(text)
    closings = [match.end() for match in re.finditer(r"[}\]]", text)]
    yield from reversed(closings[-20:])


def _open_brackets(text: str) -> str | None:
    stack: list[str] = []
    quoted = escaped = False
    for character in text:
        if quoted:
            quoted = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            quoted = True
        elif character in "{[":
            stack.append("}" if character == "{" else "]")
        elif character in "}]" and (not stack or stack.pop() != character):
            return None
    return None if quoted else "".join(reversed(stack))


def _outermost(text: str) -> str:
    begin = min((place for place in (text.find("{"), text.find("[")) if place >= 0), default=-1)
    if begin < 0:
        return ""
    end = max(text.rfind("}"), text.rfind("]"))
    return text[begin : end + 1] if end > begin else text[begin:]


def _passages(values: Any) -> list[Mapping[str, Any]]:
    if isinstance(values, Mapping):
        inner = _first(values, _PASSAGES)
        if isinstance(inner, list):
            return [each for each in inner if isinstance(each, Mapping)]
        if isinstance(inner, Mapping):
            return [{"id": key, **each} for key, each in inner.items() if isinstance(each, Mapping)]
        if any(key in values for key in (*_RELATIONS, *_ENTITIES)):
            return [values]
        return [{"id": key, **each} for key, each in values.items() if isinstance(each, Mapping)]
    if isinstance(values, list):
        mappings = [each for each in values if isinstance(each, Mapping)]
        if any(_first(each, _SUBJECT) is not None and _first(each, _OBJECT) is not None for each in mappings):
            return [{"relations": mappings}]
        return mappings
    return []


def _extraction(passage: Mapping[str, Any], chunk: Chunk, schema: GraphSchema) -> Extraction:
    entities = [entity for each in _list(_first(passage, _ENTITIES)) if (entity := _entity(each, schema)) is not None]
    types = {entity.name.casefold(): entity.type for entity in entities if entity.type}
    relations = [relation for each in _list(_first(passage, _RELATIONS)) if (relation := _relation(each, chunk, schema, types)) is not None]
    return Extraction(chunk_id=chunk.id, entities=tuple(entities), relations=tuple(relations))


def _entity(value: Any, schema: GraphSchema) -> NamedEntity | None:
    if isinstance(value, str):
        return NamedEntity(name=value.strip()) if value.strip() else None
    if not isinstance(value, Mapping):
        return None
    name = _string(value, ("name", "entity", "text", "id"))
    if not name:
        return None
    node_type = _type(_string(value, ("type", "label", "category", "kind")), schema)
    stated = value.get("properties")
    properties = (
        {**stated} if isinstance(stated, Mapping) else {key: each for key, each in value.items() if key not in ("name", "type", "id")}
    )
    node = schema.node_type(node_type) if node_type else None
    known = {
        key: each
        for key, each in properties.items()
        if node and key in node.properties and isinstance(each, str | int | float) and each != ""
    }
    return NamedEntity(name=name, type=node_type, properties=known)


def _relation(value: Any, chunk: Chunk, schema: GraphSchema, types: Mapping[str, str]) -> Relation | None:
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 3 and all(isinstance(each, str) for each in value):
        value = dict(zip(("subject", "predicate", "object"), value, strict=True))
    if not isinstance(value, Mapping):
        return None
    subject, predicate, target = (_string(value, keys) for keys in (_SUBJECT, _PREDICATE, _OBJECT))
    if not (subject and predicate and target):
        return None
    notes: dict[str, Any] = {OBSERVED_AT: chunk.modified_at.isoformat()} if chunk.modified_at else {}
    start = _date(_string(value, _START), chunk, notes, FROM_PRECISION, end=False)
    end = _date(_string(value, _END), chunk, notes, TO_PRECISION, end=True)
    if start is not None and end is not None and end <= start:
        end = None
    declared = schema.predicate(predicate)
    stated = value.get("properties")
    allowed = declared.properties if declared else ()
    extra = {key: each for key, each in stated.items() if key in allowed} if isinstance(stated, Mapping) else {}
    return Relation(
        subject=subject,
        predicate=schema.predicate_name(predicate) or predicate,
        object=target,
        subject_type=_type(_string(value, ("subject_type", "source_type")), schema) or types.get(subject.casefold(), ""),
        object_type=_type(_string(value, ("object_type", "target_type")), schema) or types.get(target.casefold(), ""),
        valid_from=start,
        valid_to=end,
        properties={**extra, **notes},
        quote=_string(value, _QUOTE),
        confidence=_confidence(value.get("confidence")),
    )


def _date(text: str, chunk: Chunk, notes: dict[str, Any], key: str, *, end: bool) -> datetime | None:
    """Read a date of the answer and keep it only if the passage can have said it: models like to invent them."""
    found = find_dates(text, reference=chunk.modified_at, prefer="nearest") if text else []
    if not found:
        return None
    span = found[0]
    known_years = {chunk.modified_at.year - 1, chunk.modified_at.year, chunk.modified_at.year + 1} if chunk.modified_at else set()
    if str(span.start.year) not in chunk.index_text and span.start.year not in known_years:
        return None
    notes.update(unit_note(key, span))
    return span.end if end and key in notes else span.start


def _type(name: str, schema: GraphSchema) -> str:
    """The schema's spelling of a type; an unknown one is kept in open mode only, since it would rule out every edge."""
    node = schema.node_type(name) if name else None
    return node.name if node else name if schema.open else ""


def _confidence(value: Any) -> float:
    try:
        return min(1.0, max(0.0, float(value)))
    except (TypeError, ValueError):
        return 0.8


def _first(value: Mapping[str, Any], keys: Iterable[str]) -> Any:
    return next((value[key] for key in keys if value.get(key) not in (None, "")), None)


def _string(value: Mapping[str, Any], keys: Iterable[str]) -> str:
    found = _first(value, keys)
    return " ".join(str(found).split()) if isinstance(found, str | int | float) and not isinstance(found, bool) else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
