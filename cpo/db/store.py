"""The store: what the services' port `Store` is on SQLite and PostgreSQL.

Writes go through the one group-commit writer; reads have connections of their own.
"""

import asyncio
import sqlite3
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any

import structlog
from sqlalchemy import Connection, Select, bindparam, select

from cpo.db import migrate, rows
from cpo.db.address import Address
from cpo.db.columns import dump
from cpo.db.frame_log import Sought, newest_first
from cpo.db.news import Newsroom
from cpo.db.pages import Pages, Query, among, text_row
from cpo.db.reads import Reads, reads_of
from cpo.db.sealing import Seal
from cpo.db.sqlite import LOCK_TIMEOUT, SAFE_VERSION, SqliteLine
from cpo.db.statements import Row, Write
from cpo.db.tables import metadata
from cpo.db.writer import Line, Op, Unit, Writer, generation_of
from cpo.domain.cdr import Cdr
from cpo.domain.command import Command
from cpo.domain.location import Location
from cpo.domain.partner import Partner
from cpo.domain.session import Session
from cpo.domain.station import ConnectorState, Station
from cpo.domain.tariff import Tariff
from cpo.domain.tokens import Token
from cpo.domain.transaction import Phase, Snapshot, Transaction, thinned
from cpo.domain.values import replace
from cpo.errors import Conflict, CpoError
from cpo.services.ports import (
    Delivery,
    DirtyMark,
    EvseState,
    Frame,
    Kind,
    Listed,
    OperatorKey,
    Page,
    Readings,
    Seat,
    StationDocument,
    TextPage,
    Work,
)

log = structlog.get_logger()

INSTANCE = metadata.tables["instance"]
FORGOTTEN_AT_ONCE = 500
LARGEST_PAGE = 10_000


def utc_now() -> datetime:
    """Return the present time."""
    return datetime.now(UTC)


async def open_store(
    url: str,
    *,
    vault_key: bytes,
    now: Callable[[], datetime] = utc_now,
    lock_timeout: float = LOCK_TIMEOUT,
    alone: bool = False,
    node: str | None = None,
) -> "SqlStore":
    """Open the database at an address; an empty one gets its tables first.

    Args:
        url: `sqlite:///…` or `postgresql://…`.
        vault_key: what the tokens we use are sealed with; kept outside the database.
        now: the present time.
        lock_timeout: seconds that another process may hold a SQLite file.
        alone: be the only server on the database: StoreUnavailable when there is another.
        node: be one of several nodes on the database, under this name, which `Members.join` makes
            known before anything is written; PostgreSQL only.

    Raises Misconfigured for a schema that is not this version's, StoreUnavailable when the
    database does not answer.
    """
    address = Address.of(url)
    await migrate.check(url)
    line: Line
    if address.path is not None:
        if sqlite3.sqlite_version_info < SAFE_VERSION:
            # Below it two connections that write or checkpoint can corrupt the WAL; ours is one.
            log.warning(
                "store.sqlite_is_old",
                version=sqlite3.sqlite_version,
                safe=".".join(map(str, SAFE_VERSION)),
            )
        sqlite_line = SqliteLine(address.path, lock_timeout=lock_timeout, alone=alone)
        sqlite_line.open()
        line = sqlite_line
    else:
        from cpo.db.postgres import PostgresLine  # noqa: PLC0415 - 3 MiB that SQLite needs not

        postgres_line = PostgresLine(address.url, alone=alone, node=node)
        await postgres_line.open()
        line = postgres_line
    reads = reads_of(address)
    instance = await reads.run(lambda c: c.execute(select(INSTANCE)).one())
    return SqlStore(
        address,
        line,
        reads,
        instance=uuid.UUID(instance.secret),
        seal=Seal(vault_key),
        now=now,
        shared=node is not None,
    )


@dataclass(slots=True)
class _Also:
    """What a unit writes beside what it was told to, and what is to be remembered of it.

    `stored` are the rows of transactions without their bodies.
    """

    snapshots: dict[str, tuple[Snapshot, bool]] = field(default_factory=dict)
    stored: dict[str, Row] = field(default_factory=dict)
    news: dict[tuple[str, str], None] = field(default_factory=dict)


