"""The knowledge pipeline: segment → extract → identify relations → verify → assemble → resolve, each step a function that can be replaced.

Segmenting happens before (chunks come in), resolving after (its decisions are rows of their own, made over the whole namespace).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from rag2_memory.knowledge.assembly import NameStep, assemble, name_entities
from rag2_memory.knowledge.extraction import PatternExtractor
from rag2_memory.knowledge.mentions import normalize_name
from rag2_memory.knowledge.schema import DEFAULT_SCHEMA, GraphSchema
from rag2_memory.knowledge.verification import VerifyStep, verify_relation
from rag2_memory.protocols import Extractor
from rag2_memory.records import Extraction, Knowledge, NamedEntity, Relation
from rag2_memory.types import Chunk

EntityStep = Callable[[Chunk], Iterable[NamedEntity]]
"""Finds the entities of a chunk, for instance with a trained recogniser."""
RelationStep = Callable[[Chunk, Sequence[NamedEntity]], Iterable[Relation]]
"""Finds the relations among the entities of a chunk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowledgePipeline:
    """Turns chunks of one namespace into what the registry writes."""

    schema: GraphSchema = DEFAULT_SCHEMA
    extractor: Extractor = field(default_factory=PatternExtractor)
    names: NameStep = name_entities
    verify: VerifyStep = verify_relation

    def __call__(self, chunks: Sequence[Chunk], *, namespace: str, recorded_at: datetime) -> Knowledge:
        """Extract, verify and assemble."""
        extractions = self.extractor.extract(chunks)
        return assemble(
            extractions, chunks, self.schema, namespace=namespace, recorded_at=recorded_at, names=self.names, verify=self.verify
        )


class StepwiseExtractor:
    """An extractor made of two functions: one finds entities, the other relations among them.

    Args:
        name: Identifies the two with their settings.
        entities: The first step.
        relations: The second step; by default the sentence patterns, told what the first step has typed.
        schema: For the default second step.
    """

    def __init__(
        self, name: str, *, entities: EntityStep, relations: RelationStep | None = None, schema: GraphSchema = DEFAULT_SCHEMA
    ) -> None:
        self._name, self._entities = name, entities
        self._relations = relations if relations is not None else pattern_relations(schema)

    @property
    def name(self) -> str:
        """As given."""
        return self._name

    def extract(self, chunks: Sequence[Chunk]) -> list[Extraction]:
        """Return one extraction per chunk, in the order given."""
        extractions = []
        for chunk in chunks:
            entities = tuple(self._entities(chunk))
            extractions.append(Extraction(chunk_id=chunk.id, entities=entities, relations=tuple(self._relations(chunk, entities))))
        return extractions


def pattern_relations(schema: GraphSchema = DEFAULT_SCHEMA) -> RelationStep:
    """Return the sentence patterns as a relation step that trusts the types of the entities it is given."""

    def relations(chunk: Chunk, entities: Sequence[NamedEntity]) -> tuple[Relation, ...]:
        types = {normalize_name(entity.name): entity.type for entity in entities}

        def gazetteer(keys: Sequence[str]) -> Mapping[str, str]:
            return {key: types[key] for key in keys if key in types}

        return PatternExtractor(schema=schema, gazetteer=gazetteer).extract([chunk])[0].relations

    return relations
