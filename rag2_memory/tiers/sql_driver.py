"""Reading rows on the driver itself: SQLAlchemy's way to a few rows takes longer than a database needs to find them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from sqlalchemy import Engine, Select

DriverRow = tuple[Any, ...]
Rows = Callable[[Select[Any], Mapping[str, Any]], list[DriverRow]]
"""Runs a statement with its parameters: `DriverReads.rows`, or what wraps it."""


class DriverReads:
    """Runs SELECT statements, each a transaction of its own, and compiles each once: they must be built once as well, being told apart by identity."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._compiled: dict[Select[Any], tuple[str, list[str] | None, dict[str, Any]]] = {}

    def rows(self, statement: Select[Any], values: Mapping[str, Any]) -> list[DriverRow]:
        """Return the rows as the driver gives them: in SQLite's case JSON as text and truth values as integers.

        Args:
            statement: What is asked.
            values: Of its parameters, as the driver takes them.
        """
        sql, order, constants = self._compiled.get(statement) or self._compile(statement)
        named = {**constants, **values}
        with closing(self._engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(sql, named if order is None else [named[name] for name in order])
            return list(cursor.fetchall())

    def _compile(self, statement: Select[Any]) -> tuple[str, list[str] | None, dict[str, Any]]:
        compiled = statement.compile(dialect=self._engine.dialect)
        found = self._compiled[statement] = (str(compiled), compiled.positiontup, dict(compiled.params))
        return found
