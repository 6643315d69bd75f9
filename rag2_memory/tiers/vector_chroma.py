"""Dense search by Chroma: embedded on disk or in memory, or a Chroma server; ids and vectors only."""

from __future__ import annotations

import hashlib
import re
import shutil
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import httpx
import numpy as np
from chromadb import PersistentClient
from chromadb.api import ServerAPI
from chromadb.api.collection_configuration import CreateCollectionConfiguration
from chromadb.api.models.Collection import Collection as ChromaCollection
from chromadb.config import Settings, System
from chromadb.errors import ChromaError, InvalidArgumentError, NotFoundError
from numpy.typing import NDArray

from rag2_memory.errors import BackendUnavailableError, CorruptIndexError, InvalidRequestError, Rag2MemoryError
from rag2_memory.tiers.base import VectorSpace, VectorTier
from rag2_memory.tiers.vector_copies import SCORE_DECIMALS, Copies, CopySketch, Selection, VectorCache, best_hits
from rag2_memory.types import Hit

EF_SEARCH = 400
"""Candidates that HNSW keeps while searching. Of the true 100 nearest among 50,000 MiniLM vectors it finds 99.4 % (100: 93.8 %,
200: 98.1 %, 300: 99.0 %) for 2 ms more than Chroma's 100. Chroma ignores later changes: it holds from a collection's creation."""

MAX_NEIGHBORS = 16
EF_CONSTRUCTION = 100
"""Chroma's defaults. 24 and 150 reach the same recall with EF_SEARCH = 200 and take half as long again to build."""

SYNC_THRESHOLD = 1_000
"""Writes between two saves of the HNSW graph. Chroma replays the unsaved ones when it opens: 10,000 of them take 10 s."""

READ_ATTEMPTS = 20
"""How often a read is tried that deletions disturb, which is rare even beside a writer that does nothing else."""

WRITE_BATCH = 500
READ_BATCH = 2_000
MAX_RESULTS = 20_000
"""Chroma passes ids to SQLite as variables, which it allows 32,766 of."""

TIE_MARGIN = 16
"""Extra hits fetched to see whether the k-th shares its score with later ones."""

VECTOR_CACHE_BYTES = 64 * 1024 * 1024
"""Vectors kept in memory for `among`: Chroma takes 35 µs to hand one out, and small scopes ask for the same ones again."""

MAX_ABSENT = 10_000
"""Names known to have no collection, so that searching them costs nothing; bounded, for callers may ask for any namespace."""

T = TypeVar("T")

_PREFIX = "rag2-"
_COPIES = "-copies"
_MARKER = "writing"

_DAMAGE = re.compile(r"not a database|malformed|hnsw|pickle|corrupt", re.IGNORECASE)
"""What Chroma and SQLite say of files that they cannot read."""


class _InMemoryClient:
    """A Chroma of its own in memory. `EphemeralClient` would share one with everybody in the process and never free it."""

    def __init__(self) -> None:
        self._system = System(Settings(anonymized_telemetry=False))
        self._api = self._system.instance(ServerAPI)  # type: ignore[type-abstract]  # Chroma looks the implementation up
        self._system.start()

    def get_or_create_collection(self, name: str, *, configuration: CreateCollectionConfiguration, **_: None) -> ChromaCollection:
        return ChromaCollection(client=self._api, model=self._api.get_or_create_collection(name, configuration=configuration))

    def get_collection(self, name: str, **_: None) -> ChromaCollection:
        return ChromaCollection(client=self._api, model=self._api.get_collection(name))

    def close(self) -> None:
        self._system.stop()


