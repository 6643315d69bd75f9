"""Chunks and readings for the knowledge tests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest

from rag2_memory.knowledge.extraction import PatternExtractor
from rag2_memory.records import Relation
from rag2_memory.types import Chunk, utc

NOW = datetime(2026, 6, 20, 12, tzinfo=timezone.utc)

MakeChunk = Callable[..., Chunk]
Read = Callable[..., list[Relation]]


def make_chunk(text: str, **fields: Any) -> Chunk:
    """A chunk with what a test does not care about filled in."""
    fields.setdefault("title", "")
    fields.setdefault("heading_path", ())
    fields.setdefault("modified_at", "2026-06-01")
    modified = fields.pop("modified_at")
    chunk_id = fields.pop("id", f"{fields['title']}|{text}")
    return Chunk(
        id=chunk_id,
        document_key=fields.pop("document_id", "doc"),
        document_id="doc",
        namespace="default",
        parent_id="parent",
        text=text,
        tokens=max(1, len(text) // 4),
        ordinal=fields.pop("ordinal", 0),
        start=0,
        end=len(text),
        modified_at=utc(modified) if modified else None,
        **fields,
    )


@pytest.fixture
def chunk() -> MakeChunk:
    """Makes chunks."""
    return make_chunk


@pytest.fixture
def read() -> Read:
    """Reads one chunk with the patterns and returns its relations."""
    extractor = PatternExtractor()

    def read_text(text: str, **fields: Any) -> list[Relation]:
        return list(extractor.extract([make_chunk(text, **fields)])[0].relations)

    return read_text


@pytest.fixture
def now() -> datetime:
    """The moment at which questions are asked."""
    return NOW
