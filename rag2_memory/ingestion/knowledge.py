"""What the write path knows of knowledge: extract, verify, resolve names, assemble."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from itertools import groupby

from rag2_memory.knowledge.assembly import assemble
from rag2_memory.knowledge.extraction import PatternExtractor, names_in
from rag2_memory.knowledge.llm_extraction import CachingExtractor
from rag2_memory.knowledge.schema import GraphSchema
from rag2_memory.protocols import Extractor
from rag2_memory.records import Extraction, Knowledge
from rag2_memory.tiers.base import RegistryTier
from rag2_memory.types import Chunk

NamespaceTypes = Callable[[str, Collection[str]], Mapping[str, str]]
"""Given a namespace and normalised names, returns the node types of those that its graph knows."""


@dataclass(slots=True)
class ReadKnowledge:
    """Turns chunks into entities, mentions and edges with an extractor, or into names alone without one."""

    schema: GraphSchema
    extractor: Extractor | None
    types: NamespaceTypes | None = None
    """Gazetteer of an extractor that reads by patterns."""
    _prepared: dict[str, Extraction] = field(default_factory=dict)
    """By chunk id, of the latest batch."""
    _typed: dict[tuple[str, str], str | None] = field(default_factory=dict)
    """What the gazetteer said of the names of the latest batch, by namespace and normalised name."""

    def __call__(self, chunks: Sequence[Chunk], *, namespace: str, recorded_at: datetime) -> Knowledge:
        """Return what the chunks state, verified against schema and text."""
        if self.extractor is None:
            extractions: Sequence[Extraction] = [Extraction(chunk_id=chunk.id) for chunk in chunks]
        elif all(chunk.id in self._prepared for chunk in chunks):
            extractions = [self._prepared[chunk.id] for chunk in chunks]
        else:
            extractions = self._for(namespace, self.extractor).extract(chunks)
        knowledge = assemble(extractions, chunks, self.schema, namespace=namespace, recorded_at=recorded_at)
        return replace(knowledge, extractor=self.name)

    @property
    def name(self) -> str:
        """Name of the extractor; empty where there is none."""
        return self.extractor.name if self.extractor is not None else ""

    def prepare(self, chunks: Sequence[Chunk]) -> None:
        """Do at once for a batch of documents what would take longer one by one: model calls side by side, one look at the gazetteer."""
        self._prepared.clear()
        self._typed.clear()
        if isinstance(self.extractor, CachingExtractor) and chunks:
            self._prepared.update((extraction.chunk_id, extraction) for extraction in self.extractor.extract(chunks))
        elif isinstance(self.extractor, PatternExtractor) and self.types is not None:
            for namespace, group in groupby(chunks, key=lambda chunk: chunk.namespace):
                self._types_of(namespace, names_in(group))

    def _for(self, namespace: str, extractor: Extractor) -> Extractor:
        if isinstance(extractor, PatternExtractor) and self.types is not None:
            return extractor.knowing(partial(self._types_of, namespace))
        return extractor

    def _types_of(self, namespace: str, names: Collection[str]) -> dict[str, str]:
        """Ask the gazetteer about names, once per batch each: in between nothing is written."""
        assert self.types is not None
        missing = [name for name in names if (namespace, name) not in self._typed]
        if missing:
            found = self.types(namespace, missing)
            self._typed.update(((namespace, name), found.get(name)) for name in missing)
        return {name: node_type for name in names if (node_type := self._typed[namespace, name])}


@dataclass(frozen=True, slots=True)
class KeptAnswers:
    """The registry as an extraction cache: answers outlive the process, and go with the chunks that they are about."""

    registry: RegistryTier

    def get(self, chunk_id: str, extractor: str) -> str | None:
        """Return what was put, or `None`."""
        return self.registry.kept_answer(chunk_id, extractor)

    def put(self, chunk_id: str, extractor: str, payload: str) -> None:
        """Store an answer durably."""
        self.registry.keep_answer(chunk_id, extractor, payload)


def durable(extractor: Extractor | None, registry: RegistryTier) -> Extractor | None:
    """Return an extractor whose answers, where it keeps any, are kept in the registry."""
    return extractor.cached_in(KeptAnswers(registry)) if isinstance(extractor, CachingExtractor) else extractor
