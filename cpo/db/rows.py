"""Domain objects as rows, and back.

`WRITERS` says for each kind of object what `put`, `add` and `delete` write. Key and filter columns
stand beside the object's JSON text, in which decimals are numbers with all their digits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import (
    FromClause,
    Select,
    Table,
    bindparam,
    case,
    delete,
    false,
    literal_column,
    null,
    select,
    update,
)
from sqlalchemy.sql import ClauseElement

from cpo.db.columns import dump
from cpo.db.sealing import Seal
from cpo.db.statements import Row as Values
from cpo.db.statements import (
    Write,
    change,
    insert,
    insert_into,
    parameter,
    remove,
    upsert,
)
from cpo.db.tables import metadata
from cpo.domain.cdr import Cdr
from cpo.domain.command import Command, CommandState
from cpo.domain.events import Availability, Sample
from cpo.domain.location import Location
from cpo.domain.partner import Partner
from cpo.domain.policy import SUPPRESSED
from cpo.domain.session import Session, SessionStatus
from cpo.domain.station import ConnectorState, EvseStatus, Station
from cpo.domain.tariff import Tariff
from cpo.domain.tokens import Token
from cpo.domain.transaction import Snapshot, Transaction, restored
from cpo.domain.values import decoder, replace
from cpo.services.ports import (
    Audit,
    Delivery,
    DirtyMark,
    EvseState,
    Frame,
    Kind,
    Listed,
    OperatorKey,
    Orphan,
    Readings,
    StationDocument,
    TokenAlias,
)

Op = tuple[Write, Values]

STATIONS = metadata.tables["stations"]
CONNECTOR_STATES = metadata.tables["connector_states"]
EVSE_STATES = metadata.tables["evse_states"]
TRANSACTIONS = metadata.tables["transactions"]
SNAPSHOTS = metadata.tables["snapshots"]
READINGS = metadata.tables["readings"]
SESSIONS = metadata.tables["sessions"]
CDRS = metadata.tables["cdrs"]
LOCATIONS = metadata.tables["locations"]
TARIFFS = metadata.tables["tariffs"]
TOKENS = metadata.tables["tokens"]
PARTNERS = metadata.tables["partners"]
MARKS = metadata.tables["dirty_marks"]
DELIVERIES = metadata.tables["deliveries"]
MESSAGES = metadata.tables["messages"]
ORPHANS = metadata.tables["orphans"]
COMMANDS = metadata.tables["commands"]
DOCUMENTS = metadata.tables["station_documents"]
AUDIT = metadata.tables["audit"]


# --- statements -------------------------------------------------------------------------------


def _mark(dialect: str) -> ClauseElement:
    """Set a mark, or give the one that is there a new generation; a parked one is let go."""
    statement = insert(dialect, MARKS).values(
        {name: bindparam(parameter(name), type_=MARKS.c[name].type) for name in _MARK_COLUMNS}
        | {"attempts": literal_column("0"), "parked": false()}
    )
    parked = MARKS.c.parked
    upserting: ClauseElement = statement.on_conflict_do_update(
        index_elements=("partner_id", "kind", "object_id"),
        set_={
            "generation": statement.excluded.generation,
            "attempts": case((parked, literal_column("0")), else_=MARKS.c.attempts),
            "next_attempt_at": case((parked, null()), else_=MARKS.c.next_attempt_at),
            "parked": false(),
        },
    )
    return upserting


_MARK_COLUMNS = ("partner_id", "kind", "object_id", "generation", "since")
MARK = Write(MARKS, _MARK_COLUMNS, _mark, key=(0, 1, 2))

_MARK_KEY = ("partner_id", "kind", "object_id", "generation")
_MARK_FATE = ("attempts", "next_attempt_at", "last_error", "parked")
# Both hold only for the generation that was tried: a newer one is another state of the object.
CHANGE_MARK = change(MARKS, _MARK_FATE, where=_MARK_KEY)
CLEAR_MARK = remove(MARKS, where=_MARK_KEY)


def _insert_readings(dialect: str) -> ClauseElement:
    statement: ClauseElement = (
        insert(dialect, READINGS)
        .values(
            {name: bindparam(parameter(name), type_=READINGS.c[name].type) for name in _READINGS}
        )
        .on_conflict_do_nothing(index_elements=("transaction_id", "event_key"))
    )
    return statement


_READINGS = ("transaction_id", "received_at", "event_key", "samples")
ADD_READINGS = Write(READINGS, _READINGS, _insert_readings)
PUT_SNAPSHOT = upsert(SNAPSHOTS)
# To set an indexed column costs SQLite its index anew, whatever the value: a transaction has five
# indexes, and of most messages only its body changes.
PUT_TRANSACTION = upsert(TRANSACTIONS)
MOVE_TRANSACTION = upsert(TRANSACTIONS, replacing=("phase", "body"))
KEEP_TRANSACTION = upsert(TRANSACTIONS, replacing=("body",))
PUT_LOCATION = upsert(LOCATIONS)
TOUCH_LOCATION = change(LOCATIONS, ("last_updated",))
PUT_EVSE_STATE = upsert(EVSE_STATES)
PUT_CONNECTOR_STATE = upsert(CONNECTOR_STATES)
PUT_DELIVERY = upsert(DELIVERIES)
ADD_MESSAGE = insert_into(MESSAGES)
ADD_ORPHAN = insert_into(ORPHANS)


def _forget(table: Table) -> Write:
    """Delete the rows up to an id that are older than an instant."""

    def build(dialect: str) -> ClauseElement:
        del dialect
        return delete(table).where(
            table.c.id <= bindparam(parameter("id"), type_=table.c.id.type),
            table.c.at < bindparam(parameter("at"), type_=table.c.at.type),
        )

    return Write(table, ("id", "at"), build, sweeping=True)


FORGET = {table.name: (table, _forget(table)) for table in (MESSAGES, ORPHANS, AUDIT)}
ADD_AUDIT = insert_into(AUDIT)

TOUCH = {
    Kind.LOCATION: TOUCH_LOCATION,
    Kind.TARIFF: change(TARIFFS, ("last_updated",)),
    Kind.SESSION: change(SESSIONS, ("last_updated",)),
    Kind.CDR: change(CDRS, ("last_updated",)),
}
TOUCH_EVSE = change(EVSE_STATES, ("last_updated",))


def touch(kind: Kind, object_id: str) -> list[Op]:
    """Return what gives an object a new last_updated."""
    if kind is Kind.EVSE:
        location, _, evse = object_id.partition("/")
        return [(TOUCH_EVSE, (None, location, evse)), (TOUCH_LOCATION, (None, location))]
    write = TOUCH.get(kind)
    return [] if write is None else [(write, (None, object_id))]


# --- who holds a station, who runs a job ------------------------------------------------------


def _take(dialect: str) -> ClauseElement:
    """Hold a station with the next epoch."""
    table = OWNERS
    statement = insert(dialect, table).values(
        {name: bindparam(parameter(name), type_=table.c[name].type) for name in _TAKEN_BY}
        | {"epoch": literal_column("1")}
    )
    taking: ClauseElement = statement.on_conflict_do_update(
        index_elements=("station",),
        set_={
            "node": statement.excluded.node,
            "since": statement.excluded.since,
            "online": statement.excluded.online,
            "epoch": table.c.epoch + literal_column("1"),
        },
    )
    return taking


def _fence(dialect: str) -> ClauseElement:
    """Fail, by a NULL where none may be, when the epoch is not the newest.

    An update, not a look: it also makes a newer holder wait until this unit is committed.
    """
    del dialect
    epoch = bindparam(parameter("epoch"), type_=OWNERS.c.epoch.type)
    return (
        update(OWNERS)
        .values(epoch=case((OWNERS.c.epoch == epoch, OWNERS.c.epoch), else_=null()))
        .where(OWNERS.c.station == bindparam(parameter("station"), type_=OWNERS.c.station.type))
    )


def _lease(dialect: str) -> ClauseElement:
    """Take a lease that is free, over, or one's own."""
    table = LEASES
    statement = insert(dialect, table).values(
        {name: bindparam(parameter(name), type_=table.c[name].type) for name in _LEASED}
        | {"epoch": literal_column("1")}
    )
    now = bindparam(parameter("now"), type_=table.c.until.type)
    taking: ClauseElement = statement.on_conflict_do_update(
        index_elements=("name",),
        set_={
            "owner": statement.excluded.owner,
            "until": statement.excluded.until,
            "epoch": case(
                (table.c.owner == statement.excluded.owner, table.c.epoch),
                else_=table.c.epoch + literal_column("1"),
            ),
        },
        where=(table.c.until <= now) | (table.c.owner == statement.excluded.owner),
    )
    return taking