class SqlStore:
    """The database. `instance` is the secret that our ids are derived with."""

    def __init__(
        self,
        address: Address,
        line: Line,
        reads: Reads,
        *,
        instance: uuid.UUID,
        seal: Seal,
        now: Callable[[], datetime],
        shared: bool = False,
    ) -> None:
        self.instance = instance
        self.address = address
        self.newsroom = Newsroom(reads, seal, self._transactions)
        self._shared = shared
        self._alone = frozenset() if shared else _ALONE
        self._told: Callable[[datetime], None] | None = None
        self._fresh: Callable[[], Awaitable[None]] | None = None
        self._reads = reads
        self._now = now
        self._seal = seal
        self._listeners: list[Callable[[Sequence[DirtyMark]], None]] = []
        self._snapshots: dict[str, Snapshot] = {}
        # What is stored of the open transactions that were written last, without their bodies.
        self._stored: dict[str, Row] = {}
        self._pages = Pages()
        self._documents_known: Select[Any] | None = None
        self._mappings = rows.WRITERS | {Partner: rows.partner_rows(seal)}
        self._writer = Writer(line, mark=rows.MARK, now=now, released=self._tell)

    async def close(self) -> None:
        """Write what was handed in, then let all connections go."""
        # Readers first: the writer, closing last, is the one that checkpoints.
        await self._reads.close()
        await self._writer.close()

    def observe(self, observed: Callable[[float, int], None]) -> None:
        """Tell how long each group commit took, in seconds, and how many units were in it."""
        self._writer.observed = observed

    # --- writing ------------------------------------------------------------------------------

    async def commit(self, work: Work) -> datetime:
        """Make a unit durable, run its callbacks, and return its stamp.

        Raises Conflict when an added key is there already, Invalid for what no database can
        keep, StoreUnavailable when it was not taken. After StoreUnavailable the caller must not
        rely on what it holds in memory: PostgreSQL may have lost its answer, not the commit.
        """
        ops: list[Op] = []
        callbacks: Sequence[Callable[[datetime], object]] = work.callbacks
        also: _Also | None = None
        for verb, value in work.ops:
            mapping = self._mappings.get(type(value))
            if mapping is None:
                also = also or _Also()
                self._special(verb, value, ops, also)
                continue
            if verb == "delete":
                write, row = mapping.delete, mapping.key(value)
            else:
                write = mapping.put if verb == "put" else mapping.add
                row = mapping.values(value)
            if write is None:
                msg = f"{type(value).__name__} cannot be {verb}"
                raise TypeError(msg)
            ops.append((write, row))
            if type(value) not in self._alone:
                also = also or _Also()
                self._follow(verb, value, ops, also)
        marks = [(mark.partner_id, mark.kind.value, mark.object_id) for mark in work.marks]
        if also is not None:
            if also.snapshots or also.stored:
                callbacks = [*callbacks, partial(self._remember, also)]
            ops += [(rows.CHANGED, (*changed, None)) for changed in also.news]
        if self._told is not None and (marks or (also is not None and also.news)):
            callbacks = [*callbacks, self._told]
        try:
            return await self._writer.submit(Unit(ops, marks, callbacks))
        except CpoError:
            # It may have been kept all the same: what is stored is not known any more.
            for id_ in also.stored if also is not None else ():
                self._stored.pop(id_, None)
            raise

    def _special(self, verb: str, value: Any, ops: list[Op], also: "_Also") -> None:
        """Write what is no object of its own."""
        if verb == "touch":
            ops += rows.touch(*value)
            if self._shared and value[0] in (Kind.LOCATION, Kind.EVSE, Kind.TARIFF):
                kind_of = "tariff" if value[0] is Kind.TARIFF else "location"
                also.news[kind_of, value[1].partition("/")[0]] = None
            self._moved(_TOUCHED.get(value[0]))
        elif verb == "fence":
            ops.append((rows.FENCE, (value.epoch, value.station)))
        else:
            msg = f"not something the store keeps: {value!r}"
            raise TypeError(msg)

    def _shortest(self, row: Row, also: "_Also") -> Write:
        """Return the statement that sets no more of a transaction's row than has changed."""
        write = rows.transaction_write(row, also.stored.get(row[0]) or self._stored.get(row[0]))
        also.stored[row[0]] = row[:-1]
        return write

    def _follow(self, verb: str, value: Any, ops: list[Op], also: "_Also") -> None:
        """Write what belongs to an object beside its row."""
        kind = type(value)
        if self._shared and (newsworthy := rows.NEWS.get(kind)) is not None:
            changed = newsworthy(value)
            if changed is not None:
                also.news[changed] = None
        self._moved(_MOVING.get(kind))
        if kind is Cdr and value.last_updated is not None:
            self._moved("cdrs")
        if kind is EvseState:
            ops.append((rows.TOUCH_LOCATION, (None, value.location_id)))
        elif kind in (Transaction, Session) and verb != "delete":
            if kind is Transaction and verb == "put":
                row = ops[-1][1]
                ops[-1] = (self._shortest(row, also), row)
            self._snapshot(value, ops, also.snapshots)

    def on_news(
        self, told: Callable[[datetime], None], *, fresh: Callable[[], Awaitable[None]]
    ) -> None:
        """Say what hears of commits that other nodes must learn of, with their stamps.

        `fresh` is awaited before a page is read: it tells with `moved` what other nodes wrote.
        """
        self._told, self._fresh = told, fresh

    def moved(self, kind: str) -> None:
        """Take note that another node wrote to a list that is paged."""
        self._moved(kind)

    def _moved(self, kind: str | None) -> None:
        if kind is not None:
            self._pages.moved[kind] += 1

    def on_commit(self, listener: Callable[[Sequence[DirtyMark]], None]) -> None:
        """Call a listener on the loop with the marks of each commit that had any (D21).

        `since` and `attempts` are those of a fresh mark; an older one keeps its own.
        """
        self._listeners.append(listener)

    def _tell(self, marks: Sequence[tuple[str, str, str]], stamp: datetime) -> None:
        generation = generation_of(stamp)
        found = [
            DirtyMark(partner, Kind(kind), object_id, generation, stamp)
            for partner, kind, object_id in marks
        ]
        for listener in self._listeners:
            try:
                listener(found)
            except Exception:
                log.exception("store.listener_failed")

    def _snapshot(
        self,
        value: Transaction | Session,
        ops: list[Op],
        snapshots: dict[str, tuple[Snapshot, bool]],
    ) -> None:
        """Write what held at the start, and again when it is another.

        That is when a driver was identified late, or changed preferences. A Session and its
        transaction share it.
        """
        snapshot = value.snapshot
        if snapshot is None:
            return
        if isinstance(value, Transaction):
            ended = not value.open
        else:
            ended = value.end_date_time is not None
        if value.id not in snapshots and self._snapshots.get(value.id) is not snapshot:
            ops.append((rows.PUT_SNAPSHOT, (value.id, dump(snapshot))))
        if ended or value.id not in snapshots:
            snapshots[value.id] = (snapshot, ended)

    def _remember(self, also: "_Also", _: datetime) -> None:
        """Note what need not be written again while a transaction is open."""
        for id_, (snapshot, ended) in also.snapshots.items():
            if ended:
                self._snapshots.pop(id_, None)
            else:
                self._snapshots[id_] = snapshot
        for id_, row in also.stored.items():
            if row[_PHASE] == Phase.ENDED:
                self._stored.pop(id_, None)
            else:
                self._stored[id_] = row

    # --- stations and transactions -------------------------------------------------------------

    async def stations(self) -> list[Station]:
        """Return every registered station."""
        return [rows.station(row) for row in await self._all(select(rows.STATIONS))]

    async def connector_states(self) -> list[ConnectorState]:
        """Return the newest status of every connector."""
        return [rows.connector_state(r) for r in await self._all(select(rows.CONNECTOR_STATES))]

    async def evse_states(self) -> list[EvseState]:
        """Return the published status of every EVSE."""
        return [rows.evse_state(row) for row in await self._all(select(rows.EVSE_STATES))]

    async def open_transactions(self) -> list[Transaction]:
        """Return the transactions that have not ended, with their samples."""
        # Spelled out, so that the partial index of open transactions is used.
        return await self._transactions(_TRANSACTION.where(_TX.phase != "ended"), readings=_OPEN)

    async def recent_transactions(self, station: str, limit: int) -> list[Transaction]:
        """Return a station's newest transactions, newest first, to know them again.

        Those whose books are closed have no readings, but the last at each EVSE has the register
        that it ended at where no stop told it.
        """
        statement = (
            _TRANSACTION.where(_TX.station == station)
            .order_by(_TX.started_at.desc(), _TX.id.desc())
            .limit(limit)
        )

        def read(connection: Connection) -> list[Transaction]:
            found = [(row, rows.transaction(row, ())) for row in connection.execute(statement)]
            metered = _wanting_readings([one for _, one in found])
            readings = _readings(connection, _readings_of(metered))
            whole = [
                rows.transaction(row, readings[row.id]) if row.id in readings else one
                for row, one in found
            ]
            return [thinned(one) if one.settled else one for one in whole]

        return self._as_read(await self._reads.run(read))

    async def unplaced_transactions(self, station: str, limit: int) -> list[Transaction]:
        """Return a station's ended transactions that no Location was known for, newest first."""
        return await self._transactions(
            _TRANSACTION.where(
                _TX.station == station, _TX.phase == "ended", rows.SNAPSHOTS.c.id.is_(None)
            )
            .order_by(_TX.started_at.desc(), _TX.id.desc())
            .limit(limit)
        )

    async def transaction(self, id: str) -> Transaction | None:
        """Return a transaction with its samples."""
        found = await self._transactions(_TRANSACTION.where(_TX.id == id))
        return found[0] if found else None

    async def transaction_by_key(self, station: str, key: str) -> Transaction | None:
        """Return a transaction by the station's own id, the newest where the id came again."""
        found = await self._transactions(
            _TRANSACTION.where(_TX.key == key, _TX.station == station)
            .order_by(_TX.started_at.desc())
            .limit(1)
        )
        return found[0] if found else None

    async def _transactions(
        self, statement: Select[Any], *, readings: Select[Any] | None = None
    ) -> list[Transaction]:
        def read(connection: Connection) -> list[Transaction]:
            found = connection.execute(statement).all()
            wanted = [readings] if readings is not None else _readings_of([r.id for r in found])
            by_transaction = _readings(connection, wanted)
            return [rows.transaction(row, by_transaction[row.id]) for row in found]

        return self._as_read(await self._reads.run(read))

    def _as_read(self, found: list[Transaction]) -> list[Transaction]:
        """Note of transactions that were read what is stored of them."""
        for transaction in found:
            # Another node may have written it since we did.
            self._stored.pop(transaction.id, None)
            if transaction.open and transaction.snapshot is not None:
                # What was read is what is stored: not to be written again.
                self._snapshots.setdefault(transaction.id, transaction.snapshot)
        return found

    async def document(self, station: str, kind: str, key: str) -> StationDocument | None:
        """Return a document about a station."""
        row = await self._found(rows.DOCUMENTS, (station, kind, key))
        return None if row is None else rows.document(row)

    async def documents(
        self, station: str, kind: str | None = None, *, prefix: str = ""
    ) -> list[StationDocument]:
        """Return the documents about a station, ordered by kind and key."""
        statement = _documents_of(one_kind=kind is not None, prefixed=bool(prefix))
        values = {"of": station, "what": kind, "like": f"{_escaped(prefix)}%"}
        found = await self._reads.run(lambda c: c.execute(statement, values).all())
        return [rows.document(row) for row in found]

    async def documents_known(self, station: str, kind: str, keys: Sequence[str]) -> set[str]:
        """Return those of the keys that there are documents of, without reading these."""
        table = rows.DOCUMENTS.c
        values = {"of": station, "what": kind, "ids": list(keys)}

        def read(connection: Connection) -> set[str]:
            if self._documents_known is None:
                self._documents_known = select(table.key).where(
                    table.station == bindparam("of", type_=table.station.type),
                    table.kind == bindparam("what", type_=table.kind.type),
                    among(connection, table.key),
                )
            return set(connection.execute(self._documents_known, values).scalars())

        return await self._reads.run(read)

    async def documents_of_kind(self, kind: str) -> list[StationDocument]:
        """Return the documents of a kind about every station, ordered by station and key."""
        table = rows.DOCUMENTS.c
        statement = select(rows.DOCUMENTS).where(table.kind == kind)
        found = await self._all(statement.order_by(table.station, table.key))
        return [rows.document(row) for row in found]

    def frames(
        self,
        station: str,
        *,
        action: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = 100,
    ) -> AsyncIterator[Frame]:
        """Return the frame log, newest first; `limit` None returns all of it."""
        return newest_first(self._reads, Sought(station, action, since, until), limit)

    # --- what partners see ---------------------------------------------------------------------

    async def locations(self) -> list[tuple[Location, datetime]]:
        """Return every location with its last_updated."""
        return [rows.location(row) for row in await self._all(select(rows.LOCATIONS))]

    async def tariffs(self) -> list[tuple[Tariff, datetime]]:
        """Return every tariff with its last_updated."""
        return [rows.tariff(row) for row in await self._all(select(rows.TARIFFS))]

    async def session(self, id: str) -> Session | None:
        """Return a session."""
        row = await self._one(_SESSION.where(rows.SESSIONS.c.id == id))
        return None if row is None else rows.session(row)

    async def cdr(self, id: str) -> Cdr | None:
        """Return a CDR."""
        row = await self._one(select(rows.CDRS).where(rows.CDRS.c.id == id))
        return None if row is None else rows.cdr(row)

    async def cdr_of_session(self, session_id: str) -> Cdr | None:
        """Return a session's newest CDR that is not a credit."""
        table = rows.CDRS.c
        row = await self._one(
            select(rows.CDRS)
            .where(table.session_id == session_id, table.credit.is_(False))
            .order_by(table.last_updated.desc())
            .limit(1)
        )
        return None if row is None else rows.cdr(row)

    async def page(
        self,
        kind: str,
        *,
        limit: int,
        cursor: str | None = None,
        offset: int = 0,
        date_from: datetime | None = None,
        date_to: datetime | None = None,
        partner_id: str | None = None,
        party: tuple[str, str] | None = None,
        newest_first: bool = False,
        held: bool = False,
    ) -> Page:
        """Return a page of locations, tariffs, sessions, cdrs, tokens, commands, audit or orphans.

        In the order of (last_updated, id), from `date_from` on and before `date_to`; audit and
        orphans by when they happened. The cursor wins over the offset; a broken one raises
        Invalid. `partner_id` and `party` narrow those kinds that have them; `held` those
        CDRs that wait for the operator.
        """
        query = Query(
            kind,
            limit,
            cursor,
            offset,
            date_from,
            date_to,
            partner_id,
            party,
            newest_first,
            held,
        )
        if self._fresh is not None:
            await self._fresh()
        return await self._reads.run(self._pages.objects(query))

    async def page_texts(
        self,
        kind: str,
        form: str,
        render: Callable[[Any], str | None],
        *,
        limit: int,
        cursor: str | None = None,
        offset: int = 0,
        date_from: datetime | None = None,
        date_to: datetime | None = None,
        partner_id: str | None = None,
        party: tuple[str, str] | None = None,
        listed: Listed | None = None,
    ) -> TextPage:
        """Return a page of sessions or cdrs as text; what has none yet is rendered, and kept.

        `form` names what texts of one object differ by; `render` makes an object's text, which
        is empty for one that cannot be shown, and None for one that must be looked at again each
        time. `listed` says whose list it is: what does not stand
        in it is neither on a page nor in the total.
        """
        query = Query(
            kind, limit, cursor, offset, date_from, date_to, partner_id, party, listed=listed
        )
        if self._fresh is not None:
            await self._fresh()
        page = await self._reads.run(self._pages.texts(query, form))
        if isinstance(page, TextPage):
            return page
        ops, rendered = [], {}
        for id_, at, value in page.missing:
            text = render(value)
            if text is not None:
                rendered[id_] = text.encode()
                ops.append(text_row(kind, form, id_, at, text))
        if ops:
            # Nobody needs to wait: a text that is not kept is rendered again.
            self._writer.submit(Unit(ops)).add_done_callback(_ignored)
        texts = [
            rendered.get(id_, b"") if text is None else text
            for id_, text in zip(page.ids, page.texts, strict=True)
        ]
        joined = b",".join([text for text in texts if text])
        return TextPage(joined, len(texts), page.total, page.cursor)

    # --- tokens --------------------------------------------------------------------------------

    async def token(
        self,
        country_code: str,
        party_id: str,
        uid: str,
        type: str,
    ) -> Token | None:
        """Return a token by its full key, compared without case (TOK-2)."""
        key = rows.token_key_of(country_code, party_id, uid, type)
        row = await self._found(rows.TOKENS, key)
        return None if row is None else rows.token(row)

    async def tokens_by_uid(self, uid: str) -> list[Token]:
        """Return all tokens with that uid, compared without case, of any partner or our own."""
        values = {"of": uid.upper()}
        found = await self._reads.run(lambda c: c.execute(_TOKENS_BY_UID, values).all())
        return [rows.token(row) for row in found]

    async def tokens_held(
        self, partner_id: str, uids: Sequence[str]
    ) -> list[tuple[Token, datetime]]:
        """Return what we hold of a partner's tokens with these uids, and since when."""
        columns = rows.TOKENS.c
        wanted = columns.uid.in_(sorted({uid.upper() for uid in uids}))
        found = await self._all(select(rows.TOKENS).where(wanted, columns.partner_id == partner_id))
        return [(rows.token(row), row.last_updated) for row in found]

    async def token_by_alias(self, alias: str) -> Token | None:
        """Return the token a 20-character 1.6 alias stands for (MAP-5)."""
        names = metadata.tables["token_aliases"].c
        token = rows.TOKENS.c
        row = await self._one(
            select(rows.TOKENS)
            .join(
                names.alias.table,
                (names.country_code == token.country_code)
                & (names.party_id == token.party_id)
                & (names.uid == token.uid)
                & (names.type == token.type),
            )
            .where(names.alias == alias.upper())
        )
        return None if row is None else rows.token(row)

    # --- partners and delivery -----------------------------------------------------------------

    async def partners(self) -> list[Partner]:
        """Return every partner."""
        found = await self._all(select(rows.PARTNERS))
        return [rows.partner(row, self._seal) for row in found]

    async def dirty(self) -> list[DirtyMark]:
        """Return every mark, the oldest first."""
        statement = select(rows.MARKS).order_by(rows.MARKS.c.since)

        def read(connection: Connection) -> list[DirtyMark]:
            # After an outage there are many, of few partners and commits.
            same: dict[Any, Any] = {}
            found = []
            for row in connection.execute(statement):
                mark = rows.dirty_mark(row)
                partner = same.setdefault(mark.partner_id, mark.partner_id)
                since = same.setdefault(mark.since, mark.since)
                found.append(replace(mark, partner_id=partner, since=since))
            return found

        return await self._reads.run(read)

    async def delivery(self, partner_id: str, kind: Kind, object_id: str) -> Delivery | None:
        """Return what a partner confirmed of an object."""
        key = (partner_id, kind.value, object_id)
        row = await self._found(rows.DELIVERIES, key)
        return None if row is None else rows.delivery(row)

    # --- commands and operators ----------------------------------------------------------------

    async def command(self, id: str) -> Command | None:
        """Return a command."""
        row = await self._one(select(rows.COMMANDS).where(rows.COMMANDS.c.id == id))
        return None if row is None else rows.command(row)

    async def command_by_idempotency_key(self, key: str) -> Command | None:
        """Return the command that was made for an Idempotency-Key."""
        table = rows.COMMANDS.c
        row = await self._one(
            select(rows.COMMANDS)
            .where(table.idempotency_key == key)
            .order_by(table.created_at.desc())
            .limit(1)
        )
        return None if row is None else rows.command(row)

    async def unfinished_commands(self) -> list[Command]:
        """Return the commands that are not done or not reported."""
        table = rows.COMMANDS.c
        found = await self._all(select(rows.COMMANDS).where(table.unfinished).order_by(table.id))
        return [rows.command(row) for row in found]

    async def operator_keys(self) -> list[OperatorKey]:
        """Return the keys of the operator API that we made."""
        found = await self._all(select(metadata.tables["operator_keys"]))
        return [rows.operator_key(row) for row in found]

    # --- several nodes -------------------------------------------------------------------------

    async def take_station(self, station: str, node: str, *, online: str = "") -> Seat:
        """Become the holder of a station; whoever held it before is fenced off.

        `online` is the OCPP version of its connection, if it has one.
        """
        await self._seat(station, [(rows.TAKE_STATION, (station, node, self._now(), online))])
        table = rows.OWNERS.c
        row = await self._one(select(table.node, table.epoch).where(table.station == station))
        if row is None or row.node != node:
            raise Conflict(f"another node took {station!r} meanwhile")
        return Seat(station, row.epoch)

    async def seat(self, station: str) -> Seat | None:
        """Return where a station's socket is, None when no node holds it."""
        table = rows.OWNERS.c
        row = await self._one(select(table.node, table.epoch).where(table.station == station))
        return Seat(station, row.epoch) if row is not None and row.node else None

    async def leave_station(self, seat: Seat) -> None:
        """Stop being the holder of a station; a newer holder stays."""
        await self._seat(seat.station, [(rows.LEAVE_STATION, ("", "", seat.station, seat.epoch))])

    async def show_online(self, seat: Seat, online: str) -> None:
        """Say whether the holder of a station has a connection, and in which OCPP version."""
        await self._seat(seat.station, [(rows.SHOW_ONLINE, (online, seat.station, seat.epoch))])

    async def _seat(self, station: str, ops: list[tuple[Write, Row]]) -> None:
        callbacks = [self._told] if self._told is not None else []
        if self._shared:
            ops = [*ops, (rows.CHANGED, ("station", station, None))]
        await self._writer.submit(Unit(ops, callbacks=callbacks))

    async def lease(self, name: str, owner: str, until: datetime) -> bool:
        """Take or renew a lease until an instant; False when another owner holds it."""
        await self._writer.submit(Unit([(rows.TAKE_LEASE, (name, owner, until, self._now()))]))
        row = await self._one(select(rows.LEASES).where(rows.LEASES.c.name == name))
        return row is not None and row.owner == owner

    # --- care ----------------------------------------------------------------------------------

    async def forget(self, kind: str, before: datetime) -> int:
        """Delete what is older of messages, orphans or audit; return how many rows that were.

        In small steps, so that stations hardly wait for it.
        """
        table, write = rows.FORGET[kind]
        step = select(table.c.id, table.c.at).order_by(table.c.id).limit(FORGOTTEN_AT_ONCE)
        count = 0
        while True:
            oldest = await self._all(step)
            old = [row.id for row in oldest if row.at < before]
            if not old:
                return count
            await self._writer.submit(Unit([(write, (oldest[-1].id, before))]))
            count += len(old)
            if len(old) < FORGOTTEN_AT_ONCE:
                return count

    async def ping(self) -> None:
        """Raise StoreUnavailable when the database cannot be read or written."""
        await self._one(select(INSTANCE.c.id))
        await self._writer.submit(Unit([]))

    async def _all(self, statement: Select[Any]) -> Sequence[Any]:
        return await self._reads.run(lambda c: c.execute(statement).all())

    async def _found(self, table: Any, key: Row) -> Any:
        """Return the row with a primary key."""
        statement = _by_key(table)
        values = {f"key_{n}": value for n, value in enumerate(key)}
        return await self._reads.run(lambda c: c.execute(statement, values).one_or_none())

    async def _one(self, statement: Select[Any]) -> Any:
        return await self._reads.run(lambda c: c.execute(statement).one_or_none())


