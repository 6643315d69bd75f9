"""The graph tier on Kuzu, or on its maintained fork ladybug: the same Cypher, the same calls, files that the other cannot read.

The engine keeps the graph and answers `paths`; neighbourhoods are read from a resident projection (`adjacency`) that is filled from the engine.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

from rag2_memory.errors import InvalidRequestError
from rag2_memory.records import GraphEdge, GraphLink, GraphPassage, Subgraph
from rag2_memory.tiers.adjacency import Adjacency, ordered
from rag2_memory.tiers.adjacency_file import load, save
from rag2_memory.tiers.adjacency_rows import OPEN_END, OPEN_START, micros
from rag2_memory.tiers.adjacency_walk import Bounds, neighbourhood
from rag2_memory.tiers.base import GraphTier
from rag2_memory.tiers.kuzu_database import KuzuDatabase, Run

Driver = Literal["kuzu", "ladybug"]

logger = logging.getLogger(__name__)

BUFFER_POOL_BYTES = 256 * 1024 * 1024
"""The engine's own default is 80 % of the machine's memory."""

ROWS_AT_ONCE = 10_000
"""Rows per `UNWIND`, which bounds the memory of one statement."""

SCAN_FROM = 100
"""Removals from which one scan of a table is cheaper than that many lookups by key (3 ms each; a scan of 500,000 rows takes 200 to 700 ms)."""

SCHEMA = (
    "CREATE NODE TABLE IF NOT EXISTS Passage(id STRING PRIMARY KEY, namespace STRING)",
    "CREATE NODE TABLE IF NOT EXISTS Entity(key STRING PRIMARY KEY, id STRING, namespace STRING)",
    "CREATE NODE TABLE IF NOT EXISTS State(written STRING PRIMARY KEY)",
    "CREATE REL TABLE IF NOT EXISTS LINK(FROM Passage TO Entity, kind STRING, weight DOUBLE)",
    "CREATE REL TABLE IF NOT EXISTS EDGE(FROM Entity TO Entity, edge_id STRING, predicate STRING, passage STRING,"
    " valid_from TIMESTAMP, valid_to TIMESTAMP)",
)

# No statement changes a row in place: once a transaction that did so was rolled back, Kuzu 0.11.3 may refuse every later change of that row.
# Rows travel as one text: turning a list of dictionaries into the engine's values takes three times as long as storing them. The planner looks
# rows up by hash only where each MATCH has one endpoint and the fields are named before; otherwise it multiplies whole tables.
ROWS = "UNWIND string_split($text, $between_rows) AS row WITH string_split(row, $between_fields) AS x WITH "
CREATE_PASSAGES = ROWS + "x[1] AS id, x[2] AS namespace CREATE (:Passage {id: id, namespace: namespace})"
CREATE_ENTITIES = ROWS + "x[1] AS key, x[2] AS id, x[3] AS namespace CREATE (:Entity {key: key, id: id, namespace: namespace})"
CREATE_LINKS = (
    ROWS
    + """x[1] AS passage, x[2] AS entity, x[3] AS kind, CAST(x[4] AS DOUBLE) AS weight
MATCH (p:Passage) WHERE p.id = passage WITH p, entity, kind, weight
MATCH (e:Entity) WHERE e.key = entity CREATE (p)-[:LINK {kind: kind, weight: weight}]->(e)"""
)
CREATE_EDGES = (
    ROWS
    + """x[1] AS subject, x[2] AS object, x[3] AS edge_id, x[4] AS predicate, x[5] AS passage,
    CAST(CASE WHEN x[6] = '-' THEN NULL ELSE x[6] END AS TIMESTAMP) AS valid_from,
    CAST(CASE WHEN x[7] = '-' THEN NULL ELSE x[7] END AS TIMESTAMP) AS valid_to