OWNERS = metadata.tables["station_owners"]
LEASES = metadata.tables["leases"]
_TAKEN_BY = ("station", "node", "since", "online")
_LEASED = ("name", "owner", "until")
TAKE_STATION = Write(OWNERS, _TAKEN_BY, _take, key=(0,))
LEAVE_STATION = change(OWNERS, ("node", "online"), where=("station", "epoch"))
SHOW_ONLINE = change(OWNERS, ("online",), where=("station", "epoch"))
FENCE = Write(OWNERS, ("epoch", "station"), _fence, key=(1,))
TAKE_LEASE = Write(LEASES, (*_LEASED, "now"), _lease, key=(0,))

# Documents that tell how far a job at a station is; one node follows them all.
_OF_JOBS = frozenset({"firmware-job", "log-job", "display-messages", "customer-information"})
CHANGES = metadata.tables["changes"]
CHANGED = upsert(CHANGES)
# What other nodes keep in memory, by the type of what is written: the kind of change and its key.
NEWS: dict[type, Callable[[Any], tuple[str, str] | None]] = {
    Station: lambda value: ("station", value.identity),
    ConnectorState: lambda value: ("station", value.station),
    Transaction: lambda value: ("station", value.station),
    EvseState: lambda value: ("location", value.location_id),
    Location: lambda value: ("location", value.id),
    Tariff: lambda value: ("tariff", value.id),
    Token: lambda value: ("token", value.uid.upper()),
    Partner: lambda value: ("partner", value.id),
    Session: lambda value: ("session", value.id),
    StationDocument: lambda value: (
        ("job", f"{value.station}\x1f{value.kind}\x1f{value.key}")
        if value.kind in _OF_JOBS
        else None
    ),
}