class ChromaVectorTier(VectorTier):
    """One cosine HNSW collection per namespace and space, made on first use.

    `search` is approximate (see EF_SEARCH), its scores are exact; with `among` it is exact. Identical vectors beyond MAX_COPIES in one session
    go to a second collection that is compared one by one. Where HNSW returns fewer hits than there are, every vector is compared instead.

    Chroma saves an HNSW graph by writing over it. A process killed in that moment (60 ms per SYNC_THRESHOLD writes at 50,000 vectors) leaves
    files that can crash the next one, so a folder in that state is not opened.

    Args:
        path: Folder of the index, created where absent; `None` keeps it in memory. One process at a time.
        dimensions: Length of every vector.
        client: A Chroma client to use instead, such as `chromadb.HttpClient(…)`; it stays open on `close`.
        ef_search: See EF_SEARCH.

    Raises:
        CorruptIndexError: If the folder cannot be read, or its writer was killed while it saved.
    """

    def __init__(self, path: Path | str | None = None, *, dimensions: int, client: Any = None, ef_search: int = EF_SEARCH) -> None:
        if dimensions < 1:
            raise InvalidRequestError(f"got dimensions={dimensions}; needed at least 1.")
        if path is not None and client is not None:
            raise InvalidRequestError("got both path and client; needed one of them, or neither for an index in memory.")
        self._path = None if path is None else Path(path).resolve()
        self._dimensions = dimensions
        self._ef_search = ef_search
        self._given: Any = client
        self._client: Any = None
        self._collections: dict[str, ChromaCollection] = {}
        self._absent: set[str] = set()
        self._write_lock = threading.RLock()
        self._lock = threading.RLock()  # guards client and collections; taken after _write_lock, never held while Chroma works
        self._saves = 0  # calls under way in _saving
        self._cache = VectorCache(VECTOR_CACHE_BYTES // (4 * dimensions) if client is None else 0)  # others may write to a server
        self._sketch = CopySketch()
        self._copies: dict[str, Copies] = {}
        if self._path is not None and self._path.exists():
            self._opened()  # what cannot be read shows here

    def upsert(self, ids: Sequence[str], vectors: NDArray[np.float32], *, namespace: str, space: VectorSpace = "chunks") -> None:
        """See `VectorTier.upsert`."""
        rows = np.asarray(vectors, dtype=np.float32)
        if len(ids) == 0:
            return
        if rows.shape != (len(ids), self._dimensions):
            raise InvalidRequestError(f"got vectors of shape {rows.shape} for {len(ids)} ids; needed ({len(ids)}, {self._dimensions}).")
        if not np.isfinite(rows).all():
            raise InvalidRequestError("got vectors that hold NaN or infinity; needed finite numbers. Check the embedder.")
        latest = dict(zip(ids, rows, strict=True))
        name = _collection_name(namespace, space)
        with self._saving(), self._translated():
            surplus = self._sketch.are_surplus(name, np.stack(list(latest.values())))
            copies = {key: latest[key] for key, is_copy in zip(latest, surplus, strict=True) if is_copy}
            others = {key: row for key, row in latest.items() if key not in copies}
            self._collection(name, create=True)  # first, so that nobody sees copies without it
            self._write_copies(name, copies, gone=list(others))
            self._write(name, others, gone=list(copies))
        self._cache.forget(name, list(latest))

    def delete(self, ids: Sequence[str], *, namespace: str, space: VectorSpace = "chunks") -> None:
        """See `VectorTier.delete`."""
        name = _collection_name(namespace, space)
        keys = list(dict.fromkeys(ids))
        with self._saving(), self._translated():
            if self._collection(name) is not None:
                self._write_copies(name, {}, gone=keys)
                self._write(name, {}, gone=keys)
        self._cache.forget(name, keys)

    def search(
        self, vector: NDArray[np.float32], *, k: int, namespace: str, space: VectorSpace = "chunks", among: Collection[str] | None = None
    ) -> list[Hit]:
        """See `VectorTier.search`. Equal scores are ordered by id."""
        query = np.asarray(vector, dtype=np.float32)
        if k < 1:
            raise InvalidRequestError(f"got k={k}; needed at least 1 hit.")
        if query.shape != (self._dimensions,):
            raise InvalidRequestError(f"got a query vector of shape {query.shape}; needed ({self._dimensions},).")
        name = _collection_name(namespace, space)
        with self._translated():
            collection = self._collection(name)
            if collection is None:
                return []
            if among is not None:
                selected = self._selected(name, collection, among)
                return selected.nearest(query, k) if selected is not None else []
            hits, copies = _settled(lambda: _nearest(query, collection, k)), self._copies_of(name).nearest(query, k)
            return best_hits({hit.id: hit.score for hit in (*hits, *copies)}.items(), k) if copies else hits

    def ids(self, *, namespace: str, space: VectorSpace = "chunks") -> Iterator[str]:
        """See `VectorTier.ids`."""
        name = _collection_name(namespace, space)
        with self._translated():
            collection = self._collection(name)
            if collection is None:
                return
            copies = self._copies_of(name).ids()
        yield from copies
        offset, page = 0, [""]
        while page:
            with self._translated():
                page = collection.get(include=[], limit=READ_BATCH, offset=offset)["ids"]
            yield from (key for key in page if key not in copies)
            offset += len(page)

    def vectors(self, ids: Sequence[str], *, namespace: str, space: VectorSpace = "chunks") -> Mapping[str, NDArray[np.float32]]:
        """See `VectorTier.vectors`."""
        name = _collection_name(namespace, space)
        with self._translated():
            collection = self._collection(name)
            if collection is None:
                return {}
            stored = _settled(lambda: _stored(collection, list(dict.fromkeys(ids))))
            return {**self._copies_of(name).held(ids), **stored}

    def clear(self) -> None:
        """See `VectorTier.clear`."""
        with self._write_lock:
            self._cache.clear()
            self._sketch = CopySketch()
            if self._given is not None:
                with self._translated():
                    for name in [collection.name for collection in self._given.list_collections()]:
                        if name.startswith(_PREFIX):
                            self._given.delete_collection(name)
            self.close()
            if self._path is not None:
                try:
                    shutil.rmtree(self._path)
                except FileNotFoundError:
                    return
                except OSError as exc:
                    raise BackendUnavailableError(f"the vector index at {str(self._path)!r} cannot be removed: {exc}.") from exc

    def close(self) -> None:
        """See `VectorTier.close`."""
        with self._write_lock, self._lock:
            self._collections.clear()
            self._absent.clear()
            self._copies.clear()
            client, self._client = self._client, None
            if client is not None and self._given is None:
                client.close()

    @contextmanager
    def _saving(self) -> Iterator[None]:
        """Mark the folder while Chroma may save a graph; a mark left behind makes the next process look before it opens."""
        with self._write_lock:
            self._opened()
            marker = self._path / _MARKER if self._path is not None else None
            if marker is not None:
                marker.touch()
            self._saves += 1
            try:
                yield
            finally:
                self._saves -= 1
            if marker is not None and self._saves == 0:
                marker.unlink(missing_ok=True)

    def _opened(self) -> Any:
        with self._lock:
            if self._client is None and self._path is None:
                self._client = self._given or _InMemoryClient()
            elif self._client is None and self._path is not None:
                _check_intact(self._path)
                with self._translated():
                    self._path.mkdir(parents=True, exist_ok=True)
                    self._client = PersistentClient(str(self._path), settings=Settings(anonymized_telemetry=False))
            return self._client

    def _collection(self, name: str, *, create: bool = False) -> ChromaCollection | None:
        """Return a collection, or `None` where there is none and none is to be made."""
        with self._lock:
            collection = self._collections.get(name)
            absent = name in self._absent or (self._client is None and self._path is not None and not self._path.exists())
        if collection is not None or (absent and not create):
            return collection
        with self._saving():  # the first read of a collection replays what its graph lacks, and may save it
            client = self._opened()
            try:
                if create:
                    configuration = _configuration(self._ef_search)
                    found = client.get_or_create_collection(name, configuration=configuration, embedding_function=None)
                else:
                    found = client.get_collection(name, embedding_function=None)
            except NotFoundError:
                if self._given is None and len(self._absent) < MAX_ABSENT:  # nobody else makes collections here
                    self._absent.add(name)
                return None
            found.get(limit=1, include=[])
            with self._lock:
                self._absent.discard(name)
                return self._collections.setdefault(name, cast(ChromaCollection, found))

    def _write(self, name: str, vectors: Mapping[str, NDArray[np.float32]], *, gone: list[str]) -> None:
        """Delete from a collection what is gone, then store."""
        collection = self._collection(name, create=bool(vectors))
        if collection is None:
            return
        for batch in _batches(gone, WRITE_BATCH):
            collection.delete(ids=batch)
        for batch in _batches(list(vectors), WRITE_BATCH):
            collection.upsert(ids=batch, embeddings=np.stack([vectors[key] for key in batch]))

    def _write_copies(self, name: str, vectors: Mapping[str, NDArray[np.float32]], *, gone: list[str]) -> None:
        copies = self._copies_of(name)
        gone = list(copies.held(gone))
        if vectors or gone:
            self._write(name + _COPIES, vectors, gone=gone)
            copies.drop(gone)
            copies.put(vectors)

    def _copies_of(self, name: str) -> Copies:
        """Return the surplus copies of a collection, read once, or anew where somebody else changed them on a server."""
        with self._lock:
            copies = self._copies.get(name)
        if copies is not None and self._given is None:
            return copies
        collection = self._collection(name + _COPIES)
        stored = collection.count() if collection is not None else 0
        if copies is not None and stored == len(copies.ids()):
            return copies
        with self._write_lock:
            copies = Copies()
            for page in _pages(collection) if collection is not None else ():
                copies.put(page)
            with self._lock:
                self._copies[name] = copies
            return copies

    def _selected(self, name: str, collection: ChromaCollection, among: Collection[str]) -> Selection | None:
        """Return the stored vectors among some ids by way of the cache; `None` where there are none."""
        known = self._cache.selection(name, among)
        if known is not None:
            return known
        ids = list(dict.fromkeys(among))
        found, missing, generation = self._cache.take(name, ids)
        if missing:
            fetched = {**self._copies_of(name).held(missing), **_settled(lambda: _stored(collection, missing))}
            self._cache.put(name, fetched, generation)
            found.update(fetched)
        if not found:
            return None
        selection = Selection.of(found)
        self._cache.keep(name, among, selection, generation)
        return selection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what Chroma raises (its own errors, those of its HTTP client, a panic, which is a BaseException) into this library's errors."""
        try:
            yield
        except Rag2MemoryError:
            raise
        except InvalidArgumentError as exc:
            raise CorruptIndexError(tier="vector", problem=f"it does not fit this memory's vectors: {exc}") from exc
        except (ChromaError, httpx.HTTPError, ValueError, RuntimeError, OSError, AttributeError) as exc:
            if isinstance(exc, NotFoundError):  # somebody else cleared the server: the next call looks again
                with self._lock:
                    self._collections.clear()
            raise _failure(exc) from exc
        except BaseException as exc:
            if type(exc).__name__ != "PanicException":
                raise
            raise CorruptIndexError(tier="vector", problem=f"Chroma panicked: {exc}") from exc


def _collection_name(namespace: str, space: VectorSpace) -> str:
    """Return a name that Chroma accepts (3 to 512 letters, digits, dots, dashes) for any namespace."""
    return f"{_PREFIX}{space}-{hashlib.blake2b(namespace.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"


def _configuration(ef_search: int) -> CreateCollectionConfiguration:
    return {
        "hnsw": {
            "space": "cosine",
            "max_neighbors": MAX_NEIGHBORS,
            "ef_construction": EF_CONSTRUCTION,
            "ef_search": ef_search,
            "sync_threshold": SYNC_THRESHOLD,
        }
    }


def _check_intact(path: Path) -> None:
    """Refuse a folder whose writer was killed while it saved a graph: the graph's files are then newer than the metadata written last.

    Before its first metadata Chroma does not read the graph's files at all.
    """
    if not (path / _MARKER).exists():
        return
    for metadata in path.glob("*/index_metadata.pickle"):
        saved = metadata.stat().st_mtime_ns
        if any(file.stat().st_mtime_ns > saved for file in metadata.parent.glob("*.bin")):
            raise CorruptIndexError(tier="vector", problem="its writer was stopped while it saved the HNSW graph")
    (path / _MARKER).unlink()


def _settled(read: Callable[[], T]) -> T:
    """Read, again where a deletion came in between: one of Chroma's two indexes then names ids that the other has dropped."""
    for _ in range(READ_ATTEMPTS - 1):
        try:
            return read()
        except ChromaError as exc:
            if "finding id" not in str(exc):
                raise
    return read()


def _nearest(query: NDArray[np.float32], collection: ChromaCollection, k: int) -> list[Hit]:
    """Return the k nearest of a collection, looking further while later hits share the k-th score."""
    limit = k + TIE_MARGIN
    while limit <= MAX_RESULTS:
        result = collection.query(query_embeddings=query[np.newaxis], n_results=limit, include=["distances"])
        ids, distances = result["ids"][0], cast(list[list[float]], result["distances"])[0]
        if len(ids) < limit and len(ids) < collection.count():
            break
        if len(ids) < limit or round(distances[-1], SCORE_DECIMALS) > round(distances[k - 1], SCORE_DECIMALS):
            return best_hits(((key, 1.0 - distance) for key, distance in zip(ids, distances, strict=True)), k)
        limit *= 4
    return _compared(query, collection, k)


def _compared(query: NDArray[np.float32], collection: ChromaCollection, k: int) -> list[Hit]:
    """Return the exact k nearest by comparing every vector, a page at a time."""
    best: list[Hit] = []
    for page in _pages(collection):
        best = best_hits(((hit.id, hit.score) for hit in [*best, *Selection.of(page).nearest(query, k)]), k)
    return best


def _pages(collection: ChromaCollection) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Yield the ids of a collection with their vectors, a page at a time."""
    offset = 0
    while True:
        page = collection.get(include=["embeddings"], limit=READ_BATCH, offset=offset)
        if not page["ids"]:
            return
        yield dict(zip(page["ids"], np.asarray(page["embeddings"], dtype=np.float32), strict=True))
        offset += len(page["ids"])


def _stored(collection: ChromaCollection, ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    vectors: dict[str, NDArray[np.float32]] = {}
    for batch in _batches(ids, READ_BATCH):
        result = collection.get(ids=batch, include=["embeddings"])
        vectors.update(zip(result["ids"], np.asarray(result["embeddings"], dtype=np.float32), strict=True))
    return vectors


def _batches(items: Sequence[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


def _failure(exc: Exception) -> BackendUnavailableError:
    if _DAMAGE.search(str(exc)):
        return CorruptIndexError(tier="vector", problem=str(exc))
    return BackendUnavailableError(f"Chroma failed: {exc}. Check the disk or the server, then call memory.repair().")