MATCH (s:Entity) WHERE s.key = subject WITH s, object, edge_id, predicate, passage, valid_from, valid_to
MATCH (o:Entity) WHERE o.key = object
CREATE (s)-[:EDGE {edge_id: edge_id, predicate: predicate, passage: passage, valid_from: valid_from, valid_to: valid_to}]->(o)"""
)
DELETE_LINKS = "MATCH (p:Passage {id: $passage})-[l:LINK]->() DELETE l"
DELETE_EDGES = "MATCH (s:Entity {key: $subject})-[r:EDGE]->() WHERE r.passage = $passage DELETE r"
DELETE_MANY_LINKS = ROWS + "x[1] AS passage MATCH (p:Passage)-[l:LINK]->() WHERE p.id = passage DELETE l"
DELETE_MANY_EDGES = ROWS + "x[1] AS passage MATCH ()-[r:EDGE]->() WHERE r.passage = passage DELETE r"
DELETE_PASSAGES = ROWS + "x[1] AS passage MATCH (p:Passage) WHERE p.id = passage DELETE p"
DELETE_ENTITIES = ROWS + "x[1] AS entity MATCH (e:Entity) WHERE e.key = entity DELETE e"
READ_STATE = "MATCH (s:State) RETURN s.written"
FORGET_STATE = "MATCH (s:State) DELETE s"
MARK_STATE = "CREATE (:State {written: $written})"

PROJECTION = ".projection.npz"
"""What stands after the name of the engine's file in that of the projection; it is used only if the engine's state is the one it was made of."""

OPEN = "-"
"""Stands for an absent moment: `string_split` drops empty fields."""

SEPARATORS = ("\x1e", "\x1f", *map(chr, range(0xE000, 0xE100)))
"""Candidates for what stands between rows and fields: two that occur in none of them."""

EDGE_COLUMNS = "r.passage, s.id, o.id, r.edge_id, r.predicate, r.valid_from, r.valid_to"
VALID_AT = "(r.valid_from IS NULL OR r.valid_from <= $at) AND (r.valid_to IS NULL OR r.valid_to > $at OR (r.valid_to = $at AND r.valid_from = $at))"


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
        self._database = KuzuDatabase(None if path is None else Path(path).absolute(), driver=driver, buffer_pool_bytes=buffer_pool_bytes)
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
        stays = {passage.id: passage.namespace for passage in replaced if passage.id not in deleted}
        state = uuid.uuid4().hex
        new = [passage for passage in upserted if stays.get(passage.id) != passage.namespace]
        gone = [*deleted, *(passage.id for passage in new if passage.id in stays)]
        try:
            change = adjacency.change(upserted, deleted)
            with self._database.transaction() as run:
                _remove_rows(run, replaced)
                _in_parts(run, DELETE_PASSAGES, ((key,) for key in gone))
                _in_parts(run, CREATE_PASSAGES, ((passage.id, passage.namespace) for passage in new))
                _in_parts(run, CREATE_ENTITIES, ((entity_key(*entity), entity[1], entity[0]) for entity in change.created))
                _in_parts(run, CREATE_LINKS, (_link_row(passage, link) for passage in upserted for link in passage.links))
                _in_parts(run, CREATE_EDGES, (_edge_row(passage, edge) for passage in upserted for edge in passage.edges))
                _in_parts(run, DELETE_ENTITIES, ((entity_key(*entity),) for entity in change.orphaned))
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
        conditions = [VALID_AT] if valid_at is not None else []
        parameters: dict[str, Any] = {"source": entity_key(namespace, source), "target": entity_key(namespace, target)}
        if valid_at is not None:
            parameters["at"] = valid_at.astimezone(timezone.utc).replace(tzinfo=None)
        if without_passages:
            conditions.append("NOT r.passage IN $without")
            parameters["without"] = list(without_passages)
        inner = f" (r, n | WHERE {' AND '.join(conditions)})" if conditions else ""
        statement = (
            f"MATCH p = (s:Entity {{key: $source}})-[x:EDGE* ALL SHORTEST 1..{int(max_hops)}{inner}]-(o:Entity {{key: $target}})"
            f" RETURN nodes(p), rels(p) LIMIT {int(limit)}"
        )
        if source == target:
            return []
        with self._database.reading() as run:
            return [_chain(nodes, edges) for nodes, edges in run(statement, **parameters)]

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
        with self._database.transaction() as run:
            for statement in SCHEMA:
                run(statement)

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
            state = _written(run)
        if file is not None and (adjacency := load(file, state=state)) is not None:
            self._state = self._saved = state
            return adjacency
        adjacency = self._read_engine()
        self._save(adjacency)
        return adjacency

    def _read_engine(self) -> Adjacency:
        with self._database.reading() as run:
            self._state = _written(run)
            passages = run("MATCH (p:Passage) RETURN p.id, p.namespace")
            links = run("MATCH (p:Passage)-[l:LINK]->(e:Entity) RETURN p.id, e.id, l.kind, l.weight")
            edges = run(f"MATCH (s:Entity)-[r:EDGE]->(o:Entity) RETURN {EDGE_COLUMNS}")
        return Adjacency.stored(passages, links, ((*row[:5], _aware(row[5]), _aware(row[6])) for row in edges))

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


def _written(run: Run) -> str:
    """Return what the last write left, empty before the first."""
    return next((row[0] for row in run(READ_STATE)), "")


def entity_key(namespace: str, entity_id: str) -> str:
    """Return a key that no other namespace's entity can have."""
    return f"{len(namespace)}:{namespace}:{entity_id}"