# --- JSON bodies ------------------------------------------------------------------------------


@cache
def _kept(type_: Any, without: frozenset[str]) -> tuple[str, ...]:
    return tuple(n for n in type_.__annotations__ if n not in without)


def _without(value: Any, without: frozenset[str]) -> str:
    """Return an object as JSON without the fields that are stored elsewhere."""
    if isinstance(value, msgspec.Struct):
        fields = msgspec.structs.asdict(value)
        for name in without:
            del fields[name]
        return dump(fields)
    return dump({name: getattr(value, name) for name in _kept(value.__class__, without)})


_TRANSACTION_ELSEWHERE = frozenset(
    {"samples", "seen", "snapshot", "first_seq", "last_seq", "missing"}
)
_SESSION_ELSEWHERE = frozenset({"snapshot", "last_updated"})
_STAMP_ELSEWHERE = frozenset({"last_updated"})
_PARTNER_ELSEWHERE = frozenset({"token_out"})

# --- objects to rows --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rows:
    """How objects of one type become rows: `put` and `add` statement, key, and values."""

    put: Write | None
    add: Write | None
    delete: Write | None
    values: Callable[[Any], Values]
    key: Callable[[Any], Values] = tuple


def station_values(station: Station) -> Values:
    """Return the row of a station."""
    return (station.identity, dump(station))


def connector_values(state: ConnectorState) -> Values:
    """Return the row of a connector's state."""
    return (
        state.station,
        state.evse_id,
        state.connector_id,
        state.availability,
        state.at,
        state.received_at,
        state.activity,
        state.error_code,
        state.info,
        state.vendor_error_code,
    )


def transaction_values(transaction: Transaction) -> Values:
    """Return the row of a transaction."""
    return (
        transaction.id,
        transaction.station,
        transaction.key,
        transaction.start_key,
        _progress(transaction),
        transaction.started_at,
        _without(transaction, _TRANSACTION_ELSEWHERE),
    )