_TX = rows.TRANSACTIONS.c
_TRANSACTION = rows.with_snapshot(rows.TRANSACTIONS)
_SESSION = rows.with_snapshot(rows.SESSIONS)
_READINGS = select(rows.READINGS)
_TOKENS_BY_UID = select(rows.TOKENS).where(
    rows.TOKENS.c.uid == bindparam("of", type_=rows.TOKENS.c.uid.type)
)
_OPEN = select(rows.READINGS).where(
    rows.READINGS.c.transaction_id.in_(select(_TX.id).where(_TX.phase != "ended"))
)
_PHASE = rows.PUT_TRANSACTION.columns.index("phase")
# What is nothing but its row, unless other nodes must hear of it.
_ALONE = frozenset({ConnectorState, Frame, Readings})
# The lists in which what is put may have stood elsewhere before; a CDR is put once.
_MOVING: dict[type, str] = {Session: "sessions", Token: "tokens", Command: "commands"}
_TOUCHED = {Kind.SESSION: "sessions", Kind.CDR: "cdrs"}


def _readings_of(ids: Sequence[str]) -> list[Select[Any]]:
    """Return the statements that read the readings of transactions."""
    return [_READINGS.where(rows.READINGS.c.transaction_id.in_(part)) for part in _slices(ids, 500)]


