"""The Cypher that Kuzu and ladybug share, and how rows travel in and out of it.

No statement changes a row in place: once a transaction that did so was rolled back, Kuzu 0.11.3 may refuse every later change of that row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from itertools import chain, islice
from typing import Any

from rag2_memory.records import GraphEdge, GraphLink, GraphPassage
from rag2_memory.tiers.kuzu_database import Run
from rag2_memory.types import utc

ROWS_AT_ONCE = 10_000
"""Rows per `UNWIND`, which bounds the memory of one statement."""

SCAN_FROM = 100
"""Removals from which one scan of a table is cheaper than that many lookups by key (3 ms each; a scan of 500,000 rows takes 200 to 700 ms)."""

LAYOUT = "1-"
"""What the mark of the last write begins with; another one means that another release laid the tables out."""

SCHEMA = (
    "CREATE NODE TABLE IF NOT EXISTS Passage(id STRING PRIMARY KEY, namespace STRING)",
    "CREATE NODE TABLE IF NOT EXISTS Entity(key STRING PRIMARY KEY, id STRING, namespace STRING)",
    "CREATE NODE TABLE IF NOT EXISTS State(written STRING PRIMARY KEY)",
    "CREATE REL TABLE IF NOT EXISTS LINK(FROM Passage TO Entity, kind STRING, weight DOUBLE)",
    "CREATE REL TABLE IF NOT EXISTS EDGE(FROM Entity TO Entity, edge_id STRING, predicate STRING, passage STRING,"
    " valid_from TIMESTAMP, valid_to TIMESTAMP)",
)

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
READ_PASSAGES = "MATCH (p:Passage) RETURN p.id, p.namespace"
READ_LINKS = "MATCH (p:Passage)-[l:LINK]->(e:Entity) RETURN p.id, e.id, l.kind, l.weight"
READ_EDGES = "MATCH (s:Entity)-[r:EDGE]->(o:Entity) RETURN r.passage, s.id, o.id, r.edge_id, r.predicate, r.valid_from, r.valid_to"
READ_STATE = "MATCH (s:State) RETURN s.written"
FORGET_STATE = "MATCH (s:State) DELETE s"
MARK_STATE = "CREATE (:State {written: $written})"

OPEN = "-"
"""Stands for an absent moment: `string_split` drops empty fields."""

SEPARATORS = ("\x1e", "\x1f", *map(chr, range(0xE000, 0xE100)))
"""Candidates for what stands between rows and fields: two that occur in none of them."""

VALID_AT = """(r.valid_from IS NULL OR r.valid_from <= $at)
    AND (r.valid_to IS NULL OR r.valid_to > $at OR (r.valid_to = $at AND r.valid_from = $at))"""


def written(run: Run) -> str:
    """Return what the last write left, empty before the first."""
    return next((row[0] for row in run(READ_STATE)), "")


def entity_key(namespace: str, entity_id: str) -> str:
    """Return a key that no other namespace's entity can have."""
    return f"{len(namespace)}:{namespace}:{entity_id}"


def remove_rows(run: Run, passages: Sequence[GraphPassage]) -> None:
    """Remove the links and edges of passages, given as they are stored."""
    linked = [passage.id for passage in passages if passage.links]
    if len(linked) < SCAN_FROM:
        for key in linked:
            run(DELETE_LINKS, passage=key)
    else:
        in_parts(run, DELETE_MANY_LINKS, ((key,) for key in linked))
    starts = {(entity_key(passage.namespace, edge.subject_id), passage.id) for passage in passages for edge in passage.edges}
    if len(starts) < SCAN_FROM:
        for subject, key in starts:
            run(DELETE_EDGES, subject=subject, passage=key)
    else:
        in_parts(run, DELETE_MANY_EDGES, ((passage.id,) for passage in passages if passage.edges))


def in_parts(run: Run, statement: str, rows: Iterable[tuple[str, ...]]) -> None:
    """Run a statement over rows, some thousand at a time."""
    rest = iter(rows)
    while part := list(islice(rest, ROWS_AT_ONCE)):
        used = "".join(chain.from_iterable(part))
        between_rows, between_fields = islice((mark for mark in SEPARATORS if mark not in used), 2)
        run(statement, text=between_rows.join(map(between_fields.join, part)), between_rows=between_rows, between_fields=between_fields)


def link_row(passage: GraphPassage, link: GraphLink) -> tuple[str, ...]:
    """Return a link as a row of `CREATE_LINKS`."""
    return passage.id, entity_key(passage.namespace, link.entity_id), link.kind, repr(float(link.weight))


def edge_row(passage: GraphPassage, edge: GraphEdge) -> tuple[str, ...]:
    """Return an edge as a row of `CREATE_EDGES`."""
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
    return OPEN if moment is None else utc(moment).replace(tzinfo=None).isoformat(" ")


def aware(moment: datetime | None) -> datetime | None:
    """Return a moment as the engine gives it out, in UTC."""
    return None if moment is None else moment.replace(tzinfo=timezone.utc)


def paths_between(
    source: str, target: str, *, max_hops: int, valid_at: datetime | None, without_passages: Collection[str], limit: int
) -> tuple[str, dict[str, Any]]:
    """Return a statement with its parameters that finds the shortest paths between two entity keys; conditions hold inside the walk."""
    parameters: dict[str, Any] = {"source": source, "target": target}
    conditions = []
    if valid_at is not None:
        conditions.append(VALID_AT)
        parameters["at"] = utc(valid_at).replace(tzinfo=None)
    if without_passages:
        conditions.append("NOT r.passage IN $without")
        parameters["without"] = list(without_passages)
    inner = f" (r, n | WHERE {' AND '.join(conditions)})" if conditions else ""
    walk = f"[x:EDGE* ALL SHORTEST 1..{max_hops:d}{inner}]"
    return f"MATCH p = (:Entity {{key: $source}})-{walk}-(:Entity {{key: $target}}) RETURN nodes(p), rels(p) LIMIT {limit:d}", parameters


def path_of(nodes: Sequence[Mapping[str, Any]], edges: Sequence[Mapping[str, Any]]) -> tuple[GraphEdge, ...]:
    """Return a path that the engine found."""
    ids = {_internal(node, "_id"): node["id"] for node in nodes}
    return tuple(
        GraphEdge(
            edge_id=edge["edge_id"],
            subject_id=ids[_internal(edge, "_src")],
            predicate=edge["predicate"],
            object_id=ids[_internal(edge, "_dst")],
            passage_id=edge["passage"],
            valid_from=aware(edge["valid_from"]),
            valid_to=aware(edge["valid_to"]),
        )
        for edge in edges
    )


def _internal(item: Mapping[str, Any], name: str) -> tuple[int, int]:
    """Return an internal id, whose name Kuzu writes in lower and ladybug in upper case."""
    found = item[name] if name in item else item[name.upper()]
    return found["table"], found["offset"]