def transaction_write(row: Values, stored: Values | None) -> Write:
    """Return the statement that brings a transaction's row from what is stored of it to `row`.

    `stored` is the row without its body, None where that is not known.
    """
    if stored is None or row[:4] != stored[:4] or row[5] != stored[5]:
        return PUT_TRANSACTION
    return KEEP_TRANSACTION if row[4] == stored[4] else MOVE_TRANSACTION


def _progress(transaction: Transaction) -> str:
    """Return the phase, and `settling` while an ended transaction's books are not closed."""
    if not transaction.open and not transaction.settled:
        return "settling"
    return transaction.phase


def readings_values(readings: Readings) -> Values:
    """Return the row of a message's samples."""
    return (
        readings.transaction_id,
        readings.received_at,
        readings.event_key,
        dump(readings.samples),
    )


def session_values(session: Session) -> Values:
    """Return the row of a session."""
    return (
        session.id,
        session.country_code,
        session.party_id,
        session.partner_id,
        session.station,
        session.status,
        session.start_date_time,
        None,
        _without(session, _SESSION_ELSEWHERE),
        (Listed.LATER if session.status is SessionStatus.RESERVATION else Listed.ALWAYS).value,
    )


def cdr_values(cdr: Cdr) -> Values:
    """Return the row of a CDR."""
    return (
        cdr.id,
        cdr.session_id,
        cdr.credit,
        cdr.country_code,
        cdr.party_id,
        cdr.partner_id,
        cdr.end_date_time,
        None,
        _without(cdr, _STAMP_ELSEWHERE),
        any(reason != SUPPRESSED for reason in cdr.hold),
        (Listed.NEVER if cdr.hold else Listed.LATER if cdr.credit else Listed.ALWAYS).value,
    )


def location_values(location: Location) -> Values:
    """Return the row of a location."""
    return (location.id, location.country_code, location.party_id, None, dump(location))


def tariff_values(tariff: Tariff) -> Values:
    """Return the row of a tariff."""
    return (
        tariff.id,
        tariff.country_code,
        tariff.party_id,
        None,
        _without(tariff, _STAMP_ELSEWHERE),
    )


def token_key(token: Token) -> Values:
    """Return the key of a token, folded, for OCPI compares it without case (TOK-2)."""
    return token_key_of(token.country_code, token.party_id, token.uid, token.type)


def token_key_of(country_code: str, party_id: str, uid: str, type_: str) -> Values:
    """Return the key of a token from its parts."""
    return (country_code.upper(), party_id.upper(), uid.upper(), type_)


def token_values(token: Token) -> Values:
    """Return the row of a token."""
    return (
        *token_key(token),
        token.partner_id,
        None,
        # A partner's token keeps the instant its owner gave: an older state must not win (S23).
        _without(token, frozenset()),
    )


def command_values(command: Command) -> Values:
    """Return the row of a command."""
    unreported = command.response_url is not None and command.reported_at is None
    return (
        command.id,
        command.station,
        command.created_at,
        command.state is not CommandState.DONE or unreported,
        command.idempotency_key,
        None,
        dump(command),
    )


def frame_values(frame: Frame) -> Values:
    """Return the row of the frame log."""
    return (
        frame.station,
        frame.at,
        frame.direction,
        frame.action,
        frame.message_id,
        frame.payload,
        frame.answer,
        frame.deviations,
    )


def orphan_values(orphan: Orphan) -> Values:
    """Return the row of an orphan."""
    return (
        orphan.station,
        orphan.at,
        orphan.reason,
        orphan.action,
        orphan.payload,
        orphan.transaction,
    )


def audit_values(audit: Audit) -> Values:
    """Return the row of the audit trail."""
    return (audit.at, audit.actor, audit.action, audit.subject, audit.detail)


def delivery_values(delivery: Delivery) -> Values:
    """Return the row of a delivery."""
    return (
        delivery.partner_id,
        delivery.kind,
        delivery.object_id,
        delivery.confirmed_at,
        delivery.last_updated,
        delivery.location,
        delivery.answer,
    )