def _remove_rows(run: Run, passages: Sequence[GraphPassage]) -> None:
    """Remove the links and edges of passages, given as they are stored."""
    linked = [passage.id for passage in passages if passage.links]
    if len(linked) < SCAN_FROM:
        for key in linked:
            run(DELETE_LINKS, passage=key)
    else:
        _in_parts(run, DELETE_MANY_LINKS, ((key,) for key in linked))
    starts = {(entity_key(passage.namespace, edge.subject_id), passage.id) for passage in passages for edge in passage.edges}
    if len(starts) < SCAN_FROM:
        for subject, key in starts:
            run(DELETE_EDGES, subject=subject, passage=key)
    else:
        _in_parts(run, DELETE_MANY_EDGES, ((passage.id,) for passage in passages if passage.edges))


def _in_parts(run: Run, statement: str, rows: Iterable[tuple[str, ...]]) -> None:
    """Run a statement over rows, some thousand at a time."""
    rest = iter(rows)
    while part := list(islice(rest, ROWS_AT_ONCE)):
        used = "".join(chain.from_iterable(part))
        between_rows, between_fields = islice((mark for mark in SEPARATORS if mark not in used), 2)
        run(statement, text=between_rows.join(map(between_fields.join, part)), between_rows=between_rows, between_fields=between_fields)


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


def _link_row(passage: GraphPassage, link: GraphLink) -> tuple[str, ...]:
    return passage.id, entity_key(passage.namespace, link.entity_id), link.kind, repr(float(link.weight))


def _edge_row(passage: GraphPassage, edge: GraphEdge) -> tuple[str, ...]:
    return (
        entity_key(passage.namespace, edge.subject_id),
        entity_key(passage.namespace, edge.object_id),
        edge.edge_id,
        edge.predicate,
        passage.id,
        _as_text(edge.valid_from),
        _as_text(edge.valid_to),
    )


def _as_text(moment: datetime | None) -> str:
    return OPEN if moment is None else moment.astimezone(timezone.utc).replace(tzinfo=None).isoformat(" ")


def _aware(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=timezone.utc)


def _chain(nodes: Sequence[Mapping[str, Any]], edges: Sequence[Mapping[str, Any]]) -> tuple[GraphEdge, ...]:
    ids = {_internal(node, "_id"): node["id"] for node in nodes}
    return tuple(
        GraphEdge(
            edge_id=edge["edge_id"],
            subject_id=ids[_internal(edge, "_src")],
            predicate=edge["predicate"],
            object_id=ids[_internal(edge, "_dst")],
            passage_id=edge["passage"],
            valid_from=_aware(edge["valid_from"]),
            valid_to=_aware(edge["valid_to"]),
        )
        for edge in edges
    )


def _internal(item: Mapping[str, Any], name: str) -> tuple[int, int]:
    """Return an internal id, whose name Kuzu writes in lower and ladybug in upper case."""
    found = item[name] if name in item else item[name.upper()]
    return found["table"], found["offset"]
