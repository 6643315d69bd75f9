"""What the write path knows of knowledge: extract, verify, resolve names, assemble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from rag2_memory.knowledge.assembly import assemble
from rag2_memory.knowledge.schema import GraphSchema
from rag2_memory.protocols import Extractor
from rag2_memory.records import Extraction, Knowledge
from rag2_memory.types import Chunk


@dataclass(frozen=True, slots=True)
class ReadKnowledge:
    """Turns chunks into entities, mentions and edges with an extractor, or into names alone without one."""

    schema: GraphSchema
    extractor: Extractor | None

    def __call__(self, chunks: Sequence[Chunk], *, namespace: str, recorded_at: datetime) -> Knowledge:
        """Return what the chunks state, verified against schema and text."""
        if self.extractor is None:
            extractions: Sequence[Extraction] = [Extraction(chunk_id=chunk.id) for chunk in chunks]
        else:
            extractions = self.extractor.extract(chunks)
        return assemble(extractions, chunks, self.schema, namespace=namespace, recorded_at=recorded_at)
