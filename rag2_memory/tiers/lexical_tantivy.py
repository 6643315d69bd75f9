"""BM25 search on disk by tantivy: incremental, durable, one small index per namespace."""

from __future__ import annotations

import hashlib
import re
import shutil
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import tantivy

from rag2_memory.errors import BackendUnavailableError, CorruptIndexError, InvalidRequestError, Rag2MemoryError
from rag2_memory.records import LexicalDocument
from rag2_memory.tiers.analysis import Analyzer, lexical_digest
from rag2_memory.tiers.base import FilteringLexicalTier, LexicalField
from rag2_memory.tiers.lexical_ids import add_columns, add_id, ids_at, stored_id
from rag2_memory.types import Hit

WRITER_HEAP_BYTES = 30_000_000
"""Memory of the one indexing thread before it flushes a segment; tantivy refuses less than 15 MB."""

MAX_OPEN_INDEXES = 32
"""Namespaces kept open on disk. Each costs a thread that watches its folder; opening one takes 0.2 ms."""

MAX_QUERY_TERMS = 96
"""Longer queries keep their rarest terms: frequent ones hardly change a ranking and cost the most."""

TIE_MARGIN = 64
"""Extra hits fetched to see whether the k-th shares its score with later ones: a second search takes as long as the first."""

OVERFETCH = 1.3
"""Hits asked for per hit expected, where others are passed over."""

SCORE_DIGITS = 5
"""Scores are sums of 32-bit floats in an order that varies; equal ones agree in this many significant digits."""

_SCORE_FORMAT = f".{SCORE_DIGITS}g"

PAGE = 10_000

_ENVIRONMENT = re.compile(r"os error|\bOs \{|\bLock|\bthread\b")
"""What tantivy says where the disk, a permission or another writer is at fault; everything else that it raises is about its files."""


