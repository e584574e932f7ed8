"""Lists in pages: in the order of (last_updated, id), by key or by offset."""

import base64
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Integer,
    LargeBinary,
    Select,
    Table,
    any_,
    bindparam,
    cast,
    func,
    select,
    tuple_,
)

from cpo.db import rows
from cpo.db.columns import Document, instant, microseconds
from cpo.db.ranks import RUNG, SHORT, Ladder, Order, key_values
from cpo.db.statements import Write, upsert
from cpo.db.swift import Swift
from cpo.db.tables import metadata
from cpo.errors import Invalid
from cpo.services.ports import Listed, Page

LADDERS_KEPT = 500
TEXTS = metadata.tables["wire_texts"]
PUT_TEXT = upsert(TEXTS)


@dataclass(frozen=True, slots=True)
class Query:
    """Which page of which list is wanted."""

    kind: str
    limit: int
    cursor: str | None = None
    offset: int = 0
    date_from: datetime | None = None
    date_to: datetime | None = None
    partner_id: str | None = None
    party: tuple[str, str] | None = None
    newest_first: bool = False
    held: bool = False
    listed: Listed | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """How one kind of list is read."""

    table: Table
    read: Callable[[Any], Any]
    key: tuple[str, ...] = ("id",)
    time: str = "last_updated"
    snapshot: bool = False

    @property
    def order(self) -> list[ColumnElement[Any]]:
        """What the list is ordered by."""
        return [self.table.c[self.time], *(self.table.c[name] for name in self.key)]

    @property
    def objects(self) -> Select[Any]:
        """The statement that reads whole objects."""
        if not self.snapshot:
            return select(self.table)
        return rows.with_snapshot(self.table)


SHAPES = {
    "locations": Shape(rows.LOCATIONS, lambda row: rows.location(row)[0]),
    "tariffs": Shape(rows.TARIFFS, lambda row: rows.tariff(row)[0]),
    "sessions": Shape(rows.SESSIONS, rows.session, snapshot=True),
    "cdrs": Shape(rows.CDRS, rows.cdr),
    "tokens": Shape(rows.TOKENS, rows.token, key=("uid", "country_code", "party_id", "type")),
    "commands": Shape(rows.COMMANDS, rows.command),
    "audit": Shape(rows.AUDIT, rows.audit, time="at"),
    "orphans": Shape(rows.ORPHANS, rows.orphan, time="at"),
}


@dataclass(slots=True)
class Found:
    """The keys of a page (time, then id), the total, and the cursor of the next page."""

    keys: Sequence[Any]
    total: int
    cursor: str | None


@dataclass(slots=True)
class Texts:
    """The texts of a page in its order, and what must be rendered: (id, last_updated, object).

    A text that is missing is None.
    """

    ids: Sequence[str]
    texts: list[bytes | None]
    missing: Sequence[tuple[str, datetime, Any]]
    total: int
    cursor: str | None


class _Form(NamedTuple):
    """What statements differ by."""

    kind: str
    order: int
    since: bool
    until: bool
    after: bool
    skipped: bool
    backwards: bool