def evse_values(state: EvseState) -> Values:
    """Return the row of an EVSE's status."""
    return (state.location_id, state.evse_uid, state.status, None)


def mark_fate(mark: DirtyMark) -> Values:
    """Return the row that changes a mark's fate, while its generation is unchanged."""
    return (
        mark.attempts,
        mark.next_attempt_at,
        mark.last_error,
        mark.parked,
        *mark_key(mark),
    )


def mark_key(mark: DirtyMark) -> Values:
    """Return the key of a mark with its generation."""
    return (mark.partner_id, mark.kind, mark.object_id, mark.generation)


def _by_id(value: Any) -> Values:
    return (value.id,)


def _upserted(
    name: str,
    values: Callable[[Any], Values],
    key: Callable[[Any], Values],
    *,
    fixed: Sequence[str] = (),
) -> Rows:
    """Return how objects of a table become rows; `fixed` columns never change under a key."""
    table = metadata.tables[name]
    named = {column.name for column in table.primary_key} | set(fixed)
    replaced = [column.name for column in table.columns if column.name not in named]
    put = upsert(table, replacing=replaced)
    return Rows(put, insert_into(table), remove(table), values, key)


WRITERS: dict[type, Rows] = {
    Station: _upserted("stations", station_values, lambda s: (s.identity,)),
    ConnectorState: _upserted(
        "connector_states",
        connector_values,
        lambda s: (s.station, s.evse_id, s.connector_id),
    ),
    Transaction: Rows(
        PUT_TRANSACTION,
        insert_into(TRANSACTIONS),
        remove(TRANSACTIONS),
        transaction_values,
        _by_id,
    ),
    Readings: Rows(ADD_READINGS, ADD_READINGS, None, readings_values),
    Session: _upserted("sessions", session_values, _by_id, fixed=("station",)),
    Cdr: _upserted("cdrs", cdr_values, _by_id),
    Location: _upserted("locations", location_values, _by_id),
    Tariff: _upserted("tariffs", tariff_values, _by_id),
    Token: _upserted("tokens", token_values, token_key),
    EvseState: _upserted("evse_states", evse_values, lambda s: (s.location_id, s.evse_uid)),
    DirtyMark: Rows(CHANGE_MARK, None, CLEAR_MARK, mark_fate, mark_key),
    StationDocument: _upserted(
        "station_documents",
        lambda d: (d.station, d.kind, d.key, d.at, d.document),
        lambda d: (d.station, d.kind, d.key),
    ),
    Delivery: _upserted(
        "deliveries", delivery_values, lambda d: (d.partner_id, d.kind, d.object_id)
    ),
    TokenAlias: _upserted(
        "token_aliases",
        lambda a: (a.alias.upper(), *token_key_of(a.country_code, a.party_id, a.uid, a.type)),
        lambda a: (a.alias.upper(),),
    ),
    OperatorKey: _upserted("operator_keys", lambda k: (k.name, dump(k)), lambda k: (k.name,)),
    Command: _upserted("commands", command_values, _by_id),
    Frame: Rows(ADD_MESSAGE, ADD_MESSAGE, None, frame_values),
    Orphan: Rows(ADD_ORPHAN, ADD_ORPHAN, None, orphan_values),
    Audit: Rows(ADD_AUDIT, ADD_AUDIT, None, audit_values),
}


def partner_rows(seal: Seal) -> Rows:
    """Return how partners become rows: the token we use is sealed, and in no other place."""

    def values(partner: Partner) -> Values:
        sealed = None if partner.token_out is None else seal.close(partner.token_out)
        return (partner.id, _without(partner, _PARTNER_ELSEWHERE), sealed)

    return _upserted("partners", values, _by_id)


# --- rows to objects --------------------------------------------------------------------------


def with_snapshot(table: FromClause) -> Select[Any]:
    """Return the statement that reads transactions or sessions with what held at their start."""
    snapshots = SNAPSHOTS.c
    return select(table, snapshots.body.label("snapshot")).select_from(
        table.outerjoin(SNAPSHOTS, snapshots.id == table.c.id)
    )


def station(row: Any) -> Station:
    """Read a station."""
    return decoder(Station)(row.body)


