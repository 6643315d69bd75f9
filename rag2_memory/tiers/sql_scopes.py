"""What a scope sees at some time, as SQL conditions.

Statements are built once per kind of question (`Sight`) and take the scope, the moments and the ids as parameters: building and compiling them
anew would take longer than running them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    CompoundSelect,
    FromClause,
    Select,
    String,
    and_,
    bindparam,
    cast,
    exists,
    func,
    or_,
    select,
    union,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from rag2_memory.tiers import sql_schema as t
from rag2_memory.tiers.sql_driver import DriverRow
from rag2_memory.tiers.sql_values import seconds
from rag2_memory.types import AsOf, Scope


@dataclass(frozen=True, slots=True)
class Sight:
    """Which conditions a scope and a time ask for."""

    known: bool
    """Whether the scope names principals."""
    valid: bool
    """Whether a moment in valid time is given."""
    recorded: bool
    """Whether a moment in transaction time is given."""

    @property
    def past(self) -> bool:
        """Whether versions other than the published one may be meant."""
        return self.valid or self.recorded


def sight_of(scope: Scope, as_of: AsOf | None) -> Sight:
    """Return the kind of question that a scope and a time ask."""
    return Sight(
        known=bool(scope.principals),
        valid=as_of is not None and as_of.valid is not None,
        recorded=as_of is not None and as_of.recorded is not None,
    )


def parameters(scope: Scope, as_of: AsOf | None, **lists: Collection[str]) -> dict[str, Any]:
    """Return the values of a statement's parameters; `lists` are those that `among` names."""
    values: dict[str, Any] = {"namespace": scope.namespace} | {name: json.dumps(list(items)) for name, items in lists.items()}
    if scope.principals:
        values["principals"] = json.dumps(sorted(scope.principals))
    if as_of is not None:
        moments = {"valid": seconds(as_of.valid), "recorded": seconds(as_of.recorded)}
        values |= {name: at for name, at in moments.items() if at is not None}
    return values


class _TextsOf(FunctionElement[str]):
    """The strings of a JSON array, as a subquery: one parameter for any number of ids."""

    inherit_cache = True
    type = String()


@compiles(_TextsOf, "sqlite")
def _texts_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    return f"(SELECT value FROM json_each({compiler.process(element.clauses, **options)}))"


@compiles(_TextsOf, "postgresql")
def _texts_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    return f"(SELECT jsonb_array_elements_text(CAST({compiler.process(element.clauses, **options)} AS jsonb)))"


class _RowsOf(FunctionElement[Any]):
    """All rows of some columns as one JSON value."""

    inherit_cache = True


@compiles(_RowsOf, "sqlite")
def _rows_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    return f"json_group_array(json_array({compiler.process(element.clauses, **options)}))"


@compiles(_RowsOf, "postgresql")
def _rows_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    return f"coalesce(json_agg(json_build_array({compiler.process(element.clauses, **options)})), '[]')"


def at_once(query: Select[Any], *columns: ColumnElement[Any]) -> Select[Any]:
    """Have a query return the columns, of text or integers, as one JSON array of rows.

    Python's SQLite lets other threads take the interpreter at every row, so that beside a busy thread a hundred rows wait a hundred times.
    """
    return query.with_only_columns(_RowsOf(*columns), maintain_column_froms=True)


def microseconds(moment: Column[Any]) -> ColumnElement[Any]:
    """Return a moment as a whole number, for `at_once`: SQLite writes a fraction into JSON with fewer digits than a moment has."""
    return cast(func.round(moment * 1_000_000), BigInteger).label(moment.name)


def unpacked(found: Sequence[DriverRow]) -> Any:
    """Return the rows of what an `at_once` statement returned; SQLite hands JSON over as text."""
    ((packed,),) = found
    return json.loads(packed) if isinstance(packed, str) else packed


def among(column: ColumnElement[str], name: str) -> ColumnElement[bool]:
    """Return the condition that a column is one of the strings in the parameter `name` (see `parameters`)."""
    return column.op("IN", is_comparison=True)(_TextsOf(bindparam(name, type_=String)))


