"""The graph tier on Kuzu, or on its maintained fork ladybug: the same Cypher, the same calls, files that the other cannot read.

The engine keeps the graph and answers `paths`; neighbourhoods are read from a resident projection (`adjacency`) that is filled from the engine.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

from rag2_memory.errors import BackendUnavailableError, CorruptIndexError, InvalidRequestError
from rag2_memory.records import GraphEdge, GraphPassage, Subgraph
from rag2_memory.tiers.adjacency import Adjacency, ordered
from rag2_memory.tiers.adjacency_file import load, save
from rag2_memory.tiers.adjacency_rows import OPEN_END, OPEN_START, micros
from rag2_memory.tiers.adjacency_walk import Bounds, neighbourhood
from rag2_memory.tiers.base import GraphTier
from rag2_memory.tiers.kuzu_cypher import (
    CREATE_EDGES,
    CREATE_ENTITIES,
    CREATE_LINKS,
    CREATE_PASSAGES,
    DELETE_ENTITIES,
    DELETE_PASSAGES,
    FORGET_STATE,
    LAYOUT,
    MARK_STATE,
    READ_EDGES,
    READ_LINKS,
    READ_PASSAGES,
    SCHEMA,
    aware,
    edge_row,
    entity_key,
    in_parts,
    link_row,
    path_of,
    paths_between,
    remove_rows,
    written,
)
from rag2_memory.tiers.kuzu_database import KuzuDatabase

Driver = Literal["kuzu", "ladybug"]

logger = logging.getLogger(__name__)

BUFFER_POOL_BYTES = 2 * 1024 * 1024 * 1024
"""A limit, not a reservation: the engine takes what the graph needs, and cannot write when that is more; half a million
passages need more than 256 MiB (`make bench`, million). The engine's own default is 80 % of the machine's memory."""

PROJECTION = ".projection.npz"
"""What stands after the name of the engine's file in that of the projection; it is used only if the engine's state is the one it was made of."""


class KuzuGraphTier(GraphTier):
    """Entities, links and edges in one Kuzu or ladybug file, or in memory."""

    def __init__(self, path: Path | str | None, *, driver: Driver = "kuzu", buffer_pool_bytes: int = BUFFER_POOL_BYTES) -> None:
        """Open a graph, creating it if need be.

        Args:
            path: The engine's file, made if absent; files beside it with its name, a dot and more belong to it. `None`: in memory.
            driver: The package that is used. One process can import only one of the two.
            buffer_pool_bytes: Most memory that the engine itself takes for pages. The resident projection takes about 30 bytes
                per link, 90 per edge and 200 per passage and entity beside it.

        Raises:
            MissingExtraError: If the driver is not installed.
            MemoryInUseError: If this process, or another one, has the file open.
            CorruptIndexError: If the file is not one that this driver can read.
        """
        self.engine = driver
        self._writing = threading.RLock()
        self._adjacency: Adjacency | None = None
        self._audited = False
        self._state = self._saved = ""
        self._database = KuzuDatabase(None if path is None else Path(path).resolve(), driver=driver, buffer_pool_bytes=buffer_pool_bytes)
        self._create_tables()

    # --- writing ----------------------------------------------------------------------------------------------------------------------------
    def upsert(self, passages: Sequence[GraphPassage]) -> None:
        wanted = {passage.id: ordered(_checked(passage)) for passage in passages}
        with self._writing:
            adjacency = self._resident()
            held = adjacency.get(wanted)
            changed = [passage for key, passage in wanted.items() if held.get(key) != passage]
            self._write(adjacency, changed, [held[passage.id] for passage in changed if passage.id in held], deleted=())

    def delete(self, passage_ids: Sequence[str]) -> None:
        with self._writing:
            adjacency = self._resident()
            held = adjacency.get(passage_ids)
            self._write(adjacency, (), list(held.values()), deleted=list(held))

    def _write(
        self, adjacency: Adjacency, upserted: Sequence[GraphPassage], replaced: Sequence[GraphPassage], *, deleted: Collection[str]
    ) -> None:
        if not upserted and not deleted:
            return
        removed = set(deleted)
        stays = {passage.id: passage.namespace for passage in replaced if passage.id not in removed}
        state = LAYOUT + uuid.uuid4().hex
        new = [passage for passage in upserted if stays.get(passage.id) != passage.namespace]
        gone = [*deleted, *(passage.id for passage in new if passage.id in stays)]
        try:
            change = adjacency.change(upserted, deleted)
            with self._database.transaction() as run:
                remove_rows(run, replaced)
                in_parts(run, DELETE_PASSAGES, ((key,) for key in gone))
                in_parts(run, CREATE_PASSAGES, ((passage.id, passage.namespace) for passage in new))
                in_parts(run, CREATE_ENTITIES, ((entity_key(*entity), entity[1], entity[0]) for entity in change.created))
                in_parts(run, CREATE_LINKS, (link_row(passage, link) for passage in upserted for link in passage.links))
                in_parts(run, CREATE_EDGES, (edge_row(passage, edge) for passage in upserted for edge in passage.edges))
                in_parts(run, DELETE_ENTITIES, ((entity_key(*entity),) for entity in change.orphaned))
                run(FORGET_STATE)
                run(MARK_STATE, written=state)
        except BaseException:
            self._adjacency = None  # whether the commit happened is known to the engine alone
            raise
        self._audited, self._state = False, state
        adjacency.view = change.view
        if adjacency.wasteful:
            self._adjacency = adjacency.compacted()

    # --- reading ----------------------------------------------------------------------------------------------------------------------------
    def neighbourhood(
        self,
        *,
        namespace: str,
        passages: Sequence[str] = (),
        entities: Sequence[str] = (),
        hops: int = 1,
        valid_from: datetime | None = None,
        valid_to: datetime | None = None,
        subjects_per_entity: int = 32,
        mentions_per_entity: int = 32,
        edges_per_entity: int = 64,
        limit: int = 2_000,
    ) -> Subgraph:
        _check(hops=(hops, 1), limit=(limit, 1), subjects_per_entity=(subjects_per_entity, 0))
        _check(mentions_per_entity=(mentions_per_entity, 0), edges_per_entity=(edges_per_entity, 0))
        window = None if valid_from is None and valid_to is None else (micros(valid_from, OPEN_START), micros(valid_to, OPEN_END))
        bounds = Bounds(
            hops=hops,
            window=window,
            subjects_per_entity=subjects_per_entity,
            mentions_per_entity=mentions_per_entity,
            edges_per_entity=edges_per_entity,
            limit=limit,
        )
        return neighbourhood(self._resident(), bounds, namespace=namespace, passages=passages, entities=entities)

    def paths(
        self,
        *,
        namespace: str,
        source: str,
        target: str,
        max_hops: int = 3,
        valid_at: datetime | None = None,
        without_passages: Collection[str] = (),
        limit: int = 20,
    ) -> list[tuple[GraphEdge, ...]]:
        _check(max_hops=(max_hops, 1), limit=(limit, 1))
        if source == target:
            return []
        statement, parameters = paths_between(
            entity_key(namespace, source),
            entity_key(namespace, target),
            max_hops=max_hops,
            valid_at=valid_at,
            without_passages=without_passages,
            limit=limit,
        )
        with self._database.reading() as run:
            return [path_of(nodes, edges) for nodes, edges in run(statement, **parameters)]

    def ids(self) -> Iterator[str]:
        with self._database.reading() as run:
            rows = run("MATCH (p:Passage) RETURN p.id")
        return iter([row[0] for row in rows])

    def passages(self, ids: Sequence[str]) -> Mapping[str, GraphPassage]:
        with self._writing:
            if not self._audited:
                self._adjacency = self._read_engine()
                self._audited = True
            adjacency = self._resident()
        return adjacency.get(ids)

    # --- life -------------------------------------------------------------------------------------------------------------------------------
    def clear(self) -> None:
        with self._writing:
            self._database.clear()
            self._adjacency, self._state, self._saved = None, "", ""
            self._create_tables()

    def close(self) -> None:
        with self._writing:
            if self._adjacency is not None:
                self._save(self._adjacency)
            self._adjacency = None
            self._database.close()

    def _create_tables(self) -> None:
        """Create what is missing, and see that what is there is laid out as this release does it."""
        try:
            with self._database.transaction() as run:
                for statement in SCHEMA:
                    run(statement)
                if not (written(run) or LAYOUT).startswith(LAYOUT):
                    raise BackendUnavailableError("another release wrote it")
        except BackendUnavailableError as exc:
            self._database.close()
            raise CorruptIndexError(tier="graph", problem=str(exc)) from exc

    def _resident(self) -> Adjacency:
        """Return the projection, read from the engine if it is not there yet."""
        if (adjacency := self._adjacency) is not None:
            return adjacency
        with self._writing:
            if self._adjacency is None:
                self._adjacency = self._load()
            return self._adjacency

    def _load(self) -> Adjacency:
        file = self._database.sibling(PROJECTION)
        with self._database.reading() as run:
            state = written(run)
        if file is not None and (adjacency := load(file, state=state)) is not None:
            self._state = self._saved = state
            return adjacency
        adjacency = self._read_engine()
        self._save(adjacency)
        return adjacency

    def _read_engine(self) -> Adjacency:
        with self._database.reading() as run:
            self._state = written(run)
            passages = run(READ_PASSAGES)
            links = run(READ_LINKS)
            edges = run(READ_EDGES)
        return Adjacency.stored(passages, links, ((*row[:5], aware(row[5]), aware(row[6])) for row in edges))

    def _save(self, adjacency: Adjacency) -> None:
        """Keep the projection beside the engine's file, for the next time it is opened."""
        file = self._database.sibling(PROJECTION)
        if file is None or self._saved == self._state:
            return
        try:
            save(adjacency, file, state=self._state)
        except OSError as exc:
            logger.warning("the graph's projection could not be kept, so it will be read from the engine: %s", exc)
        else:
            self._saved = self._state


def _check(**values: tuple[int, int]) -> None:
    """Refuse numbers below their least value."""
    for name, (value, least) in values.items():
        if value < least:
            raise InvalidRequestError(f"got {name}={value!r}; needed a number of at least {least}.")


def _checked(passage: GraphPassage) -> GraphPassage:
    """Refuse what the engine could not give back.

    Raises:
        InvalidRequestError: If a link or an edge names another passage, a text is empty, or one is not valid Unicode.
    """
    named = {link.passage_id for link in passage.links} | {edge.passage_id for edge in passage.edges}
    if strays := named - {passage.id}:
        raise InvalidRequestError(
            f"got links or edges of {sorted(strays)} in the passage {passage.id!r}; needed passage_id={passage.id!r}."
        )
    texts = [passage.id, passage.namespace, *(link.entity_id for link in passage.links)]
    texts += [text for edge in passage.edges for text in (edge.edge_id, edge.subject_id, edge.predicate, edge.object_id)]
    if not all(texts):
        raise InvalidRequestError(f"got an empty id, name or predicate in {passage!r}; needed text.")
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as exc:
        raise InvalidRequestError(
            f"got text that is not valid Unicode in the passage {passage.id!r}: {exc}. Replace lone surrogates."
        ) from exc
    return passage
