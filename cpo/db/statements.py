"""Write statements of the hot path: built once with SQLAlchemy Core, run with plain tuples.

A `Write` names the statement and the order of its row's values; `Dialects` compile it for one
database. Nothing of SQLAlchemy runs per message.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from sqlalchemy import Table, bindparam, delete, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler

from cpo.db.columns import UtcTime, aware, microseconds

Row = tuple[Any, ...]


def insert(dialect: str, table: Table) -> sqlite.Insert:
    """Return an INSERT that knows ON CONFLICT.

    Typed as one of the two databases': what each builds is compiled for its own.
    """
    if dialect == "sqlite":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - memory that SQLite does not need

    return cast("sqlite.Insert", postgresql.insert(table))


@dataclass(eq=False, slots=True)
class Write:
    """One statement that writes rows of one table.

    `columns` is the order of a row's values. `stamps` are the positions that the writer fills in
    with the commit's stamp. `key` are the positions that name the row: statements on the same row
    keep their order. A statement that may touch many rows has `sweeping` set and keeps its place
    among all statements on its table.
    """

    table: Table
    columns: tuple[str, ...]
    build: Callable[[str], ClauseElement]
    key: tuple[int, ...] = ()
    sweeping: bool = False
    stamps: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.stamps = tuple(i for i, name in enumerate(self.columns) if name in STAMPED)


STAMPED = ("last_updated",)


@dataclass(eq=False, slots=True)
class Prepared:
    """A write statement compiled for one database.

    `converters` are (position, function) for the values that the driver does not take as they are.
    """

    sql: str
    table: str
    converters: tuple[tuple[int, Callable[[Any], Any]], ...]
    stamps: tuple[int, ...]
    key: tuple[int, ...]
    sweeping: bool

    def convert(self, rows: Sequence[Row], stamp: Any) -> list[list[Any]]:
        """Return rows as the driver wants them, with the commit's stamp filled in."""
        converted = [list(row) for row in rows]
        for position, function in self.converters:
            for values in converted:
                value = values[position]
                if value is not None:
                    values[position] = function(value)
        for position in self.stamps:
            for values in converted:
                values[position] = stamp
        return converted


class Compiler:
    """Compiles write statements for one database, each once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dialect = _dialect(name)
        self._prepared: dict[Write, Prepared] = {}
        self.stamp = self._converter(UtcTime())

    def __call__(self, write: Write) -> Prepared:
        """Return the statement compiled."""
        prepared = self._prepared.get(write)
        if prepared is None:
            prepared = self._prepared[write] = self._compile(write)
        return prepared

    def _compile(self, write: Write) -> Prepared:
        # For many rows: no RETURNING of generated keys that nobody reads.
        compiled = write.build(self.name).compile(dialect=self.dialect, for_executemany=True)
        if not isinstance(compiled, SQLCompiler) or compiled.positiontup is None:
            msg = f"not a statement with positional parameters: {compiled}"
            raise TypeError(msg)
        wanted = [parameter(name) for name in write.columns]
        if list(compiled.positiontup) != wanted:
            msg = f"the row {wanted} does not fit the parameters {compiled.positiontup}"
            raise ValueError(msg)
        converters = []
        for position, name in enumerate(write.columns):
            if position in write.stamps:
                continue
            convert = self._converter(compiled.binds[parameter(name)].type)
            if convert is not None:
                converters.append((position, convert))
        return Prepared(
            str(compiled),
            write.table.name,
            tuple(converters),
            write.stamps,
            write.key,
            write.sweeping,
        )

    def _converter(self, type_: Any) -> Callable[[Any], Any] | None:
        if isinstance(type_, UtcTime):
            # What the type does, without the two calls around it: times are in every row.
            return microseconds if self.name == "sqlite" else aware
        converter: Callable[[Any], Any] | None = type_.dialect_impl(self.dialect).bind_processor(
            self.dialect
        )
        return converter


def _dialect(name: str) -> Dialect:
    if name == "sqlite":
        return sqlite.dialect()
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - memory that SQLite does not need

    # PostgreSQL's own placeholders are numbered: $1, $2, …
    known: Dialect = postgresql.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
    return known


def parameter(column: str) -> str:
    """Return the name of a column's parameter; it may not be the column's own name in UPDATE."""
    return f"p_{column}"


def _parameters(table: Table, names: Sequence[str]) -> dict[str, Any]:
    return {name: bindparam(parameter(name), type_=table.c[name].type) for name in names}


def _row_columns(table: Table) -> tuple[str, ...]:
    """All columns but a generated key."""
    return tuple(c.name for c in table.columns if not (c.primary_key and c.autoincrement is True))


def _key(table: Table) -> tuple[str, ...]:
    return tuple(c.name for c in table.primary_key.columns)


def insert_into(table: Table) -> Write:
    """Insert a row; a key that is taken fails its unit."""
    columns = _row_columns(table)
    key = _key(table)

    def build(dialect: str) -> ClauseElement:
        statement: ClauseElement = insert(dialect, table).values(_parameters(table, columns))
        return statement

    positions = tuple(columns.index(name) for name in key if name in columns)
    return Write(table, columns, build, key=positions)


def insert_once(table: Table) -> Write:
    """Insert a row unless its key is there."""
    columns = _row_columns(table)
    key = _key(table)

    def build(dialect: str) -> ClauseElement:
        statement: ClauseElement = (
            insert(dialect, table)
            .values(_parameters(table, columns))
            .on_conflict_do_nothing(index_elements=key)
        )
        return statement

    return Write(table, columns, build, key=tuple(columns.index(name) for name in key))


def upsert(table: Table, *, replacing: Sequence[str] | None = None) -> Write:
    """Insert a row, or replace what is there under its key."""
    columns = _row_columns(table)
    key = _key(table)
    replaced = replacing or [name for name in columns if name not in key]

    def build(dialect: str) -> ClauseElement:
        statement = insert(dialect, table).values(_parameters(table, columns))
        upserting: ClauseElement = statement.on_conflict_do_update(
            index_elements=key,
            set_={name: statement.excluded[name] for name in replaced},
        )
        return upserting

    return Write(table, columns, build, key=tuple(columns.index(name) for name in key))


def change(table: Table, columns: Sequence[str], *, where: Sequence[str] | None = None) -> Write:
    """Set some columns of the row with the given values in `where`, by default its key."""
    named = tuple(where or _key(table))
    ordered = tuple(c.name for c in table.columns if c.name in columns)

    def build(dialect: str) -> ClauseElement:
        del dialect
        return (
            update(table)
            .values(_parameters(table, ordered))
            .where(*(table.c[name] == value for name, value in _parameters(table, named).items()))
        )

    return _selective(table, ordered + named, build, offset=len(ordered), named=named)


def remove(table: Table, *, where: Sequence[str] | None = None) -> Write:
    """Delete the row with the given values in `where`, by default its key."""
    named = tuple(where or _key(table))

    def build(dialect: str) -> ClauseElement:
        del dialect
        return delete(table).where(
            *(table.c[name] == value for name, value in _parameters(table, named).items())
        )

    return _selective(table, named, build, offset=0, named=named)


def _selective(
    table: Table,
    columns: tuple[str, ...],
    build: Callable[[str], ClauseElement],
    *,
    offset: int,
    named: tuple[str, ...],
) -> Write:
    key = _key(table)
    if set(key) <= set(named):
        positions = tuple(offset + named.index(name) for name in key)
        return Write(table, columns, build, key=positions)
    return Write(table, columns, build, sweeping=True)