def seen_documents(sight: Sight, *, picked: bool) -> list[ColumnElement[bool]]:
    """Return the conditions on a document: in the scope's namespace, permitted, and not archived; published unless the past is asked for.

    Permissions are always today's: a withdrawn permission also covers the past. `picked` says that the statement picks rows by ids of their own.
    The namespace is then compared as an expression that no index holds; else a database without statistics may start from the namespace and walk
    all its documents for a handful of ids.
    """
    namespace = t.documents.c.namespace.concat("") if picked else t.documents.c.namespace
    state = t.documents.c.state != "archived" if sight.past else t.documents.c.state == "live"
    return [namespace == bindparam("namespace", type_=String), state, _permitted(sight)]


def seen_versions(sight: Sight, *, picked: bool) -> tuple[FromClause, ColumnElement[bool]]:
    """Return the join of documents and their versions, and the condition that the scope may see that version at that time.

    Without a moment it is the published version. In transaction time it is what was published then. In valid time a version counts from its
    `effective_from` until it was superseded or deleted.
    """
    source = t.documents.join(t.versions, t.versions.c.document_key == t.documents.c.document_key)
    conditions = seen_documents(sight, picked=picked)
    if not sight.past:
        conditions.append(t.versions.c.version == t.documents.c.live_version)
    for start, name in ((t.versions.c.recorded_at, "recorded"), (t.versions.c.effective_from, "valid")):
        if getattr(sight, name):
            moment: ColumnElement[Any] = bindparam(name, type_=t.Instant)
            conditions += [start <= moment, or_(t.versions.c.retired_at.is_(None), t.versions.c.retired_at > moment)]
    return source, and_(*conditions)


def seen_chunks(sight: Sight, *columns: Any, picked: bool = True) -> Select[Any]:
    """Select columns of the chunks that the scope sees, picked by their ids or all; occurrences, documents and, where needed, versions are joined."""
    if sight.past or any(column.table is t.versions for column in columns):
        versions, condition = seen_versions(sight, picked=picked)
        matching = and_(t.occurrences.c.document_key == t.versions.c.document_key, t.occurrences.c.version == t.versions.c.version)
        source = versions.join(t.occurrences, matching)
    else:
        condition = and_(*seen_documents(sight, picked=picked))
        published = and_(t.occurrences.c.document_key == t.documents.c.document_key, t.occurrences.c.version == t.documents.c.live_version)
        source = t.documents.join(t.occurrences, published)
    return select(*columns).select_from(source).where(condition)


def all_seen_chunks(sight: Sight) -> Select[Any] | CompoundSelect[Any]:
    """Select the ids of every chunk that the scope sees, from the open documents and from those that its principals are named for.

    Two indexes lead to them, so a scope that sees little of a large namespace walks little.
    """
    unrestricted = seen_chunks(replace(sight, known=False), t.occurrences.c.chunk_id, picked=False)
    if not sight.known:
        return unrestricted.distinct()
    named = select(t.permissions.c.document_key).where(among(t.permissions.c.principal, "principals"))
    granted = seen_chunks(sight, t.occurrences.c.chunk_id).where(t.documents.c.restricted.is_(True), t.documents.c.document_key.in_(named))
    return union(unrestricted, granted)


def sees(chunk_id: ColumnElement[str], sight: Sight) -> ColumnElement[bool]:
    """Return the condition that the scope sees the chunk of a row."""
    return seen_chunks(sight, t.occurrences.c.chunk_id).where(t.occurrences.c.chunk_id == chunk_id).exists()


def _permitted(sight: Sight) -> ColumnElement[bool]:
    unrestricted = t.documents.c.restricted.is_(False)
    if not sight.known:
        return unrestricted
    granted = exists().where(t.permissions.c.document_key == t.documents.c.document_key, among(t.permissions.c.principal, "principals"))
    return or_(unrestricted, granted)