def _readings(connection: Connection, wanted: Iterable[Select[Any]]) -> dict[str, list[Any]]:
    """Return rows of readings by their transaction, in the order in which they were told."""
    found: dict[str, list[Any]] = defaultdict(list)
    for statement in wanted:
        for row in connection.execute(statement.order_by(rows.READINGS.c.id)):
            found[row.transaction_id].append(row)
    return found


def _wanting_readings(newest_first: Iterable[Transaction]) -> list[str]:
    """Return the transactions of which only the readings tell what has to be known.

    Of those whose books are closed that is the register that the last at each EVSE ended at.
    """
    evses: set[int | None] = set()
    wanted = []
    for one in newest_first:
        last = one.evse_id not in evses
        evses.add(one.evse_id)
        if not one.settled or (last and one.end_wh is None):
            wanted.append(one.id)
    return wanted


@cache
def _by_key(table: Any) -> Select[Any]:
    """Return the statement that reads one row, built once: building costs more than reading."""
    columns = enumerate(table.primary_key.columns)
    return select(table).where(
        *(column == bindparam(f"key_{n}", type_=column.type) for n, column in columns)
    )


@cache
def _documents_of(*, one_kind: bool, prefixed: bool) -> Select[Any]:
    """Return the statement that reads a station's documents, built once.

    Every station is asked about after its boot, and to build it costs more than to run it.
    """
    table = rows.DOCUMENTS.c
    statement = select(rows.DOCUMENTS).where(table.station == bindparam("of"))
    if one_kind:
        statement = statement.where(table.kind == bindparam("what"))
    if prefixed:
        statement = statement.where(table.key.like(bindparam("like"), escape="!"))
    return statement.order_by(table.kind, table.key)


def _escaped(prefix: str) -> str:
    """Return a text so that LIKE, with `!` as its escape, takes it as it is."""
    return prefix.replace("!", "!!").replace("%", "!%").replace("_", "!_")


def _ignored(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


def _slices(found: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [found[start : start + size] for start in range(0, len(found), size)]
