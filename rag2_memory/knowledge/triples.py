"""Triples that were extracted elsewhere, served as extractions: nothing is read, nothing is asked, only verified when assembled."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rag2_memory.errors import InvalidRequestError
from rag2_memory.knowledge.mentions import normalize_name
from rag2_memory.records import Extraction, NamedEntity, Relation
from rag2_memory.types import Chunk, utc

_REQUIRED = ("passage_id", "subject", "predicate", "object")
_OPTIONAL = ("valid_from", "valid_to", "subject_type", "object_type", "quote", "confidence", "properties")


class TripleExtractor:
    """Serves given triples for the chunks of the passages (documents) that they were read from.

    A triple goes to each chunk of its document that names both ends, or to all of them if none does; verification then says why. Predicates are
    phrases as a rule, so assemble with an open schema: `DEFAULT_SCHEMA.extended(open=True)`.

    Args:
        triples: Mappings with `passage_id`, `subject`, `predicate`, `object`, and optionally `valid_from`, `valid_to` (ISO 8601),
            `subject_type`, `object_type`, `quote`, `confidence`, `properties`; or the path of a JSON Lines file of such.

    Raises:
        InvalidRequestError: If the file cannot be read or a triple lacks a field.
    """

    def __init__(self, triples: Iterable[Mapping[str, Any]] | str | Path) -> None:
        rows = _read(Path(triples)) if isinstance(triples, str | Path) else triples
        self._relations: dict[str, list[Relation]] = defaultdict(list)
        digest = hashlib.blake2b(digest_size=8)
        for number, row in enumerate(rows, start=1):
            relation = _relation(row, number)
            self._relations[str(row["passage_id"])].append(relation)
            digest.update(repr((row["passage_id"], relation)).encode())
        self._name = f"triples-{digest.hexdigest()}"

    @property
    def name(self) -> str:
        """Identifies the triples by their content."""
        return self._name

    def extract(self, chunks: Sequence[Chunk]) -> list[Extraction]:
        """Return one extraction per chunk, in the order given."""
        texts = {chunk.id: f" {normalize_name(chunk.index_text)} " for chunk in chunks}
        documents: dict[str, list[str]] = defaultdict(list)
        for chunk in chunks:
            documents[chunk.document_id].append(chunk.id)
        found: dict[str, list[Relation]] = defaultdict(list)
        for document_id, chunk_ids in documents.items():
            for relation in self._relations.get(document_id, ()):
                ends = [f" {normalize_name(name)} " for name in (relation.subject, relation.object)]
                naming = [chunk_id for chunk_id in chunk_ids if all(end in texts[chunk_id] for end in ends)]
                for chunk_id in naming or chunk_ids:
                    found[chunk_id].append(relation)
        return [
            Extraction(chunk_id=chunk.id, entities=tuple(_entities(found[chunk.id])), relations=tuple(found[chunk.id])) for chunk in chunks
        ]


def _entities(relations: Iterable[Relation]) -> Iterable[NamedEntity]:
    for relation in relations:
        yield NamedEntity(name=relation.subject, type=relation.subject_type)
        yield NamedEntity(name=relation.object, type=relation.object_type)


def _read(path: Path) -> Iterable[Mapping[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as exc:
        raise InvalidRequestError(f"cannot read the triples in {str(path)!r}: {exc.strerror or exc}.") from exc
    rows = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except ValueError as exc:
                raise InvalidRequestError(f"line {number} of {str(path)!r} is not JSON: {exc}.") from exc
    return rows


def _relation(row: Any, number: int) -> Relation:
    if not isinstance(row, Mapping):
        raise InvalidRequestError(f"triple {number} is a {type(row).__name__}; needed an object with {', '.join(_REQUIRED)}.")
    missing = [key for key in _REQUIRED if not isinstance(row.get(key), str) or not row[key].strip()]
    if missing:
        raise InvalidRequestError(f"triple {number} lacks {', '.join(missing)}; needed non-empty strings for {', '.join(_REQUIRED)}.")
    given = {key: row[key] for key in _OPTIONAL if row.get(key) is not None}
    for key in ("valid_from", "valid_to"):
        if key in given:
            given[key] = utc(given[key])
    return Relation(subject=row["subject"].strip(), predicate=row["predicate"].strip(), object=row["object"].strip(), **given)
