"""The graph tier on Kuzu, or on its maintained fork ladybug: the same Cypher, the same calls, files that the other cannot read.

The engine keeps the graph and answers `paths`; neighbourhoods are read from a resident projection (`adjacency`) that is filled from the engine.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from rag2_memory.errors import InvalidRequestError
from rag2_memory.records import GraphEdge, GraphLink, GraphPassage, Subgraph
from rag2_memory.tiers.adjacency import Adjacency, entity_key, ordered
from rag2_memory.tiers.adjacency_rows import OPEN_END, OPEN_START, micros
from rag2_memory.tiers.adjacency_walk import Bounds, neighbourhood
from rag2_memory.tiers.base import GraphTier
from rag2_memory.tiers.kuzu_database import KuzuDatabase, Run

Driver = Literal["kuzu", "ladybug"]

BUFFER_POOL_BYTES = 256 * 1024 * 1024
"""The engine's own default is 80 % of the machine's memory."""

ROWS_AT_ONCE = 10_000
"""Rows per `UNWIND`, which bounds the memory of one statement."""

SCAN_FROM = 100
"""Removals from which one scan of a table is cheaper than that many lookups by key (3 ms each; a scan of 500,000 rows takes 200 to 700 ms)."""

SCHEMA = (
    "CREATE NODE TABLE IF NOT EXISTS Passage(id STRING PRIMARY KEY, namespace STRING)",
    "CREATE NODE TABLE IF NOT EXISTS Entity(key STRING PRIMARY KEY, id STRING, namespace STRING)",
    "CREATE NODE TABLE IF NOT EXISTS State(name STRING PRIMARY KEY, value STRING)",
    "CREATE REL TABLE IF NOT EXISTS LINK(FROM Passage TO Entity, kind STRING, weight DOUBLE)",
    "CREATE REL TABLE IF NOT EXISTS EDGE(FROM Entity TO Entity, edge_id STRING, predicate STRING, passage STRING,"
    " valid_from TIMESTAMP, valid_to TIMESTAMP)",
)

# The planner looks up a list's rows by hash only where each MATCH has one endpoint and the fields are named before: with two endpoints in one
# MATCH, or x.field in the pattern, it multiplies whole tables. Moments are text, since a column of nothing but NULL has no type.
CREATE_LINKS = """
UNWIND $rows AS x WITH x.passage AS passage, x.entity AS entity, x.kind AS kind, x.weight AS weight
MATCH (p:Passage) WHERE p.id = passage WITH p, entity, kind, weight
MATCH (e:Entity) WHERE e.key = entity CREATE (p)-[:LINK {kind: kind, weight: weight}]->(e)"""
CREATE_EDGES = """
UNWIND $rows AS x WITH x.subject AS subject, x.object AS object, x.edge_id AS edge_id, x.predicate AS predicate, x.passage AS passage,
    CAST(x.valid_from AS TIMESTAMP) AS valid_from, CAST(x.valid_to AS TIMESTAMP) AS valid_to
MATCH (s:Entity) WHERE s.key = subject WITH s, object, edge_id, predicate, passage, valid_from, valid_to
MATCH (o:Entity) WHERE o.key = object
CREATE (s)-[:EDGE {edge_id: edge_id, predicate: predicate, passage: passage, valid_from: valid_from, valid_to: valid_to}]->(o)"""
EDGE_COLUMNS = "s.key, o.key, r.edge_id, r.predicate, r.passage, r.valid_from, r.valid_to"
VALID_AT = "(r.valid_from IS NULL OR r.valid_from <= $at) AND (r.valid_to IS NULL OR r.valid_to > $at OR (r.valid_to = $at AND r.valid_from = $at))"


class KuzuGraphTier(GraphTier):
    """Entities, links and edges in one Kuzu or ladybug file, or in memory."""

    def __init__(self, path: Path | str | None, *, driver: Driver = "kuzu", buffer_pool_bytes: int = BUFFER_POOL_BYTES) -> None:
        """Open a graph, creating it if need be.

        Args:
            path: The engine's file, made if absent; files beside it whose names begin with its name belong to it. `None`: in memory.
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
        self._database = KuzuDatabase(None if path is None else Path(path).absolute(), driver=driver, buffer_pool_bytes=buffer_pool_bytes)
        self._create_tables()

    # --- writing ----------------------------------------------------------------------------------------------------------------------------
    def upsert(self, passages: Sequence[GraphPassage]) -> None:
        wanted = {passage.id: ordered(_checked(passage)) for passage in passages}
        with self._writing:
            adjacency = self._resident()
            held = {key: adjacency.get(key) for key in wanted}
            changed = [passage for key, passage in wanted.items() if held[key] != passage]
            self._write(adjacency, changed, [old for passage in changed if (old := held[passage.id]) is not None], deleted=())

    def delete(self, passage_ids: Sequence[str]) -> None:
        with self._writing:
            adjacency = self._resident()
            held = [old for key in dict.fromkeys(passage_ids) if (old := adjacency.get(key)) is not None]
            self._write(adjacency, (), held, deleted=[old.id for old in held])

    def _write(
        self, adjacency: Adjacency, upserted: Sequence[GraphPassage], replaced: Sequence[GraphPassage], *, deleted: Collection[str]
    ) -> None:
        if not upserted and not deleted:
            return
        known = {passage.id for passage in replaced}
        try:
            change = adjacency.change(upserted, deleted)
            with self._database.transaction() as run:
                _remove_rows(run, replaced)
                _in_parts(run, "UNWIND $rows AS x MATCH (p:Passage) WHERE p.id = x DELETE p", deleted)
                for passage in upserted:
                    if passage.id in known:
                        run("MATCH (p:Passage {id: $id}) SET p.namespace = $namespace", id=passage.id, namespace=passage.namespace)
                new = [{"id": passage.id, "namespace": passage.namespace} for passage in upserted if passage.id not in known]
                _in_parts(run, "UNWIND $rows AS x CREATE (:Passage {id: x.id, namespace: x.namespace})", new)
                entities = [{"key": entity_key(*entity), "namespace": entity[0], "id": entity[1]} for entity in change.created]
                _in_parts(run, "UNWIND $rows AS x CREATE (:Entity {key: x.key, id: x.id, namespace: x.namespace})", entities)
                _in_parts(run, CREATE_LINKS, [_link_row(passage, link) for passage in upserted for link in passage.links])
                _in_parts(run, CREATE_EDGES, [_edge_row(passage, edge) for passage in upserted for edge in passage.edges])
                orphaned = [entity_key(*entity) for entity in change.orphaned]
                _in_parts(run, "UNWIND $rows AS x MATCH (e:Entity) WHERE e.key = x DETACH DELETE e", orphaned)
                run("MERGE (s:State {name: 'written'}) SET s.value = $value", value=uuid.uuid4().hex)
        except BaseException:
            self._adjacency = None  # whether the commit happened is known to the engine alone
            raise
        self._audited = False
        adjacency.view = change.view

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
        limit: int = 5_000,
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
                self._adjacency = self._load()
                self._audited = True
            adjacency = self._resident()
        return {key: passage for key in dict.fromkeys(ids) if (passage := adjacency.get(key)) is not None}

    # --- life -------------------------------------------------------------------------------------------------------------------------------
    def clear(self) -> None:
        with self._writing:
            self._database.clear()
            self._adjacency = None
            self._create_tables()

    def close(self) -> None:
        with self._writing:
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
        with self._database.reading() as run:
            passages = run("MATCH (p:Passage) RETURN p.id, p.namespace")
            links = run("MATCH (p:Passage)-[l:LINK]->(e:Entity) RETURN p.id, e.key, l.kind, l.weight")
            edges = run(f"MATCH (s:Entity)-[r:EDGE]->(o:Entity) RETURN {EDGE_COLUMNS}")
        return Adjacency.stored(passages, ((*row,) for row in links), ((*row[:5], _aware(row[5]), _aware(row[6])) for row in edges))