class Pages:
    """Reads pages. `moved` counts, by kind, the changes that may have moved rows of a list."""

    def __init__(self, *, rung: int = RUNG, short: int = SHORT) -> None:
        self._rung, self._short = rung, short
        self.moved: dict[str, int] = defaultdict(int)
        self._ladders: OrderedDict[tuple[Any, ...], Ladder] = OrderedDict()
        self._orders: dict[tuple[str, bool, bool, bool, bool], Order] = {}
        self._statements: dict[Hashable, Select[Any]] = {}
        self._swift = Swift()

    def objects(self, query: Query) -> Callable[[Connection], Page]:
        """Return what reads a page of objects, each with its last_updated."""
        shape = _shape(query)

        def read(connection: Connection) -> Page:
            found = self._found(connection, query, shape)
            rows_ = self._rows(connection, shape, [tuple(key[1:]) for key in found.keys])
            # An object that moved meanwhile stands further on in the list.
            items = [
                (shape.read(row), key[0])
                for key in found.keys
                if (row := rows_.get(tuple(key[1:]))) is not None
            ]
            return Page(items, found.total, found.cursor)

        return read

    def texts(self, query: Query, form: str) -> Callable[[Connection], Texts]:
        """Return what reads a page of stored texts, and the objects that have none yet."""
        shape = _shape(query)
        if shape.key != ("id",):
            raise Invalid("kind", f"{query.kind!r} has no texts")

        def read(connection: Connection) -> Texts:
            if connection.dialect.name == "sqlite":
                found = self._found(connection, query, shape, texts_of=form)
                texts = [key[2] for key in found.keys]
            else:
                found = self._found(connection, query, shape)
                texts = self._texts(connection, query, form, found.keys)
            ids = [key[1] for key in found.keys]
            missing = [(id_,) for id_, text in zip(ids, texts, strict=True) if text is None]
            objects = self._rows(connection, shape, missing) if missing else {}
            fresh = [
                (row.id, getattr(row, shape.time), shape.read(row)) for row in objects.values()
            ]
            return Texts(ids, texts, fresh, found.total, found.cursor)

        return read

    def _texts(
        self, connection: Connection, query: Query, form: str, keys: Sequence[Any]
    ) -> list[bytes | None]:
        """Read the texts of a page's keys; None where there is none, or one of an older state."""
        found = connection.execute(
            self._built("texts", lambda: _texts_of(connection)),
            {"kind": query.kind, "form": form, "ids": [key[1] for key in keys]},
        )
        kept = {row.object_id: row for row in found}
        return [
            row.body.encode()
            if (row := kept.get(id_)) is not None and row.object_updated_at == at
            else None
            for at, id_ in keys
        ]

    def _rows(
        self, connection: Connection, shape: Shape, keys: Sequence[tuple[Any, ...]]
    ) -> dict[tuple[Any, ...], Any]:
        """Read rows by their keys: a database that had to join would guess how many there are."""
        first = shape.table.c[shape.key[0]]
        statement = self._built(
            (shape.table.name, "rows"),
            lambda: shape.objects.where(among(connection, first)),
        )
        wanted = set(keys)
        found = {}
        for row in connection.execute(statement, {"ids": [key[0] for key in keys]}).all():
            key = tuple(getattr(row, name) for name in shape.key)
            if key in wanted:
                found[key] = row
        return found

    def _found(
        self, connection: Connection, query: Query, shape: Shape, *, texts_of: str | None = None
    ) -> Found:
        """Find the keys of a page; with `texts_of`, on SQLite, each with its text of that form."""
        own = _own(query, shape)
        order = self._order(query, shape, own)
        ladder = self._ladder(query, order, own)
        first, end = 0, ladder.total(connection, self.moved[query.kind])
        values: dict[str, Any] = dict(own)
        if query.date_from is not None:
            values["since"] = query.date_from
            first = ladder.before(connection, query.date_from)
        if query.date_to is not None:
            values["until"] = query.date_to
            end = ladder.before(connection, query.date_to)
        total = max(0, end - first)
        skipped, after = query.offset, None
        if query.cursor is not None:
            skipped, after = 0, tuple(_opened(query.cursor, order.columns))
        elif query.offset >= total and query.offset:
            return Found([], total, None)
        elif query.offset and not query.newest_first:
            rung, left = ladder.start(first + query.offset)
            # A rung helps that lies between the first row of the query and the page.
            if rung is not None and left <= query.offset:
                skipped, after = left, rung
        since = query.date_from is not None
        if after is not None:
            values |= key_values("a", after)
            if query.date_from is not None and not query.newest_first:
                # Two lower bounds would make the database seek by the wrong one.
                since = after[0] < query.date_from
        form = _Form(
            query.kind,
            id(order),
            since,
            query.date_to is not None,
            after is not None,
            skipped > 0,
            query.newest_first,
        )
        values |= {"limit": query.limit + 1, "skipped": skipped}
        if texts_of is None:
            statement = self._built(form, lambda: self._statement(form, order))
        else:
            statement = self._built(
                ("texts", form), lambda: _with_texts(self._statement(form, order))
            )
            values |= {"text_kind": query.kind, "text_form": texts_of}
        found = self._swift.rows(connection, statement, values)
        page = found[: query.limit]
        cursor = None
        if len(found) > query.limit > 0:
            at, *key = page[-1][: len(order.columns)]
            cursor = _closed(at, key)
        return Found(page, total, cursor)

    def _built(self, name: Hashable, build: Callable[[], Select[Any]]) -> Select[Any]:
        """Return a statement that is built once: what differs from call to call are parameters."""
        known = self._statements.get(name)
        if known is None:
            known = self._statements[name] = build()
        return known

    def _statement(self, form: _Form, order: Order) -> Select[Any]:
        """Build the statement that finds the keys of a page."""
        time = order.columns[0]
        keys = select(*order.columns).where(*order.conditions)
        if form.since:
            keys = keys.where(time >= bindparam("since", type_=time.type))
        if form.until:
            keys = keys.where(time < bindparam("until", type_=time.type))
        if form.after:
            here, there = tuple_(*order.columns), order.bound("a")
            keys = keys.where(here < there if form.backwards else here > there)
        keys = keys.order_by(*_directed(order.columns, form))
        keys = keys.limit(bindparam("limit", type_=Integer))
        if form.skipped:
            keys = keys.offset(bindparam("skipped", type_=Integer))
        return keys

    def _order(self, query: Query, shape: Shape, own: Mapping[str, Any]) -> Order:
        key = (query.kind, "partner_id" in own, "party_id" in own, "held" in own, "listed" in own)
        order = self._orders.get(key)
        if order is None:
            table = shape.table.c
            conditions = [
                table[name] == bindparam(name, type_=table[name].type)
                for name in own
                if name not in {"held", "listed"}
            ]
            if "listed" in own:
                shown = table["listed"]
                most = bindparam("listed", type_=shown.type)
                conditions += [shown >= Listed.ALWAYS, shown <= most]
            if "held" in own:
                conditions.append(table["held"])  # no parameter: the partial index is for it
            order = self._orders[key] = Order(shape.order, conditions)
        return order

    def _ladder(self, query: Query, order: Order, own: Mapping[str, Any]) -> Ladder:
        key = (query.kind, *own.items())
        ladder = self._ladders.get(key)
        if ladder is None:
            ladder = Ladder(order, own, swift=self._swift, rung=self._rung, short=self._short)
            self._ladders[key] = ladder
            if len(self._ladders) > LADDERS_KEPT:
                self._ladders.popitem(last=False)
        return ladder


