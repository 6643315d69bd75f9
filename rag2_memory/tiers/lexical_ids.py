"""Document ids in columns of a tantivy index, so that those of all hits are read at once.

A stored document gives its id as well, but every reading of one lets other threads take the interpreter: a hundred hits then wait a hundred times where
another thread is at work.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tantivy

WORD_BYTES = 8

COLUMNS = tuple(f"id{at}" for at in range(5))
"""Unsigned 64-bit columns; together they hold ids of up to 40 bytes. Longer ones stand in the stored document only."""

_LONGEST = WORD_BYTES * len(COLUMNS)


def add_columns(builder: tantivy.SchemaBuilder) -> None:
    """Add the columns to a schema that stores the field `id`."""
    for name in COLUMNS:
        builder.add_unsigned_field(name, fast=True)


def add_id(fields: tantivy.Document, document_id: str) -> None:
    """Store an id, and write it into the columns where it fits."""
    fields.add_text("id", document_id)
    raw = document_id.encode()
    if len(raw) <= _LONGEST and b"\0" not in raw:
        for name, word in zip(COLUMNS, np.frombuffer(raw.ljust(_LONGEST, b"\0"), dtype=">u8").tolist(), strict=True):
            fields.add_unsigned(name, word)


def ids_at(searcher: tantivy.Searcher, addresses: Sequence[tantivy.DocAddress]) -> list[str]:
    """Return the ids of documents, in the order of their addresses."""
    places = list(addresses)
    words = [searcher.fast_field_values(name, places) for name in COLUMNS]
    fitting = [at for at, word in enumerate(words[0]) if word is not None]
    rows = np.array([[column[at] for column in words] for at in fitting], dtype=np.uint64).reshape(-1, len(COLUMNS)).astype(">u8")
    found = dict(zip(fitting, rows.view(f"S{_LONGEST}").ravel().tolist(), strict=True))
    return [found[at].decode() if at in found else stored_id(searcher.doc(address)) for at, address in enumerate(places)]


def stored_id(document: tantivy.Document) -> str:
    """Return the id that a stored document holds."""
    return str(document.get_first("id"))
