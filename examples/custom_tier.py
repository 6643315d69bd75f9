"""A tier of one's own: keyword search on SQLite's FTS5, plugged into a memory. Its contract suite runs in tests/examples."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence

from rag2_memory import Document, InvalidRequestError, Memory
from rag2_memory.records import LexicalDocument
from rag2_memory.tiers.analysis import Analyzer, lexical_digest
from rag2_memory.tiers.base import LexicalField, LexicalTier
from rag2_memory.types import Hit


class Fts5LexicalTier(LexicalTier):
    """Searches words that the library's analyser made, so that stemming and identifiers behave as in the default tier."""

    def __init__(self, path: str = ":memory:") -> None:
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._terms = Analyzer().terms
        self._db.execute(
            "CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(id UNINDEXED, namespace UNINDEXED, digest UNINDEXED, text, window)"
        )

    def upsert(self, documents: Sequence[LexicalDocument]) -> None:
        self.delete([document.id for document in documents])
        latest = {document.id: document for document in documents}.values()
        rows = [(d.id, d.namespace, lexical_digest(d), _hexed(self._terms(d.text)), _hexed(self._terms(d.window))) for d in latest]
        self._db.executemany("INSERT INTO words VALUES (?, ?, ?, ?, ?)", rows)

    def delete(self, ids: Sequence[str]) -> None:
        self._db.executemany("DELETE FROM words WHERE id = ?", [(name,) for name in ids])

    def search(self, query: str, *, k: int, namespace: str, field: LexicalField = "text") -> list[Hit]:
        if k < 1:
            raise InvalidRequestError(f"got k={k}; needed at least 1.")
        terms = sorted({f'{field}:"{term}"' for term in _hexed(self._terms(query)).split()})
        found = "SELECT id, -bm25(words) FROM words WHERE words MATCH ? AND namespace = ? ORDER BY bm25(words), id LIMIT ?"
        return [Hit(*row) for row in self._db.execute(found, (" OR ".join(terms), namespace, k))] if terms else []

    def ids(self) -> Iterator[str]:
        yield from [row[0] for row in self._db.execute("SELECT id FROM words")]

    def digests(self, ids: Sequence[str]) -> Mapping[str, str]:
        return {name: digest for name, digest in self._db.execute("SELECT id, digest FROM words") if name in set(ids)}

    def document_frequency(self, term: str, *, namespace: str) -> int:
        matching = "SELECT count(*) FROM words WHERE words MATCH ? AND namespace = ?"
        return int(self._db.execute(matching, (f'text:"{_hexed([term])}"', namespace)).fetchone()[0])

    def clear(self) -> None:
        self._db.execute("DELETE FROM words")

    def close(self) -> None:
        self._db.close()


def _hexed(terms: Sequence[str]) -> str:
    """Write terms as FTS5 takes them whole: in letters and digits only."""
    return " ".join(term.encode().hex() for term in terms)


if __name__ == "__main__":
    with Memory.in_memory(lexical=Fts5LexicalTier()) as memory:
        memory.ingest(
            [Document(id="spec", text="The logger X-402-V2 calls sys_init_v2 twice."), Document(id="tea", text="Tea is at four.")]
        )
        for passage in memory.search("X-402-V2", k=1, route="lexical"):
            print(passage.document_id, passage.text)
