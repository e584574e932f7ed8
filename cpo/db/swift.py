"""Reading on the hot path: statements that Core compiled once, run by the driver itself.

On SQLite the way of a statement through SQLAlchemy costs more than the statement (decision 0002
says the same of writing). Elsewhere it runs as usual.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select
from sqlalchemy.sql.compiler import SQLCompiler

from cpo.db.columns import Document, UtcTime, dump, instant, microseconds


@dataclass(frozen=True, slots=True)
class Ready:
    """A statement compiled for SQLite: its text, its parameters in order, and what is an instant.

    A parameter comes with the function that makes it what the driver takes.
    """

    sql: str
    parameters: tuple[tuple[str, Callable[[Any], Any] | None], ...]
    instants: tuple[int, ...]


class Swift:
    """Runs statements; each of them is compiled once and kept, so their number must be bounded."""

    def __init__(self) -> None:
        self._ready: dict[Select[Any], Ready] = {}

    def rows(
        self, connection: Connection, statement: Select[Any], values: Mapping[str, Any]
    ) -> Sequence[Sequence[Any]]:
        """Return all rows of a statement."""
        if connection.dialect.name != "sqlite":
            return connection.execute(statement, dict(values)).all()
        ready = self._ready.get(statement)
        if ready is None:
            ready = self._ready[statement] = _prepared(connection, statement)
        given = [
            values[name] if convert is None else convert(values.get(name))
            for name, convert in ready.parameters
        ]
        driver: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
        found = driver.execute(ready.sql, given).fetchall()
        if not ready.instants:
            return found
        if ready.instants == (0,):
            return [(instant(row[0]), *row[1:]) for row in found]
        return [
            tuple(
                instant(value) if n in ready.instants and value is not None else value
                for n, value in enumerate(row)
            )
            for row in found
        ]


def _prepared(connection: Connection, statement: Select[Any]) -> Ready:
    compiled = statement.compile(dialect=connection.dialect)
    if not isinstance(compiled, SQLCompiler) or compiled.positiontup is None:
        msg = f"not a statement with positional parameters: {compiled}"
        raise TypeError(msg)
    parameters: list[tuple[str, Callable[[Any], Any] | None]] = []
    for name in compiled.positiontup:
        bound = compiled.binds[name]
        if isinstance(bound.type, UtcTime):
            parameters.append((name, microseconds))
        elif isinstance(bound.type, Document):
            parameters.append((name, dump))
        elif bound.value is not None:
            parameters.append((name, _always(bound.value)))
        else:
            parameters.append((name, None))
    instants = [
        n for n, column in enumerate(statement.selected_columns) if isinstance(column.type, UtcTime)
    ]
    return Ready(compiled.string, tuple(parameters), tuple(instants))


def _always(value: Any) -> Callable[[Any], Any]:
    """Return what puts a constant of the statement in its place."""
    return lambda _: value
