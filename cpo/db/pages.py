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
from cpo.services.ports import Listed, Page, TextPage

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
    """The texts of a page of which some are missing (None), in its order.

    `missing` is what must be rendered: (id, last_updated, object).
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


@dataclass(frozen=True, slots=True)
class _Plan:
    """How to get to a page: its statements' form and parameters; `beyond` the list's end."""

    order: Order
    form: _Form
    values: dict[str, Any]
    total: int
    beyond: bool


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

    def texts(self, query: Query, form: str) -> Callable[[Connection], TextPage | Texts]:
        """Return what reads a page of stored texts, and the objects that have none yet."""
        shape = _shape(query)
        if shape.key != ("id",):
            raise Invalid("kind", f"{query.kind!r} has no texts")

        def read(connection: Connection) -> TextPage | Texts:
            if connection.dialect.name == "sqlite" and query.limit > 0:
                page = self._joined(connection, query, shape, form)
                if page is not None:
                    return page
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

    def _joined(
        self, connection: Connection, query: Query, shape: Shape, text_form: str
    ) -> TextPage | None:
        """Read a page of texts as one text; None where one of them is missing.

        One row instead of one for each text: between two rows the driver lets go of the
        interpreter and must wait for it again, which cost more than the reading.
        """
        plan = self._plan(connection, query, shape)
        if plan.beyond:
            return TextPage(b"", 0, plan.total, None)
        values = plan.values | {
            "limit": query.limit,
            "last": plan.values["skipped"] + query.limit - 1,
            "text_kind": query.kind,
            "text_form": text_form,
        }
        statement = self._built(("joined", plan.form), lambda: _joined_texts(plan))
        count, present, joined, ends = self._swift.rows(connection, statement, values)[0]
        if present < count:
            return None
        last = msgspec.json.decode(ends)
        cursor = _closed(instant(last[0][0]), last[0][1:]) if len(last) > 1 else None
        return TextPage(joined or b"", count, plan.total, cursor)

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

    def _found(self, connection: Connection, query: Query, shape: Shape) -> Found:
        """Find the keys of a page."""
        plan = self._plan(connection, query, shape)
        if plan.beyond:
            return Found([], plan.total, None)
        statement = self._built(plan.form, lambda: _paged(plan))
        found = self._swift.rows(connection, statement, plan.values | {"limit": query.limit + 1})
        page = found[: query.limit]
        cursor = None
        if len(found) > query.limit > 0:
            at, *key = page[-1]
            cursor = _closed(at, key)
        return Found(page, plan.total, cursor)

    def _plan(self, connection: Connection, query: Query, shape: Shape) -> _Plan:
        """Find out how to get to a page, and how many rows the list has."""
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
        beyond = query.cursor is None and query.offset >= total and query.offset > 0
        if query.cursor is not None:
            skipped, after = 0, tuple(_opened(query.cursor, order.columns))
        elif query.offset and not beyond and not query.newest_first:
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
        return _Plan(order, form, values | {"skipped": skipped}, total, beyond)

    def _built(self, name: Hashable, build: Callable[[], Select[Any]]) -> Select[Any]:
        """Return a statement that is built once: what differs from call to call are parameters."""
        known = self._statements.get(name)
        if known is None:
            known = self._statements[name] = build()
        return known

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


def _keys(plan: _Plan) -> Select[Any]:
    """Build the statement that finds the keys of a list."""
    order, form = plan.order, plan.form
    time = order.columns[0]
    keys = select(*order.columns).where(*order.conditions)
    if form.since:
        keys = keys.where(time >= bindparam("since", type_=time.type))
    if form.until:
        keys = keys.where(time < bindparam("until", type_=time.type))
    if form.after:
        here, there = tuple_(*order.columns), order.bound("a")
        keys = keys.where(here < there if form.backwards else here > there)
    return keys.order_by(*_directed(order.columns, form))


def _paged(plan: _Plan) -> Select[Any]:
    """Build the statement that finds the keys of a page."""
    keys = _keys(plan).limit(bindparam("limit", type_=Integer))
    if plan.form.skipped:
        keys = keys.offset(bindparam("skipped", type_=Integer))
    return keys


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


def _joined_texts(plan: _Plan) -> Select[Any]:
    """Build the statement that reads a page of texts as one, for SQLite.

    Its row: how many keys, how many texts, the texts with commas between them, and the keys of the
    last of the page and of the one behind it, where there are such.

    SQLite seeks each text as it walks, and joins them in the order of the walk: a limited query
    within another keeps its order. Other databases would guess how many keys there are, and may
    read all texts instead.
    """
    page = _paged(plan).subquery("page")
    at, id_ = page.c
    kept = (
        (TEXTS.c.kind == bindparam("text_kind", type_=TEXTS.c.kind.type))
        & (TEXTS.c.form == bindparam("text_form", type_=TEXTS.c.form.type))
        & (TEXTS.c.object_id == id_)
        & (TEXTS.c.object_updated_at == at)
    )
    last = _keys(plan).limit(2).offset(bindparam("last", type_=Integer)).subquery("last")
    ends = select(func.json_group_array(func.json_array(*last.c))).scalar_subquery()
    shown = func.group_concat(func.nullif(TEXTS.c.body, ""), ",")
    return select(
        func.count(), func.count(TEXTS.c.body), cast(shown, LargeBinary), ends
    ).select_from(page.outerjoin(TEXTS, kept))


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