def _remove_rows(run: Run, passages: Sequence[GraphPassage]) -> None:
    """Remove the links and edges of passages as they are stored."""
    ids = [passage.id for passage in passages]
    linked = [passage.id for passage in passages if passage.links]
    if len(linked) < SCAN_FROM:
        for key in linked:
            run("MATCH (p:Passage {id: $id})-[l:LINK]->() DELETE l", id=key)
    else:
        _in_parts(run, "UNWIND $rows AS x MATCH (p:Passage)-[l:LINK]->() WHERE p.id = x DELETE l", linked)
    starts = {(entity_key(passage.namespace, edge.subject_id), passage.id) for passage in passages for edge in passage.edges}
    if len(starts) < SCAN_FROM:
        for subject, key in starts:
            run("MATCH (s:Entity {key: $subject})-[r:EDGE]->() WHERE r.passage = $id DELETE r", subject=subject, id=key)
    else:
        _in_parts(run, "UNWIND $rows AS x MATCH ()-[r:EDGE]->() WHERE r.passage = x DELETE r", ids)


def _in_parts(run: Run, statement: str, rows: Collection[Any]) -> None:
    rows = list(rows)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        run(statement, rows=rows[start : start + ROWS_AT_ONCE])


def _checked(passage: GraphPassage) -> GraphPassage:
    """Refuse what no engine could give back.

    Raises:
        InvalidRequestError: If a link or an edge names another passage, or text is not valid Unicode.
    """
    texts = [passage.id, passage.namespace]
    for item in {item.passage_id for item in passage.links} | {item.passage_id for item in passage.edges}:
        if item != passage.id:
            raise InvalidRequestError(f"got a link or an edge of the passage {item!r} in the passage {passage.id!r}; needed passage_id={passage.id!r}.")
    texts += [link.entity_id for link in passage.links]
    texts += [text for edge in passage.edges for text in (edge.edge_id, edge.subject_id, edge.predicate, edge.object_id)]
    try:
        "\n".join(texts).encode()
    except UnicodeEncodeError as exc:
        raise InvalidRequestError(
            f"got text that is not valid Unicode in the passage {passage.id!r}: {exc}. Replace lone surrogates."
        ) from exc
    return passage


def _link_row(passage: GraphPassage, link: GraphLink) -> dict[str, Any]:
    return {"passage": passage.id, "entity": entity_key(passage.namespace, link.entity_id), "kind": link.kind, "weight": float(link.weight)}


def _edge_row(passage: GraphPassage, edge: GraphEdge) -> dict[str, Any]:
    return {
        "subject": entity_key(passage.namespace, edge.subject_id),
        "object": entity_key(passage.namespace, edge.object_id),
        "edge_id": edge.edge_id,
        "predicate": edge.predicate,
        "passage": passage.id,
        "valid_from": _as_text(edge.valid_from),
        "valid_to": _as_text(edge.valid_to),
    }


def _as_text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(timezone.utc).replace(tzinfo=None).isoformat(" ")


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