def connector_state(row: Any) -> ConnectorState:
    """Read a connector's state."""
    return ConnectorState(
        station=row.station,
        evse_id=row.evse_id,
        connector_id=row.connector_id,
        availability=Availability(row.availability),
        at=row.at,
        received_at=row.received_at,
        activity=row.activity,
        error_code=row.error_code,
        info=row.info,
        vendor_error_code=row.vendor_error_code,
    )


def evse_state(row: Any) -> EvseState:
    """Read the published status of an EVSE."""
    return EvseState(row.location_id, row.evse_uid, EvseStatus(row.status), row.last_updated)


def transaction(row: Any, readings: Sequence[Any]) -> Transaction:
    """Read a transaction with its readings; the row carries its snapshot as `snapshot`."""
    samples: list[Sample] = []
    read = decoder(tuple[Sample, ...])
    for reading in readings:
        samples.extend(read(reading.samples))
    return restored(
        replace(decoder(Transaction)(row.body), snapshot=_snapshot(row)),
        samples,
        [r.event_key for r in readings if r.event_key is not None],
    )


def session(row: Any) -> Session:
    """Read a session; the row carries its snapshot as `snapshot`."""
    return replace(
        decoder(Session)(_with_nothing(row.body, "snapshot")),
        snapshot=_snapshot(row),
        last_updated=row.last_updated,
    )


def cdr(row: Any) -> Cdr:
    """Read a CDR."""
    return replace(decoder(Cdr)(row.body), last_updated=row.last_updated)


def location(row: Any) -> tuple[Location, datetime]:
    """Read a location and its last_updated."""
    return decoder(Location)(row.body), row.last_updated


def tariff(row: Any) -> tuple[Tariff, datetime]:
    """Read a tariff and its last_updated."""
    read = replace(decoder(Tariff)(row.body), last_updated=row.last_updated)
    return read, row.last_updated


def token(row: Any) -> Token:
    """Read a token; one of our own, which nobody else dates, has the row's stamp."""
    found = decoder(Token)(row.body)
    return found if found.last_updated else replace(found, last_updated=row.last_updated)


def partner(row: Any, seal: Seal) -> Partner:
    """Read a partner, its token opened."""
    sealed = row.sealed_token
    return replace(
        decoder(Partner)(row.body), token_out=None if sealed is None else seal.open(sealed)
    )


def command(row: Any) -> Command:
    """Read a command."""
    return decoder(Command)(row.body)


def operator_key(row: Any) -> OperatorKey:
    """Read a key of the operator API."""
    return decoder(OperatorKey)(row.body)


def frame(row: Any) -> Frame:
    """Read an entry of the frame log."""
    return Frame(
        row.station,
        row.at,
        row.direction,
        row.action,
        row.message_id,
        row.payload,
        row.answer,
        row.deviations,
    )


def document(row: Any) -> StationDocument:
    """Read a document about a station."""
    return StationDocument(row.station, row.kind, row.key, row.document, row.at)


def audit(row: Any) -> Audit:
    """Read an entry of the audit trail."""
    return Audit(row.at, row.actor, row.action, row.subject, row.detail)


def orphan(row: Any) -> Orphan:
    """Read a message that fitted nothing."""
    return Orphan(row.station, row.at, row.reason, row.action, row.payload, row.transaction)


def dirty_mark(row: Any) -> DirtyMark:
    """Read a mark."""
    return DirtyMark(
        row.partner_id,
        Kind(row.kind),
        row.object_id,
        row.generation,
        row.since,
        row.attempts,
        row.next_attempt_at,
        row.last_error,
        row.parked,
    )


def delivery(row: Any) -> Delivery:
    """Read what a partner confirmed."""
    return Delivery(
        row.partner_id,
        Kind(row.kind),
        row.object_id,
        row.confirmed_at,
        row.object_updated_at,
        row.location,
        row.answer,
    )


def _snapshot(row: Any) -> Snapshot | None:
    return None if row.snapshot is None else decoder(Snapshot)(row.snapshot)


def _with_nothing(body: str, field: str) -> str:
    """Return an object's JSON with a required field set to null, to be filled in later."""
    return f'{{"{field}":null,{body[1:]}'