def _directed(columns: Sequence[ColumnElement[Any]], form: _Form) -> list[ColumnElement[Any]]:
    return [c.desc() for c in columns] if form.backwards else list(columns)


def among(connection: Connection, column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that a column is among the parameter `ids`, one list in one parameter.

    With a parameter for each the statement would differ by their number.
    """
    if connection.dialect.name == "sqlite":
        listed = func.json_each(bindparam("ids", type_=Document)).table_valued("value")
        return column.in_(select(listed.c.value))
    listed_ids = bindparam("ids", type_=ARRAY(column.type))
    return column == any_(listed_ids)


def _with_texts(keys: Select[Any]) -> Select[Any]:
    """Return a page's keys, each with its text as bytes: it is sent as it is.

    SQLite seeks each text as it walks. Other databases would guess how many keys there are, and
    may read all texts instead.
    """
    page = keys.subquery("page")
    at, id_ = page.c
    kept = (
        (TEXTS.c.kind == bindparam("text_kind", type_=TEXTS.c.kind.type))
        & (TEXTS.c.form == bindparam("text_form", type_=TEXTS.c.form.type))
        & (TEXTS.c.object_id == id_)
        & (TEXTS.c.object_updated_at == at)
    )
    body = cast(TEXTS.c.body, LargeBinary)
    return select(at, id_, body).select_from(page.outerjoin(TEXTS, kept)).order_by(at, id_)


def _texts_of(connection: Connection) -> Select[Any]:
    return select(TEXTS.c.object_id, TEXTS.c.object_updated_at, TEXTS.c.body).where(
        TEXTS.c.kind == bindparam("kind", type_=TEXTS.c.kind.type),
        TEXTS.c.form == bindparam("form", type_=TEXTS.c.form.type),
        among(connection, TEXTS.c.object_id),
    )


def text_row(kind: str, form: str, object_id: str, at: datetime, text: str) -> tuple[Write, Any]:
    """Return what keeps a rendered text; it counts while the object's last_updated is `at`."""
    return PUT_TEXT, (kind, form, object_id, at, text)


def _shape(query: Query) -> Shape:
    shape = SHAPES.get(query.kind)
    if shape is None:
        raise Invalid("kind", f"{query.kind!r} has no pages")
    return shape


def _own(query: Query, shape: Shape) -> dict[str, Any]:
    """Return what the rows of the list have in common, by column."""
    table = shape.table.c
    own: dict[str, Any] = {}
    if query.partner_id is not None and "partner_id" in table:
        own["partner_id"] = query.partner_id
    if query.party is not None and "party_id" in table:
        own["country_code"], own["party_id"] = query.party
    if query.held and "held" in table:
        own["held"] = True
    if query.listed is not None and "listed" in table:
        own["listed"] = int(query.listed)
    return own


def _closed(at: datetime, key: Sequence[str | int]) -> str:
    """Write down where a page ended."""
    text = msgspec.json.encode([microseconds(at), *key])
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def _opened(cursor: str, order: Sequence[ColumnElement[Any]]) -> list[Any]:
    """Read where a page ended; Invalid when the cursor is not ours, or of another list."""
    kinds = [column.type.python_type for column in order[1:]]
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        at, *key = msgspec.json.decode(raw, type=tuple[int, *kinds])  # type: ignore[valid-type]
        found = [instant(at), *key]
    except (ValueError, OverflowError) as error:
        raise Invalid("cursor", "was not made here") from error
    if any("\x00" in str(part) or (isinstance(part, int) and part >= 1 << 63) for part in key):
        raise Invalid("cursor", "was not made here")
    return found