class TantivyLexicalTier(FilteringLexicalTier):
    """One index per namespace, so that no namespace's documents touch the statistics, and thus the ranking, of another.

    Scores are BM25 with k1 = 1.2, b = 0.75 and idf = ln(1 + (N - n + 0.5) / (n + 0.5)); lengths above 40 terms are stored in steps of at most
    one eighth. Deleted documents count towards N and n until tantivy merges their segment; until then their terms also stay on disk, and
    `clear` and indexing anew remove them at once. Each call that writes ends with one commit per namespace it touches (about 10 ms).

    Args:
        path: Folder of the index, created where absent; `None` keeps it in memory.
        language: Passed to `Analyzer`.
        analyzer: Used instead of one for `language`. Documents indexed by another analyser report digests that differ from `lexical_digest`.

    Raises:
        CorruptIndexError: If an index under `path` cannot be read.
    """

    keeps_deleted_terms = True

    def __init__(self, path: Path | str | None, *, language: str = "english", analyzer: Analyzer | None = None) -> None:
        self.analyzer = analyzer or Analyzer(language)
        self._mark = hashlib.blake2b(self.analyzer.name.encode(), digest_size=4).digest()
        self._path = None if path is None else Path(path)
        self._schema = _schema()
        self._open: OrderedDict[str, tantivy.Index] = OrderedDict()
        self._lock = threading.RLock()  # guards _open
        self._write_lock = threading.Lock()
        for _ in self._indexes():  # what cannot be read shows here
            pass

    def upsert(self, documents: Sequence[LexicalDocument]) -> None:
        """See `LexicalTier.upsert`. An id belongs to one namespace for good."""
        by_namespace: defaultdict[str, dict[str, LexicalDocument]] = defaultdict(dict)
        for document in documents:
            by_namespace[_folder(document.namespace)][document.id] = document
        for folder, latest in by_namespace.items():
            prepared = [(document.id, self._indexed(document)) for document in latest.values()]
            with self._writing(folder) as writer:
                for document_id, fields in prepared:
                    writer.delete_documents_by_term("id", document_id)
                    writer.add_document(fields)

    def delete(self, ids: Sequence[str]) -> None:
        """See `LexicalTier.delete`."""
        for folder, digests in self._holding(ids):
            with self._writing(folder) as writer:
                for document_id in digests:
                    writer.delete_documents_by_term("id", document_id)

    def search(self, query: str, *, k: int, namespace: str, field: LexicalField = "text") -> list[Hit]:
        """See `LexicalTier.search`."""
        return self._ranked(query, k=k, namespace=namespace, field=field, among=None)

    def search_among(self, query: str, *, ids: Collection[str], k: int, namespace: str, field: LexicalField = "text") -> list[Hit]:
        """See `FilteringLexicalTier.search_among`."""
        return self._ranked(query, k=k, namespace=namespace, field=field, among=ids)

    def _ranked(self, query: str, *, k: int, namespace: str, field: LexicalField, among: Collection[str] | None) -> list[Hit]:
        if k < 1:
            raise InvalidRequestError(f"got k={k}; needed at least 1 hit.")
        index = self._index(_folder(namespace))
        weights = self.analyzer.query(query)
        if index is None or not weights:
            return []
        with _translated():
            searcher = index.searcher()
            wanted = tantivy.Query.boolean_query(self._clauses(_rarest(weights, searcher, field), field))
            scored = _passed_over(searcher, wanted, among, k) if among is not None else None
            if scored is None:
                hits = _first(searcher, wanted if among is None else self._narrowed(wanted, among), k)
                scored = _named(searcher, hits)
        return sorted(scored, key=lambda hit: (-hit.score, hit.id))[:k]

    def ids(self) -> Iterator[str]:
        """See `LexicalTier.ids`."""
        for _, index in self._indexes():
            searcher = index.searcher()
            for offset in range(0, searcher.num_docs, PAGE):
                with _translated():
                    hits = searcher.search(tantivy.Query.all_query(), limit=PAGE, offset=offset, count=False).hits
                    page = ids_at(searcher, [address for _, address in hits])
                yield from page

    def digests(self, ids: Sequence[str]) -> Mapping[str, str]:
        """See `LexicalTier.digests`."""
        return {key: digest for _, found in self._holding(ids) for key, digest in found.items()}

    def document_frequency(self, term: str, *, namespace: str) -> int:
        """See `LexicalTier.document_frequency`."""
        index = self._index(_folder(namespace))
        if index is None:
            return 0
        with _translated():
            return index.searcher().doc_freq("text", term)

    def clear(self) -> None:
        """See `LexicalTier.clear`."""
        with self._write_lock, self._lock:
            self._open.clear()
            if self._path is not None:
                try:
                    shutil.rmtree(self._path)
                except FileNotFoundError:
                    return
                except OSError as exc:
                    raise BackendUnavailableError(f"the lexical index at {str(self._path)!r} cannot be removed: {exc}.") from exc

    def close(self) -> None:
        """See `LexicalTier.close`."""
        with self._write_lock, self._lock:
            self._open.clear()

    def _indexed(self, document: LexicalDocument) -> tantivy.Document:
        fields = tantivy.Document()
        add_id(fields, document.id)
        fields.add_bytes("digest", bytes.fromhex(lexical_digest(document)) + self._mark)  # stored small: hits are read by the block
        fields.add_text("text", " ".join(self.analyzer.terms(document.text)))
        if document.window:
            fields.add_text("window", " ".join(self.analyzer.terms(document.window)))
        return fields

    def _clauses(self, terms: Mapping[str, float], field: str) -> list[tuple[tantivy.Occur, tantivy.Query]]:
        queries = ((tantivy.Query.term_query(self._schema, field, term, index_option="freq"), weight) for term, weight in terms.items())
        return [(tantivy.Occur.Should, query if weight == 1.0 else tantivy.Query.boost_query(query, weight)) for query, weight in queries]

    def _narrowed(self, query: tantivy.Query, among: Collection[str]) -> tantivy.Query:
        """Have a query match only these ids, at the scores that it gives."""
        chosen = tantivy.Query.const_score_query(tantivy.Query.term_set_query(self._schema, "id", list(among)), 0.0)
        return tantivy.Query.boolean_query([(tantivy.Occur.Must, query), (tantivy.Occur.Must, chosen)])

    def _holding(self, ids: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
        """Yield the folders whose index holds some of the ids, each with the digests of those it holds."""
        wanted = list(dict.fromkeys(ids))
        if not wanted:
            return
        query = tantivy.Query.term_set_query(self._schema, "id", wanted)
        for folder, index in self._indexes():
            with _translated():
                searcher = index.searcher()
                hits = searcher.search(query, limit=len(wanted), count=False).hits
                documents = [searcher.doc(address) for _, address in hits]
                found = {stored_id(document): self._digest(document) for document in documents}
            if found:
                yield folder, found

    def _digest(self, document: tantivy.Document) -> str:
        stored = bytes(document.get_first("digest") or b"")
        digest, mark = stored[: -len(self._mark)].hex(), stored[-len(self._mark) :]
        return digest if mark == self._mark else f"{digest} by another analyser"

    def _indexes(self) -> Iterator[tuple[str, tantivy.Index]]:
        with self._lock:
            folders = sorted(self._open) if self._path is None else sorted(path.parent.name for path in self._path.glob("*/meta.json"))
        for folder in folders:
            if (index := self._index(folder)) is not None:
                yield folder, index

    def _index(self, folder: str, *, create: bool = False) -> tantivy.Index | None:
        with self._lock:
            index = self._open.get(folder) or self._opened(folder, create=create)
            if index is not None:
                self._open[folder] = index
                self._open.move_to_end(folder)
                while self._path is not None and len(self._open) > MAX_OPEN_INDEXES:
                    self._open.popitem(last=False)
            return index

    def _opened(self, folder: str, *, create: bool) -> tantivy.Index | None:
        if self._path is None:
            return tantivy.Index(self._schema) if create else None
        path = self._path / folder
        if not create and not (path / "meta.json").exists():
            return None
        with _translated():
            path.mkdir(parents=True, exist_ok=True)
            return tantivy.Index(self._schema, path=str(path))

    @contextmanager
    def _writing(self, folder: str) -> Iterator[tantivy.IndexWriter]:
        """Hold a writer for one commit. Waiting for its merges here bounds the segments and leaves no thread behind."""
        with self._write_lock:
            index = cast(tantivy.Index, self._index(folder, create=True))
            with _translated():
                writer = index.writer(heap_size=WRITER_HEAP_BYTES, num_threads=1)
                yield writer
                writer.commit()
                writer.wait_merging_threads()
                index.reload()


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("id", stored=True, tokenizer_name="raw", index_option="basic")
    add_columns(builder)
    builder.add_bytes_field("digest", stored=True)
    for name in ("text", "window"):
        builder.add_text_field(name, tokenizer_name="whitespace", index_option="freq")
    return builder.build()


def _folder(namespace: str) -> str:
    """Return a folder name that any namespace may have on any file system."""
    return hashlib.blake2b(namespace.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _rarest(weights: Mapping[str, float], searcher: tantivy.Searcher, field: str) -> dict[str, float]:
    """Return the terms; where there are more than MAX_QUERY_TERMS, the rarest of those that some document holds."""
    if len(weights) <= MAX_QUERY_TERMS:
        return dict(weights)
    frequencies = {term: searcher.doc_freq(field, term) for term in weights}
    known = sorted((term for term, frequency in frequencies.items() if frequency), key=lambda term: (frequencies[term], term))
    return {term: weights[term] for term in known[:MAX_QUERY_TERMS]}


def _first(searcher: tantivy.Searcher, query: tantivy.Query, k: int) -> list[tuple[float, tantivy.DocAddress]]:
    """Return the k best and all that share the k-th score."""
    limit = k + TIE_MARGIN
    while True:
        limit = min(limit, max(1, searcher.num_docs))
        hits = [(_rounded(score), address) for score, address in searcher.search(query, limit=limit, count=False).hits]
        if len(hits) < limit or limit == searcher.num_docs or hits[-1][0] < hits[k - 1][0]:
            return [hit for hit in hits if len(hits) <= k or hit[0] >= hits[k - 1][0]]
        limit *= 4


def _passed_over(searcher: tantivy.Searcher, query: tantivy.Query, among: Collection[str], k: int) -> list[Hit] | None:
    """Return the k best of some ids, and what shares the k-th score, by passing over all others; `None` where narrowing the query is faster:
    where fewer ids are chosen than hits would be passed over."""
    if not among:
        return []
    limit = int(OVERFETCH * k * searcher.num_docs / len(among)) + TIE_MARGIN
    if limit > len(among):
        return None
    found = searcher.search(query, limit=min(limit, max(1, searcher.num_docs)), count=False).hits
    chosen, kept = frozenset(among), list[Hit]()
    for hit in _named(searcher, [(_rounded(score), address) for score, address in found]):
        if len(kept) >= k and hit.score < kept[k - 1].score:
            return kept
        if hit.id in chosen:
            kept.append(hit)
    return kept if len(found) < limit else None


def _rounded(score: float) -> float:
    return float(format(score, _SCORE_FORMAT))


def _named(searcher: tantivy.Searcher, hits: Sequence[tuple[float, tantivy.DocAddress]]) -> list[Hit]:
    ids = ids_at(searcher, [address for _, address in hits])
    return [Hit(document_id, score) for document_id, (score, _) in zip(ids, hits, strict=True)]


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what tantivy raises (ValueError mostly; a panic is a BaseException) into this library's errors."""
    try:
        yield
    except Rag2MemoryError:
        raise
    except (ValueError, RuntimeError, OSError) as exc:
        raise _failure(exc) from exc
    except BaseException as exc:
        if type(exc).__name__ != "PanicException":
            raise
        raise CorruptIndexError(tier="lexical", problem=f"tantivy panicked: {exc}") from exc


def _failure(exc: Exception) -> BackendUnavailableError:
    said = str(exc)[:200]  # what follows is the content of the file
    if isinstance(exc, OSError) or _ENVIRONMENT.search(said):
        return BackendUnavailableError(f"tantivy failed: {said}. Check the disk and the folder's permissions, then call memory.repair().")
    return CorruptIndexError(tier="lexical", problem=said)
